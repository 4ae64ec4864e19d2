"""Lhotse's cuts as JSON lines, plain or in gzip: files named *cuts*.jsonl(.gz), each a split.

Read here, not by lhotse: a MonoCut of a file is a dozen keys, and nothing that lhotse would run or unpickle (commands,
addresses, archives) is wanted. Paths are relative to the corpus's folder. What lhotse makes when it loads a cut is
refused: mixing, padding, changes of speed.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import Files, below, listing, some
from posttrain.corpus.layouts.nemo import LATEST_S
from posttrain.readers import json_lines, tables

NAMED = re.compile(r"(.*?)[_.-]*cuts[_.-]*(.*?)\.jsonl(\.gz)?", re.IGNORECASE)
KEPT = ("language", "gender")
SAME_S = 0.001
"""A cut that differs by less from the length of its recording is the whole recording."""


def found(root: Path) -> bool:
    """Whether a file is named so."""
    return any(NAMED.fullmatch(name) for name in some(root))


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries of every file of cuts, in its order."""
    text, files = card.get("kind", "speech") == "speech", Files(root)
    for name in sorted(listing(root)):
        if named := NAMED.fullmatch(name):
            path, shared = root / name, dict[tuple[str, ...], dict[str, str]]()
            for line, cut in json_lines.each(path, "cuts, an object on each line", problems):
                try:
                    yield _entry(root, path, line, cut, named[2] or named[1] or None, text, files, shared)
                except ValueError as error:
                    problems.append(f"{path}:{line}: cut {tables.shown(str(cut.get('id')))}: {error}")
                except (KeyError, TypeError, AttributeError, IndexError) as error:
                    what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
                    problems.append(
                        f"{path}:{line}: cut {tables.shown(str(cut.get('id')))} is not as lhotse writes it ({what});"
                        " write it with `CutSet.to_file`"
                    )


def _entry(
    root: Path,
    path: Path,
    line: int,
    cut: dict[str, Any],
    split: str | None,
    text: bool,
    files: Files,
    shared: dict[tuple[str, ...], dict[str, str]],
) -> Entry:
    if cut.get("type", "MonoCut") != "MonoCut":
        raise ValueError(
            f"it is a {cut['type']}, expected a MonoCut; save its audio (`cuts.save_audios`) and write MonoCuts"
        )
    recording, said, channel = cut["recording"], cut.get("supervisions") or [], cut.get("channel", 0)
    if recording.get("transforms"):
        raise ValueError(
            "its recording has transforms, which are not applied here; save its audio (`cuts.save_audios`)"
        )
    if text and len(said) != 1:
        raise ValueError(f"it has {len(said)} supervisions, expected one; use `cuts.trim_to_supervisions()`")
    source = next((s for s in recording["sources"] if channel in s["channels"]), None)
    if source is None:
        raise ValueError(f"channel is {channel!r}, which no source of its recording has; name one that is there")
    if source["type"] != "file":
        raise ValueError(f"its audio is a {source['type']}, expected a file; save it (`cuts.save_audios`)")
    start_s, length_s = _seconds(cut, "start"), _seconds(cut, "duration")
    whole = start_s == 0 and abs(length_s - _seconds(recording, "duration")) < SAME_S
    words = said[0] if said else {}
    if text and not isinstance(words.get("text"), str):
        raise ValueError(f"text is {words.get('text')!r}, expected what is said; correct it")
    kept = tuple(str(words.get(key) or "") for key in KEPT)
    if kept not in shared:
        shared[kept] = {key: value for key, value in zip(KEPT, kept, strict=True) if value}
    name = below(root, str(source["source"]))
    speaker = words.get("speaker")
    return Entry(
        path,
        line,
        name,
        words.get("text") or "",
        None if speaker is None else str(speaker),
        split,
        start_s,
        None if whole else length_s,
        source["channels"].index(channel) if len(source["channels"]) > 1 else None,
        shared[kept],
        str(cut["id"]),
        None,
        files.there(name),
    )


def _seconds(values: dict[str, Any], key: str) -> float:
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LATEST_S:
        raise ValueError(f"{key} is {value!r}, expected seconds, 0 or more; correct it")
    return float(value)
