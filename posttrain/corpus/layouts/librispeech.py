"""LibriSpeech and LibriTTS: SUBSET/READER/CHAPTER with texts in *.trans.txt, or one *.normalized.txt beside each
recording; SPEAKERS.TXT says who the readers are.

The folder may be the authors' own (LibriSpeech, LibriTTS), or hold it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import LOOKED_AT, Listing, folders, is_audio, listing, some
from posttrain.readers import tables, text_lines

SPEAKERS = ("SPEAKERS.TXT", "SPEAKERS.txt")
LINES, EACH = ".trans.txt", ".normalized.txt"
SEXES = frozenset("FM")


def found(root: Path) -> bool:
    """Whether a subset of readers and chapters is in the folder, or one folder deeper."""
    return bool(_subsets(root, LOOKED_AT))


def _subsets(root: Path, most: int | None = None) -> list[Path]:
    for base in (root, *folders(root, most)):
        if subsets := [folder for folder in folders(base, most) if _is_subset(folder)]:
            return subsets
    return []


def _is_subset(folder: Path) -> bool:
    reader = next(iter(_numbered(folder)), None)
    chapter = next(iter(_numbered(reader)), None) if reader else None
    return chapter is not None and any(name.endswith((LINES, EACH)) for name in some(chapter))


def _numbered(folder: Path) -> list[Path]:
    return [inside for inside in folders(folder) if inside.name.isdecimal()]


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries by subset, reader and chapter, in the order of their names. The split is the subset, such as
    test-other."""
    ignore = card.get("unlisted") == "ignore"
    for subset in _subsets(root):
        sexes = _sexes(subset.parent, problems)
        for reader in folders(subset):
            for chapter in folders(reader):
                if not (reader.name.isdecimal() and chapter.name.isdecimal()):
                    problems.append(f"{chapter} is no READER/CHAPTER, which are numbers; move it elsewhere")
                    continue
                values = {"chapter": chapter.name}
                if reader.name in sexes:
                    values["sex"] = sexes[reader.name]
                yield from _chapter(root, chapter, reader.name, subset.name, values, ignore, problems)


def _chapter(
    root: Path,
    chapter: Path,
    reader: str,
    split: str,
    values: dict[str, str],
    ignore: bool,
    problems: list[str],
) -> Iterator[Entry]:
    files, inside = listing(chapter), f"{chapter.relative_to(root).as_posix()}/"
    audio = _recordings(chapter, files, problems)
    for table, line, utterance, text in _texts(chapter, files, problems):
        name = audio.pop(utterance, None)
        there = name is not None and files[name]
        name = inside + (name or utterance + (".flac" if table.name.endswith(LINES) else ".wav"))
        yield Entry(table, line, name, text, reader, split, values=values, id=utterance, there=there)
    problems += [
        f"{chapter / name} has no text beside it; add it, or let the card say `unlisted: ignore`"
        for name in audio.values()
        if not ignore
    ]


def _recordings(chapter: Path, files: Listing, problems: list[str]) -> dict[str, str]:
    """Utterance → file."""
    found: dict[str, str] = {}
    for name in sorted(filter(is_audio, files)):
        other = found.setdefault(os.path.splitext(name)[0], name)
        if other != name:
            problems.append(f"{chapter / name} and {other} are two recordings of one text; delete one")
    return found


def _texts(chapter: Path, files: Listing, problems: list[str]) -> Iterator[tuple[Path, int, str, str]]:
    """(file, line, utterance, text); each utterance once."""
    seen: dict[str, Path] = {}
    for name in sorted(files):
        path = chapter / name
        each = name.endswith(EACH)
        if not each and not name.endswith(LINES):
            continue
        any_line = False
        for number, line, bad in text_lines.read(path, "a transcript", problems):
            key, text = (name.removesuffix(EACH), line) if each else [*line.split(None, 1), ""][:2]
            what = bad
            if key in seen:
                what = f"{tables.shown(key)} has a text already, in {seen[key].name}; keep one of the two"
            if what is None:
                seen[key] = path
                yield path, number, key, text.strip()
            else:
                problems.append(f"{path}:{number}: {what}")
            any_line = True
        if each and not any_line:
            problems.append(f"{path} is empty, expected the words of the recording; write them")


def _sexes(base: Path, problems: list[str]) -> dict[str, str]:
    """Reader → F or M, from lines of `READER | SEX | SUBSET | …`."""
    found: dict[str, str] = {}
    path = next((base / name for name in SPEAKERS if (base / name).is_file()), None)
    for number, line, bad in text_lines.read(path, "the table of readers", problems) if path else ():
        fields = [field.strip() for field in line.split("|", 2)]
        if bad is None and not line.startswith(";") and (len(fields) < 3 or fields[1] not in SEXES):
            bad = f"{tables.shown(line)}, expected READER | F or M | SUBSET; correct it"
        if bad is not None:
            problems.append(f"{path}:{number}: {bad}")
        elif not line.startswith(";"):
            found[fields[0]] = fields[1]
    return found
