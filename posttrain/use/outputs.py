"""Check output paths that the user gives: a command must never overwrite what it reads."""

import os
from collections.abc import Iterable
from pathlib import Path


def same(one: Path, other: Path) -> bool:
    """Whether two paths are the same file, despite links, `..` or letter case."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def problem(out: Path | None, read: Iterable[Path]) -> str | None:
    """What is wrong with an output file: no folder for it, or the command reads it; None if nothing is."""
    if out is None:
        return None
    if out.is_dir() or not out.absolute().parent.is_dir():
        return f"--out is {out}, expected a file in a folder that is there"
    if any(same(out, path) for path in read):
        return f"--out is {out}, which the command reads and would overwrite; name another file"
    return None
