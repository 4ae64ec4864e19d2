"""Third-party English text: a card in data/ describes it, DATA_ROOT/NAME holds it.

Its held-out file is measured on and never trained on; phrases of its training file are spoken by synthetic voices.
"""

import re
from pathlib import Path

from posttrain.config import assets
from posttrain.corpus.normalise import normalise
from posttrain.corpus.splits import split_of
from posttrain.errors import InputError
from posttrain.files import content_hash

CARDS = ("wikitext",)
CHARACTERS = 500
"""Maximum length of a passage."""
PHRASE_WORDS = (4, 12)
"""Fewest and most words of a phrase to speak."""
_BETWEEN = re.compile(r" (?:[.;:,!?]|--|–|—)(?: |$)")
_SPOKEN = re.compile(r"[A-Za-z][A-Za-z' ]*")


def passages(data_root: str | Path | None) -> list[dict[str, str]]:
    """Corpus lines (split, text, source) from every card whose text is below the data root; none without a data root.

    InputError if a text is not the one that its card names. Passages are paragraphs, spread evenly over the file and
    cut after a whole word: the same for every model and seed.
    """
    if data_root is None:
        return []
    return [{"split": "test", "text": text, "source": name} for name in CARDS for text in _of_card(name, data_root)]


def phrases(data_root: str | Path | None) -> dict[str, tuple[str, ...]]:
    """Split → normalised phrases of general English, in the text's order; each split is empty without the text.

    A phrase is what stands between two punctuation marks, letters alone. All phrases of a paragraph are in one split.
    """
    splits: dict[str, str] = {}
    for name in CARDS if data_root is not None else ():
        for paragraph in (_text(name, data_root, "training") or "").splitlines():
            for phrase in _BETWEEN.split(re.sub(r" ('\w*|n't)(?= )", r"\1", f"{paragraph.strip()} ")):
                words = normalise(phrase) if _SPOKEN.fullmatch(phrase.strip()) else ""
                if PHRASE_WORDS[0] <= len(words.split()) <= PHRASE_WORDS[1]:
                    splits.setdefault(words, split_of(paragraph))
    return {split: tuple(t for t, of in splits.items() if of == split) for split in ("train", "valid", "test")}


def training_files(data_root: str | Path | None) -> list[Path]:
    """Where the texts for `phrases` may lie."""
    return [Path(data_root) / name / assets.card(name)["training"] for name in CARDS] if data_root is not None else []


def _of_card(name: str, data_root: str | Path) -> list[str]:
    lines = (line.strip() for line in (_text(name, data_root, "held_out") or "").splitlines())
    paragraphs = [line for line in lines if len(line) > CHARACTERS and not line.startswith("=")]
    count = min(assets.card(name)["splits"]["test"]["passages"], len(paragraphs))
    spread = (paragraphs[i * len(paragraphs) // count] for i in range(count))
    return [paragraph[:CHARACTERS].rpartition(" ")[0] for paragraph in spread]


def _text(name: str, data_root: str | Path | None, part: str) -> str | None:
    """A text of the card, `held_out` or `training`; None if it is not there, InputError if it is another."""
    about = assets.card(name)
    file = Path(data_root or "") / name / about[part]
    if not file.is_file():
        return None
    content = file.read_bytes()
    found, wanted = content_hash(content), about["sha256"][about[part]]
    if found != wanted:
        raise InputError(
            f"{file} has SHA-256 {found}, expected {wanted}; get the text that {name}.yaml names, or move it away"
        )
    return content.decode("utf-8")
