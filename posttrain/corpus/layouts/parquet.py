"""Parquet files as Hugging Face datasets writes them: a column of audio, {bytes, path}, beside the text.

The files are in the folder, or in folders of configurations and splits below it: data/train-00000-of-00010.parquet,
CONFIG/train-….parquet, CONFIG/train/0000.parquet. Only the other columns are read to list them; `content` gives the
bytes of one recording.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from posttrain.corpus.layouts.audiofolder import SPEAKERS, TEXTS
from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import LOOKED_AT, folders, listing, some
from posttrain.readers import tables

KEPT = ("language", "lang", "locale", "gender", "age", "accent", "chapter_id")
BATCH_ROWS = 1_024
LARGEST_BATCH_BYTES = 1 << 28
"""Of the columns beside the audio; what has more is made to fill the memory, as a small packed file can."""
AUDIO = "column of audio"
"""Key of an entry's values: the column that holds the audio, if that is not `audio`."""
LARGEST_GROUP_BYTES = 1 << 32
"""A group of a thousand rows of half a minute of WAV at 48 kHz; two are in memory at once."""
_SHARD = re.compile(r"(-\d+-of-\d+)?\.parquet$")
_reading = threading.Lock()


def found(root: Path) -> bool:
    """Whether a .parquet file is in the folder, or down to two levels below it."""
    places = [root, *folders(root, LOOKED_AT)]
    places += [inside for folder in places[1:] for inside in folders(folder, LOOKED_AT)]
    return any(name.endswith(".parquet") for folder in places for name in some(folder))


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries by file and row. The card may name columns, `columns: {audio: …, text: …, speaker: …}`, and `config`."""
    places = [root, *folders(root)]
    places += [inside for folder in places[1:] for inside in folders(folder)]
    for folder in places:
        parts, files = folder.relative_to(root).parts, listing(folder)
        if "config" in card and parts and parts[0] not in ("data", str(card["config"])):
            continue
        for name in sorted(name for name in files if name.endswith(".parquet")):
            split = _SHARD.sub("", name)
            split = parts[-1] if split.isdecimal() and parts else split
            yield from _file(root, folder / name, split, files[name], card, problems)


def _file(
    root: Path, path: Path, split: str, there: bool, card: Mapping[str, Any], problems: list[str]
) -> Iterator[Entry]:
    name = path.relative_to(root).as_posix()
    try:
        with pq.ParquetFile(path) as file:
            types = {field.name: field.type for field in file.schema_arrow}
            named = card.get("columns", {})
            audio = named.get("audio", "audio")
            text = named.get("text") or next((column for column in TEXTS if column in types), None)
            speaker = named.get("speaker") or next((column for column in SPEAKERS if column in types), None)
            wrong = _wrong(types, audio, text, speaker, card)
            problems += [f"{path}: {what}" for what in wrong]
            if wrong:
                return
            used = {column for columns in card.get("use", {}).values() for column in columns} | set(KEPT)
            kept = sorted(used & types.keys() - {audio, text, speaker})
            columns = [f"{audio}.path", *kept, *(column for column in (text, speaker) if column)]
            row = 0
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                if batch.nbytes > LARGEST_BATCH_BYTES:
                    problems.append(
                        f"{path}, row {row}: {batch.num_rows:,} rows have {batch.nbytes:,} bytes beside the audio,"
                        f" expected at most {LARGEST_BATCH_BYTES:,}; take out what is no text"
                    )
                    return
                for cells in batch.to_pylist():
                    values = {column: str(cells[column]) for column in kept if cells[column] is not None}
                    said, who = cells.get(text or ""), cells.get(speaker or "")
                    if text and said is None:
                        problems.append(f"{path}, row {row}: {text} is null, expected what is said; leave the row out")
                    else:
                        values |= {} if audio == "audio" else {AUDIO: audio}
                        where = (cells[audio] or {}).get("path")
                        who = None if who is None else str(who)
                        yield Entry(
                            path,
                            row + 1,
                            name,
                            said or "",
                            who,
                            split,
                            values=values,
                            id=where,
                            inside=row,
                            there=there,
                        )
                    row += 1
    except (OSError, pa.ArrowException) as error:
        problems.append(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}; copy it again")


def _wrong(
    types: Mapping[str, pa.DataType], audio: str, text: str | None, speaker: str | None, card: Mapping[str, Any]
) -> list[str]:
    there = tables.shown(", ".join(types))
    kind = types.get(audio)
    wrong = []
    if kind is None or not pa.types.is_struct(kind) or {field.name for field in kind} < {"bytes", "path"}:
        wrong.append(
            f"column {audio} is {kind}, expected a struct of bytes and path as datasets writes audio, among {there};"
            " name it on the card: `columns: {audio: …}`"
        )
    if text is None and card.get("kind", "speech") == "speech":
        wrong.append(f"no column {', '.join(TEXTS)} among {there}; name it on the card: `columns: {{text: …}}`")
    wrong += [
        f"no column {column} among {there}; correct the card"
        for column in (text, speaker)
        if column not in {None, *types}
    ]
    return wrong


def content(path: Path, inside: int, audio: str = "audio") -> bytes:
    """The audio of one row as it was stored, such as a FLAC file; ValueError if it has none.

    The row's group is read, and the last two stay in memory: rows are best asked for in order.
    """
    try:
        with _reading:
            first, column = _group(str(path), path.stat().st_mtime_ns, *_place(path, inside), audio)
        found = column[inside - first].as_py()
        found = found and found["bytes"]
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"row {inside} cannot be read ({str(error).splitlines()[0]}); copy the file again") from error
    if not found:
        raise ValueError(
            f"row {inside} has no bytes of audio, which may be in a file elsewhere; write them into the table"
        )
    return bytes(found)


def _place(path: Path, inside: int) -> tuple[int, int]:
    """(row group, its first row)"""
    sizes, first = _sizes(str(path), path.stat().st_mtime_ns), 0
    for group, size in enumerate(sizes):
        if inside < first + size:
            return group, first
        first += size
    raise ValueError(f"row {inside} is beyond the {first} rows of the table; list the corpus again")


@lru_cache(maxsize=1_024)
def _sizes(path: str, changed: int) -> tuple[int, ...]:
    with pq.ParquetFile(path) as file:
        return tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))


@lru_cache(maxsize=2)
def _group(path: str, changed: int, group: int, first: int, audio: str) -> tuple[int, pa.ChunkedArray]:
    with pq.ParquetFile(path) as file:
        about = file.metadata.row_group(group)
        chunks = (about.column(number) for number in range(about.num_columns))
        size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == f"{audio}.bytes")
        if size > LARGEST_GROUP_BYTES:
            raise ValueError(
                f"its rows are read in groups, and this one has {size:,} bytes of audio, expected at most"
                f" {LARGEST_GROUP_BYTES:,}; write the file with smaller row groups"
            )
        table = file.read_row_group(group, columns=[f"{audio}.bytes"])
    return first, table.column(audio)
