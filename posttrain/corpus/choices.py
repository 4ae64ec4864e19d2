"""Items of public benchmarks, never trained on: a card in data/ describes a benchmark, DATA_ROOT/NAME holds its file.

An item is a context and its possible endings; a model chooses the ending with the highest log-probability, by the rules
of lm-evaluation-harness (Gao et al. 2024), which tests hold to that program item by item.
"""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from posttrain.config import assets
from posttrain.errors import InputError
from posttrain.files import content_hash, value_hash
from posttrain.readers import json_lines

PROBE = "benchmark/"
"""Before a benchmark's name: the probe of its items, and its metric."""
Parts = tuple[str, list[str], int, str]
"""Context, endings without the space before them, index of the right one, content."""


@dataclass(frozen=True)
class Choice:
    """One item."""

    id: str
    probe: str
    """The metric it counts for."""
    context: str
    """What comes before; empty if the endings are whole texts, or each has a context of its own."""
    endings: tuple[str, ...]
    """Each with the space before it. A single one is right if greedy decoding gives it."""
    right: int
    """Index of the right ending."""
    content: str
    """What items share; statistics resample it."""
    contexts: tuple[str, ...] = ()
    """A context for each ending, where they differ."""
    lengths: tuple[int, ...] = ()
    """Characters of each ending, where the benchmark also has acc_norm, which divides by them."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(context, ending) of each possible answer."""
        return list(zip(self.contexts or (self.context,) * len(self.endings), self.endings, strict=True))


def cards() -> list[str]:
    """Names of the cards of benchmarks in data/."""
    return [name for name in assets.names("data") if _card(assets.path("data", name)).get("kind") == "choices"]


def file_of(name: str, data_root: str | Path | None) -> Path | None:
    """The benchmark's file below the data root; None if it is not there, or no card has that name."""
    if data_root is None or name not in cards():
        return None
    published = _card(assets.path("data", name))["held_out"]
    files = [published] if isinstance(published, str) else published
    return next((file for path in files if (file := Path(data_root) / name / path).is_file()), None)


def of_card(name: str, file: Path, limit: int | None = None, split: str = "test") -> list[Choice]:
    """The items of a split, test or valid: as many as the card says, in the test as many as `limit` if that is given.

    They are spread evenly over the file; those for validation over the rows that the test leaves. InputError if the
    file is not the one that the card names, or a row has not its layout.
    """
    about = _card(assets.path("data", name))
    found, wanted = content_hash(file.read_bytes()), about.get("sha256", {}).get(file.name)
    if wanted and found != wanted:
        raise InputError(f"{file} has SHA-256 {found}, expected {wanted}; get the file that {name}.yaml names")
    items = list(_items(name, about, file))
    sizes = {of: part["items"] for of, part in about["splits"].items()}
    asked = _spread(items, limit or sizes["test"])
    if split == "test":
        return asked
    known, contexts = {item.id for item in asked}, {item.context for item in asked} - {""}
    rest = [item for item in items if item.id not in known and item.context not in contexts]
    return _spread(rest, min(limit or len(rest), sizes.get(split, 0)))


def asked_aloud(name: str) -> bool:
    """Whether the card says that the content of its items is a question, and their endings are answers to it."""
    return bool(_card(assets.path("data", name)).get("asked_aloud"))


def count_of(name: str, limit: int | None) -> int:
    """How many test items the card's file gives, if it is whole."""
    return limit or int(_card(assets.path("data", name))["splits"]["test"]["items"])


def held_out_key(passages: list[dict[str, str]], items: list[Choice]) -> str | None:
    """Hash of the held-out text and benchmarks of an evaluation; None if there are none."""
    rows = [asdict(item) for item in items]
    return value_hash([passages, rows] if rows else passages) if passages or rows else None


def _items(name: str, about: dict[str, Any], file: Path) -> Iterator[Choice]:
    read = LAYOUTS[about["layout"]] if "layout" in about else functools.partial(_by_templates, about)
    for number, row in enumerate(_rows(file)):
        try:
            context, endings, right, content = read(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise InputError(f"{file}, item {number}: {problem}; get the file that {name}.yaml names") from error
        lengths = tuple(map(len, endings)) if about.get("acc_norm") else ()
        spaced = tuple(f" {ending}" for ending in endings)
        probe = PROBE + name
        yield Choice(f"{probe}/{number:04d}", probe, context, spaced, right, content, lengths=lengths)


def _rows(file: Path) -> list[dict[str, Any]]:
    if file.suffix != ".parquet":
        return json_lines.values(file)
    from pyarrow import ArrowException, parquet  # takes long to import

    try:
        return list(parquet.read_table(file).to_pylist())
    except (ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read as parquet ({error}); get it again") from error


def _by_templates(about: dict[str, Any], row: dict[str, Any]) -> Parts:
    """By the card's templates, which name columns."""
    right = about["right"]
    endings = [ending.format(**row) for ending in about["endings"]]
    index = int(row[right]) if isinstance(right, str) else int(right)
    return about["context"].format(**row), endings, index, about["content"].format(**row)


def _arc(row: dict[str, Any]) -> Parts:
    """ARC as the hub has it (a question, texts and labels), or AI2 (a stem, and choices with text and label)."""
    asked = row["question"]
    if isinstance(asked, dict):
        stem, offered = asked["stem"], asked["choices"]
        texts, labels = ([choice[key] for choice in offered] for key in ("text", "label"))
    else:
        stem, texts, labels = asked, row["choices"]["text"], row["choices"]["label"]
    return f"Question: {stem}\nAnswer:", texts, labels.index(row["answerKey"]), stem


def _hellaswag(row: dict[str, Any]) -> Parts:
    """HellaSwag as its authors and the hub have it; items from one film or article share their content."""
    context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    return _unmarked(context), [_unmarked(ending) for ending in row["endings"]], int(row["label"]), row["source_id"]


def _unmarked(text: str) -> str:
    """Without the marks of WikiHow's pages."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


LAYOUTS: dict[str, Callable[[dict[str, Any]], Parts]] = {"arc": _arc, "hellaswag": _hellaswag}
"""Layouts that a card's templates cannot describe."""


def _spread(items: list[Choice], count: int) -> list[Choice]:
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _card(path: Path) -> dict[str, Any]:
    return _parsed(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, _: int) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
