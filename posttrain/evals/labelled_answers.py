"""Answers that people labelled: a CSV with prompt, completion, final_label, as XSTest's completions come."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from posttrain.corpus import csv_rows
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
    text = csv_rows.text_of(path, ", ".join(COLUMNS))
    problems: list[str] = []
    rows = csv_rows.rows(path, text, lambda header: [name for name in COLUMNS if name not in header], problems)
    answers = [answer for line, row in rows if (answer := _answer(path, line, row, problems))]
    if not answers and not problems:
        problems.append(f"{path} has no rows, expected a line of {', '.join(COLUMNS)} for each answer; add one or more")
    if problems:
        raise InputError(problems)
    return answers


def sha256(path: Path) -> str:
    """Of the file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _answer(path: Path, line: int, row: dict[str, str], problems: list[str]) -> LabelledAnswer | None:
    prompt, label = row["prompt"].strip(), row["final_label"].strip()
    wrong = []
    if not prompt:
        wrong.append("prompt is empty; write what was asked")
    if label not in LABELS:
        wrong.append(f"final_label is {label!r}, expected one of {', '.join(LABELS)}; mend the label")
    problems += [f"{path}:{line}: {what}" for what in wrong]
    return None if wrong else LabelledAnswer(prompt, row["completion"], label)
