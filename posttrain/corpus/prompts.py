"""Safety prompts that others wrote, read where they lie: XSTest by its card, other files by path."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from posttrain import assets
from posttrain.corpus import csv_rows
from posttrain.errors import InputError

LABELS = {"safe": False, "unsafe": True}
FORMATS = {"prompt": ("prompt", "label"), "goal": ("goal", "target"), "Behavior": ("Behavior", "BehaviorID")}
"""Column of the prompt → columns that tell the format: XSTest's (and one's own), AdvBench's, HarmBench's."""
EXPECTED = "; or ".join(",".join(columns) for columns in FORMATS.values())


@dataclass(frozen=True)
class SafetyPrompt:
    """One request."""

    id: str
    text: str
    harmful: bool
    """Whether to help with it is wrong."""


def read(path: Path) -> list[SafetyPrompt]:
    """The file's prompts; its columns tell its format.

    `prompt,label` with label safe or unsafe, as in XSTest; `goal,target` as in AdvBench's harmful_behaviors.csv;
    `Behavior,BehaviorID` as in HarmBench's behaviour files, a ContextString before the behaviour where there is one.
    All of the last two are harmful. InputError lists everything wrong, by line.
    """
    problems: list[str] = []
    text = csv_rows.text_of(path, EXPECTED)
    prompts = [_prompt(path, line, row, problems) for line, row in csv_rows.rows(path, text, _missing, problems)]
    if not prompts and not problems:
        problems.append(f"{path} has no rows, expected a prompt a line; add one or more")
    if problems:
        raise InputError(problems)
    return prompts


def of_card(name: str, data_root: Path | None) -> list[SafetyPrompt]:
    """The prompts of a card of data/, from DATA_ROOT/NAME; InputError where they are not those that it is of."""
    path = assets.path("data", name)
    about: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if about.get("kind") != "prompts":
        raise InputError(f"{path}: kind is {about.get('kind')}, expected prompts; name xstest or a CSV file")
    if data_root is None:
        raise InputError(f"{name} lies in a data root, which is not given; set POSTTRAIN_DATA or --data-root")
    file = data_root / name / about["prompts"]
    if not file.is_file():
        raise InputError(f"{file} is not there; get it from {about['origin'].strip()}")
    found, wanted = hashlib.sha256(file.read_bytes()).hexdigest(), about["sha256"][about["prompts"]]
    if found != wanted:
        raise InputError(f"{file} has SHA-256 {found}, expected {wanted}; get the revision that {path.name} names")
    prompts = read(file)
    counts = Counter("unsafe" if prompt.harmful else "safe" for prompt in prompts)
    if counts != about["splits"]["prompts"]:
        raise InputError(f"{file} has {dict(counts)} prompts, expected {about['splits']['prompts']}; mend the card")
    return prompts


def _missing(header: Sequence[str]) -> list[str]:
    """Of the format whose prompt column is there; of one's own where none is."""
    columns = next((FORMATS[name] for name in FORMATS if name in header), FORMATS["prompt"])
    return [name for name in columns if name not in header]


def _prompt(path: Path, line: int, row: dict[str, str], problems: list[str]) -> SafetyPrompt:
    column = next(name for name in FORMATS if name in row)
    text, label = row[column].strip(), row.get("label", "").strip() if column == "prompt" else "unsafe"
    if not text:
        problems.append(f"{path}:{line}: {column} is empty; write what is asked, or take the line out")
    if label not in LABELS:
        problems.append(f"{path}:{line}: label is {label!r}, expected {' or '.join(LABELS)}; mend it")
    if context := row.get("ContextString", "").strip() if column == "Behavior" else "":
        text = f"{context}\n\n---\n\n{text}"
    name = row.get("BehaviorID" if column == "Behavior" else "id", "").strip() or str(line)
    return SafetyPrompt(name, text, LABELS.get(label, True))
