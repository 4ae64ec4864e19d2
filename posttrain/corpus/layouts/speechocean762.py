"""speechocean762 as its authors publish it: WAVE/SPEAKER*/*.WAV, and Kaldi's files with ages in train/ and test/."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts import kaldi
from posttrain.corpus.layouts.entry import Entry

SPLITS = ("train", "test")


def found(root: Path) -> bool:
    """Whether the folder has WAVE/ and the ages of a split."""
    return (root / "WAVE").is_dir() and any((root / split / "spk2age").is_file() for split in SPLITS)


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries by the names of their utterances; the id is the utterance, such as 000010011."""
    yield from sorted(kaldi.read(root, card, problems), key=lambda entry: (entry.split != "train", entry.id or ""))
