"""Test mixtures of noisy and clean speech, always the same, and SI-SDR. Training draws its own: `acoustics.drawn`."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from posttrain.acoustics import scenes

BABBLE_TALKERS = 200
PEAK = 0.98
LEAST_DISTORTION = 1e-30
"""Least share of distortion, so that equal signals have a finite ratio."""

Audio = Callable[[str], np.ndarray]
"""Clip id → float32 (S,)."""


@dataclass(frozen=True)
class Mixture:
    """One test mixture."""

    id: str
    """Id of the speech's clip."""
    speaker: str
    """Unit that is resampled for intervals."""
    noise: str
    """Kind of noise."""
    snr_db: float
    """Ratio of active speech to noise."""
    noisy: np.ndarray
    """float32 (S,)."""
    clean: np.ndarray
    """The same speech at the same level, float32 (S,)."""


def fixed(
    speech: Sequence[tuple[str, str]],
    audio: Audio,
    noises: Sequence[str] | Sequence[tuple[str, np.ndarray]],
    snrs_db: Sequence[float],
) -> Iterator[Mixture]:
    """Every clip (id, speaker) at every SNR, with one noise per clip: generated kinds, or recordings (name, waveform).

    Random draws depend only on the clip's id. Babble consists of the clips themselves. A silent clip has no SNR and is
    returned unchanged, for callers to count.
    """
    talkers = [audio(clip) for clip, _ in speech[:: max(1, len(speech) // BABBLE_TALKERS)]]
    for number, (clip, speaker) in enumerate(speech):
        rng = np.random.default_rng(zlib.crc32(f"mixture {clip}".encode()))
        clean, noise = audio(clip), noises[number % len(noises)]
        if isinstance(noise, str):
            kind, wave = noise, scenes.noise(noise, len(clean), rng, talkers)
        else:
            kind, wave = noise[0], np.take(noise[1], np.arange(len(clean)) + rng.integers(len(noise[1])), mode="wrap")
        for snr_db in snrs_db:
            noisy = scenes.mix(clean, wave, snr_db) if clean.any() and wave.any() else clean
            yield Mixture(clip, speaker, kind, snr_db, *below_peak(noisy, clean))


def si_sdr(estimate: np.ndarray, target: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of two (S,) (Le Roux et al. 2019), at most 300.

    NaN if one of them is silent or the estimate is not finite; callers have to count these.
    """
    estimate, target = estimate.astype(np.float64), target.astype(np.float64)
    energy = float(target @ target)
    if not energy or not estimate.any() or not np.isfinite(estimate).all():
        return float("nan")
    scaled = float(estimate @ target) / energy * target
    error, signal = estimate - scaled, float(scaled @ scaled)
    tiny = np.finfo(np.float64).tiny
    return float(10 * np.log10((signal + tiny) / (max(float(error @ error), LEAST_DISTORTION * signal) + tiny)))


def below_peak(noisy: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale both down equally if the mixture would clip."""
    peak = float(np.abs(noisy).max()) if len(noisy) else 0.0
    scale = np.float32(min(1.0, PEAK / peak)) if peak else np.float32(1.0)
    return noisy * scale, clean * scale
