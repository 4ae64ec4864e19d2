"""Audibility by hand."""

import numpy as np
import pytest

from posttrain.acoustics import audibility


def test_speech_bands_sum_to_its_level():
    levels = audibility.speech_levels(65)
    assert 10 * np.log10((10 ** (levels / 10)).sum()) == pytest.approx(65)
    assert levels[2] - levels[1] == pytest.approx(25.01 - 34.27 + 3.01, abs=0.01)


def test_a_normal_ear_hears_nearly_all_of_speech_and_a_deaf_one_nothing():
    assert sum(audibility.IMPORTANCE) == pytest.approx(1)
    # spectrum levels sum to 62.56 dB SPL; at 8 kHz 1.13 + 15 + 7.1 of 30 dB stand above a normal threshold
    assert audibility.audibility(np.zeros(6), 62.56) == pytest.approx(1 - 0.0549 * (1 - 23.23 / 30), abs=1e-4)
    assert audibility.audibility(np.full(6, 120.0)) == 0


def test_one_lost_band_costs_its_importance_and_half_a_range_half_of_it():
    thresholds = np.zeros(6)
    thresholds[3] = 120
    assert audibility.audibility(np.zeros(6)) - audibility.audibility(thresholds) == pytest.approx(0.2648)
    thresholds[3] = 17.32 + 65 - 62.56 + 17.7  # speech lies at threshold: its peaks, 15 of 30 dB, are heard
    assert audibility.audibility(np.zeros(6)) - audibility.audibility(thresholds) == pytest.approx(0.1324, abs=1e-4)


def test_gain_brings_it_back():
    thresholds = np.array([10, 10, 20, 55, 95, 95.0])
    assert audibility.audibility(thresholds, 65, thresholds) == pytest.approx(audibility.audibility(np.zeros(6), 65))
