"""Kaldi's data folders: wav.scp, text, utt2spk; segments, spk2gender, spk2age if wanted.

Several of them below the corpus's folder, or below its data/, are splits. Recordings are files: the commands that a
wav.scp may hold are never run.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import LOOKED_AT, Files, below, folders
from posttrain.readers import tables, text_lines

ABOUT = ("gender", "age")
Segment = tuple[Path, int, str, str, float, float | None]
"""Table, line, utterance, path as written, start and length in seconds."""


def found(root: Path) -> bool:
    """Whether the folder, or one in it or in its data/, holds wav.scp."""
    return bool(_data_folders(root, LOOKED_AT))


def _data_folders(root: Path, most: int | None = None) -> list[Path]:
    if (root / "wav.scp").is_file():
        return [root]
    inside = [*folders(root, most), *folders(root / "data", most)]
    return [folder for folder in inside if (folder / "wav.scp").is_file()]


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries in the order of wav.scp or segments. With `unlisted: ignore` on the card, recordings may lack a text."""
    files = Files(root)
    for folder in _data_folders(root):
        yield from _folder(root, folder, card, files, problems)


def _folder(root: Path, folder: Path, card: Mapping[str, Any], files: Files, problems: list[str]) -> Iterator[Entry]:
    speech, ignore = card.get("kind", "speech") == "speech", card.get("unlisted") == "ignore"
    texts = _table(folder / "text", "an utterance and its text", problems) if speech else {}
    speakers = _table(folder / "utt2spk", "an utterance and its speaker", problems) if speech else {}
    about = _about(folder, problems)
    split = None if folder == root else folder.name
    for table, line, utterance, path, offset_s, duration_s in _segments(folder, root, ignore, problems):
        text, speaker = texts.pop(utterance, None), speakers.get(utterance)
        if speech and text is None:
            if not ignore:
                problems.append(
                    f"{table}:{line}: utterance {tables.shown(utterance)} has no line in {folder / 'text'}; add it, or"
                    " let the card say `unlisted: ignore`"
                )
        elif speech and speaker is None:
            problems.append(
                f"{table}:{line}: utterance {tables.shown(utterance)} has no speaker in {folder / 'utt2spk'}; add a"
                f" line `{utterance} SPEAKER`"
            )
        else:
            values = about.get(speaker or "", {})
            there = files.there(path)
            yield Entry(
                table,
                line,
                path,
                text or "",
                speaker,
                split,
                offset_s,
                duration_s,
                None,
                values,
                utterance,
                None,
                there,
            )
    for line, utterance, _ in _lines(folder / "text", "", []) if texts else ():
        if utterance in texts:
            lacking = "segments" if (folder / "segments").exists() else "wav.scp"
            problems.append(
                f"{folder / 'text'}:{line}: utterance {tables.shown(utterance)} has no line in {folder / lacking}; add"
                " its audio, or delete the line"
            )


def _segments(folder: Path, root: Path, ignore: bool, problems: list[str]) -> Iterator[Segment]:
    scp, table = folder / "wav.scp", folder / "segments"
    recordings: dict[str, str] = {}
    for line, recording, path in _lines(scp, "a recording and its file", problems):
        if path.endswith("|"):
            problems.append(
                f"{scp}:{line}: {tables.shown(path)} is a command, which is not run; write what it prints to a file,"
                f" such as with `{path.rstrip('| ')} > {recording}.wav`, and name that file here"
            )
        elif path.rpartition(":")[0].endswith(".ark"):
            problems.append(
                f"{scp}:{line}: {tables.shown(path)} is inside an archive, which is not read; unpack it with Kaldi's"
                " wav-copy, and name the files here"
            )
        elif table.exists():
            recordings[recording] = below(root, path)
        else:
            yield scp, line, recording, below(root, path), 0.0, None
    if not table.exists():
        return
    used = set()
    for line, utterance, rest in _lines(table, "an utterance, its recording, start and end in seconds", problems):
        fields = rest.split()
        times = [tables.number(field) for field in fields[1:3]]
        if len(fields) < 3 or None in times:
            problems.append(
                f"{table}:{line}: {tables.shown(f'{utterance} {rest}')}, expected an utterance, its recording, start"
                " and end in seconds; correct it"
            )
            continue
        start_s, end_s = float(times[0] or 0), float(times[1] or 0)
        if start_s < 0 or (end_s <= start_s and end_s != -1):
            problems.append(
                f"{table}:{line}: the segment is from {fields[1]} to {fields[2]} s, expected 0 ≤ start < end (or -1 for"
                " the end of the recording); correct it"
            )
        elif fields[0] not in recordings:
            problems.append(
                f"{table}:{line}: recording {tables.shown(fields[0])} has no usable line in {scp}; add it, or delete"
                " the segment"
            )
        else:
            used.add(fields[0])
            length_s = None if end_s == -1 else round(end_s - start_s, 6)
            yield table, line, utterance, recordings[fields[0]], start_s, length_s
    problems += [
        f"{scp}: recording {tables.shown(name)} has no segment in {table}; add one, or let the card say `unlisted:"
        " ignore`"
        for name in recordings.keys() - used
        if not ignore
    ]


def _about(folder: Path, problems: list[str]) -> dict[str, dict[str, str]]:
    """Speaker → what spk2gender, spk2age say."""
    found: dict[str, dict[str, str]] = {}
    for name in ABOUT:
        path = folder / f"spk2{name}"
        for _, speaker, value in _lines(path, f"a speaker and the {name}", problems) if path.exists() else ():
            found.setdefault(speaker, {})[name] = value
    return found


def _table(path: Path, wanted: str, problems: list[str]) -> dict[str, str]:
    same: dict[str, str] = {}  # one string for all utterances of a speaker
    return {key: same.setdefault(value, value) for _, key, value in _lines(path, wanted, problems)}


def _lines(path: Path, wanted: str, problems: list[str]) -> Iterator[tuple[int, str, str]]:
    """(line number, first word, the rest) of each line; without a rest, or with a first word seen before, a problem."""
    seen: set[str] = set()
    for number, line, bad in text_lines.read(path, f"a file with {wanted} on each line", problems):
        key, *rest = line.split(None, 1)
        if bad is not None:
            problems.append(f"{path}:{number}: {bad}")
        elif not rest:
            problems.append(f"{path}:{number}: {tables.shown(line)} stands alone, expected {wanted}; complete the line")
        elif key in seen:
            problems.append(
                f"{path}:{number}: {tables.shown(key)} is there already, in a line above; keep one of the two"
            )
        else:
            seen.add(key)
            yield number, key, rest[0].rstrip()
