"""A recording's level, spectrogram and gain from its blocks: what the whole has, however it is cut."""

import numpy as np
import pytest
import torch

from posttrain.acoustics.levels import active_level
from posttrain.use import before_after
from posttrain.use.before_after import COLUMNS, Course

RATE = 16_000


def noise(samples: int, channels: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((channels, samples))).astype(np.float32)


def course(sound: np.ndarray, size: int, spectrogram: bool = True) -> Course:
    made = Course(sound.shape[-1], spectrogram)
    passed = list(made.watch(sound[..., i : i + size] for i in range(0, sound.shape[-1], size)))
    assert np.array_equal(np.concatenate(passed, axis=-1), sound)
    return made


@pytest.mark.parametrize("samples", [1, 200, 320, 5_000, 48_123])
def test_the_level_is_that_of_the_whole_however_it_is_cut(samples):
    sound = noise(samples)[0]
    wanted = float(active_level(torch.from_numpy(sound)))
    for size in (1 if samples < 1_000 else 64, 999, samples):
        for spectrogram in (False, True):
            assert course(sound, size, spectrogram).level_db_spl == pytest.approx(wanted, abs=1e-3)


def test_the_level_of_two_channels_is_that_of_their_mean_power():
    one = noise(RATE)
    both = course(np.concatenate([one, np.zeros_like(one)]), 1_000).level_db_spl
    assert both == pytest.approx(course(one, 1_000).level_db_spl - 10 * np.log10(2), abs=1e-3)


def test_a_sine_has_its_level_in_its_bin():
    sine = np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE).astype(np.float32)
    spectra = course(sine, 700).spectra()
    assert spectra.shape == (161, 50)
    assert spectra.argmax(axis=0).tolist() == [20] * 50 and spectra[20] == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("seconds", [30.0, 100.3])
def test_a_plot_has_at_most_so_many_columns_however_long_the_recording(seconds):
    sound = noise(int(seconds * RATE))[0]
    before, after = course(sound, 80_000), course(2 * sound, 7_001)
    columns = before.spectra().shape[1]
    assert COLUMNS / 2 < columns <= COLUMNS and after.spectra().shape[1] == columns
    assert before_after.gain_db(before, after) == pytest.approx(20 * np.log10(2), abs=1e-3)


def test_silence_has_no_gain():
    silent = np.zeros(RATE, np.float32)
    assert not before_after.gain_db(course(silent, 100), course(silent, 100)).any()
