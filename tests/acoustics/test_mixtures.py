"""Test mixtures: what is asked for is what comes, and the same each time; SI-SDR by hand."""

import numpy as np
import pytest

from posttrain.acoustics import scenes
from posttrain.acoustics.mixtures import fixed, si_sdr

RATE = 16_000


def audio(clip: str) -> np.ndarray:
    """A tone in bursts as long as the clip's name says; silence for 0 Hz."""
    hz, seconds = clip.split("/")
    time = np.arange(int(float(seconds) * RATE)) / RATE
    return (0.1 * np.sin(2 * np.pi * float(hz) * time) * (np.sin(2 * np.pi * 2 * time) > -0.5)).astype(np.float32)


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
    assert si_sdr(target, target) == si_sdr(2 * target, target) == pytest.approx(300)
    assert (
        np.isnan(si_sdr(0 * target, target))
        and np.isnan(si_sdr(target, 0 * target))
        and np.isnan(si_sdr(np.array([np.nan, 0, 0, 0]), target))
    )
