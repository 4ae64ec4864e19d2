"""Mixtures: what is asked for is what comes; the same seed, the same sounds; SI-SDR by hand."""

import numpy as np
import pytest

from posttrain.acoustics import scenes
from posttrain.acoustics.mixtures import LEVEL_DBFS, QUIET_SNR_DB, Drawn, fixed, si_sdr

RATE = 16_000


def audio(clip: str) -> np.ndarray:
    """A tone in bursts as long as the clip's name says; silence for 0 Hz."""
    hz, seconds = clip.split("/")
    time = np.arange(int(float(seconds) * RATE)) / RATE
    return (0.1 * np.sin(2 * np.pi * float(hz) * time) * (np.sin(2 * np.pi * 2 * time) > -0.5)).astype(np.float32)


def drawn(seed: int = 0) -> Drawn:
    return Drawn(["300/1", "500/3"], ["900/2"], audio, (-5, 15), 0.25, 0.0, 4, seed)


def test_batches_have_the_levels_and_ratios_asked_for():
    noisy, clean = drawn().batch(60, RATE)
    assert noisy.shape == clean.shape == (60, RATE) and noisy.dtype == np.float32
    assert np.abs(noisy).max() <= 0.981
    assert max(20 * np.log10(scenes.active_rms(b)) for b in clean) < LEVEL_DBFS[1] + 0.1
    snrs = [20 * np.log10(scenes.active_rms(b) / scenes.rms(a - b)) for a, b in zip(noisy, clean, strict=True)]
    assert -5.1 < min(snrs) < 0 and 15.1 < max(snrs) < QUIET_SNR_DB[1] + 0.1
    assert 5 <= sum(snr > 15.1 for snr in snrs) <= 30


def test_one_seed_is_one_sequence():
    first, again, other = (drawn(seed).batch(3, RATE)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_silent_speech_and_silent_noise_do_not_stop_training():
    silent = Drawn(["0/1"], ["0/2"], audio, (-5, 15), 0.0, 0.0, 1, 0)
    noisy, clean = silent.batch(4, RATE)
    assert not noisy.any() and not clean.any()
    quiet = Drawn(["300/1"], ["0/2"], audio, (-5, 15), 0.0, 0.0, 1, 0)
    assert np.isfinite(quiet.batch(8, RATE)[0]).all()


def test_test_mixtures_hang_on_the_clip_alone_and_have_their_ratio():
    speech = [("300/1", "a"), ("500/3", "b"), ("700/2", "a")]
    made = list(fixed(speech, audio, scenes.TEST_KINDS, [0.0, 10.0]))
    assert [(m.id, m.snr_db) for m in made[:3]] == [("300/1", 0.0), ("300/1", 10.0), ("500/3", 0.0)]
    assert len({m.noise for m in made}) == 3
    for m in made:
        assert 20 * np.log10(scenes.active_rms(m.clean) / scenes.rms(m.noisy - m.clean)) == pytest.approx(
            m.snr_db, abs=0.01
        )
    assert np.array_equal(next(fixed(speech, audio, scenes.TEST_KINDS, [0.0])).noisy, made[0].noisy)


def test_recorded_noise_is_repeated_to_the_speech_and_silence_comes_as_it_is():
    noise = ("tap", audio("900/0.5"))
    [mixture] = fixed([("300/2", "a")], audio, [noise], [5.0])
    assert mixture.noise == "tap" and len(mixture.noisy) == 2 * RATE
    [silent] = fixed([("0/1", "a")], audio, [noise], [5.0])
    assert not silent.noisy.any()


def test_si_sdr_by_hand():
    target = np.array([1.0, 0, 0, 0])
    assert si_sdr(np.array([2.0, 2, 0, 0]), target) == pytest.approx(0)
    assert si_sdr(np.array([-3.0, 0.3, 0, 0]), target) == pytest.approx(20)
    assert si_sdr(target, target) > 200
    assert np.isnan(si_sdr(target, 0 * target)) and np.isnan(si_sdr(np.array([np.nan, 0, 0, 0]), target))
