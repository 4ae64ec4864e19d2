"""Answers that people labelled: a CSV with prompt, completion, final_label, the format of XSTest's completions."""

import re
from dataclasses import dataclass
from pathlib import Path

from posttrain.errors import InputError
from posttrain.evals.safety.refusal import LABELS, REFUSALS
from posttrain.readers import tables

COLUMNS = ("prompt", "completion", "final_label")
FORMULA = re.compile(r"[=+\-@\t\r]")
"""First characters that make a spreadsheet read a cell as a formula."""


@dataclass(frozen=True)
class LabelledAnswer:
    """One answer and the label that a person gave it."""

    prompt: str
    completion: str
    """As written; empty where the model said nothing."""
    label: str
    """One of LABELS."""

    @property
    def is_refusal(self) -> bool:
        """Whether it is labelled a refusal, full or partial."""
        return self.label in REFUSALS


def read(path: Path) -> list[LabelledAnswer]:
    """The file's rows; other columns are ignored, and an empty completion is kept as an answer that says nothing.

    InputError lists every problem by line: with the table (`tables`), an empty prompt, an unknown label.
    """
    problems: list[str] = []
    rows = tables.read(path, [COLUMNS], problems, multiline=True, as_written=("completion",))
    answers = [answer for row in rows if (answer := _answer(path, row.line, row.cells, problems))]
    if problems:
        raise InputError(tables.in_line_order(problems))
    return answers


def inert(cell: str) -> str:
    """The cell, with an apostrophe in front if a spreadsheet would read it as a formula."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def as_said(cell: str) -> str:
    """The cell without the apostrophe that `inert` adds."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell[1:]) else cell


def _answer(path: Path, line: int, row: dict[str, str], problems: list[str]) -> LabelledAnswer | None:
    prompt, label = as_said(row["prompt"]), row["final_label"]
    swallowed = (tables.swallowed(row[column], LABELS) for column in ("prompt", "completion"))
    wrong = [what for what in swallowed if what]
    if not prompt:
        wrong.append("prompt is empty; write what was asked")
    if label not in LABELS:
        wrong.append(f"final_label is {label!r}, expected one of {', '.join(LABELS)}; correct it")
    problems += [f"{path}:{line}: {what}" for what in wrong]
    return None if wrong else LabelledAnswer(prompt, as_said(row["completion"]), label)
