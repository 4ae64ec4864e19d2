"""Manifests: `path,text[,split,speaker,…]` in CSV, paths below a root. Everything wrong is listed at once, by line."""

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from posttrain.corpus.audio import LONGEST_WHOLE_S, MINIMUM_SAMPLES, audio
from posttrain.corpus.normalise import normalise
from posttrain.errors import InputError


@dataclass(frozen=True)
class Row:
    """One recording named by a manifest."""

    manifest: Path
    line: int
    """In the manifest file, counted from 1."""
    name: str
    """The path as written."""
    path: Path
    """Absolute."""
    text: str
    """Normalised words; empty only when text is not asked for."""
    split: str | None = None
    speaker: str | None = None
    values: dict[str, str] = field(default_factory=dict)
    """All columns as written."""

    def problem(self, what: str) -> str:
        """A message that begins with the manifest's line."""
        return f"{self.manifest}:{self.line}: {what}"


def read(path: str | Path, root: str | Path | None = None, text: bool = True) -> list[Row]:
    """The manifest's rows, with paths below `root` (default: the manifest's folder). Audio is not opened.

    InputError lists every bad line: not UTF-8, a missing file, a path that leaves the root, no usable text (where
    `text`), and a manifest without rows.
    """
    rows, problems = scan(path, root, text)
    if problems:
        raise InputError(problems)
    return rows


def scan(path: str | Path, root: str | Path | None = None, text: bool = True) -> tuple[list[Row], list[str]]:
    """The rows of `read` that are good, and what is wrong with the others: so that their audio can be looked at too."""
    path = Path(path)
    root = Path(root or path.parent).resolve()
    if not path.is_file():
        raise InputError(f"manifest {path} is not there; name a CSV file with columns path,text")
    rows: list[Row] = []
    problems: list[str] = []
    for line, values in _lines(path, ("path", "text") if text else ("path",), problems):
        row, wrong = _row(path, root, line, values, text)
        problems += [f"{path}:{line}: {what}" for what in wrong]
        if not wrong:
            rows.append(row)
    if not rows and not problems:
        problems.append(f"{path} has no rows, expected a line path,text for each recording; add one or more")
    return rows, problems


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


def sha256(path: Path) -> str:
    """Of the file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _lines(path: Path, columns: Sequence[str], problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, values by column); a line that is not UTF-8 is a problem and left out."""
    good: list[str] = []
    for number, raw in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            good.append(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            problems.append(f"{path}:{number}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8")
            good.append("")
    if not good:
        return
    reader = csv.reader(io.StringIO("\n".join(good)))
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in columns if name not in header]
    if missing:
        problems.append(
            f"{path}:1: columns are {','.join(header)}, expected {','.join(columns)} among them; add a header"
        )
        return
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=False))
    except csv.Error as error:
        problems.append(f"{path}:{reader.line_num}: not CSV ({error}); mend the line")


def _row(path: Path, root: Path, line: int, values: dict[str, str], text: bool) -> tuple[Row, list[str]]:
    name = values.get("path", "")
    file = (root / name).resolve()
    words = normalise(values.get("text", ""))
    wrong = []
    if not name:
        wrong.append("path is empty; name a recording")
    elif not file.is_relative_to(root):
        wrong.append(f"path {name} leaves {root}; keep recordings below it")
    elif not file.is_file():
        wrong.append(f"path {name} is not there (below {root}); mend the path or take the row out")
    if text and not words:
        wrong.append(f"text {values.get('text', '')!r} has no usable characters (a–z, digits); write the words said")
    return Row(path, line, name, file, words, values.get("split"), values.get("speaker"), values), wrong
