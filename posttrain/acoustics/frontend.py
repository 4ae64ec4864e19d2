"""Log-mel features with torchaudio, batched, as Transformers' own extractors compute them (a test compares the two)."""

import torch
import torchaudio
from torch import nn

from posttrain.acoustics import SAMPLE_RATE, activity

LOG_GUARD = 2**-24
STD_GUARD = 1e-5
SPEECH_RANGE = 10**-3.5
"""Frames within 35 dB of a clip's loudest count as speech, here as in `scenes.active_rms`."""


class LogMel(nn.Module):
    """Waveforms → log-mel features, normalised per utterance and bin over all frames or, with `over_speech`, over
    frames with speech, so that silence around speech does not change its features.

    Shapes: waveforms (B, S) float32 zero-padded on the right, lengths (B,) in samples → features (B, F, M), zero where
    padded, and mask (B, F) bool. Padding does not change a clip's features.
    """

    def __init__(
        self,
        rate_hz: int,
        n_fft: int,
        win_length: int,
        hop_length: int,
        mel_bins: int,
        preemphasis: float = 0.0,
        over_speech: bool = False,
    ):
        """Lengths in samples; ValueError if `rate_hz` is not 16 kHz."""
        super().__init__()
        if rate_hz != SAMPLE_RATE:
            raise ValueError(f"features are for {rate_hz} Hz, expected {SAMPLE_RATE}; load another encoder")
        self.preemphasis, self.hop_length, self.over_speech = preemphasis, hop_length, over_speech
        self.spectrogram = torchaudio.transforms.Spectrogram(
            n_fft=n_fft,
            win_length=win_length,
            hop_length=hop_length,
            power=None,  # complex: its own power option takes a square root
            pad_mode="constant",
            wkwargs={"periodic": False},
        )
        self.mel = torchaudio.transforms.MelScale(
            mel_bins, SAMPLE_RATE, n_stft=n_fft // 2 + 1, norm="slaney", mel_scale="slaney"
        )

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        inside = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]  # (B, S)
        emphasised = (
            torch.cat([waveforms[:, :1], waveforms[:, 1:] - self.preemphasis * waveforms[:, :-1]], dim=1) * inside
        )  # (B, S)
        spectrum = self.spectrogram(emphasised)  # (B, bins, F), complex
        power = spectrum.real.square() + spectrum.imag.square()  # (B, bins, F)
        features = torch.log(self.mel(power) + LOG_GUARD).transpose(1, 2)  # (B, F, M)
        frames = num_frames(lengths, self.hop_length)  # (B,)
        mask = torch.arange(features.shape[1], device=features.device) < frames[:, None]  # (B, F)
        return normalise(features, mask, active(power.sum(1), mask) if self.over_speech else mask), mask


def active(power: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mask of frames loud enough to be speech (B, F), from their power (B, F) and the mask of frames that exist."""
    power = power * mask
    return (power >= SPEECH_RANGE * power.amax(1, keepdim=True)) & mask


def num_frames(samples: torch.Tensor, hop_length: int) -> torch.Tensor:
    """Samples → mel frames; the last, partial hop is left out."""
    return torch.div(samples, hop_length, rounding_mode="floor")


def normalise(features: torch.Tensor, mask: torch.Tensor, over: torch.Tensor) -> torch.Tensor:
    """Normalise each bin to mean 0 and deviation 1 over a clip's frames `over` (B, F), zero where masked; (B, F, M)."""
    weight = over.unsqueeze(-1)  # (B, F, 1)
    count = over.sum(1, keepdim=True).unsqueeze(-1)  # (B, 1, 1)
    mean = (features * weight).sum(1, keepdim=True) / count  # (B, 1, M)
    variance = ((features - mean).square() * weight).sum(1, keepdim=True) / (count - 1).clamp(min=1)  # (B, 1, M)
    return (features - mean) / (variance.sqrt() + STD_GUARD) * mask.unsqueeze(-1)  # (B, F, M)


def heard(waveform: torch.Tensor) -> torch.Tensor:
    """The part of a recording (S,) that is encoded: without silence around it; the first second if all is silence."""
    trimmed = activity.trim(waveform.numpy())
    return torch.from_numpy(trimmed) if len(trimmed) else waveform[:SAMPLE_RATE]  # (S',)


def collate(waveforms: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """A list of (S_i,) → zero-padded (B, S) and lengths (B,)."""
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    return nn.utils.rnn.pad_sequence(waveforms, batch_first=True), lengths  # (B, S), (B,)
