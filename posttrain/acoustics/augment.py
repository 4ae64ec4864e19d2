"""Augmentation on the fly: speed, room and noise on waveforms, SpecAugment (torchaudio) on log-mel features."""

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio

from posttrain.acoustics import SAMPLE_RATE, scenes
from posttrain.acoustics.frontend import collate

SPEEDS = (0.88, 0.94, 1.0, 1.0, 1.0, 1.06, 1.12)
"""A wider range slows the encoder's learning."""
SNR_DB = (-2.0, 22.0)
NOISE_S = 6.0
SAMPLES_STEP = 8_000
"""Batches are padded to a multiple of this many samples, so that kernels are built for fewer shapes."""


class Augmenter:
    """Augments clips with its own generator: one seed gives one sequence of augmented clips."""

    def __init__(
        self,
        talkers: list[torch.Tensor],
        recorded: list[torch.Tensor],
        noise_probability: float,
        room_probability: float,
        seed: int,
        variety: int = 240,
    ):
        """`talkers`: clean speech (S,) for babble. `recorded`: real noises, drawn half the time if there are any.

        `variety`: number of generated noises to draw from; there are a sixth as many rooms.
        """
        self.rng = np.random.default_rng(seed)
        self.noise_probability = noise_probability
        self.room_probability = room_probability
        voices = [talker.numpy() for talker in talkers]
        samples = int(NOISE_S * SAMPLE_RATE)
        kinds = [scenes.TRAIN_KINDS[i % len(scenes.TRAIN_KINDS)] for i in range(variety)]
        self.noises = [scenes.noise(kind, samples, self.rng, voices) for kind in kinds] if noise_probability else []
        self.recorded = [noise.numpy() for noise in recorded]
        self.rooms = scenes.rooms("train", max(2, variety // 6)) if room_probability else []
        self.speeds = [torchaudio.transforms.Speed(SAMPLE_RATE, speed) for speed in SPEEDS]
        self.spec = torchaudio.transforms.SpecAugment(
            n_time_masks=2, time_mask_param=12, n_freq_masks=2, freq_mask_param=12, p=0.2, zero_masking=True
        )

    def waveforms(self, clips: list[torch.Tensor], noisy: list[bool]) -> list[torch.Tensor]:
        """Speed (one factor a batch) and room for all, noise for those that are not `noisy` already; list of (S_i,)."""
        speed = self.speeds[self.rng.integers(len(self.speeds))]
        padded, lengths = collate(clips)
        padded = F.pad(padded, (0, -padded.shape[1] % SAMPLES_STEP))
        sped, lengths = speed(padded, lengths)  # (B, S), (B,)
        return [self._clip(clip[:n], was) for clip, n, was in zip(sped, lengths.tolist(), noisy, strict=True)]

    def _clip(self, clip: torch.Tensor, noisy: bool) -> torch.Tensor:
        waveform = clip.numpy()
        if self.rooms and self.rng.random() < self.room_probability:
            response = self.rooms[self.rng.integers(len(self.rooms))]
            waveform = scenes.reverberate(waveform, response)[: len(waveform)]
        wanted = self.noises and not noisy and self.rng.random() < self.noise_probability
        if wanted and waveform.any():  # a recording may be all zeros and then has no SNR
            waveform = scenes.mix(waveform, self._noise(len(waveform)), self.rng.uniform(*SNR_DB))
        return torch.from_numpy(waveform)

    def _noise(self, samples: int) -> np.ndarray:
        pool = self.recorded if self.recorded and self.rng.random() < 0.5 else self.noises
        noise = pool[self.rng.integers(len(pool))]
        return np.take(noise, np.arange(samples) + self.rng.integers(len(noise)), mode="wrap")  # (S,)

    def features(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Apply time and frequency masks, different for each clip; (B, F, M) → (B, F, M)."""
        return self.spec(log_mel.transpose(1, 2).unsqueeze(1)).squeeze(1).transpose(1, 2)  # (B, F, M)
