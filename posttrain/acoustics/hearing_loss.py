"""Differentiable simulation of a hearing loss: audibility, loudness recruitment, spectral smearing.

It follows the Cambridge simulator, which pyclarity calls MSBG (Moore and Glasberg 1993, Baer and Moore 1993 and 1994);
a test compares the two. Levels are those of `levels`: root mean square 1 is 65 dB SPL.

Deviations: 1. 16 kHz and short-time spectra instead of gammatone filters at 44.1 kHz, so that it can be used in a
training loop; bands have the gammatone's magnitude, which also weights the average of gains where bands overlap;
envelopes are those of a 16 ms window. A tone is attenuated some 2 dB more than in MSBG. 2. The same spacing of bands
for every severity; their width depends on severity as in MSBG. 3. Severity is taken at 2, 3, 4, 6 and 8 kHz, measured
or not. 4. Thresholds are limited to 0 to 100 dB HL: no hearing is better than normal, and at 105 the slope would be
infinite. 5. Negative smeared power is set to 0; in MSBG the spectrum becomes complex. 6. No rescaling by pauses: MSBG
lowers the level of the active parts to that of the whole.
"""

import numpy as np
import torch
from torch import nn

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.audibility import NORMAL_THRESHOLD_DB, OCTAVE_HZ
from posttrain.acoustics.audiogram import AUDIOMETRIC_HZ
from posttrain.acoustics.levels import RMS_ONE_DB_SPL, db_spl

CATCH_UP_DB_SPL = 105.0
"""Level at which sounds are as loud to an impaired ear as to a normal one (MSBG)."""
MAXIMUM_DB_HL = 100.0
SEVERITY_DB_HL = (15.0, 35.0, 56.0)
"""Mean thresholds from 2 to 8 kHz above which a loss is mild, moderate, severe (MSBG)."""
BROADENING = (1.5, 1.5, 2.0, 3.0)
"""Width of auditory filters in equivalent rectangular bandwidths: none, mild, moderate, severe (MSBG)."""
SMEARING = ((1.0, 1.0), (1.6, 1.1), (2.4, 1.6), (4.0, 2.0))
"""Lower and upper broadening of the smearing filters, none to severe (Baer and Moore 1994)."""
SMEAR_FRAME, SMEAR_HOP = 128, 32
BAND_FRAME, BAND_HOP = 256, 64
BAND_FFT = 512
RECTIFIED_DB = 20 * np.log10(2 * np.sqrt(2) / np.pi)
"""Rectified mean of a sine relative to its root mean square; MSBG's envelope is the former."""
QUIETEST_GAIN_DB = -120.0
CORRECTION_HZ = (
    0, 50, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 750, 1000, 1250, 1500, 1600, 2000, 2500, 3000, 4000, 5000,
    6000, 6300, 8000,
)  # fmt: skip
CORRECTION_DB = (
    -40, -18.5, -14.1, -12.4, -10.9, -9.3, -7.8, -6.5, -4.8, -3.2, -2.1, -0.8, -0.2, 0, -1.3, -0.2, 0.5, 3.5, 6.4, 8.0,
    7.6, 3.7, -2.1, -3.8, -10.4,
)  # fmt: skip
"""Frontal free field to cochlea: Shaw's (1974) ear canal minus the middle ear, as tabulated in MSBG; limited to −40 dB
at 0 Hz."""


