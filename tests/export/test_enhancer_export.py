"""posttrain export of an enhancer: the same denoiser in a folder of its own, with a card that says what it does."""

import json

import numpy as np
import pytest
import torch

from posttrain import files
from posttrain.__main__ import run
from posttrain.acoustics import enhancer
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.corpus import store
from posttrain.corpus.types import Clip
from posttrain.run import ledger
from posttrain.use import enhance


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A finished enhance stage of a run with recordings, which harms at 20 dB."""
    monkeypatch.chdir(tmp_path)
    clip = Clip("train/0", "word", "d", "train", "made", "clean", None, 0, 0)
    summary = {"config": {"sources": ["fsdd", "my_own"]}}
    corpus = store.write(tmp_path / "runs/real/corpus", [(clip, np.ones(99, np.int16))], [], [], [], [], summary)
    folder = tmp_path / "runs/real/enhance"
    folder.mkdir()
    torch.manual_seed(0)
    enhancer.save(folder, Enhancer(EnhancerSpec(width=16, sub_width=8)))
    gain = {"value": -1.5, "n": 40, "ci95": [-2.0, -1.0]}
    row = dict.fromkeys(("base", "device", "started"), "x") | {
        "run": "real",
        "stage": "enhance",
        "seed": 7,
        "wall_s": 60,
    }
    row |= {"checkpoint": "runs/real/enhance", "parents": {}, "train_metrics": {}, "code": "abc123", "data": "fff"}
    row |= {"config": {"stage": "enhance", "recipe": "enhance_real", "options": {"steps": 6000}}}
    ledger.put(folder.parent / "ledger.jsonl", row | {"metrics": {"enhance/si_sdr_gain/fsdd/snr20": gain}})
    config = {"stage": "enhance", "seed": 7, "corpus": str(corpus.folder), "references": {}}
    files.write_text(folder / "config.yaml", json.dumps(config))
    return folder


def test_it_is_the_same_enhancer_with_a_card(made, tmp_path, capsys):
    assert run(["export", str(made), "mine", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [file["name"] for file in said["files"]] == ["README.md", enhancer.SPEC, enhancer.WEIGHTS, enhance.FIGURES]
    figures = json.loads((tmp_path / "mine" / enhance.FIGURES).read_text())
    assert figures["enhance/si_sdr_gain/fsdd/snr20"]["value"] == -1.5
    first, again = (enhancer.load(folder).state_dict() for folder in (made, tmp_path / "mine"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    card = (tmp_path / "mine" / "README.md").read_text()
    for part in (
        "CC BY-SA 4.0",
        "my_own | own recordings | not known",
        "harm",
        "−1.50",
        "abc123",
        "steps 6000",
        "Recipe: enhance_real",
    ):
        assert part.replace("_", "\\_") in card or part in card, part
    assert files.sha256(made / enhancer.WEIGHTS) in card


def test_in_8_bits_it_is_smaller_and_its_card_says_so(made, tmp_path, capsys):
    assert run(["export", str(made), "mine", "--int8"]) == 0
    small, large = (tmp_path / "mine" / enhancer.WEIGHTS, made / enhancer.WEIGHTS)
    assert small.stat().st_size < large.stat().st_size
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "8-bit integers" in card and files.sha256(small) in card
    weights = enhancer.load(tmp_path / "mine").state_dict()
    assert not torch.equal(weights["enter.weight"], enhancer.load(made).state_dict()["enter.weight"])
    assert run(["export", "mine", "again", "--int8"]) == 0
    figures = [(tmp_path / name / enhance.FIGURES).read_text() for name in ("mine", "again")]
    assert figures[0] == figures[1] and "8-bit integers" in (tmp_path / "again" / "README.md").read_text()


def test_one_alone_has_a_card_without_figures_and_a_damaged_one_is_refused(made, tmp_path, capsys):
    alone = made.rename(tmp_path / "alone")
    assert run(["export", str(alone), "mine"]) == 0
    assert "has no figures here" in (tmp_path / "mine" / "README.md").read_text()
    (alone / enhancer.WEIGHTS).write_bytes(b"cut")
    capsys.readouterr()
    assert run(["export", str(alone), "other"]) == 2
    assert "sha256 differs" in capsys.readouterr().err and not (tmp_path / "other").exists()
