"""Held-out general text of others: a card of data/ says which, DATA_ROOT/NAME holds it. Nothing trains on it."""

import hashlib
from pathlib import Path

import yaml

from posttrain import assets
from posttrain.errors import InputError

CARDS = ("wikitext",)
CHARACTERS = 500
"""Of a passage, at most."""


def passages(data_root: str | Path | None) -> list[dict[str, str]]:
    """Lines with split, text and source, as a corpus has them, of every card whose text lies below the data root.

    One passage a paragraph, the paragraphs spread evenly over the file, cut after a whole word: the same for every
    model and seed. None without a data root. InputError where a text is not the one that its card names.
    """
    if data_root is None:
        return []
    return [{"split": "test", "text": text, "source": name} for name in CARDS for text in _of_card(name, data_root)]


def _of_card(name: str, data_root: str | Path) -> list[str]:
    path = assets.path("data", name)
    about = yaml.safe_load(path.read_text(encoding="utf-8"))
    file = Path(data_root) / name / about["held_out"]
    if not file.is_file():
        return []
    content = file.read_bytes()
    found, wanted = hashlib.sha256(content).hexdigest(), about["sha256"][about["held_out"]]
    if found != wanted:
        raise InputError(
            f"{file} has SHA-256 {found}, expected {wanted}; get the text that {path.name} names, or move it away"
        )
    lines = (line.strip() for line in content.decode("utf-8").splitlines())
    paragraphs = [line for line in lines if len(line) > CHARACTERS and not line.startswith("=")]
    count = min(about["splits"]["test"]["passages"], len(paragraphs))
    spread = (paragraphs[i * len(paragraphs) // count] for i in range(count))
    return [paragraph[:CHARACTERS].rpartition(" ")[0] for paragraph in spread]
