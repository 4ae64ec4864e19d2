"""Similarity of the modulations that reach an ear to those of clean speech: a differentiable part of HASPI v2.

HASPI v2 (Kates and Arehart 2021) follows the envelopes of auditory bands in dB above threshold, sums them with half
cosines over the bands (cepstral coefficients 2 to 6), splits each sum into modulation rates and correlates each with
clean speech's; a small network turns the correlations into intelligibility. This module returns the mean correlation.

Deviations: 1. Bands and thresholds are those of `hearing_loss`, whose output represents the impaired ear, instead of
HASPI's gammatones, compression and adaptation. 2. Envelopes of a 16 ms window, so rates end at 64 Hz. 3. No network, no
jitter, and no absolute value: an inverted envelope is worse than none. 4. Pauses have weight 0; HASPI cuts them out.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.hearing_loss import BAND_FFT, BAND_FRAME, BAND_HOP, band_power
from posttrain.acoustics.levels import db_spl

RATES_HZ = (2.0, 6.0, 10.0, 16.0, 25.0, 40.0, 64.0)
LONGEST_S = 0.24
"""Length of a modulation filter; proportionally shorter above 10 Hz, for a constant quality factor."""
COEFFICIENTS = 5
SILENCE_DB_SL = 2.5
"""Loudness of the clean speech below which a frame is a pause."""
SOFTNESS_DB = 3.0
"""Softness of the knee at threshold."""


class Modulations(nn.Module):
    """Similarity of the modulations of what an ear hears and of clean speech for a normal ear, (B, S) twice → (B,).

    1 means equal; levels are those of `levels`.
    """

    bands: torch.Tensor
    cosines: torch.Tensor
    window: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        bands = band_power()
        place = np.arange(len(bands)) / (len(bands) - 1)
        cosines = np.cos(np.pi * np.arange(1, COEFFICIENTS + 1)[:, None] * place)  # (coefficients, bands)
        cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)
        self.register_buffer("bands", torch.from_numpy(bands).float(), persistent=False)
        self.register_buffer("cosines", torch.from_numpy(cosines).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(BAND_FRAME), persistent=False)
        for number, taps in enumerate(_filters()):
            self.register_buffer(f"filter{number}", torch.from_numpy(taps).float()[:, None], persistent=False)

    def forward(self, heard: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """See the class."""
        heard_db, clean_db = self._above_threshold(heard), self._above_threshold(clean)  # (B, bands, F)
        loudness = 20 * torch.log10((10 ** (clean_db / 20)).mean(1))  # (B, F)
        spoken = (loudness > SILENCE_DB_SL).to(heard_db.dtype)[:, None]  # (B, 1, F)
        both = [self._coefficients(level, spoken) for level in (heard_db, clean_db)]  # (B · coefficients, 1, F)
        alike = []
        for number in range(len(RATES_HZ)):
            taps = self.get_buffer(f"filter{number}")
            x, y = (F.conv1d(part, taps, padding=taps.shape[-1] // 2).flatten(1) for part in both)
            alike.append(F.cosine_similarity(x, y, eps=1e-6))
        return torch.stack(alike).mean(0).view(len(heard), COEFFICIENTS).mean(1)

    def _above_threshold(self, waveforms: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(
            waveforms, BAND_FFT, BAND_HOP, BAND_FRAME, self.window, pad_mode="constant", return_complex=True
        )
        power = (spectrum.real.square() + spectrum.imag.square()) * (2 / (BAND_FFT * self.window.square().sum()))
        return F.softplus(db_spl(self.bands @ power) / SOFTNESS_DB) * SOFTNESS_DB  # (B, bands, F)

    def _coefficients(self, level_db: torch.Tensor, spoken: torch.Tensor) -> torch.Tensor:
        found = self.cosines @ level_db  # (B, coefficients, F)
        mean = (found * spoken).sum(-1, keepdim=True) / spoken.sum(-1, keepdim=True).clamp(min=1)
        return ((found - mean) * spoken).flatten(0, 1)[:, None]


def _filters() -> list[np.ndarray]:
    """In-phase and quadrature taps of each rate's filter: a raised cosine, shifted to the rate. # (2, taps)"""
    made = []
    for rate in RATES_HZ:
        length = LONGEST_S * min(1.0, RATES_HZ[2] / rate)
        half = math.floor(length * SAMPLE_RATE / BAND_HOP / 2)
        window = np.hanning(2 * half + 3)[1:-1]
        phase = 2 * np.pi * (rate if rate != RATES_HZ[0] else 0) * np.arange(-half, half + 1) * BAND_HOP / SAMPLE_RATE
        made.append(np.stack([np.cos(phase), np.sin(phase)]) * window / window.sum())
    return made
