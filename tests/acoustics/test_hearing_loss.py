"""The simulated ear: what is inaudible, what is loud, what is smeared; held against pyclarity's MSBG."""

import numpy as np
import pytest
import torch

from posttrain.acoustics import audiogram
from posttrain.acoustics.audiogram import AUDIOMETRIC_HZ
from posttrain.acoustics.hearing_loss import HearingLoss, internal_noise, severities
from posttrain.acoustics.levels import db_spl, present, rms_at

EAR = HearingLoss()
SECONDS = torch.arange(32_000) / 16_000


def tone(hz: float, level_db_spl: float) -> torch.Tensor:
    return (rms_at(level_db_spl) * 2**0.5 * torch.sin(2 * torch.pi * hz * SECONDS))[None]


def level(waveform: torch.Tensor) -> float:
    """dB SPL of the middle second."""
    return float(db_spl(waveform[0, 8_000:24_000].square().mean()))


def thresholds(name: str) -> torch.Tensor:
    return torch.from_numpy(audiogram.find(name).levels())[None].float()


def speechlike(seconds: float = 2.0) -> torch.Tensor:
    """A harmonic source under moving formants, in syllables; 65 dB SPL. # (1, S)"""
    t = np.arange(int(seconds * 16_000)) / 16_000
    rng = np.random.default_rng(0)
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * t)) / 16_000
    out = np.zeros_like(t)
    for harmonic in range(1, 50):
        hz = 120.0 * harmonic
        formants = [(500 + 200 * np.sin(2 * np.pi * 1.3 * t), 1.0), (1500 + 500 * np.sin(2 * np.pi * 1.9 * t), 0.5)]
        formants.append((2800 + 0 * t, 0.3))
        out += sum(a / (1 + ((hz - f) / 120) ** 2) for f, a in formants) * np.sin(harmonic * phase)
    hiss = rng.standard_normal(len(t)) * 0.3 * (np.sin(2 * np.pi * 1.5 * t) > 0.6)
    syllables = np.clip(np.sin(2 * np.pi * 2 * t), 0, 1)
    return present(torch.from_numpy((out * syllables + hiss) + 1e-4 * rng.standard_normal(len(t))).float()[None], 65)


def test_a_normal_ear_hears_what_is_there():
    clip = speechlike()
    assert torch.allclose(EAR(clip, thresholds("normal")), clip, atol=1e-4)


@pytest.mark.parametrize("hz", [500, 1000, 4000])
@pytest.mark.parametrize(("loss", "slope"), [(20, 105 / 85), (40, 105 / 65), (60, 105 / 45)])
def test_a_tone_20_db_louder_is_louder_by_20_db_times_the_slope_of_recruitment(hz, loss, slope):
    flat = torch.full((1, 8), float(loss))
    louder, softer = (level(EAR(tone(hz, spl), flat)) for spl in (85, 65))
    assert louder - softer == pytest.approx(20 * slope, abs=0.1)


def test_a_tone_at_threshold_falls_to_about_0_db_and_at_105_db_spl_it_is_loud():
    flat = torch.full((1, 8), 50.0)
    # 50 − (105/55 − 1)(105 − 49.1) = −0.8 in the band at the tone; those beside it hear less of it and fall further:
    # together −6.4 was measured, and −4.9 with MSBG
    assert level(EAR(tone(1000, 50), flat)) == pytest.approx(-0.8, abs=6)
    assert level(EAR(tone(1000, 105), flat)) == pytest.approx(104.2, abs=6)


def test_only_the_frequencies_that_are_lost_are_lost():
    steep = torch.tensor([[0.0, 0, 0, 0, 60, 80, 80, 80]])
    assert level(EAR(tone(500, 65), steep)) > 60
    assert level(EAR(tone(6000, 65), steep)) < 15


def test_more_loss_is_never_louder():
    clip = speechlike()
    heard = [level(EAR(clip, thresholds(name))) for name in ("normal", "N1", "N2", "N3", "N4", "N5", "N6", "N7")]
    assert heard == sorted(heard, reverse=True) and heard[-1] < -20


def test_severity_is_the_mean_of_2_to_8_khz():
    assert severities(torch.cat([thresholds(name) for name in ("normal", "N1", "N2", "N4")])).tolist() == [0, 1, 2, 3]


def test_a_severe_loss_smears_formants():
    clip = speechlike()
    contrast = []
    for severity in range(4):
        smeared = EAR._smeared(clip, torch.tensor([severity]))
        spectrum = torch.stft(smeared, 256, window=torch.hann_window(256), return_complex=True).abs().square().mean(-1)
        contrast.append(float(spectrum[0, 5:60].log().std()))
    assert contrast == sorted(contrast, reverse=True) and contrast[3] < 0.8 * contrast[0]


def test_rows_of_a_batch_are_different_listeners():
    clip = speechlike()
    alone = [EAR(clip, thresholds(name)) for name in ("N1", "S2", "normal")]
    together = EAR(clip.expand(3, -1), torch.cat([thresholds(name) for name in ("N1", "S2", "normal")]))
    assert torch.allclose(torch.cat(alone), together, atol=1e-4)


