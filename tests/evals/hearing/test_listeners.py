"""Clips at listeners' ears: levels, fitting, references, the better ear; figures and their pairs by hand."""

import numpy as np
import pytest
import torch

from posttrain.acoustics import audiogram
from posttrain.acoustics.audiogram import Audiogram
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.acoustics.levels import active_level
from posttrain.acoustics.mixtures import Mixture
from posttrain.evals.compute import compute
from posttrain.evals.hearing import listener_metrics, listeners, perception, words_correct
from posttrain.evals.metrics import of

RATE = 16_000
TWO = Audiogram("two", (500.0, 4000.0), (40.0, 60.0), (20.0, 30.0))


@pytest.fixture(scope="module")
def enhancer():
    torch.manual_seed(0)
    return Enhancer(EnhancerSpec(width=16, sub_width=8)).requires_grad_(False).eval()


def mixture(name: str = "test/0", speaker: str = "a", level: float = 0.1) -> Mixture:
    time = np.arange(RATE) / RATE
    clean = (level * np.sin(2 * np.pi * 400 * time) * (np.sin(8 * time) > 0)).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    return Mixture(name, speaker, "white", 5.0, clean + 0.2 * level * noise, clean)


def test_the_talker_is_at_65_db_spl_whatever_the_recordings_level(enhancer):
    one, other = (listeners.hear(enhancer, mixture(level=level), "made", TWO, "left") for level in (0.1, 0.02))
    assert float(active_level(torch.from_numpy(one.clean))) == pytest.approx(65, abs=0.01)
    assert np.allclose(one.clean, other.clean, atol=1e-4)
    assert np.allclose(one.waveforms["unaided"], other.waveforms["unaided"], atol=1e-4)


def test_fitting_and_enhancing_are_what_their_names_say(enhancer):
    place = listeners.hear(enhancer, mixture(), "made", TWO, "left")
    assert tuple(place.waveforms) == listener_metrics.PROCESSINGS
    fitted = listeners.NALR(TWO, "left")
    for plain, aided in (("unaided", "nalr"), ("enhanced", "enhanced_nalr")):
        expected = fitted(torch.from_numpy(place.waveforms[plain])[None])[0].numpy()
        assert np.allclose(place.waveforms[aided], expected, atol=1e-5)
    scale = place.waveforms["unaided"] @ mixture().noisy / (mixture().noisy @ mixture().noisy)
    assert np.allclose(
        place.waveforms["enhanced"], scale * enhancer.enhance(mixture().noisy, TWO.levels("left")), atol=1e-4
    )
    assert np.allclose(place.clean_fitted, fitted(torch.from_numpy(place.clean)[None])[0].numpy(), atol=1e-5)


def test_equal_ears_are_measured_once():
    assert listeners.ears(audiogram.bisgaard("N3")) == ("left",)
    assert listeners.ears(TWO) == ("left", "right")


def test_the_better_ear_counts_and_measures_in_the_air_take_one(enhancer, tmp_path, monkeypatch):
    """The fake HASPI is higher for a lower threshold at 250 Hz; STOI says which reference it was given."""
    fake = {
        "haspi": ("numpy", lambda task: 1 - task.thresholds_db_hl[0] / 100),
        "stoi": ("numpy", lambda task: float(np.abs(task.reference).max())),
    }
    for name, entry in fake.items():
        monkeypatch.setitem(perception.MEASURES, name, entry)
    places = [listeners.hear(enhancer, mixture(), "made", TWO, ear) for ear in listeners.ears(TWO)]
    lines = listeners.measure(places, ("haspi", "stoi"), tmp_path / "s.jsonl", jobs=1)
    value = {line["probe"].removeprefix("listener/"): line["value"] for line in lines}
    assert len(lines) == len(value) == 3 * 4
    assert value["haspi/made/two/snr5/nalr"] == pytest.approx(1 - 20 / 100)
    expected = words_correct.load().predict(0.8, TWO)
    assert value["words/made/two/snr5/nalr"] == pytest.approx(expected)
    right = places[1]
    assert value["stoi/made/two/snr5/nalr"] == pytest.approx(float(np.abs(right.clean_fitted).max()))
    assert value["stoi/made/two/snr5/enhanced"] == pytest.approx(float(np.abs(right.clean).max()))


