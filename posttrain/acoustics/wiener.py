"""A classical denoiser without training: the floor that a trained one has to beat."""

import numpy as np

from posttrain.acoustics import SAMPLE_RATE

HOP = 256
WINDOW = np.sqrt(0.5 - 0.5 * np.cos(np.pi * np.arange(2 * HOP) / HOP))
"""Root of a Hann window: used twice, it overlap-adds to 1. # (2 · HOP,)"""
FIRST = round(0.1 * SAMPLE_RATE / HOP)
"""Frames whose mean power is the first estimate of the noise."""
DECISION = 0.98
"""Weight of the frame before in the a-priori SNR."""
PRIOR_FLOOR = 10 ** (-25 / 10)
"""Least a-priori SNR, which keeps musical noise down (Cappé 1994)."""
SPEECH_SNR = 10 ** (15 / 10)
"""The a-priori SNR that speech has where it is present."""
PRESENCE, CERTAIN, NOISE = 0.9, 0.99, 0.8
"""Smoothing of the presence of speech, its limit, and smoothing of the noise."""
FLOOR = 1e-12
"""Added to the power of each bin; below any microphone's own noise."""


class Wiener:
    """Wiener filter with the decision-directed a-priori SNR, one hop of samples at a time, HOP samples late.

    Frames of 32 ms with 50 % overlap. Sources: Ephraim and Malah 1984 (decision-directed), Scalart and Filho 1996
    (Wiener gain); the noise is the mean of the first 100 ms, then followed where speech is unlikely (Gerkmann and
    Hendriks 2012).
    """

    def __init__(self):
        bins = HOP + 1
        self.past, self.tail = np.zeros(HOP), np.zeros(HOP)
        self.noise, self.speech, self.presence = np.zeros(bins), np.zeros(bins), np.zeros(bins)
        self.frames = 0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The next HOP samples of the input → the next of the output, float32 (HOP,) each."""
        spectrum = np.fft.rfft(np.concatenate([self.past, samples]) * WINDOW)  # (HOP + 1,)
        power = np.abs(spectrum) ** 2 + FLOOR
        self._follow_noise(power)
        snr = np.maximum(power / self.noise - 1, 0)
        prior = np.maximum(DECISION * self.speech / self.noise + (1 - DECISION) * snr, PRIOR_FLOOR)
        gain = prior / (1 + prior)
        self.speech = gain**2 * power
        frame = np.fft.irfft(gain * spectrum) * WINDOW  # (2 · HOP,)
        made = self.tail + frame[:HOP]
        self.past, self.tail = samples, frame[HOP:]
        return made.astype(np.float32)

    def _follow_noise(self, power: np.ndarray) -> None:
        self.frames += 1
        if self.frames <= FIRST:
            self.noise = self.noise + (power - self.noise) / self.frames
            return
        exponent = power / self.noise * SPEECH_SNR / (1 + SPEECH_SNR)
        present = 1 / (1 + (1 + SPEECH_SNR) * np.exp(-exponent))
        self.presence = PRESENCE * self.presence + (1 - PRESENCE) * present
        present = np.where(self.presence > CERTAIN, np.minimum(present, CERTAIN), present)
        expected = present * self.noise + (1 - present) * power
        self.noise = NOISE * self.noise + (1 - NOISE) * expected
