"""Hearing-aid fitting for a listener: NAL-R gain as a short causal filter, and slow and fast compression.

Both are torch modules without lookahead, and give the same samples for whole waveforms and for streams. Levels are
those of `levels`: root mean square 1 is 65 dB SPL.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from scipy import signal
from torch import nn

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.audibility import OCTAVE_HZ, speech_levels
from posttrain.acoustics.audiogram import Audiogram, Ear
from posttrain.acoustics.hearing_loss import CATCH_UP_DB_SPL, MAXIMUM_DB_HL
from posttrain.acoustics.levels import db_spl, rms_at

NAL_R_HZ = (250.0, 500.0, 1000.0, 2000.0, 4000.0, 6000.0)
NAL_R_DB = (-17.0, -8.0, 1.0, -1.0, -2.0, -2.0)
"""The constants k of Byrne and Dillon (1986, table 2) at the frequencies that pyclarity uses."""
TAPS = 221
MINIMUM_PHASE_FFT = 8192
CROSSOVERS_HZ = (1000.0, 3000.0)
SPEECH_DB_SPL = 65.0
"""Level of speech that compression leaves unchanged: NAL-R is a prescription for conversation."""
KNEE_DB = -20.0
"""Relative to such speech in the band; below it, gain no longer grows."""
MAXIMUM_RATIO = 3.0
SLOW_S, FAST_S = 0.5, 0.01
BLOCK = 128
"""Samples of a recursive filter computed at once."""
FAST_MARGIN_DB = 8.0
"""The fast detector takes over when it is this far above the slow one (Moore and Glasberg 1988)."""

Speed = Literal["slow", "fast"]
Stream = Callable[[torch.Tensor], torch.Tensor]
"""Takes the next samples (B, n), any n; returns as many."""


def nal_r(thresholds_db_hl: np.ndarray) -> np.ndarray:
    """Insertion gain in dB at NAL_R_HZ from thresholds there, one or many ears. # (…, 6) → (…, 6)

    Byrne and Dillon (1986) with pyclarity's limits: no gain below 0 dB, none at all for an ear without a loss, and
    beyond a sum of 180 dB at .5, 1 and 2 kHz a slope of 0.116 (Byrne, Parkinson and Newall 1990).
    """
    loss = np.asarray(thresholds_db_hl, dtype=float)
    three = loss[..., 1:4].sum(-1, keepdims=True)
    average = np.where(three <= 180, 0.05 * three, 9 + 0.116 * (three - 180))
    gain = np.clip(average + 0.31 * loss + np.array(NAL_R_DB), 0, None)
    return np.where(loss.max(-1, keepdims=True) > 0, gain, 0.0)


def nal_r_at(audiogram: Audiogram, frequencies_hz: np.ndarray, ear: Ear | None = None) -> np.ndarray:
    """NAL-R gain in dB at any frequencies, for the better ear unless given: linear over frequency, flat beyond."""
    gains = nal_r(audiogram.at(NAL_R_HZ, ear or audiogram.better_ear))
    return np.interp(np.asarray(frequencies_hz, dtype=float), NAL_R_HZ, gains)


class NALR(nn.Module):
    """NAL-R gain for one ear as a minimum-phase filter: waveforms (B, S) → (B, S), at 16 kHz."""

    taps: torch.Tensor

    def __init__(self, audiogram: Audiogram, ear: Ear | None = None):
        """`ear`: the better one unless given."""
        super().__init__()
        hz = np.linspace(0, SAMPLE_RATE / 2, MINIMUM_PHASE_FFT // 16 + 1)
        linear = signal.firwin2(TAPS, hz, 10 ** (nal_r_at(audiogram, hz, ear) / 20), fs=SAMPLE_RATE)
        taps = signal.minimum_phase(linear, method="homomorphic", n_fft=MINIMUM_PHASE_FFT, half=False)
        self.register_buffer("taps", torch.from_numpy(taps).float(), persistent=False)

    @property
    def delay_ms(self) -> float:
        """Largest group delay from 100 Hz to 7.9 kHz; a linear-phase filter with as many taps has 6.9 ms."""
        hz = np.linspace(100, 7_900, 400)
        _, samples = signal.group_delay((self.taps.double().numpy(force=True), 1), w=hz, fs=SAMPLE_RATE)
        return float(samples.max()) / SAMPLE_RATE * 1000

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.stream()(waveforms)

    def stream(self) -> Stream:
        """A streaming filter, which keeps the past samples that it needs."""
        past: torch.Tensor | None = None

        def push(samples: torch.Tensor) -> torch.Tensor:
            nonlocal past
            if not samples.shape[1]:
                return samples
            if past is None:
                past = samples.new_zeros(len(samples), TAPS - 1)
            joined = torch.cat([past, samples], dim=1)  # (B, taps − 1 + n)
            past = joined[:, joined.shape[1] - TAPS + 1 :]
            return nn.functional.conv1d(joined[:, None], self.taps.flip(0)[None, None])[:, 0]  # (B, n)

        return push


class Compressor(nn.Module):
    """Wide dynamic range compression for one ear in three bands: waveforms (B, S) → (B, S), at 16 kHz.

    Conversational speech is unchanged; softer sounds are amplified, louder ones attenuated. The bands are split by
    first-order filters whose sum is the input, so that there is no delay. Slow: a level over 0.5 s sets the gain, and
    one over 10 ms takes over for sudden sounds. Fast: the level over 10 ms alone sets it, syllable by syllable. The
    ratio undoes half of the recruitment that `hearing_loss` simulates and is at most 3.
    """

    ratios: torch.Tensor
    references_db: torch.Tensor

    def __init__(self, audiogram: Audiogram, ear: Ear | None = None, speed: Speed = "slow"):
        """`ear`: the better one unless given."""
        super().__init__()
        self.speed = speed
        weights = _band_weights(np.array(OCTAVE_HZ))  # (3, 6)
        loss = np.clip(audiogram.at(OCTAVE_HZ, ear or audiogram.better_ear), 0, MAXIMUM_DB_HL)
        expansion = CATCH_UP_DB_SPL / (CATCH_UP_DB_SPL - (weights @ loss) / weights.sum(1))
        levels = 10 * np.log10(weights @ 10 ** (speech_levels(SPEECH_DB_SPL) / 10))
        ratios = np.minimum(1 + (expansion - 1) / 2, MAXIMUM_RATIO)
        self.register_buffer("ratios", torch.from_numpy(ratios).float()[:, None], persistent=False)  # (3, 1)
        self.register_buffer("references_db", torch.from_numpy(levels).float()[:, None], persistent=False)  # (3, 1)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.stream()(waveforms)

    def stream(self, together: bool = False) -> Stream:
        """A streaming compressor that starts as if speech of 65 dB SPL had preceded.

        together: the rows are channels of one recording and share the gain of the loudest one in each band, so that the
        direction of sounds survives and none is amplified more than it would be alone.
        """
        lowpasses = [_one_pole(_pole(hz), torch.zeros(1)) for hz in CROSSOVERS_HZ]
        start = torch.tensor([[rms_at(float(level)) ** 2] for level in self.references_db])  # (3, 1), mean squares
        slow, fast = (_one_pole(float(np.exp(-1 / (s * SAMPLE_RATE))), start) for s in (SLOW_S, FAST_S))
        exponents = (1 / self.ratios - 1) * (np.log(10) / 20)  # (3, 1), per dB

        def push(samples: torch.Tensor) -> torch.Tensor:
            if not samples.shape[1]:
                return samples
            bands, rest = [], samples
            for lowpass in lowpasses:
                low = lowpass(rest)
                bands.append(low)
                rest = rest - low
            split = torch.stack([*bands, rest], dim=1)  # (B, 3, n)
            power = split.square()
            followed = fast(power)  # (B, 3, n)
            if self.speed == "slow":
                followed = torch.maximum(slow(power), followed * 10 ** (-FAST_MARGIN_DB / 10))
            followed = followed.amax(0, keepdim=True) if together else followed
            level = db_spl(followed)
            above = (level - self.references_db).clamp(min=KNEE_DB)
            return (split * torch.exp(above * exponents)).sum(1)  # (B, n)

        return push


def _pole(cutoff_hz: float) -> float:
    """Pole of a first-order low-pass."""
    return float(np.exp(-2 * np.pi * cutoff_hz / SAMPLE_RATE))


def _one_pole(pole: float, start: torch.Tensor) -> Stream:
    """y[t] = (1 − pole) x[t] + pole y[t − 1] along the last axis, from y[−1] = start.

    Computed with the matrix of the impulse response: torchaudio's lfilter has no state and is slower for short blocks.
    """
    steps = np.arange(1, BLOCK + 1)
    response = np.tril(pole ** np.maximum(steps[:, None] - steps[None], 0)) * (1 - pole)  # (output, input)
    kernel = torch.from_numpy(response.T.copy()).float()
    decay = torch.from_numpy(pole**steps).float()
    state = start

    def block(x: torch.Tensor) -> torch.Tensor:
        nonlocal state, kernel, decay
        kernel, decay, n = kernel.to(x), decay.to(x), x.shape[-1]
        y = torch.addcmul(x @ kernel[:n, :n], state.to(x), decay[:n])
        state = y[..., -1:]
        return y

    def push(x: torch.Tensor) -> torch.Tensor:
        return block(x) if x.shape[-1] <= BLOCK else torch.cat([block(part) for part in x.split(BLOCK, -1)], -1)

    return push


def _band_weights(hz: np.ndarray) -> np.ndarray:
    """|H|² of the compressor's three bands at the frequencies `hz`. # (3, frequencies)"""
    z = np.exp(-2j * np.pi * hz / SAMPLE_RATE)
    rest, bands = np.ones_like(z), []
    for cutoff in CROSSOVERS_HZ:
        low = rest * (1 - _pole(cutoff)) / (1 - _pole(cutoff) * z)
        bands.append(low)
        rest = rest - low
    return np.abs(np.stack([*bands, rest])) ** 2
