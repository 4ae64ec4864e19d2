"""Training mixtures of noisy and clean speech, drawn anew for each batch.

A batch depends on the seed and its number alone, so training that was stopped goes on with the very same mixtures.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from posttrain.acoustics import SAMPLE_RATE, scenes
from posttrain.acoustics.mixtures import BABBLE_TALKERS, Audio, below_peak

KINDS = (*scenes.TRAIN_KINDS, "texture", "texture", "texture", "texture", "texture", "texture")
"""Kinds of generated noise; repeated ones are more frequent."""
REDRAWN = 2
"""Number of generated noises that each batch replaces."""
NOISE_S = 6.0
LEVEL_DBFS = (-44.0, -18.0)
"""Level of the speech."""
QUIET_SNR_DB = (15.0, 40.0)
"""SNR of mixtures that should stay unchanged."""
RECORDED = 0.5
"""Share of recorded noises, if there are any."""
SPEED = (0.7, 1.4)
"""Speed and pitch of a recorded noise."""
FILTER_DB = 9.0
"""Each octave of a recorded noise is raised or lowered by up to this."""
TWO_NOISES = 0.3
"""Share of mixtures with a second noise."""
LEAD = 0.4
"""Greatest share of a mixture before the first word."""
MUTED, MUTED_S = 0.05, 0.3
"""Share of mixtures that begin with digital silence, and its greatest length."""


class Drawn:
    """Training mixtures without end, from clips of speech, recorded noises and generated ones."""

    def __init__(
        self,
        speech: Sequence[tuple[str, str]],
        recorded: Sequence[str],
        audio: Audio,
        snr_db: tuple[float, float],
        quiet_share: float,
        room_share: float,
        variety: int,
        seed: int,
    ):
        """`speech`: clips (id, speaker) to be enhanced; a mixture holds as many of one speaker as it takes.

        `quiet_share`: share of mixtures with almost no noise. `variety`: number of generated noises that are in use at
        a time; there are a sixth as many rooms.
        """
        self.speech, self.audio, self.seed, self.variety = list(speech), audio, seed, variety
        self.snr_db, self.quiet_share, self.room_share = snr_db, quiet_share, room_share
        self.of_speaker: dict[str, list[str]] = {}
        for clip, speaker in speech:
            self.of_speaker.setdefault(speaker, []).append(clip)
        first = np.random.default_rng([seed, 0]).permutation(len(self.speech))[:BABBLE_TALKERS]
        self.talkers = [talker for i in first if len(talker := audio(self.speech[i][0]))]
        self.recorded = [noise for clip in recorded if len(noise := audio(clip))]
        self.rooms = scenes.rooms("train", max(2, variety // 6)) if room_share else []
        self.made: dict[int, tuple[int, np.ndarray]] = {}

    def batch(self, number: int, size: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Noisy and clean of batch `number`, float32 (B, S) each."""
        rng = np.random.default_rng([self.seed, 1, number])
        pairs = [self._pair(number, samples, rng) for _ in range(size)]
        return np.stack([noisy for noisy, _ in pairs]), np.stack([clean for _, clean in pairs])

    def _pair(self, number: int, samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        clean = self._speech(samples, rng)
        if self.rooms and rng.random() < self.room_share:
            clean = scenes.reverberate(clean, self.rooms[rng.integers(len(self.rooms))])[:samples]
        level = scenes.active_rms(clean)
        if level == 0:  # the drawn piece of a recording may be silent
            return clean, clean
        clean = clean * np.float32(10 ** (rng.uniform(*LEVEL_DBFS) / 20) / level)
        quiet = rng.random() < self.quiet_share
        snr_db, noise = rng.uniform(*(QUIET_SNR_DB if quiet else self.snr_db)), self._noise(number, samples, rng)
        if rng.random() < TWO_NOISES:
            noise = noise + np.float32(rng.uniform(0.2, 1.0)) * self._noise(number, samples, rng)
        noisy, clean = below_peak(scenes.mix(clean, noise, snr_db) if noise.any() else clean, clean)
        if rng.random() < MUTED:
            muted = np.arange(samples) < rng.uniform(0, MUTED_S) * SAMPLE_RATE
            noisy, clean = (np.where(muted, np.float32(0), sound) for sound in (noisy, clean))
        return noisy, clean

    def _speech(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        """`samples` of one speaker's clips with pauses between them, from a random place in the first; (S,)."""
        clip, speaker = self.speech[rng.integers(len(self.speech))]
        said = [self.audio(clip)]
        start = int(rng.integers(len(said[0]) + 1)) if len(said[0]) > samples else 0
        lead = np.zeros(0 if start else int(rng.uniform(0, LEAD) * samples), np.float32)
        while sum(map(len, said)) < start + samples:
            others = self.of_speaker[speaker]
            pause = np.zeros(int(rng.uniform(*scenes.GAP_S) * SAMPLE_RATE), np.float32)
            said += [pause, self.audio(others[rng.integers(len(others))])]
        return np.concatenate([lead, *said])[start : start + samples]

    def _noise(self, number: int, samples: int, rng: np.random.Generator) -> np.ndarray:
        """A piece of a recorded or of a generated noise with RMS 1, or zeros; (S,)."""
        if self.recorded and rng.random() < RECORDED:
            noise = varied(self.recorded[rng.integers(len(self.recorded))], samples, rng)
        else:
            made = self._made(number, int(rng.integers(self.variety)))
            noise = np.take(made, np.arange(samples) + rng.integers(len(made)), mode="wrap")
        level = scenes.rms(noise)
        return (noise / level).astype(np.float32) if level else np.zeros(samples, np.float32)

    def _made(self, number: int, place: int) -> np.ndarray:
        """The generated noise at this place when batch `number` is drawn; each place has a new one in turn."""
        version = (REDRAWN * number + self.variety - 1 - place) // self.variety
        known, noise = self.made.get(place, (-1, np.zeros(0)))
        if known != version:
            rng = np.random.default_rng([self.seed, 2, place, version])
            noise = scenes.noise(KINDS[place % len(KINDS)], int(NOISE_S * SAMPLE_RATE), rng, self.talkers)
            self.made[place] = version, noise
        return noise


def varied(noise: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A piece of a noise at another speed and with another spectrum, half of the time backwards; float64 (samples,)."""
    places = rng.uniform(0, len(noise)) + np.arange(samples) * rng.uniform(*SPEED)
    piece = np.interp(places % len(noise), np.arange(len(noise)), noise)
    if rng.random() < 0.5:
        piece = piece[::-1]
    octaves = _octaves(samples)
    gain_db = np.interp(octaves, np.arange(10), rng.uniform(-FILTER_DB, FILTER_DB, 10))
    return np.fft.irfft(np.fft.rfft(piece) * 10 ** (gain_db / 20), samples)


def own_snr_db(speech: np.ndarray) -> float:
    """How far a recording's quietest tenth (of 20 ms frames) lies below its loudest, in dB; infinite if it is silent.

    Tightly trimmed words have no pauses, so they have a low value whatever their noise.
    """
    frames = speech[: len(speech) // 320 * 320].reshape(-1, 320)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    quiet, loud = np.percentile(power, (10, 90)) if len(power) else (0.0, 0.0)
    return float(10 * np.log10(loud / quiet)) if quiet else float("inf")


@cache
def _octaves(samples: int) -> np.ndarray:
    """Octaves above 15.6 Hz of the rfft bins, 0 to 9."""
    return np.log2(np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 15.625) / 15.625)
