"""Rows of a manifest or of a published layout, checked: paths below a root, texts that can be said. All problems are
listed at once, by file and line."""

import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from posttrain.corpus import audio
from posttrain.corpus.audio import LONGEST_WHOLE_S, MINIMUM_SAMPLES
from posttrain.corpus.layouts import parquet, table
from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.normalise import normalise, read_out
from posttrain.readers import paths, tables

_HALF = re.compile("[\ud800-\udfff]")
"""What bytes that are not UTF-8 become in a name; no file of a corpus can hold it."""
AHEAD = 64
"""Rows that are read before they are wanted, and so are in memory at once."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Row:
    """One recording, or a segment of one, that a table names."""

    manifest: Path
    """The file that names it."""
    line: int
    """Line in that file, counted from 1."""
    name: str
    """The path as written."""
    path: Path
    """The absolute path."""
    text: str
    """Normalised words; empty only if text is not required."""
    split: str | None = None
    speaker: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    """All columns as written."""
    raw: str = ""
    """The text as written."""
    offset_s: float = 0.0
    duration_s: float | None = None
    """Of the segment; None for all that follows."""
    channel: int | None = None
    """Counted from 0; None for the average of all."""
    id: str | None = None
    """The authors' own name of it."""
    inside: int | None = None
    """Row of the parquet file at `path` that holds the audio."""

    @property
    def segment(self) -> tuple[float, float | None, int | None, int | None]:
        """Which part of the file it is: offset and length in seconds, channel, row of a parquet file."""
        return self.offset_s, self.duration_s, self.channel, self.inside

    def problem(self, what: str) -> str:
        """A message that begins with the table's line."""
        return f"{self.manifest}:{self.line}: {what}"


def scan(path: str | Path, root: str | Path | None = None, text: bool = True) -> tuple[list[Row], list[str]]:
    """A manifest's valid rows, with paths below `root` (default: the manifest's folder), and the problems of the rest.

    Problems are listed by line: with the table (`tables`), with a path (`paths`), no usable text (if `text`), a
    recording named twice, and a manifest without rows. Audio is not opened.
    """
    path = Path(path)
    problems: list[str] = []
    rows = checked(table.entries(path, text, problems), Path(root or path.parent), text, problems)
    return rows, tables.in_line_order(problems)


def checked(entries: Iterable[Entry], root: Path, text: bool, problems: list[str]) -> list[Row]:
    """The entries with a path below `root` that is there and, if `text`, a text that can be said.

    What is wrong with the others is added to `problems`.
    """
    root = root.resolve()
    rows: list[Row] = []
    listings: paths.Listings = {}
    folders: dict[str, str] = {}
    first: dict[tuple[object, ...], Row] = {}
    for entry in entries:
        row, wrong = _row(root, entry, text, listings)
        if not wrong:
            other = first.setdefault(_segment(row, entry.there, folders), row)
            if other is not row and (_use(other) != _use(row) or _name(other) == _name(row)):
                place = f"line {other.line}" if other.manifest == row.manifest else f"{other.manifest}:{other.line}"
                wrong.append(f"path {row.name} is in {place} already; keep one of the two")
        problems += [row.problem(what) for what in wrong]
        if not wrong:
            rows.append(row)
    return rows


def measure(
    rows: Sequence[Row], progress: bool = False, longest_s: float = LONGEST_WHOLE_S, whole: bool = False
) -> Iterator[tuple[Row, int | None, str | None]]:
    """(row, samples at 16 kHz or None, problem or None) in the rows' order, from the files' headers.

    whole: decode every recording too, which finds what a header does not tell.
    """

    def samples(row: Row) -> int:
        found = header(row, longest_s=longest_s)
        if whole:
            audio.check(found)
        return found.samples

    return _each(rows, samples, "checking", progress)


