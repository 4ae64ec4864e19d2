"""A data root with a small text of our own, and a card that names it in the place of wikitext's."""

import hashlib
from pathlib import Path

import pytest
import yaml

from posttrain.config import assets

SENTENCE = "the old bridge was built by the people of both towns . "


def hold_out(data_root: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write DATA_ROOT/wikitext/test.txt, and have its card name that file's hash; returns the data root."""
    file = data_root / "wikitext" / "test.txt"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    about = yaml.safe_load(assets.path("data", "wikitext").read_text())
    about["sha256"]["test.txt"] = hashlib.sha256(file.read_bytes()).hexdigest()
    card = data_root / "wikitext.yaml"
    card.write_text(yaml.safe_dump(about))
    own = assets.path
    monkeypatch.setattr(assets, "path", lambda kind, name: card if name == "wikitext" else own(kind, name))
    return data_root
