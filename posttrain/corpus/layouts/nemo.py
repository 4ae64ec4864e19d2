"""NeMo's manifests: JSON lines with audio_filepath, text and, if wanted, duration, offset, speaker, lang.

A split is a file, such as train_manifest.json. Paths are relative to the corpus's folder. Without `offset`, `duration`
is taken as a remark about the whole file.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import Files, below, listing, some
from posttrain.readers import json_lines, tables

NAMED = re.compile(r".*\.jsonl|.*manifest.*\.json", re.IGNORECASE)
OWN = frozenset(("audio_filepath", "text", "offset", "duration", "speaker"))
FIRST_BYTES = 1 << 16
LATEST_S = 1e9
"""No time in a recording is so large; Python has integers that no float can hold."""


def found(root: Path) -> bool:
    """Whether the first line of a .json or .jsonl file is an object with audio_filepath."""
    return any(_is_manifest(root / name) for name in some(root) if name.endswith((".json", ".jsonl")))


def _is_manifest(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline(FIRST_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and "audio_filepath" in first


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries of every .jsonl file and of each .json file that is a manifest by its name or first line."""
    text, files = card.get("kind", "speech") == "speech", Files(root)
    for name in sorted(listing(root)):
        path = root / name
        if NAMED.fullmatch(name) or (name.endswith(".json") and _is_manifest(path)):
            yield from _manifest(root, path, text, files, problems)


def _manifest(root: Path, path: Path, text: bool, files: Files, problems: list[str]) -> Iterator[Entry]:
    split = re.sub(r"[_.-]?manifest[_.-]?", "", path.stem) or None
    shared: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    people: dict[str, str] = {}
    for line, row in json_lines.each(path, "a NeMo manifest, an object with audio_filepath on each line", problems):
        name, said, speaker = row.get("audio_filepath"), row.get("text", None if text else ""), row.get("speaker")
        wrong = [
            f"{key} is {tables.shown(str(value))}, expected a text; correct it"
            for key, value in (("audio_filepath", name), ("text", said))
            if not isinstance(value, str)
        ]
        wrong += [
            f"{key} is {tables.shown(str(row[key]))}, expected seconds, 0 or more; correct it"
            for key in ("offset", "duration")
            if row.get(key) is not None and not _seconds(row[key])
        ]
        problems += [f"{path}:{line}: {what}" for what in wrong]
        if wrong:
            continue
        values = tuple((key, str(row[key])) for key in row.keys() - OWN if isinstance(row[key], str | int | float))
        speaker = None if speaker is None else people.setdefault(str(speaker), str(speaker))
        offset_s, name = row.get("offset"), below(root, str(name))
        yield Entry(
            path,
            line,
            name,
            str(said),
            speaker,
            split,
            float(offset_s or 0),
            None if offset_s is None or row.get("duration") is None else float(row["duration"]),
            None,
            shared.setdefault(values, dict(values)),
            None,
            None,
            files.there(name),
        )


def _seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LATEST_S
