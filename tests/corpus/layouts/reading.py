"""Makes small files and reads a folder as a layout, as a source does: reader, then checks."""

from pathlib import Path

from posttrain.corpus import manifest
from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.kinds import LAYOUTS, layout_of
from posttrain.errors import InputError


def make(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write each file below `root`, in UTF-8, with line ends as they are."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def read(path: str | Path, root: str | Path | None = None, text: bool = True) -> list[manifest.Row]:
    """The rows of a manifest; InputError if anything is wrong with it."""
    found, problems = manifest.scan(path, root, text)
    if problems:
        raise InputError(problems)
    return found


def entries(root: Path, layout: str, **card: object) -> tuple[list[Entry], list[str]]:
    """What the reader yields, and the problems it names; the folder must have that layout and no other before it."""
    assert layout_of(root) == layout
    problems: list[str] = []
    return list(LAYOUTS[layout].read(root, card, problems)), problems


def rows(root: Path, layout: str, **card: object) -> tuple[list[manifest.Row], list[str]]:
    """The checked rows, and the problems of reader and checks."""
    found, problems = entries(root, layout, **card)
    text = card.get("kind", "speech") == "speech"
    return manifest.checked(found, root, text, problems), problems


def named(problems: list[str], *parts: str) -> bool:
    """Whether one problem holds all the parts."""
    return any(all(part in problem for part in parts) for problem in problems)
