"""Training mixtures: what is asked for is what comes; a batch hangs on the seed and its number alone."""

import numpy as np
import pytest

from posttrain.acoustics import drawn, scenes
from posttrain.acoustics.drawn import LEVEL_DBFS, QUIET_SNR_DB, Drawn

RATE = 16_000
SPEECH = [("300/1", "a"), ("500/3", "b"), ("400/0.4", "b")]


@pytest.fixture(autouse=True)
def nothing_muted(monkeypatch):
    monkeypatch.setattr(drawn, "MUTED", 0.0)


def audio(clip: str) -> np.ndarray:
    """A tone in bursts as long as the clip's name says; silence for 0 Hz."""
    hz, seconds = clip.split("/")
    time = np.arange(int(float(seconds) * RATE)) / RATE
    return (0.1 * np.sin(2 * np.pi * float(hz) * time) * (np.sin(2 * np.pi * 2 * time) > -0.5)).astype(np.float32)


def mixed(seed: int = 0, speech=SPEECH, recorded=("900/2",), quiet_share: float = 0.25) -> Drawn:
    return Drawn(speech, recorded, audio, (-5, 15), quiet_share, 0.0, 4, seed)


def test_batches_have_the_levels_and_ratios_asked_for():
    noisy, clean = mixed().batch(0, 60, RATE)
    assert noisy.shape == clean.shape == (60, RATE) and noisy.dtype == np.float32
    assert np.abs(noisy).max() <= 0.981
    assert max(20 * np.log10(scenes.active_rms(b)) for b in clean) < LEVEL_DBFS[1] + 0.1
    snrs = [20 * np.log10(scenes.active_rms(b) / scenes.rms(a - b)) for a, b in zip(noisy, clean, strict=True)]
    assert -5.1 < min(snrs) < 0 and 15.1 < max(snrs) < QUIET_SNR_DB[1] + 0.1
    assert 5 <= sum(snr > 15.1 for snr in snrs) <= 30


def test_a_batch_is_the_same_whatever_was_drawn_before_it():
    after_others, alone = mixed(), mixed()
    for number in range(3):
        after_others.batch(number, 2, RATE)
    first, again, other = after_others.batch(3, 3, RATE), alone.batch(3, 3, RATE), mixed(1).batch(3, 3, RATE)
    assert all(map(np.array_equal, first, again)) and not np.array_equal(first[0], other[0])
    assert not np.array_equal(alone.batch(4, 3, RATE)[0], first[0])


def test_each_batch_replaces_some_of_the_generated_noises():
    source = mixed()
    before, now, later = ([source._made(number, place) for place in range(4)] for number in (0, 1, 2))
    assert sum(a is not b for a, b in zip(before, now, strict=True)) == drawn.REDRAWN
    assert all(a is not b for a, b in zip(before, later, strict=True))


def test_a_long_mixture_holds_several_clips_of_one_speaker():
    source = mixed(speech=[("300/0.5", "a"), ("500/0.5", "a"), ("3000/0.5", "b")])
    for clean in source.batch(0, 12, 6 * RATE)[1]:
        power = np.abs(np.fft.rfft(clean)) ** 2
        high = power[np.fft.rfftfreq(len(clean), 1 / RATE) > 2_000].sum() / power.sum()
        assert high < 0.05 or high > 0.95
        assert np.mean(np.abs(clean) > 1e-5) > 0.1


def test_some_begin_with_digital_silence(monkeypatch):
    monkeypatch.setattr(drawn, "MUTED", 1.0)
    for noisy, clean in zip(*mixed().batch(0, 6, RATE), strict=True):
        first = np.flatnonzero(noisy)[0]
        assert 0 < first < drawn.MUTED_S * RATE and not clean[:first].any()


def test_silent_speech_and_silent_noise_do_not_stop_training():
    noisy, clean = mixed(speech=[("0/1", "a")], recorded=["0/2"]).batch(0, 4, RATE)
    assert not noisy.any() and not clean.any()
    assert np.isfinite(mixed(recorded=["0/2"]).batch(0, 8, RATE)[0]).all()


def test_a_varied_noise_has_the_length_asked_for_and_another_pitch():
    rng = np.random.default_rng(0)
    tones = [np.argmax(np.abs(np.fft.rfft(drawn.varied(audio("900/2"), RATE, rng)))) for _ in range(20)]
    assert 600 < min(tones) < 850 and 950 < max(tones) < 1_300


def test_a_recordings_own_noise_is_seen_in_its_pauses():
    rng = np.random.default_rng(0)
    speech = np.concatenate([audio("300/2"), np.zeros(RATE, np.float32)])
    hiss = rng.standard_normal(len(speech)).astype(np.float32)
    level = scenes.active_rms(speech)
    assert drawn.own_snr_db(speech) == np.inf
    assert drawn.own_snr_db(speech + hiss * level * 10 ** (-30 / 20)) == pytest.approx(30, abs=1)
    assert drawn.own_snr_db(np.zeros(100, np.float32)) == np.inf
