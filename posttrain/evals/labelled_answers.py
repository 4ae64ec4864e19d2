"""Answers that people labelled: a CSV with prompt, completion, final_label, as XSTest's completions come."""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from posttrain.errors import InputError
from posttrain.evals.refusal import LABELS, REFUSALS

COLUMNS = ("prompt", "completion", "final_label")


@dataclass(frozen=True)
class LabelledAnswer:
    """One answer, and what a person says that it is."""

    prompt: str
    completion: str
    """As written; empty where the model said nothing."""
    label: str
    """One of LABELS."""

    @property
    def is_refusal(self) -> bool:
        """Full or partial."""
        return self.label in REFUSALS


def read(path: Path) -> list[LabelledAnswer]:
    """The file's rows; other columns are ignored, and an empty completion is kept: it is an answer that says nothing.

    InputError lists everything wrong, by line: not UTF-8 or not CSV, a missing column, an empty prompt, an unknown
    label; and a file without rows.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}; give a CSV file in UTF-8 with columns {', '.join(COLUMNS)}"
        ) from error
    problems: list[str] = []
    answers = [answer for line, row in _rows(path, text, problems) if (answer := _answer(path, line, row, problems))]
    if not answers and not problems:
        problems.append(f"{path} has no rows, expected a line of {', '.join(COLUMNS)} for each answer; add one or more")
    if problems:
        raise InputError(problems)
    return answers


def sha256(path: Path) -> str:
    """Of the file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rows(path: Path, text: str, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line on which the row begins, counted from 1; cells by column)."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in COLUMNS if name not in header]
        if missing and text.strip():
            problems.append(f"{path}:1: no column {', '.join(missing)} among {', '.join(header)}; add it to the header")
        if missing:
            return
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                problems.append(f"{path}:{line}: {len(cells)} cells, expected {len(header)}; quote texts with commas")
            elif cells:
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append(f"{path}:{line}: not CSV from this line on ({error}); mend its quotes")


def _answer(path: Path, line: int, row: dict[str, str], problems: list[str]) -> LabelledAnswer | None:
    prompt, label = row["prompt"].strip(), row["final_label"].strip()
    wrong = []
    if not prompt:
        wrong.append("prompt is empty; write what was asked")
    if label not in LABELS:
        wrong.append(f"final_label is {label!r}, expected one of {', '.join(LABELS)}; mend the label")
    problems += [f"{path}:{line}: {what}" for what in wrong]
    return None if wrong else LabelledAnswer(prompt, row["completion"], label)
