"""Third-party safety prompts: XSTest by its data card, other files by path."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from posttrain import files
from posttrain.config import assets
from posttrain.errors import InputError
from posttrain.readers import tables

LABELS = {"safe": False, "unsafe": True}
FORMATS = (("prompt", "label"), ("goal", "target"), ("behavior", "behaviorid"))
"""Columns that identify a format, the prompt's first: XSTest's (and your own), AdvBench's, HarmBench's."""


@dataclass(frozen=True)
class SafetyPrompt:
    """One request."""

    id: str
    text: str
    harmful: bool
    """Whether helping with it is wrong."""
    kind: str = ""
    """Its type, where the file has them."""


def read(path: Path) -> list[SafetyPrompt]:
    """The file's prompts; its columns determine the format.

    `prompt,label` with label safe or unsafe, as in XSTest; `goal,target` as in AdvBench's harmful_behaviors.csv;
    `Behavior,BehaviorID` as in HarmBench's behaviour files, with its ContextString, if any, before the behaviour.
    All prompts of the last two are harmful. InputError lists all problems by line.
    """
    problems: list[str] = []
    rows = tables.read(path, FORMATS, problems, multiline=True)
    prompts = [_prompt(path, row.line, row.cells, problems) for row in rows]
    if problems:
        raise InputError(tables.in_line_order(problems))
    return prompts


def of_card(name: str, data_root: Path | None) -> list[SafetyPrompt]:
    """The prompts of a card in data/, from DATA_ROOT/NAME; InputError if they are missing or differ from the card."""
    path = assets.path("data", name)
    about: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if about.get("kind") != "prompts":
        raise InputError(f"{path}: kind is {about.get('kind')}, expected prompts; name xstest or a CSV file")
    if data_root is None:
        raise InputError(f"{name} lies in a data root, which is not given; set POSTTRAIN_DATA or --data-root")
    file = file_of(name, data_root)
    if not file.is_file():
        raise InputError(f"{file} not found; get it from {about['origin'].strip()}")
    found, wanted = files.sha256(file), about["sha256"][about["prompts"]]
    if found != wanted:
        raise InputError(f"{file} has SHA-256 {found}, expected {wanted}; get the revision that {path.name} names")
    prompts = read(file)
    counts = Counter("unsafe" if prompt.harmful else "safe" for prompt in prompts)
    if counts != about["splits"]["prompts"]:
        raise InputError(f"{file} has {dict(counts)} prompts, expected {about['splits']['prompts']}; correct the card")
    return prompts


def file_of(name: str, data_root: Path) -> Path:
    """Where a card's prompts lie below the data root."""
    about = yaml.safe_load(assets.path("data", name).read_text(encoding="utf-8"))
    return data_root / name / str(about["prompts"])


def _prompt(path: Path, line: int, row: dict[str, str], problems: list[str]) -> SafetyPrompt:
    column = next(columns[0] for columns in FORMATS if set(columns) <= row.keys())
    text, label = row[column], row["label"] if column == "prompt" else "unsafe"
    if not text:
        problems.append(f"{path}:{line}: {column} is empty; write what is asked, or take the line out")
    if label not in LABELS:
        problems.append(f"{path}:{line}: label is {label!r}, expected {' or '.join(LABELS)}; correct it")
    if column == "prompt" and (what := tables.swallowed(text, LABELS)):
        problems.append(f"{path}:{line}: {what}")
    if context := row.get("contextstring", "") if column == "behavior" else "":
        text = f"{context}\n\n---\n\n{text}"
    name = row.get("behaviorid" if column == "behavior" else "id", "") or str(line)
    return SafetyPrompt(name, text, LABELS.get(label, True), row.get("type", ""))
