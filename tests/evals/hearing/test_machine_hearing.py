"""What the machine is given to hear: the clip as the ear leaves it, with a normal ear's noise; errors by hand."""

import numpy as np
import pytest
import torch

from posttrain.acoustics.audiogram import bisgaard, normal
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.acoustics.levels import rms_at
from posttrain.corpus import store
from posttrain.corpus.types import Clip, Example
from posttrain.evals.hearing import machine_hearing
from posttrain.evals.hearing.listener_metrics import PROCESSINGS
from posttrain.evals.hearing.listeners import hear
from tests.evals.hearing.test_listeners import mixture

RATE = 16_000


class Parrot:
    """Keeps what it is given, and always hears the same."""

    def __init__(self, words: str):
        self.words, self.given = words, []

    def transcribe(self, waveforms):
        self.given.append(waveforms)
        return [(self.words, "one")] * len(waveforms)


@pytest.fixture(scope="module")
def enhancer():
    torch.manual_seed(0)
    return Enhancer(EnhancerSpec(width=16, sub_width=8)).requires_grad_(False).eval()


def test_every_processing_of_every_listener_is_heard_through_the_loss(enhancer):
    places = [hear(enhancer, mixture("c"), "made", who, "left") for who in (normal(), bisgaard("N5"))]
    machine = Parrot("one two")
    lines = list(machine_hearing.through_ears(machine, iter(places), {"c": "one two three"}))
    assert [line["probe"] for line in lines] == [
        f"listener/wer/made/{who}/snr5/{processing}" for who in ("normal", "N5") for processing in PROCESSINGS
    ]
    assert {(line["errors"], line["words"]) for line in lines} == {(1, 3)}
    power = [float(np.square(given[0]).mean()) for given in machine.given]
    assert power[4] < power[0] / 100 and power[5] > 10 * power[4]  # N5 without an aid, and with NAL-R


def test_what_cannot_be_heard_drowns_in_the_noise_of_the_ear(enhancer):
    """A clip 200 dB too soft leaves the internal noise alone, whatever the clip was."""
    machine = Parrot("")
    place = hear(enhancer, mixture("c"), "made", normal(), "left")
    for name in place.waveforms:
        place.waveforms[name] = place.waveforms[name] * np.float32(1e-10)
    list(machine_hearing.through_ears(machine, [place], {"c": "one"}))
    level = np.sqrt(np.square(machine.given[0][0] / machine_hearing.MICROPHONE).mean())
    assert rms_at(20) < level < rms_at(40)


def test_the_runs_own_items_are_heard_with_the_enhancer_and_without(enhancer, tmp_path):
    clips = [
        Clip(f"test/{i}", words, f"v{i}", "test", "made", condition, None, 0, 0)
        for i, (words, condition) in enumerate([("one two", "snr0"), ("two", "clean"), ("", "noise")])
    ]
    rng = np.random.default_rng(0)
    pieces = [rng.integers(-9000, 9000, RATE).astype(np.int16) for _ in clips]
    items = [
        Example(f"i{i}", "test", "repeat", "repeat", "", f"test/{i}", "", "wer", probe)
        for i, probe in enumerate(["wer/snr0", "wer/clean", "hearing/noise"])
    ]
    corpus = store.write(tmp_path / "corpus", zip(clips, pieces, strict=True), [], items, [], [], {})
    machine = Parrot("one two")
    lines = list(machine_hearing.with_and_without(machine, enhancer, corpus))
    assert [line["probe"] for line in lines] == [
        "wer_unenhanced/snr0", "wer_unenhanced/clean", "wer_enhanced/snr0", "wer_enhanced/clean"
    ]  # fmt: skip
    assert [(x["errors"], x["encoder_errors"], x["words"]) for x in lines[:2]] == [(0, 1, 2), (1, 1, 1)]
    plain, enhanced = machine.given
    assert np.array_equal(plain[0], corpus.audio("test/0").numpy())
    assert np.allclose(enhanced[0], enhancer.enhance(plain[0], normal().levels()))
