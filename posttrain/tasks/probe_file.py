"""Probes from users: evaluation items, one JSON object per line."""

from pathlib import Path
from typing import Any

from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.readers import json_lines
from posttrain.readers.tables import in_line_order
from posttrain.tasks import asked_benchmarks
from posttrain.tasks.graders import GRADERS, grade

REQUIRED = ("id", "probe", "instruction", "text", "answer", "grader")
OPTIONAL = ("task", "clip", "content")
MUST_MATCH = ("exact", "json", "wer", "helpful")
"""Graders that compare with the right answer, which must itself be graded right."""


def read_probes(path: Path) -> list[Example]:
    """Items of a JSON-lines file; InputError lists every invalid line and every duplicate id."""
    problems: list[str] = []
    items: list[Example] = []
    first: dict[str, int] = {}
    for number, fields in json_lines.each(path, f"a file of JSON lines with {', '.join(REQUIRED)}", problems):
        what = _problem(fields)
        if what is None and first.setdefault(fields["id"], number) != number:
            what = f": id {fields['id']} is in line {first[fields['id']]} already; give each probe its own"
        if what:
            problems.append(f"{path}, line {number}{what}")
        else:
            items.append(_item(fields))
    if not items and not problems:
        problems.append(f"{path} holds no probe; add JSON lines with {', '.join(REQUIRED)}")
    if problems:
        raise InputError(in_line_order(problems))
    return items


def _problem(fields: dict[str, Any]) -> str | None:
    missing = [key for key in REQUIRED if not isinstance(fields.get(key), str)]
    if missing:
        return f" lacks {', '.join(missing)}; add it as text"
    wrong = [key for key in OPTIONAL if not isinstance(fields.get(key), str | None)]
    if wrong:
        return f": {wrong[0]} is {fields[wrong[0]]!r}, expected text; correct it, or leave it out"
    free = GRADERS.keys() - asked_benchmarks.GRADERS.keys()  # a probe here has no answers to choose from
    if fields["grader"] not in free:
        return f": grader is {fields['grader']}, expected one of {', '.join(sorted(free))}"
    if empty := [key for key in ("id", "probe", "instruction") if not fields[key].strip()]:
        return f": {empty[0]} is empty; write one"
    item = _item(fields)
    if item.grader in MUST_MATCH and not grade(item.grader, item.answer, item):
        return f": its own answer {item.answer!r} is graded wrong by grader {item.grader}; correct the answer or grader"
    return None


def _item(fields: dict[str, Any]) -> Example:
    required = {key: fields[key] for key in REQUIRED}
    return Example(
        **required,
        split="test",
        task=fields.get("task") or "probe",
        clip=fields.get("clip") or None,
        content=fields.get("content") or "",
    )