class HearingLoss(nn.Module):
    """Waveforms → waveforms that let a normal ear hear what an ear with the given thresholds would hear.

    Shapes: waveforms (B, S) at 16 kHz, thresholds_db_hl (B, 8) at AUDIOMETRIC_HZ (`Audiogram.levels`) → (B, S). Rows
    may be different listeners. Not causal: it simulates an ear, not a device.
    """

    smear: torch.Tensor
    bands: torch.Tensor
    spread: torch.Tensor
    audiogram_to_bands: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        centres = _centres()
        bin_hz = np.fft.rfftfreq(BAND_FFT, 1 / SAMPLE_RATE)
        amplitude = np.stack([_gammatone(bin_hz, centres, width) for width in BROADENING])  # (4, bands, bins)
        cochlea = 10 ** (_correction_db(bin_hz) / 10)
        smear = np.stack([_smearing(*widths) for widths in SMEARING])  # (4, bins, bins)
        smear_hz = np.fft.rfftfreq(2 * SMEAR_FRAME, 1 / SAMPLE_RATE)[:-1]
        outer = 10 ** (_correction_db(smear_hz) / 10)
        self.register_buffer("smear", _float(smear * outer[None, None, :] / outer[None, :, None]), persistent=False)
        self.register_buffer("bands", _float(amplitude**2 * cochlea), persistent=False)
        self.register_buffer("spread", _float(amplitude / amplitude.sum(1, keepdims=True)), persistent=False)
        self.register_buffer("audiogram_to_bands", _float(_interpolation(centres)), persistent=False)
        self.register_buffer("smear_window", torch.hann_window(SMEAR_FRAME), persistent=False)
        self.register_buffer("band_window", torch.hann_window(BAND_FRAME), persistent=False)

    def forward(self, waveforms: torch.Tensor, thresholds_db_hl: torch.Tensor) -> torch.Tensor:
        """See the class; ValueError if the shapes do not fit."""
        wanted = (waveforms.shape[0], len(AUDIOMETRIC_HZ))
        if waveforms.ndim != 2 or thresholds_db_hl.shape != wanted:
            raise ValueError(
                f"waveforms are {tuple(waveforms.shape)} and thresholds {tuple(thresholds_db_hl.shape)}, expected"
                f" (B, S) and (B, {wanted[1]}); give a row of Audiogram.levels for each waveform"
            )
        severity = severities(thresholds_db_hl)  # (B,)
        return self._recruit(self._smeared(waveforms, severity), thresholds_db_hl, severity)

    def _smeared(self, waveforms: torch.Tensor, severity: torch.Tensor) -> torch.Tensor:
        """Convolve power spectra of 8 ms with broad auditory filters; phases are kept (Baer and Moore 1993)."""
        if not severity.any():
            return waveforms
        window = self.get_buffer("smear_window")
        spectrum = _stft(waveforms, 2 * SMEAR_FRAME, SMEAR_HOP, window)  # (B, bins, F)
        power = spectrum.real.square() + spectrum.imag.square()
        smeared = torch.bmm(self.smear[severity], power[:, :-1]).clamp(min=0)  # (B, bins, F), the last bin left out
        smeared = nn.functional.pad(smeared, (0, 0, 0, 1))
        gain = torch.where(severity[:, None, None] > 0, _root(smeared, power), torch.ones_like(power))
        return _istft(spectrum * gain, 2 * SMEAR_FRAME, SMEAR_HOP, window, waveforms.shape[-1])

    def _recruit(self, waveforms: torch.Tensor, thresholds_db_hl: torch.Tensor, severity: torch.Tensor) -> torch.Tensor:
        """Expand each band's envelope so that the threshold falls to normal and 105 dB SPL stays 105."""
        window = self.get_buffer("band_window")
        spectrum = _stft(waveforms, BAND_FFT, BAND_HOP, window)  # (B, bins, F)
        power = spectrum.real.square() + spectrum.imag.square()
        power = power * (2 / (BAND_FFT * window.square().sum()))  # mean square, one-sided
        level = db_spl(torch.bmm(self.bands[severity], power)) + RECTIFIED_DB  # (B, bands, F)
        loss = thresholds_db_hl.to(level.dtype).clamp(0, MAXIMUM_DB_HL) @ self.audiogram_to_bands.T  # (B, bands)
        expansion = CATCH_UP_DB_SPL / (CATCH_UP_DB_SPL - loss)  # (B, bands)
        gain_db = (expansion - 1).unsqueeze(-1) * (level - CATCH_UP_DB_SPL).clamp(max=0)  # (B, bands, F)
        gain = 10 ** (gain_db.clamp(min=QUIETEST_GAIN_DB) / 20)
        gain = torch.bmm(self.spread[severity].transpose(1, 2), gain)  # (B, bins, F)
        return _istft(spectrum * gain, BAND_FFT, BAND_HOP, window, waveforms.shape[-1])


def severities(thresholds_db_hl: torch.Tensor) -> torch.Tensor:
    """0 none, 1 mild, 2 moderate, 3 severe, by the mean threshold at 2, 3, 4, 6 and 8 kHz. (B, 8) → (B,)."""
    mean = thresholds_db_hl[:, 3:].mean(1)
    return torch.bucketize(mean, torch.tensor(SEVERITY_DB_HL, device=mean.device, dtype=mean.dtype))


def band_power() -> np.ndarray:
    """Weights that sum a power spectrum of BAND_FFT into a normal ear's bands, at the cochlea. # (bands, bins)"""
    bin_hz = np.fft.rfftfreq(BAND_FFT, 1 / SAMPLE_RATE)
    return _gammatone(bin_hz, _centres(), BROADENING[0]) ** 2 * 10 ** (_correction_db(bin_hz) / 10)


