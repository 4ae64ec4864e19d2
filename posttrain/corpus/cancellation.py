"""Finds channels that cancel each other in their average: one is the other inverted, everywhere or in parts."""

import numpy as np

CANCELLED = 0.1
"""Channels cancel each other if the power of their average is below this share of what unrelated channels give."""
STEREO_S = 0.25
"""Length of the pieces that are checked for cancellation."""
INVERTED = 0.7
"""The same share, averaged over the bins of SPEECH_HZ, below which the whole file is inverted: noise of each channel's
own fills the average, up to 4 dB above the speech here. Microphones apart cancel in some bins and add in others."""
SPEECH_HZ = (300, 3_400)
SPECTRUM_S = 0.032


class Cancellation:
    """Compares the channels of a recording that arrives in blocks (S_i, C) at `rate_hz`."""

    def __init__(self, rate_hz: int):
        self.rate_hz = rate_hz
        self.shares: list[np.ndarray] = []
        self.spectra: list[np.ndarray] = []

    def add(self, block: np.ndarray) -> None:
        """The next samples, (S_i, C)."""
        sharp = np.diff(block, axis=0, prepend=block[:1])  # hum that all channels share must not hide speech
        self.shares.append(np.stack([_powers(each, self.rate_hz) for each in (block, sharp)]))
        self.spectra.append(_spectra(block, self.rate_hz))

    def found(self) -> bool:
        """Whether the channels cancel each other."""
        pieces = np.concatenate(self.shares, axis=1)  # (2, pieces, 2)
        return _inverted(np.sum(self.spectra, axis=0)) or any(_cancelling(powers) for powers in pieces)


def _powers(block: np.ndarray, rate_hz: int) -> np.ndarray:
    """Power of the channels' average, and what it would be for unrelated channels; offsets removed. # (pieces, 2)"""
    size = max(1, min(int(STEREO_S * rate_hz), len(block)))
    pieces = block[: len(block) // size * size].reshape(-1, size, block.shape[1])  # (pieces, S, C)
    pieces = pieces - pieces.mean(axis=1, keepdims=True)
    average = np.square(pieces.mean(axis=2)).mean(axis=1)
    return np.stack([average, np.square(pieces).mean(axis=(1, 2)) / block.shape[1]], axis=1)


def _spectra(block: np.ndarray, rate_hz: int) -> np.ndarray:
    """As `_powers`, for each frequency bin of SPEECH_HZ, summed over the block. # (2, bins)"""
    size, channels = int(SPECTRUM_S * rate_hz), block.shape[1]
    low, high = (round(f * SPECTRUM_S) for f in SPEECH_HZ)
    whole = block[: len(block) // size * size].reshape(-1, size, channels)  # (pieces, S, C)
    total, power = np.zeros((len(whole), high - low), complex), np.zeros(high - low)
    for channel in range(channels):  # one by one, for many of them take much memory
        bins = np.fft.rfft(whole[:, :, channel] * np.hanning(size), axis=1)[:, low:high]  # (pieces, bins)
        total += bins
        power += np.square(np.abs(bins)).sum(axis=0)
    return np.stack([np.square(np.abs(total)).sum(axis=0), power]) / channels**2


def _inverted(spectra: np.ndarray) -> bool:
    """Whether the channels cancel each other in the mean of the bins that have power. # (2, bins)"""
    average, unrelated = spectra
    loud = unrelated > unrelated.max(initial=0) * 1e-4
    return bool(loud.any() and (average[loud] / unrelated[loud]).mean() < INVERTED)


def _cancelling(powers: np.ndarray) -> bool:
    """Whether the channels cancel each other in a tenth of the loud pieces or more. # (pieces, 2)"""
    average, unrelated = powers[:, 0], powers[:, 1]
    loud = unrelated > unrelated.max() * 1e-2
    return bool(loud.any() and (average[loud] < CANCELLED * unrelated[loud]).mean() >= 0.1)
