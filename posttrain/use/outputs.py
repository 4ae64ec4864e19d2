"""Check output paths that the user gives: a command must never overwrite what it reads."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path


def same(one: Path, other: Path) -> bool:
    """Whether two paths are the same file, despite links, `..` or letter case."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def problem(out: Path | None, read: Iterable[Path], option: str = "--out") -> str | None:
    """What is wrong with an option's output file: no folder for it, or the command reads it; None if nothing is."""
    if out is None:
        return None
    if out.is_dir() or not out.absolute().parent.is_dir():
        return f"{option} is {out}, expected a file in a folder that is there"
    if any(same(out, path) for path in read):
        return f"{option} is {out}, which the command reads and would overwrite; name another file"
    return None


def places(recordings: Sequence[str], folder: Path, ending: str) -> tuple[dict[str, Path], list[str]]:
    """Recording → its output's path in the folder without `ending`; and what is wrong: two that would share one.

    A relative name keeps its folders.
    """
    found: dict[str, Path] = {}
    owners: dict[str, str] = {}
    problems = []
    for name in recordings:
        given = Path(name)
        inside = given.with_suffix("") if not given.is_absolute() and ".." not in given.parts else Path(given.stem)
        other = owners.setdefault(unicodedata.normalize("NFC", str(inside)).casefold(), name)
        if name in found:
            problems.append(
                f"{name} is there more than once, and has one output, {folder / inside}{ending}: name it once"
            )
        elif other != name:
            problems.append(
                f"{name}: its output would be that of {other} ({folder / inside}{ending}); rename one of them"
            )
        found[name] = folder / inside
    return found, problems


def blocked(outs: Sequence[Path], read: Iterable[Path], folder: Path) -> list[str]:
    """What is wrong with files to write below a folder: the command reads them, or a folder or file is in their way.

    A link that leads out of the folder is in the way too: what it points to would be replaced.
    """
    root = os.path.realpath(folder)
    used, own = {_identity(path) for path in read} - {None}, {*outs}
    problems = []
    for out in outs:
        below = next(parent for parent in out.absolute().parents if parent.exists())
        if _identity(out) in used:
            problems.append(f"{out}, an output, is a file that the command reads; name another OUT")
        elif out.is_dir() or not below.is_dir():
            problems.append(
                f"{out} cannot be written: {out if out.is_dir() else below} is in its way; name another OUT"
            )
        elif not Path(os.path.realpath(out)).is_relative_to(root):
            problems.append(f"{out} is a link out of {folder}; name another OUT, or remove the link")
        elif inside := next((parent for parent in out.parents if parent in own), None):
            problems.append(f"{out} cannot be written, since {inside} is an output too; rename one of the recordings")
    return problems


def _identity(path: Path) -> tuple[int, int] | None:
    """What two paths share if they are one file; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
