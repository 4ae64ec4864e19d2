"""Public benchmarks of choices, never trained on: a card in data/ describes one, DATA_ROOT/NAME holds it.

An item is a context and its possible endings; a model chooses the ending with the highest log-probability, by the rules
of lm-evaluation-harness (Gao et al. 2024), which tests hold to that program item by item.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from posttrain.config import assets
from posttrain.errors import InputError
from posttrain.files import content_hash, value_hash
from posttrain.readers import json_lines

CARDS = ("blimp", "piqa")


@dataclass(frozen=True)
class Choice:
    """One item."""

    id: str
    probe: str
    """The metric it counts for."""
    context: str
    """What comes before; empty if the endings are whole texts."""
    endings: tuple[str, ...]
    """Each with the space before it."""
    right: int
    """Index of the right ending."""
    content: str
    """What items share; statistics resample it."""


def choices(data_root: str | Path | None, split: str = "test") -> list[Choice]:
    """The items of a split, test or valid, of every card whose file is below the data root; none without one.

    InputError if a file is not the one that its card names.
    """
    if data_root is None:
        return []
    return [item for name in CARDS for item in _of_card(name, Path(data_root), split)]


def held_out_key(passages: list[dict[str, str]], items: list[Choice]) -> str | None:
    """Hash of a data root's held-out text and benchmarks; None if there are none."""
    rows = [asdict(item) for item in items]
    return value_hash([passages, rows] if rows else passages) if passages or rows else None


def _of_card(name: str, data_root: Path, split: str) -> Iterator[Choice]:
    """The card's number of items, spread evenly over the file; for validation over the rows that the test leaves."""
    about = yaml.safe_load(assets.path("data", name).read_text(encoding="utf-8"))
    file = data_root / name / about["held_out"]
    if not file.is_file():
        return
    found, wanted = content_hash(file.read_bytes()), about["sha256"][about["held_out"]]
    if found != wanted:
        raise InputError(f"{file} has SHA-256 {found}, expected {wanted}; get the file that {name}.yaml names")
    rows = json_lines.values(file)
    sizes = {of: part["items"] for of, part in about["splits"].items()}
    items = [_choice(about, number, fields) for number, fields in enumerate(rows)]
    asked = _spread(items, sizes["test"])
    if split != "test":
        known, contexts = {item.id for item in asked}, {item.context for item in asked} - {""}
        rest = [item for item in items if item.id not in known and item.context not in contexts]
        asked = _spread(rest, sizes.get(split, 0))
    yield from asked


def _spread(items: list[Choice], count: int) -> list[Choice]:
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _choice(about: dict[str, Any], number: int, fields: dict[str, Any]) -> Choice:
    right = about["right"]
    return Choice(
        f"{about['probe']}/{number:04d}",
        about["probe"],
        about["context"].format(**fields),
        tuple(ending.format(**fields) for ending in about["endings"]),
        int(fields[right]) if isinstance(right, str) else right,
        about["content"].format(**fields),
    )
