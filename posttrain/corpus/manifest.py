"""Manifests: `path,text[,split,speaker,…]` in CSV, paths below a root. All problems are listed at once, by line."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from posttrain.corpus.audio import LONGEST_WHOLE_S, MINIMUM_SAMPLES, audio
from posttrain.corpus.normalise import normalise, read_out
from posttrain.errors import InputError
from posttrain.readers import paths, tables


@dataclass(frozen=True)
class Row:
    """One recording named by a manifest."""

    manifest: Path
    line: int
    """Line in the manifest file, counted from 1."""
    name: str
    """The path as written."""
    path: Path
    """The absolute path."""
    text: str
    """Normalised words; empty only if text is not required."""
    split: str | None = None
    speaker: str | None = None
    values: dict[str, str] = field(default_factory=dict)
    """All columns as written."""

    def problem(self, what: str) -> str:
        """A message that begins with the manifest's line."""
        return f"{self.manifest}:{self.line}: {what}"


def read(path: str | Path, root: str | Path | None = None, text: bool = True) -> list[Row]:
    """The manifest's rows, with paths below `root` (default: the manifest's folder). Audio is not opened.

    InputError lists all problems by line: with the table (`tables`), with a path (`paths`), no usable text (if `text`),
    a recording named twice, and a manifest without rows.
    """
    rows, problems = scan(path, root, text)
    if problems:
        raise InputError(problems)
    return rows


def scan(path: str | Path, root: str | Path | None = None, text: bool = True) -> tuple[list[Row], list[str]]:
    """The valid rows of `read` and the problems of the rest, so that the audio of valid rows can be checked too."""
    path = Path(path)
    root = Path(root or path.parent).resolve()
    rows: list[Row] = []
    problems: list[str] = []
    listings: paths.Listings = {}
    first: dict[str, Row] = {}
    for line in tables.read(path, [("path", "text") if text else ("path",)], problems):
        row, wrong = _row(path, root, line, text, listings)
        if not wrong:
            other = first.setdefault(os.path.realpath(row.path), row)
            if other is not row and (_use(other) != _use(row) or _name(other) == _name(row)):
                wrong.append(f"path {row.name} is in line {other.line} already; keep one of the two")
        problems += [row.problem(what) for what in wrong]
        if not wrong:
            rows.append(row)
    return rows, tables.in_line_order(problems)


def load(
    rows: Sequence[Row],
    minimum_samples: int = MINIMUM_SAMPLES,
    progress: bool = False,
    longest_s: float = LONGEST_WHOLE_S,
) -> Iterator[tuple[Row, np.ndarray | None, str | None]]:
    """(row, waveform or None, problem or None) in the rows' order, read by several threads."""

    def one(row: Row) -> tuple[Row, np.ndarray | None, str | None]:
        try:
            return row, audio(row.path, minimum_samples, longest_s), None
        except ValueError as error:
            return row, None, row.problem(f"{row.name}: {error}")

    with ThreadPoolExecutor() as pool:
        yield from tqdm(pool.map(one, rows), total=len(rows), desc="reading", unit="clip", disable=not progress)


def _row(path: Path, root: Path, line: tables.Row, text: bool, listings: paths.Listings) -> tuple[Row, list[str]]:
    name, written = line.cells["path"], line.cells.get("text", "")
    wrong = [problem] if (problem := paths.problem(root, name, listings)) else []
    words = ""
    try:
        words = normalise(written)
        if text and not words:
            wrong.append(f"text {written!r} has no usable characters (a–z, digits); write the words said")
        elif text:
            words = read_out(written)
    except ValueError as error:
        if text:
            wrong.append(f"text {tables.shown(written)}: {error}")
    cells = line.cells
    file = root / name if not wrong else root
    return Row(path, line.line, name, file, words, cells.get("split"), cells.get("speaker"), cells), wrong


def _name(row: Row) -> str:
    return os.path.normpath(row.name)


def _use(row: Row) -> tuple[str | None, ...]:
    """Values that must be equal if a recording has two names, such as links to one file."""
    return row.text, row.split, row.speaker
