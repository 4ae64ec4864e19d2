"""One finding about a run, in words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was found, with its figure and what may be concluded."""

    what: str
    figure: str = ""
    """The value with its interval."""
    change: str = ""
    """The difference with its interval, and what it is against."""
    verdict: str = ""
    """What may be concluded, if that is not obvious."""
    tone: str = ""
    """won or lost if it holds, else empty."""

    @property
    def sentence(self) -> str:
        """All parts as one sentence."""
        head = f"{self.what}: {self.figure}" if self.figure else self.what
        return ", ".join(filter(None, (head, self.change, self.verdict))) + "."
