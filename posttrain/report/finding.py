"""One thing that a run shows, in words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was found, with its figure and what may be concluded."""

    what: str
    figure: str = ""
    """The value with its interval."""
    change: str = ""
    """Against what, with its interval."""
    verdict: str = ""
    """What may be concluded, where it is not plain."""
    tone: str = ""
    """won or lost, where it holds."""

    @property
    def sentence(self) -> str:
        """All of it."""
        head = f"{self.what}: {self.figure}" if self.figure else self.what
        return ", ".join(filter(None, (head, self.change, self.verdict))) + "."
