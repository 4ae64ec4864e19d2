"""The Wiener filter: it takes noise from speech, leaves clean speech nearly as it was, and survives silence."""

import numpy as np
import pytest

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.mixtures import si_sdr
from posttrain.acoustics.peers import PEERS

SILENCE = SAMPLE_RATE // 4


def voiced(seconds: float = 2.0) -> np.ndarray:
    """Harmonics with a moving pitch, in syllables, after a silence; float32 (S,)."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(120 * (1 + 0.1 * np.sin(2 * np.pi * 1.3 * time))) / SAMPLE_RATE
    syllables = np.maximum(np.sin(2 * np.pi * 2 * time), 0)
    sound = 0.1 * syllables * sum(np.sin(k * phase) / k for k in range(1, 30))
    return np.concatenate([np.zeros(SILENCE), sound]).astype(np.float32)


@pytest.fixture
def noisy() -> np.ndarray:
    """White noise at 0 dB."""
    clean = voiced()
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    return clean + noise * np.float32(np.sqrt((clean**2).mean()))


def test_it_takes_white_noise_from_speech(noisy):
    """A filter that does nothing, or only turns everything down, gains none."""
    made = PEERS["wiener"].enhance(noisy)
    assert made.dtype == np.float32 and made.shape == noisy.shape
    assert si_sdr(made, voiced()) > si_sdr(noisy, voiced()) + 5


def test_noise_alone_becomes_softer_and_stays_so(noisy):
    noise = noisy - voiced()
    made = PEERS["wiener"].enhance(noise)
    assert made[SILENCE:].std() < 0.3 * noise.std()


def test_clean_speech_passes():
    assert si_sdr(PEERS["wiener"].enhance(voiced()), voiced()) > 20


def test_it_follows_noise_that_grows():
    noise = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32) * 0.01
    noise[SAMPLE_RATE:] *= 2
    made = PEERS["wiener"].enhance(noise)
    assert made[-SAMPLE_RATE:].std() < 0.3 * noise[-SAMPLE_RATE:].std()


@pytest.mark.parametrize("samples", [0, 1, 255, 512, 1_000])
def test_silence_and_short_clips_stay_finite_and_as_long(samples):
    made = PEERS["wiener"].enhance(np.zeros(samples, np.float32))
    assert made.shape == (samples,) and not made.any()