def internal_noise(samples: int, generator: torch.Generator) -> torch.Tensor:
    """Noise (S,) that represents a normal ear's threshold in quiet (ANSI S3.5-1997), calibrated as in `levels`.

    Added to the output of `HearingLoss`, it hides from a model what a normal ear would not hear.
    """
    hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    level_db = np.interp(np.log(np.maximum(hz, 1.0)), np.log(OCTAVE_HZ), NORMAL_THRESHOLD_DB)  # dB SPL per Hz
    white_db = RMS_ONE_DB_SPL - 10 * np.log10(SAMPLE_RATE / 2)  # spectrum level of white noise of RMS 1
    spectrum = torch.fft.rfft(torch.randn(samples, generator=generator))
    return torch.fft.irfft(spectrum * _float(10 ** ((level_db - white_db) / 20)), samples)


def _centres() -> np.ndarray:
    """Band centres from 80 Hz to 7.8 kHz, one equivalent rectangular bandwidth apart (Glasberg and Moore 1990)."""
    ends = 21.4 * np.log10(1 + 0.00437 * np.array([80.0, 7800.0]))
    return (10 ** (np.arange(ends[0], ends[1], 1.0) / 21.4) - 1) / 0.00437


def _erb_hz(hz: np.ndarray) -> np.ndarray:
    return 24.7 * (0.00437 * hz + 1)


def _gammatone(bin_hz: np.ndarray, centres: np.ndarray, broadening: float) -> np.ndarray:
    """Magnitude of fourth-order gammatone filters (Patterson et al. 1988). # (bands, bins)"""
    width = 1.019 * broadening * _erb_hz(centres)
    return (1 + ((bin_hz[None] - centres[:, None]) / width[:, None]) ** 2) ** -2


def _correction_db(hz: np.ndarray) -> np.ndarray:
    return np.interp(hz, CORRECTION_HZ, CORRECTION_DB)


def _interpolation(centres: np.ndarray) -> np.ndarray:
    """Thresholds at AUDIOMETRIC_HZ → bands, linear over log frequency, flat beyond. # (bands, 8)"""
    rows = [np.interp(np.log(centres), np.log(AUDIOMETRIC_HZ), unit) for unit in np.eye(len(AUDIOMETRIC_HZ))]
    return np.stack(rows, axis=1)


def _smearing(lower: float, upper: float) -> np.ndarray:
    """The matrix from the excitation of normal filters to that of broad ones. # (bins, bins)

    Least squares with the normal filters mirrored at Nyquist, as in pyclarity's make_smear_mat3.
    """
    bins, half = SMEAR_FRAME, SMEAR_FRAME // 2
    normal, wide = _excitation(1, 1), _excitation(lower, upper)
    mirrored = np.concatenate([normal, np.zeros((bins, half))], axis=1)
    for i in range(half, bins):
        stop = min(2 * i - 1, 3 * half)
        mirrored[i, bins:stop] = normal[i, 2 * i - bins - np.arange(stop - bins)]
    return np.linalg.lstsq(mirrored, wide, rcond=None)[0][:bins]


def _excitation(lower: float, upper: float) -> np.ndarray:
    """Rounded-exponential filters, one per row, divided by their bandwidth (Baer and Moore 1993). # (bins, bins)"""
    bins = SMEAR_FRAME
    hz = np.arange(1, bins) * SAMPLE_RATE / (2 * bins)
    erb = _erb_hz(hz)[:, None]
    number = np.arange(1, bins)[:, None]
    side = np.where(np.arange(bins)[None] < number, lower, upper)
    g = np.abs(number - np.arange(bins)[None]) / number * (4 * hz[:, None] / (erb * side))
    filters = np.zeros((bins, bins))
    filters[0, 0] = 2 / (lower + upper)
    filters[1:] = (1 + g) * np.exp(-g) / (erb * (lower + upper) / (2 * 24.7))
    return filters


def _root(power: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """√(power / of), 1 where both vanish, with a finite gradient everywhere."""
    tiny = 1e-12
    return ((power + tiny) / (of + tiny)).sqrt()


def _stft(waveforms: torch.Tensor, n_fft: int, hop: int, window: torch.Tensor) -> torch.Tensor:
    return torch.stft(waveforms, n_fft, hop, len(window), window, pad_mode="constant", return_complex=True)


def _istft(spectrum: torch.Tensor, n_fft: int, hop: int, window: torch.Tensor, samples: int) -> torch.Tensor:
    return torch.istft(spectrum, n_fft, hop, len(window), window, length=samples)


def _float(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float()
