"""What a folder holds, read with one listing a folder instead of one look-up a file."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

AUDIO = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .caf .w64 .rf64 .m4a .mp4 .aac .webm .wma .sph".split()
)
"""Endings of recordings, in lower case; what cannot be decoded is told when it is read."""
LOOKED_AT = 200
"""Names of a folder that are looked at to find its layout."""
Listing = dict[str, bool]
"""Name → whether it is a regular file and no link."""


def listing(folder: Path | str) -> Listing:
    """The files in a folder, also links to files, without hidden ones; empty if it is no folder."""
    try:
        with os.scandir(folder) as found:
            return {e.name: not e.is_symlink() for e in found if e.name[0] != "." and e.is_file()}
    except OSError:
        return {}


def folders(folder: Path, most: int | None = None) -> list[Path]:
    """The folders in it by name, without hidden ones, or those among its first `most` entries."""
    try:
        with os.scandir(folder) as found:
            return sorted(folder / e.name for e in islice(found, most) if e.name[0] != "." and e.is_dir())
    except OSError:
        return []


def walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[tuple[Path, Listing]]:
    """The folder and all below it with their files; a link to one of the folders `above` it is not followed."""
    own = os.path.realpath(folder)
    yield folder, listing(folder)
    for inside in folders(folder):
        if os.path.realpath(inside) not in (*above, own):
            yield from walk(inside, (*above, own))


def some(folder: Path) -> list[str]:
    """Names of a few of its files, to find its layout."""
    try:
        with os.scandir(folder) as found:
            return sorted(e.name for e in islice(found, LOOKED_AT) if e.name[0] != "." and e.is_file())
    except OSError:
        return []


def is_audio(name: str) -> bool:
    """Whether the name ends as a recording's."""
    return os.path.splitext(name)[1].lower() in AUDIO


def below(root: Path, path: str) -> str:
    """A path of a table, relative to the corpus's folder if it is absolute and inside it; else as written."""
    return path.removeprefix(f"{os.path.abspath(root)}/") if path[:1] == "/" else path


class Files:
    """Looks files up in listings, each folder being listed once."""

    def __init__(self, root: Path) -> None:
        self.root, self._seen = root, dict[str, Listing]()

    def there(self, name: str) -> bool:
        """Whether `name`, a path below the root, is seen to be a regular file; False if that is not known."""
        folder, _, file = name.rpartition("/")
        if folder[:1] == "/" or ".." in folder or "\0" in folder:
            return False
        if folder not in self._seen:
            self._seen[folder] = listing(self.root / folder)
        return self._seen[folder].get(file, False)
