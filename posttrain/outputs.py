"""Files that a command writes where the user says: never over what it reads."""

import os
from collections.abc import Iterable
from pathlib import Path


def same(one: Path, other: Path) -> bool:
    """Whether two paths are one file, by whatever links, `..` or case of letters."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def problem(out: Path | None, read: Iterable[Path]) -> str | None:
    """What is wrong with a file to be written: no folder for it, or one of those that the command reads."""
    if out is None:
        return None
    if out.is_dir() or not out.absolute().parent.is_dir():
        return f"--out is {out}, expected a file in a folder that is there"
    if any(same(out, path) for path in read):
        return f"--out is {out}, which the command reads and would overwrite; name another file"
    return None
