"""The measured latency is the one that a denoiser has by construction, and ours has no more than 8 ms."""

import numpy as np
import pytest

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.bands import HOP
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.acoustics.latency import latency_ms


@pytest.mark.parametrize("ahead", [0, 3, 100])
def test_a_known_look_ahead_is_found(ahead):
    """An output sample is that input sample plus one `ahead` of it."""

    def denoise(waveform: np.ndarray) -> np.ndarray:
        later = np.concatenate([waveform[ahead:], np.zeros(ahead, np.float32)])
        return waveform + later

    assert latency_ms(denoise, 1, 1000) == ahead + 1


def test_samples_of_a_frame_wait_for_its_end():
    def denoise(waveform: np.ndarray) -> np.ndarray:
        frames = waveform.reshape(-1, 50)
        return (frames - frames.mean(axis=1, keepdims=True)).ravel()

    assert latency_ms(denoise, 50, 1000) == 50


def test_a_change_that_nothing_shows_counts_as_none():
    assert latency_ms(np.zeros_like, 10, 1000) == 0


def test_the_enhancers_is_what_it_says_but_for_the_edge_of_its_windows():
    """Their first sample is 0 and the next ones small; the code says 8 ms."""
    made = Enhancer(EnhancerSpec(width=16, sub_width=8))
    found = latency_ms(lambda waveform: made.enhance(waveform, np.zeros(8)), HOP, SAMPLE_RATE)
    assert made.latency_ms - 0.5 < found <= made.latency_ms <= 8
