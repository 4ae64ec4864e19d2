"""One calibration: root mean square 1 is 65 dB SPL."""

import pytest
import torch

from posttrain.acoustics import levels, scenes

NOISE = torch.randn(2, 32_000, generator=torch.Generator().manual_seed(0))


def test_root_mean_square_one_is_65_db_spl_and_ten_times_that_85():
    assert levels.rms_at(65) == 1 and levels.rms_at(85) == pytest.approx(10)
    assert levels.db_spl(torch.tensor([1.0, 100.0, 0.0])).tolist() == pytest.approx([65, 85, -60])


def test_pauses_do_not_count_and_the_measure_is_that_of_the_scenes():
    quiet = torch.cat([NOISE, torch.zeros(2, 64_000)], 1)
    assert torch.allclose(levels.active_level(quiet), levels.active_level(NOISE))
    for row, level in zip(quiet, levels.active_level(quiet), strict=True):
        assert levels.rms_at(float(level)) == pytest.approx(scenes.active_rms(row.numpy()), rel=1e-5)


def test_presenting_sets_the_level_of_the_reference():
    assert levels.active_level(levels.present(NOISE * 0.01, 50)).tolist() == pytest.approx([50, 50], abs=1e-3)
    noisy = NOISE + NOISE.flip(1)
    gained = levels.present(noisy, 70, NOISE) / noisy
    assert torch.allclose(gained * NOISE, levels.present(NOISE, 70), atol=1e-4)
