"""Pairs of noisy and clean speech: drawn anew for training, always the same for evaluation."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from posttrain.acoustics import SAMPLE_RATE, scenes

LEVEL_DBFS = (-44.0, -18.0)
"""Level of the speech in training mixtures."""
QUIET_SNR_DB = (15.0, 40.0)
"""SNR of mixtures that should stay unchanged."""
NOISE_S = 6.0
BABBLE_TALKERS = 200
PEAK = 0.98

Audio = Callable[[str], np.ndarray]
"""Clip id → float32 (S,)."""


class Drawn:
    """Endless training mixtures from their own generator: one seed gives one sequence."""

    def __init__(
        self,
        speech: Sequence[str],
        recorded: Sequence[str],
        audio: Audio,
        snr_db: tuple[float, float],
        quiet_share: float,
        room_share: float,
        variety: int,
        seed: int,
    ):
        """`speech`: clips to be enhanced; `recorded`: noises, drawn half the time if there are any.

        `quiet_share`: share of mixtures with almost no noise. `variety`: number of generated noises to draw from;
        there are a sixth as many rooms.
        """
        self.rng = np.random.default_rng(seed)
        self.speech, self.audio = list(speech), audio
        self.snr_db, self.quiet_share, self.room_share = snr_db, quiet_share, room_share
        talkers = [audio(self.speech[i]) for i in self.rng.permutation(len(self.speech))[:BABBLE_TALKERS]]
        kinds = [scenes.TRAIN_KINDS[i % len(scenes.TRAIN_KINDS)] for i in range(variety)]
        samples = int(NOISE_S * SAMPLE_RATE)
        self.noises = [scenes.noise(kind, samples, self.rng, talkers) for kind in kinds]
        self.recorded = [audio(clip) for clip in recorded]
        self.rooms = scenes.rooms("train", max(2, variety // 6)) if room_share else []

    def batch(self, size: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Noisy and clean, float32 (B, S) each."""
        pairs = [self._pair(samples) for _ in range(size)]
        return np.stack([noisy for noisy, _ in pairs]), np.stack([clean for _, clean in pairs])

    def _pair(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        speech = self.audio(self.speech[self.rng.integers(len(self.speech))])
        if self.rooms and self.rng.random() < self.room_share:
            speech = scenes.reverberate(speech, self.rooms[self.rng.integers(len(self.rooms))])
        clean = _piece(speech, samples, self.rng)
        level = scenes.active_rms(clean)
        if level == 0:  # the drawn piece of a recording may be silent
            return clean, clean
        clean = clean * np.float32(10 ** (self.rng.uniform(*LEVEL_DBFS) / 20) / level)
        quiet = self.rng.random() < self.quiet_share
        snr_db, noise = self.rng.uniform(*(QUIET_SNR_DB if quiet else self.snr_db)), self._noise(samples)
        noisy = scenes.mix(clean, noise, snr_db) if noise.any() else clean
        return _below_peak(noisy, clean)

    def _noise(self, samples: int) -> np.ndarray:
        pool = self.recorded if self.recorded and self.rng.random() < 0.5 else self.noises
        noise = pool[self.rng.integers(len(pool))]
        return np.take(noise, np.arange(samples) + self.rng.integers(len(noise)), mode="wrap")  # (S,)


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
            yield Mixture(clip, speaker, kind, snr_db, *_below_peak(noisy, clean))


def si_sdr(estimate: np.ndarray, target: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of two (S,) (Le Roux et al. 2019).

    NaN if the target is silent or the estimate is not finite; callers have to count these.
    """
    estimate, target = estimate.astype(np.float64), target.astype(np.float64)
    energy = float(target @ target)
    if not energy or not np.isfinite(estimate).all():
        return float("nan")
    scaled = float(estimate @ target) / energy * target
    error = estimate - scaled
    tiny = np.finfo(np.float64).tiny
    return float(10 * np.log10((scaled @ scaled + tiny) / (error @ error + tiny)))


def _piece(speech: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """`samples` of the speech, cut at a random place, or with silence around it if it is shorter."""
    spare = len(speech) - samples
    if spare >= 0:
        start = int(rng.integers(spare + 1))
        return speech[start : start + samples]
    before = int(rng.integers(-spare + 1))
    return np.pad(speech, (before, -spare - before))


def _below_peak(noisy: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale both down equally if the mixture would clip."""
    peak = float(np.abs(noisy).max()) if len(noisy) else 0.0
    scale = np.float32(min(1.0, PEAK / peak)) if peak else np.float32(1.0)
    return noisy * scale, clean * scale
