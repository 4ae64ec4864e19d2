"""Third-party safety prompts, by a data card such as XSTest's, or from a file."""

import re
import unicodedata
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


def named(place: str, data_root: str | Path | None) -> list[SafetyPrompt]:
    """The prompts of a card of data/, from below the data root, or of a file; InputError as `of_card` and `read`."""
    return read(Path(place)) if _by_path(place) else of_card(place, Path(data_root) if data_root else None)


def name_of(place: str) -> str:
    """What a set is called in probes and figures: its card, or its file without folder and ending.

    InputError for a file without a letter or digit in its name.
    """
    if not _by_path(place):
        return place
    name = re.sub(r"\W+", "_", unicodedata.normalize("NFC", Path(place).stem.lower())).strip("_")
    if not name:
        raise InputError(f"{place}: its name is that of its figures, and has no letter or digit; rename the file")
    return name


def files_of(place: str, data_root: str | Path | None) -> list[Path]:
    """Where the prompts of a card or a file lie; of a card without a data root nowhere."""
    if _by_path(place):
        return [Path(place)]
    return list(_files(assets.path("data", place), Path(data_root))) if data_root else []


def of_card(name: str, data_root: Path | None) -> list[SafetyPrompt]:
    """The prompts of a card in data/, from below the data root; InputError if they are missing or differ from the card.

    A card names a file of `read`'s formats, or files of JSON (`{"instructions": […]}`), each with the label of all its
    prompts.
    """
    path = assets.path("data", name)
    about = _card(path)
    if data_root is None:
        raise InputError(f"{name} lies in a data root, which is not given; set POSTTRAIN_DATA or --data-root")
    found: list[SafetyPrompt] = []
    for file, label in _files(path, data_root).items():
        if not file.is_file():
            raise InputError(f"{file} not found; get it from {about['origin'].strip()}")
        digest, wanted = files.sha256(file), about["sha256"][file.name]
        if digest != wanted:
            raise InputError(f"{file} has SHA-256 {digest}, expected {wanted}; get the revision that {path.name} names")
        found += read(file) if label is None else _listed(file, label)
    counts = Counter("unsafe" if prompt.harmful else "safe" for prompt in found)
    if counts != about["splits"]["prompts"]:
        raise InputError(f"{name} has {dict(counts)} prompts, expected {about['splits']['prompts']}; correct the card")
    return found


def _by_path(place: str) -> bool:
    return place.lower().endswith((".csv", ".tsv")) or "/" in place


def _card(path: Path) -> dict[str, Any]:
    about = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    if about.get("kind") != "prompts":
        raise InputError(
            f"{path}: kind is {about.get('kind')}, expected prompts; name xstest, safety_tuned_tests or a CSV file"
        )
    return about


def _files(card: Path, data_root: Path) -> dict[Path, str | None]:
    """File → the label of all its prompts; None if the file says it."""
    about = _card(card)
    listed = about["prompts"] if isinstance(about["prompts"], dict) else {about["prompts"]: None}
    return {data_root / about.get("folder", about["name"]) / name: label for name, label in listed.items()}


def _listed(file: Path, label: str) -> list[SafetyPrompt]:
    """The prompts of a JSON file that lists their texts alone."""
    texts = files.read_json(file)["instructions"]
    return [SafetyPrompt(f"{file.stem}_{n}", text, LABELS[label], file.stem) for n, text in enumerate(texts)]


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
