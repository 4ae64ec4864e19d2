"""How much of speech's modulations reaches an ear, held against the correlations inside pyclarity's HASPI v2."""

import numpy as np
import pytest
import torch

from posttrain.acoustics import audiogram, scenes
from posttrain.acoustics.fitting import NALR
from posttrain.acoustics.hearing_loss import HearingLoss
from posttrain.acoustics.levels import present
from posttrain.acoustics.modulations import Modulations
from tests.acoustics.test_hearing_loss import speechlike, thresholds

MEASURE = Modulations()
CLEAN = speechlike(4.0)


def noisy(snr_db: float, kind: str = "white") -> torch.Tensor:
    noise = scenes.noise(kind, CLEAN.shape[1], np.random.default_rng(1), [CLEAN[0].numpy()])
    return torch.from_numpy(scenes.mix(CLEAN[0].numpy(), noise, snr_db))[None]


def test_speech_is_wholly_like_itself_at_any_level_that_is_heard():
    assert MEASURE(CLEAN, CLEAN).item() == pytest.approx(1, abs=1e-5)
    assert MEASURE(present(CLEAN, 75), CLEAN).item() > 0.95


def test_noise_takes_away_what_it_hides_and_silence_all():
    kept = [MEASURE(noisy(snr), CLEAN).item() for snr in (20, 10, 5, 0, -5)]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 0.7 and kept[-1] < 0.6
    assert abs(MEASURE(torch.zeros_like(CLEAN), CLEAN).item()) < 0.01


def test_a_loss_hides_and_fitting_brings_some_of_it_back():
    ear, who = HearingLoss(), audiogram.bisgaard("N3")
    unaided, fitted = (MEASURE(ear(wave, thresholds("N3")), CLEAN).item() for wave in (CLEAN, NALR(who)(CLEAN)))
    assert unaided + 0.02 < fitted < 1


def test_rows_do_not_hang_on_each_other_and_the_gradient_is_finite_even_of_silence():
    both = torch.cat([noisy(0), torch.zeros_like(CLEAN)]).requires_grad_()
    kept = MEASURE(both, CLEAN.expand(2, -1))
    assert kept[0].item() == pytest.approx(MEASURE(noisy(0), CLEAN).item(), abs=1e-5)
    kept.sum().backward()
    assert both.grad is not None and torch.isfinite(both.grad).all() and both.grad[0].abs().max() > 0


def test_it_goes_with_the_correlations_in_haspi():
    haspi = pytest.importorskip("clarity.evaluator.haspi.haspi")
    from clarity.utils.audiogram import Audiogram

    listener = audiogram.bisgaard("N3")
    hz = np.array([250.0, 500.0, 1000.0, 2000.0, 4000.0, 6000.0])
    levels = Audiogram(levels=listener.at(hz, "left"), frequencies=hz)
    clean, ours, theirs = CLEAN[:, :24_000], [], []
    for kind in ("white", "babble"):
        for snr in (-5, 3, 15):
            wave = NALR(listener)(noisy(snr, kind)[:, :24_000])
            np.random.seed(0)
            _, raw = haspi.haspi_v2(clean[0].numpy(), 16_000, wave[0].numpy(), 16_000, levels)
            theirs.append(float(np.mean(raw[:7])))
            ours.append(MEASURE(HearingLoss()(wave, thresholds("N3")), clean).item())
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9