@pytest.mark.parametrize("name", ["normal", "N3", "N7"])
def test_gradients_reach_the_waveform_and_are_finite_even_for_silence(name):
    for clip in (speechlike(), torch.zeros(1, 16_000)):
        clip = clip.clone().requires_grad_()
        EAR(clip, thresholds(name)).square().mean().backward()
        assert torch.isfinite(clip.grad).all()
    if name != "N7":
        clip = speechlike().requires_grad_()
        EAR(clip, thresholds(name)).square().mean().backward()
        assert clip.grad.abs().max() > 0


def test_the_gradient_is_that_of_the_output():
    clip = speechlike(0.3)
    direction = torch.randn(clip.shape, generator=torch.Generator().manual_seed(1)) * 0.01

    def loss(x: torch.Tensor) -> torch.Tensor:
        return EAR(x, thresholds("N3")).square().sum()

    leaf = clip.clone().requires_grad_()
    loss(leaf).backward()
    step = 0.05
    finite = float((loss(clip + step * direction) - loss(clip - step * direction)) / (2 * step))
    assert float((leaf.grad * direction).sum()) == pytest.approx(finite, rel=0.03)


def test_thresholds_that_do_not_fit_the_waveforms_are_refused():
    with pytest.raises(ValueError, match=r"expected \(B, S\) and \(B, 8\)"):
        EAR(torch.zeros(2, 16_000), thresholds("N3"))


@pytest.mark.parametrize("name", ["N1", "N3", "S2"])
def test_band_levels_follow_those_of_pyclaritys_msbg(name):
    """Levels in third octaves and 32 ms, where MSBG leaves more than 0 dB SPL.

    Measured here and on recorded clips of the Clarity challenge: correlation 0.98 to 1.00, and a mean within 4 dB in
    every band; ours is 1 to 3 dB lower from moderate losses on, as the gains of neighbouring bands are averaged without
    their phases. Narrower filters for all severities gave differences of 10 dB.
    """
    msbg = pytest.importorskip("clarity.evaluator.msbg.msbg", reason="pip install 'posttrain[hearing]'")
    import soxr
    from clarity.evaluator.msbg.msbg_utils import measure_rms
    from clarity.utils.audiogram import Audiogram

    clip, levels = speechlike(), audiogram.find(name).levels()
    ear = msbg.Ear(equiv_0db_spl=65, ahr=0)
    ear.set_audiogram(Audiogram(levels=levels, frequencies=np.array(AUDIOMETRIC_HZ)))
    theirs_in = soxr.resample(clip[0].double().numpy(), 16_000, 44_100)
    active = measure_rms(theirs_in, 44_100, -12)[0]  # undo its rescaling by pauses
    theirs = soxr.resample(ear.process(theirs_in * active / theirs_in.std())[0], 44_100, 16_000)
    ours = EAR(clip, torch.from_numpy(levels)[None].float())[0].numpy()
    n = 2**17
    lag = int(np.argmax(np.fft.irfft(np.fft.rfft(theirs, n) * np.fft.rfft(ours, n).conj())[:2_000]))
    a, b = band_levels(ours), band_levels(theirs[lag:])
    frames = min(len(a), len(b))
    a, b = a[:frames], b[:frames]
    heard = (b > 0) & (a > -20)
    assert heard.sum() > 200
    assert np.corrcoef(a[heard], b[heard])[0, 1] > 0.97
    for band in range(a.shape[1]):
        if heard[:, band].sum() > 20:
            assert abs((a - b)[:, band][heard[:, band]].mean()) < 5


def band_levels(waveform: np.ndarray) -> np.ndarray:
    """dB SPL in third octaves from 250 Hz to 4 kHz and frames of 32 ms. # (frames, 5)"""
    frames = np.stack([waveform[i : i + 512] for i in range(0, len(waveform) - 512, 256)]) * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2 * 2 / (512 * (np.hanning(512) ** 2).sum())
    hz = np.fft.rfftfreq(512, 1 / 16_000)
    bands = [power[:, (hz > c * 2 ** (-1 / 6)) & (hz < c * 2 ** (1 / 6))].sum(1) for c in (250, 500, 1000, 2000, 4000)]
    return 10 * np.log10(np.stack(bands, 1) + 1e-12) + 65


def test_internal_noise_has_the_level_of_the_standard():
    """ANSI S3.5: −12.5 dB SPL per Hz at 1 kHz, −25.9 at 4 kHz; within 1 dB, the spread over so many bins."""
    from scipy import signal

    noise = internal_noise(160_000, torch.Generator().manual_seed(0)).double().numpy()
    hz, density = signal.welch(noise, 16_000, nperseg=4096)
    for centre, level in ((1000, -12.5), (4000, -25.9)):
        near = density[(hz > centre * 0.97) & (hz < centre * 1.03)].mean()
        assert 10 * np.log10(near) + 65 == pytest.approx(level, abs=1)
