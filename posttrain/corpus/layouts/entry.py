"""One recording as a corpus publishes it, before anything is checked: what every reader of a layout yields."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording, or a segment of one."""

    table: Path
    """File that names it; the corpus's folder if the folder itself does."""
    line: int
    """Line in that file, counted from 1; without one, its number in the order of the layout."""
    name: str
    """Path below the corpus's folder, as written."""
    text: str = ""
    """What is said, as written."""
    speaker: str | None = None
    split: str | None = None
    """As its authors call it."""
    offset_s: float = 0.0
    """Where the segment begins."""
    duration_s: float | None = None
    """Its length; None for all that follows."""
    channel: int | None = None
    """Channel to read, counted from 0; None for the average of all."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Further columns as written, such as language, age or gender; `use` of a card may name them."""
    id: str | None = None
    """The authors' own name of the recording or utterance."""
    inside: int | None = None
    """Row of the parquet file `name` that holds the audio, counted from 0."""
    there: bool = False
    """A listing of the folder has shown a regular file of this name, no link: it need not be looked up again."""


Reader = Callable[[Path, Mapping[str, Any], list[str]], Iterable[Entry]]
"""(folder, card, problems) → entries. Problems name file, line, value and fix; they are added, never raised."""


@dataclass(frozen=True)
class Layout:
    """A way in which corpora are published."""

    what: str
    """For help texts, such as: LibriSpeech and LibriTTS, READER/CHAPTER/*.trans.txt."""
    found: Callable[[Path], bool]
    """Whether a folder has this layout; cheap, and true for one layout only."""
    read: Reader