def test_a_clip_without_a_score_in_one_ear_has_the_others(enhancer, tmp_path, monkeypatch):
    monkeypatch.setitem(
        perception.MEASURES, "haspi", ("numpy", lambda task: np.nan if task.thresholds_db_hl[0] < 30 else 0.5)
    )
    places = [listeners.hear(enhancer, mixture(), "made", TWO, ear) for ear in ("right", "left")]
    lines = listeners.measure(places, ("haspi",), tmp_path / "s.jsonl", jobs=1)
    assert {line["value"] for line in lines if "/haspi/" in line["probe"]} == {0.5}
    lines = listeners.measure(places[:1], ("haspi",), tmp_path / "t.jsonl", jobs=1)
    assert len(lines) == 8 and {line["value"] for line in lines} == {None}


def made(processing: str, values: list[float | None], measure: str = "haspi") -> list[dict]:
    probe = f"listener/{measure}/made/N3/snr5/{processing}"
    return [
        {"id": f"{probe}/{i}", "probe": probe, "clip": f"{i}", "speaker": f"v{i}", "value": value}
        for i, value in enumerate(values)
    ]


def test_a_figure_is_a_mean_paired_by_clip_with_the_same_without():
    """By hand: clips 0 and 1 have both; (0.9 − 0.5 + 0.7 − 0.5) / 2 = 0.3. Of 9 scores 1 is bad."""
    lines = made("unaided", [0.2, 0.3, 0.4]) + made("nalr", [0.5, 0.5, None]) + made("enhanced_nalr", [0.9, 0.7, 0.8])
    found = compute(lines, bootstrap=200)
    both = found["listener/haspi/made/N3/snr5/enhanced_nalr"]
    assert both["value"] == pytest.approx(0.8) and both["n"] == both["clips"] == both["speakers"] == 3
    assert both["delta_vs_without"] == pytest.approx(0.3)
    lo, hi = both["delta_without_ci95"]
    assert 0.2 - 1e-9 <= lo <= 0.3 <= hi <= 0.4 + 1e-9
    assert found["listener/haspi/made/N3/snr5/nalr"]["delta_vs_without"] == pytest.approx(0.25)
    assert "delta_vs_without" not in found["listener/haspi/made/N3/snr5/unaided"]
    assert found["listener/bad_clips"]["value"] == pytest.approx(1 / 9)


def test_word_errors_pair_with_the_same_clips_without_the_enhancer():
    """By hand: 2 of 8 words wrong with it, 4 of 8 without: −25 points."""
    lines = []
    for probe, wrong in (("wer_enhanced/snr0", 1), ("wer_unenhanced/snr0", 2)):
        counts = {"errors": wrong, "encoder_errors": 1, "words": 4}
        lines += [{"id": f"{probe}/{i}", "probe": probe, "clip": str(i), "speaker": f"v{i}"} | counts for i in range(2)]
    found = compute(lines, bootstrap=50)
    assert found["wer_enhanced/snr0"]["value"] == pytest.approx(0.25)
    assert found["wer_enhanced/snr0"]["delta_vs_without"] == pytest.approx(-0.25)
    assert found["wer_enhanced/snr0"]["delta_vs_encoder"] == pytest.approx(0)
    assert found["encoder_wer_enhanced/snr0"]["delta_vs_without"] == 0
    assert all(of(name).better == -1 for name in found)
    assert not any(name.startswith(("wer/", "grpo/")) for name in found)


def test_more_is_better_for_the_ear_and_less_for_errors():
    for measure in ("haspi", "hasqi", "words", "si_sdr", "stoi", "pesq"):
        assert of(f"listener/{measure}/made/N3/snr5/nalr").better == 1
    assert of("listener/wer/made/N3/snr5/nalr").better == of("listener/bad_clips").better == -1
