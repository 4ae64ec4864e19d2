"""Rows of the corpus: immutable; clips are validated on creation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

CONDITIONS = (
    "clean",
    "snr20",
    "snr15",
    "snr10",
    "snr5",
    "snr0",
    "padded",
    "joined",
    "noise",
    "sound",
    "silence",
    "real",
)
SPLITS = ("train", "rl", "valid", "test")
CLIP_ID = re.compile(r"[A-Za-z0-9_./@-]+")
"""Characters of a clip's id: those that its placeholder in a prompt can contain. File names may contain others, so ids
are not built from them."""


@dataclass(frozen=True)
class Clip:
    """One recording, 16 kHz mono: `samples` int16 values from `start` in the corpus's audio tensor."""

    id: str
    """Unique in the corpus, such as test/000123."""
    text: str
    """The words said, normalised; empty when nothing is said."""
    speaker: str
    """Voice or person; never shared between splits, except train and rl."""
    split: str
    """One of SPLITS; rl is only for reinforcement learning, with training voices."""
    source: str
    """`made` for synthetic clips, else the name of a data card, or of a file of prompts, such as instructions_mine."""
    condition: str
    """One of CONDITIONS."""
    noise: str | None
    """Kind of noise mixed in."""
    start: int
    """First sample."""
    samples: int
    """Length in samples."""
    name: str = ""
    """The recording's path as written in its manifest; empty for synthetic clips."""
    raw: str = ""
    """The recording's text as written."""

    @property
    def recorded(self) -> bool:
        """Whether the clip is a recording rather than synthetic."""
        return self.source != "made"

    def __post_init__(self) -> None:
        if not CLIP_ID.fullmatch(self.id):
            raise ValueError(f"id of clip {self.id!r} holds other characters than A–Z, a–z, 0–9 and _./@-; number it")
        if self.split not in SPLITS:
            raise ValueError(f"split of clip {self.id} is {self.split}, expected one of {', '.join(SPLITS)}")
        if self.condition not in CONDITIONS:
            known = ", ".join(CONDITIONS)
            raise ValueError(f"condition of clip {self.id} is {self.condition}, expected one of {known}")


@dataclass(frozen=True)
class Example:
    """One chat turn: an instruction, a payload (typed text or a spoken clip) and the right answer."""

    id: str
    split: str
    task: str
    """repeat, answer, command, simplify, help, …"""
    instruction: str
    """Typed before the payload."""
    text: str
    """The payload's words, also if it is spoken (the input of a cascade or a teacher)."""
    clip: str | None
    """Clip id when spoken, None when typed."""
    answer: str
    """The right answer."""
    grader: str
    """Name of one of tasks.graders."""
    probe: str | None = None
    """For evaluation items: the metric it counts for."""
    content: str = ""
    """Key shared by all wordings of one problem, deed, fact or sum, typed or spoken; if empty, the text is the key."""
    endings: Sequence[str] = ()
    """Answers to choose from; empty if the answer is free."""

    @property
    def content_id(self) -> str:
        """Its content, else its text, else its id: the unit that statistics resample."""
        return self.content or self.text or self.id


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, the first preferred."""

    id: str
    split: str
    kind: str
    """style, content, abstain, refuse or comply."""
    instruction: str
    text: str
    clip: str | None
    chosen: str
    rejected: str
    grader: str
    content: str = ""
    """Content of the example from which it was built."""

    @property
    def content_id(self) -> str:
        """Its content, else its text, else its id: the unit that statistics resample."""
        return self.content or self.text or self.id
