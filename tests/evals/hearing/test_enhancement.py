"""How an enhancer is measured: which clips in which noise, bad clips counted, figures by hand."""

import numpy as np
import pytest
import torch

from posttrain.acoustics import enhancer, scenes
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.corpus import store
from posttrain.corpus.types import Clip
from posttrain.evals.compute import compute, measures
from posttrain.evals.hearing import enhancement
from posttrain.stages.training.enhance_data import in_turn

RATE = 16_000


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    """int16 bursts; silence for 0 Hz."""
    time = np.arange(int(seconds * RATE)) / RATE
    return np.round(8_000 * np.sin(2 * np.pi * hz * time) * (np.sin(10 * time) > -0.5)).astype(np.int16)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Four made clips of two voices, two recordings of which one is silent, a recorded noise; a train clip."""
    said = [
        ("made", "a", "clean", 300), ("made", "a", "clean", 400), ("made", "b", "clean", 500),
        ("made", "b", "snr5", 600), ("people", "people/c", "real", 250), ("people", "people/c", "real", 0),
    ]  # fmt: skip
    clips = [
        Clip(f"test/{source}/{n}", "word", speaker, "test", source, condition, None, 0, 0)
        for n, (source, speaker, condition, _) in enumerate(said)
    ]
    pieces = [tone(hz) for *_, hz in said]
    clips.append(Clip("test/noise/tap/00", "", "noise/tap", "test", "noise", "noise", "tap", 0, 0))
    clips.append(Clip("train/0", "word", "d", "train", "made", "clean", None, 0, 0))
    pieces += [tone(900, 0.5), tone(700)]
    return store.write(
        tmp_path_factory.mktemp("corpus") / "corpus", zip(clips, pieces, strict=True), [], [], [], [], {}
    )


@pytest.fixture(scope="module")
def measured(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("enhancer")
    torch.manual_seed(0)
    enhancer.save(folder, Enhancer(EnhancerSpec(width=16, sub_width=8)))
    return enhancement.evaluate(folder, corpus, "cpu")


def test_made_speech_meets_made_noise_and_recorded_speech_recorded_noise(measured):
    lines, _ = measured
    noises = {source: {x["noise"] for x in lines if x["source"] == source} for source in ("made", "people")}
    assert noises["people"] == {"tap"} and noises["made"] <= set(scenes.TEST_KINDS)
    assert {x["clip"] for x in lines} == {"test/made/0", "test/made/1", "test/made/2", "test/people/4", "test/people/5"}


def test_every_clip_has_every_condition(measured):
    lines, costs = measured
    of_one = [x["probe"].removeprefix("enhance/") for x in lines if x["clip"] == "test/made/0"]
    gains = [f"si_sdr_gain/made/snr{snr:g}" for snr in enhancement.SNRS_DB]
    ears = [f"ear_gain/made/{name}" for name in enhancement.EARS]
    stoi = [f"stoi_gain/made/snr{snr:g}" for snr in enhancement.SNRS_DB]
    assert sorted(of_one) == sorted([*gains, *stoi, *ears, "clean/made/on", "clean/made/off"])
    assert costs["cost/latency_ms"] == 8.0 and costs["cost/rtf"] > 0


def test_a_bad_clip_is_counted_and_stops_nothing(measured):
    lines, _ = measured
    bad = [x for x in lines if x["value"] is None and not x["probe"].startswith("enhance/stoi")]
    assert {x["clip"] for x in bad} == {"test/people/5"}
    found = compute(lines, bootstrap=50)
    counted = [x for x in lines if not x["probe"].startswith("enhance/stoi")]
    assert found["enhance/bad_clips"]["value"] == pytest.approx(len(bad) / len(counted))
    assert found["enhance/si_sdr_gain/people/snr0"]["n"] == 1
    assert found["enhance/si_sdr_gain/made/snr0"]["n"] == 3 and found["enhance/si_sdr_gain/made/snr0"]["speakers"] == 2


def test_a_figure_is_the_mean_of_its_lines_and_pairs_with_another_enhancers(measured):
    lines, _ = measured
    name = "enhance/ear_gain/made/N3"
    values = [x["value"] for x in lines if x["probe"] == name]
    better = [x | {"value": x["value"] + 1} if x["probe"] == name else x for x in lines]
    assert compute(lines, bootstrap=50)[name]["value"] == pytest.approx(np.mean(values))
    difference = measures(better)[name].difference(measures(lines)[name], 0, 50)
    assert (difference.value, difference.lo, difference.hi) == pytest.approx((1, 1, 1))


def test_the_gain_is_told_for_each_noise_too(measured):
    found = compute(measured[0], bootstrap=50)
    of_noises = {n: m for n, m in found.items() if n.startswith("enhance/noise_gain/made/") and n.endswith("/snr5")}
    whole = found["enhance/si_sdr_gain/made/snr5"]
    assert len(of_noises) == 3 and sum(m["n"] for m in of_noises.values()) == whole["n"]
    assert np.mean([m["value"] for m in of_noises.values()]) == pytest.approx(whole["value"])


def test_voices_take_turns(corpus):
    clips = [corpus.clips[f"test/made/{n}"] for n in (0, 1, 2)]
    assert [clip.speaker for clip in in_turn(clips, "made")] == ["a", "b", "a"] and in_turn(clips, "people") == []


def test_stoi_is_1_at_equality_and_has_no_figure_for_too_little_speech():
    speech = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert enhancement.stoi(speech, speech) == pytest.approx(1)
    assert np.isnan(enhancement.stoi(speech[:2_000], speech[:2_000]))
