"""Third-party held-out text, never trained on: a card in data/ describes it, DATA_ROOT/NAME holds it."""

from pathlib import Path

import yaml

from posttrain.config import assets
from posttrain.errors import InputError
from posttrain.files import content_hash

CARDS = ("wikitext",)
CHARACTERS = 500
"""Maximum length of a passage."""


def passages(data_root: str | Path | None) -> list[dict[str, str]]:
    """Corpus lines (split, text, source) from every card whose text is below the data root; none without a data root.

    InputError if a text is not the one that its card names. Passages are paragraphs, spread evenly over the file and
    cut after a whole word: the same for every model and seed.
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
    found, wanted = content_hash(content), about["sha256"][about["held_out"]]
    if found != wanted:
        raise InputError(
            f"{file} has SHA-256 {found}, expected {wanted}; get the text that {path.name} names, or move it away"
        )
    lines = (line.strip() for line in content.decode("utf-8").splitlines())
    paragraphs = [line for line in lines if len(line) > CHARACTERS and not line.startswith("=")]
    count = min(about["splits"]["test"]["passages"], len(paragraphs))
    spread = (paragraphs[i * len(paragraphs) // count] for i in range(count))
    return [paragraph[:CHARACTERS].rpartition(" ")[0] for paragraph in spread]
