"""The denoiser that comes with the project: its files are what its card says, and it works without any training."""

import json

import numpy as np
import pytest
import soundfile

from posttrain import files
from posttrain.__main__ import run
from posttrain.acoustics import SAMPLE_RATE, audiogram, enhancer
from posttrain.acoustics.mixtures import si_sdr
from posttrain.config import assets
from posttrain.corpus.store import Corpus
from posttrain.evals.hearing.enhancement import mixtures_of
from posttrain.use import enhance

FOLDER = assets.folder("adapters") / "enhancer"


def test_its_weights_are_those_of_its_card_and_no_larger_than_two_megabytes():
    found = files.sha256(FOLDER / enhancer.WEIGHTS)
    assert found == json.loads((FOLDER / enhancer.SPEC).read_text())["sha256"]
    card = (FOLDER / "README.md").read_text()
    assert found in card and "CC BY-SA 4.0" in card and "RECIPE" in card
    assert (FOLDER / enhancer.WEIGHTS).stat().st_size <= 2_000_000
    assert json.loads((FOLDER / enhance.FIGURES).read_text())
    for text in (card, (FOLDER / enhance.FIGURES).read_text()):
        assert str(FOLDER.parents[1]) not in text and "/home/" not in text


@pytest.fixture(scope="module")
def noisy(smoke_run):
    """Made voices in made noise at 0 dB."""
    return list(mixtures_of(Corpus.load(smoke_run / "corpus"), "made", [0.0], 8))


def test_it_takes_noise_from_voices_that_it_has_not_met(noisy):
    made, hearing = enhancer.load(FOLDER), audiogram.normal().levels()
    gains = [si_sdr(made.enhance(m.noisy, hearing), m.clean) - si_sdr(m.noisy, m.clean) for m in noisy]
    assert np.mean(gains) > 1
    for mixture in noisy:
        assert si_sdr(made.enhance(mixture.clean, hearing), mixture.clean) > 10


def test_the_command_uses_it_where_no_other_is_named(noisy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("in.wav", noisy[0].noisy, SAMPLE_RATE, subtype="FLOAT")
    assert run(["enhance", "in.wav", "out.wav", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoint"] == str(FOLDER)
    heard, _ = soundfile.read("out.wav", dtype="float32")
    expected = enhancer.load(FOLDER).enhance(noisy[0].noisy, audiogram.normal().levels())
    np.testing.assert_allclose(heard, expected, atol=1e-6)
    assert run(["enhance", "in.wav", "fitted.wav", "--audiogram", "N3", "--stream"]) == 0
    assert soundfile.info("fitted.wav").frames == len(noisy[0].noisy)