def load(
    rows: Sequence[Row],
    progress: bool = False,
    minimum_samples: int = MINIMUM_SAMPLES,
    longest_s: float = LONGEST_WHOLE_S,
) -> Iterator[tuple[Row, tuple[audio.Header, np.ndarray] | None, str | None]]:
    """(row, (header, waveform (S,)) or None, problem or None) in the rows' order; few are in memory at once."""

    def heard(row: Row) -> tuple[audio.Header, np.ndarray]:
        found = header(row, minimum_samples, longest_s)
        return found, np.concatenate(list(audio.blocks(found)))  # (S,)

    return _each(rows, heard, "reading", progress)


def header(row: Row, minimum_samples: int = MINIMUM_SAMPLES, longest_s: float = LONGEST_WHOLE_S) -> audio.Header:
    """The header of the row's recording or segment; ValueError as `audio.header`.

    Audio inside a parquet file is written to a temporary file, which the header keeps.
    """
    if row.inside is None:
        return audio.header(row.path, minimum_samples, longest_s, *row.segment[:3])
    file = tempfile.NamedTemporaryFile(prefix="posttrain-")  # noqa: SIM115 - it is deleted with the header
    file.write(parquet.content(row.path, row.inside, row.values.get(parquet.AUDIO, "audio")))
    file.flush()
    found = audio.header(file.name, minimum_samples, longest_s, *row.segment[:3])
    return found if found.made else replace(found, made=file)


def _each(
    rows: Sequence[Row], read: Callable[[Row], Value], what: str, progress: bool
) -> Iterator[tuple[Row, Value | None, str | None]]:
    """What `read` finds for each row, by threads that are a few rows ahead; a ValueError is the row's problem."""

    def one(row: Row) -> tuple[Row, Value | None, str | None]:
        try:
            return row, read(row), None
        except ValueError as error:
            return row, None, row.problem(f"{row.name}: {error}")

    with ThreadPoolExecutor() as pool, tqdm(total=len(rows), desc=what, unit="clip", disable=not progress) as bar:
        for start in range(0, len(rows), AHEAD):
            for found in pool.map(one, rows[start : start + AHEAD]):
                bar.update()
                yield found


def _row(root: Path, entry: Entry, text: bool, listings: paths.Listings) -> tuple[Row, list[str]]:
    name, written = entry.name, entry.text
    wrong = [problem] if not entry.there and (problem := paths.problem(root, name, listings)) else []
    if not name.isascii() and _HALF.search(name):
        wrong.append(f"path {name!r} is not UTF-8; rename the file")
    words = ""
    if len(written) > tables.LONGEST_CELL:
        wrong.append(f"text {tables.shown(written)} has over {tables.LONGEST_CELL:,} characters; shorten it")
        written = ""
        text = False
    try:
        words = read_out(written) if text else normalise(written)
    except ValueError as error:
        if text:
            wrong.append(f"text {tables.shown(written)}: {error}" if _usable(written) else _unusable(written))
    else:
        if text and not words:
            wrong.append(_unusable(written))
    return Row(
        entry.table,
        entry.line,
        name,
        root / name if not wrong else root,
        words,
        entry.split,
        entry.speaker and unicodedata.normalize("NFC", entry.speaker),
        entry.values,
        written,
        entry.offset_s,
        entry.duration_s,
        entry.channel,
        entry.id,
        entry.inside,
    ), wrong


def _usable(text: str) -> bool:
    try:
        return bool(normalise(text))
    except ValueError:
        return True


def _unusable(text: str) -> str:
    return f"text {text!r} has no usable characters (a–z, digits); write the words said"


def _segment(row: Row, there: bool, folders: dict[str, str]) -> tuple[object, ...]:
    """What two rows share if they are one recording: the file, whatever it is called, the segment and the channel."""
    file = os.fspath(row.path)
    if there:  # no link, so that only its folder needs to be looked up
        folder, name = os.path.split(file)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        file = f"{folders[folder]}/{name}"
    else:
        file = os.path.realpath(file)
    return file, *row.segment


def _name(row: Row) -> str:
    return os.path.normpath(row.name)


def _use(row: Row) -> tuple[str | None, ...]:
    """Values that must be equal if a recording has two names, such as links to one file."""
    return row.text, row.split, row.speaker
