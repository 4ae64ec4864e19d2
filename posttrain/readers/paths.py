"""Checks paths in a table: relative, below its folder; for a missing file, finds the likely cause.

Symbolic links below the folder are followed, wherever they point (a Hugging Face cache consists of links). The written
path may neither be absolute nor contain `..`.
"""

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

Listings = dict[Path, list[str]]
"""Folder → names in it, kept while one table is read."""


def problem(root: Path, name: str, listings: Listings) -> str | None:
    """What is wrong with `name` as the path of a file below `root`, and how to correct it; None if nothing is."""
    if not name:
        return "path is empty; name a recording"
    said = f"path {name if name.isprintable() else repr(name)}"
    if "\0" in name:
        return f"{said} holds a NUL byte; delete it"
    there, reason = _is_file(root / name)
    form = _form_problem(root, name, there)
    if form:
        return f"{said} {form}"
    if reason:
        return f"{said} cannot be used ({reason}); write a path below {root}"
    if there:
        return None
    if (root / name).is_dir():
        return f"{said} is a folder, expected a file; name a recording in it"
    if (root / name).exists():
        return f"{said} is not a regular file; name a recording"
    if os.path.islink(root / name):
        return f"{said} is a link to {os.readlink(root / name)}, which was not found; get the file, or take the row out"
    return f"{said} not found (below {root}){_cause(root, name, listings)}"


def is_file(path: Path) -> bool:
    """Whether it is a regular file, following links; False for impossible paths: too long, or with a NUL."""
    return _is_file(path)[0]


def _form_problem(root: Path, name: str, there: bool) -> str | None:
    """What is wrong with the path as written; None if nothing is."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
        return f"is an address; get the recording, and write its path below {root}"
    if re.match(r"[A-Za-z]:[\\/]|\\\\", name):
        return f"is an absolute Windows path; write it relative to {root}, with forward slashes"
    if name.startswith("/"):
        if Path(name).is_relative_to(root):
            return f"is absolute; write it relative to {root}: {os.path.relpath(name, root)}"
        return f"leaves {root}: it is absolute; write a path below that folder, or link the recording there"
    if ".." in re.split(r"[/\\]", name):
        return f"leaves {root}, or might: paths may not hold ..; keep recordings below that folder, or link them there"
    if "\\" in name and not there:
        return f"is written with Windows backslashes; write {name.replace(chr(92), '/')}"
    if name.startswith("~") and not there:
        return f"begins with ~, which is not expanded here; write a path below {root}"
    return None


def _is_file(path: Path) -> tuple[bool, str]:
    """Whether it is a regular file, following links; and the error if that cannot be determined."""
    try:
        return path.is_file(), ""
    except (OSError, ValueError) as error:
        return False, str(getattr(error, "strerror", None) or error)


def _cause(root: Path, name: str, listings: Listings) -> str:
    """The likely cause, such as a similar name in the folder, and the fix."""
    folder = root
    for part in Path(name).parts:
        if (folder / part).exists():
            folder /= part
            continue
        names = _names(folder, listings)
        for same, difference in ALIKE:
            found = next((other for other in names if same(other) == same(part)), None)
            if found is not None:
                has = f"; {folder} has {found!a}, the table {part!a}: {difference(found, part)}"
                return f"{has}; rename the file, or write its name as the folder has it"
        stem = next((other for other in names if _loose(Path(other).stem) == _loose(Path(part).stem)), None)
        if stem is not None:
            return f"; {folder} has {stem!r}; write that, or take the row out"
        if part.startswith("#"):
            return "; comments are not read, so delete the line if it is one"
        if folder / part != root / name:
            return f"; {folder} has no folder {part!r}; check the path or take the row out"
    return "; check the path or take the row out"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _lower(name: str) -> str:
    return _composed(name).casefold()


def _loose(name: str) -> str:
    """The name as a reader sees it: compatible characters, case and the kind of space do not matter."""
    return " ".join(unicodedata.normalize("NFKC", name).replace("\u200b", "").casefold().split())


def _forms(found: str, written: str) -> str:
    forms = [
        next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, text)), "a mixed form")
        for text in (found, written)
    ]
    return f"the same letters in another Unicode form ({forms[0]} in the folder, {forms[1]} in the table)"


ALIKE: tuple[tuple[Callable[[str], str], Callable[[str, str], str]], ...] = (
    (_composed, _forms),
    (_lower, lambda *_: "the same name in another case"),
    (_loose, lambda *_: "other spaces, or characters that look alike"),
)
"""Pairs, strictest first: the form in which two names are equal, and how to describe their difference."""


def _names(folder: Path, listings: Listings) -> list[str]:
    if folder not in listings:
        try:
            listings[folder] = sorted(os.listdir(folder))
        except OSError:
            listings[folder] = []
    return listings[folder]
