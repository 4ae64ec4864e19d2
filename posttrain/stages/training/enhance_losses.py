"""Losses of the enhancer other than the one at the ear (`modulations`).

They are the distance between enhanced and clean speech in the air, a discriminator that learns to distinguish them and,
optionally, an encoder that learns to encode the one like the other.
"""

import torch
import torch.nn.functional as F
import torchaudio
from torch import nn

from posttrain.acoustics import SAMPLE_RATE, levels
from posttrain.acoustics.enhancer import Enhancer
from posttrain.acoustics.hearing_loss import HearingLoss
from posttrain.acoustics.levels import rms_at
from posttrain.acoustics.modulations import Modulations
from posttrain.config.sections import EnhanceConfig
from posttrain.model.encoders.contract import Encoder

SDR_CAP = 1e-3
"""Noise-to-speech power that is added, so that the SDR cannot exceed 30 dB."""
RESOLUTIONS = (256, 512, 1024)
COMPRESSION = 0.3
"""Exponent of magnitudes; it weights quiet parts about as the ear does."""
SPECTRAL_DB = 10.0
"""Scales the spectral distance (a few tenths) to that of decibels."""
INAUDIBLE_DB_SPL = 0.0
CRITIC_RESOLUTIONS = ((512, 64), (1024, 80))
"""Window length in samples and number of mel bands of each of the discriminator's views."""


def distance(enhanced: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Sum of −SDR (dB) and the scaled spectral distance; (B, S) twice → (), levels as in `acoustics.levels`."""
    return -sdr(enhanced, clean).mean() + SPECTRAL_DB * spectral(enhanced, clean)


def sdr(enhanced: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Signal-to-distortion ratio in dB, (B, S) twice → (B,): SI-SDR with scale fixed at 1, since levels matter here.

    At most 30 dB; 0 dB if both signals are inaudible.
    """
    floor = rms_at(INAUDIBLE_DB_SPL) ** 2
    signal = clean.square().mean(-1) + floor
    error = (enhanced - clean).square().mean(-1) + floor
    return -10 * torch.log10(error / signal + SDR_CAP)


def spectral(enhanced: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of compressed spectra over three resolutions (Yamamoto et al. 2020); → ().

    Of magnitudes and of complex spectra, half each (Braun and Tashev 2021): the second also heeds the phase.
    """
    total = enhanced.new_zeros(())
    for size in RESOLUTIONS:
        window = torch.hann_window(size, device=enhanced.device)
        (ours, ours_complex), (wanted, wanted_complex) = (_compressed(of, size, window) for of in (enhanced, clean))
        total = total + (ours - wanted).abs().mean() + (ours_complex - wanted_complex).abs().mean()
    return total / (2 * len(RESOLUTIONS))


class Critic(nn.Module):
    """A discriminator of realism: log-mel views of a waveform at several resolutions → a score per piece of time.

    Clean speech should score 1, enhanced speech 0 (least squares, Mao et al. 2017), in the spirit of Diehl et al. 2023;
    it is not shown the noisy speech.
    """

    def __init__(self, channels: int = 64):
        super().__init__()
        self.views = nn.ModuleList(
            torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, size, hop_length=size // 4, n_mels=mels)
            for size, mels in CRITIC_RESOLUTIONS
        )
        self.judges = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(mels, channels, 5, padding=2),
                nn.LeakyReLU(0.2),
                nn.Conv1d(channels, channels, 5, stride=2, padding=2),
                nn.LeakyReLU(0.2),
                nn.Conv1d(channels, channels, 5, stride=2, padding=2),
                nn.LeakyReLU(0.2),
                nn.Conv1d(channels, 1, 3, padding=1),
            )
            for _, mels in CRITIC_RESOLUTIONS
        )

    def forward(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """(B, S) → scores (B, pieces) of each resolution."""
        seen = [(view(waveforms) + 1e-5).log() / 4 for view in self.views]
        return [judge(view).squeeze(1) for judge, view in zip(self.judges, seen, strict=True)]


def critic_loss(critic: Critic, enhanced: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Squared error of the scores: 0 if clean speech scores 1 and enhanced speech 0 everywhere."""
    pairs = zip(critic(clean), critic(enhanced.detach()), strict=True)
    return torch.stack([(1 - real).square().mean() + fake.square().mean() for real, fake in pairs]).mean()


def adversarial_loss(critic: Critic, enhanced: torch.Tensor) -> torch.Tensor:
    """Squared error of the enhanced speech's scores from 1: 0 if all of it passes for clean."""
    return torch.stack([(1 - fake).square().mean() for fake in critic(enhanced)]).mean()


class Losses(nn.Module):
    """All losses of a piece of a batch, by name: `loss` trains the enhancer, `critic` the discriminator."""

    def __init__(self, made: Enhancer, critic: Critic, machine: "Recogniser | None", config: EnhanceConfig):
        super().__init__()
        self.made, self.critic, self.machine, self.config = made, critic, machine, config
        self.ear, self.modulations = HearingLoss(), Modulations()

    def forward(
        self,
        noisy: torch.Tensor,
        clean: torch.Tensor,
        hl_db: torch.Tensor,
        taps: torch.Tensor,
        level_db_spl: float,
        judged: bool,
        rows: slice,
    ) -> dict[str, torch.Tensor]:
        """Batch (B, S) twice, thresholds (B, 8), filters of the aids (B, K), the talker's level and some rows → ()."""
        noisy, clean, hl_db, taps = noisy[rows], clean[rows], hl_db[rows], taps[rows]
        recorded = self.made(noisy, hl_db)
        # at the talker's level at the ear, so that no loss at the ear depends on how loud a recording was
        enhanced, target = (levels.present(part, level_db_spl, reference=clean) for part in (recorded, clean))
        losses = {"air": distance(enhanced, target)}
        total = losses["air"]
        if self.machine is not None:
            losses["machine"] = self.machine(recorded, clean)
            total = total + self.config.machine_weight * losses["machine"]
        if self.config.listener_weight:
            heard = self.ear(aided(enhanced, taps), hl_db)
            losses["listener"] = 1 - self.modulations(heard, target).mean()
            total = total + self.config.listener_weight * losses["listener"]
        if judged:
            losses["critic"] = critic_loss(self.critic, enhanced, target)
            losses["adversarial"] = adversarial_loss(self.critic, enhanced)
            total = total + self.config.adversarial_weight * losses["adversarial"]
        return losses | {"loss": total}


def aided(waveforms: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Filter each row with its own causal filter: (B, S) and (B, K) → (B, S)."""
    padded = F.pad(waveforms, (taps.shape[1] - 1, 0))
    return F.conv1d(padded[None], taps.flip(1)[:, None], groups=len(taps))[0]


class Recogniser(nn.Module):
    """Loss of an encoder that learns to encode denoised speech as another encodes clean speech; (B, S) twice → ().

    The squared distance of their frames, divided by that of the clean frames from their mean: from 0, if nothing is
    missed, to about 1; both are means over a piece of a batch (`pieces`). Gradients go to learner and denoiser; batch
    normalisation and dropout stay in eval().
    """

    def __init__(self, learner: Encoder, teacher: Encoder):
        super().__init__()
        self.encoders = learner, teacher
        self.learner = learner.module.requires_grad_(True).eval()
        self.teacher = teacher.module.requires_grad_(False).eval()

    def forward(self, enhanced: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """See the class."""
        learner, teacher = self.encoders
        with torch.no_grad():
            wanted = self._frames(teacher, clean)
        spread = (wanted - wanted.mean((0, 1))).square().mean()
        return (self._frames(learner, enhanced) - wanted).square().mean() / spread

    def _frames(self, encoder: Encoder, waveforms: torch.Tensor) -> torch.Tensor:
        lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        frames, _ = encoder.encode(*encoder.features(waveforms, lengths))
        return frames.float()  # (B, T, D)


def _compressed(waveforms: torch.Tensor, size: int, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, S) → compressed magnitudes (B, K, F), and spectra of these, real and imaginary parts (B, K, F, 2)."""
    spectra = torch.stft(waveforms, size, size // 4, window=window, return_complex=True) / size**0.5
    power = spectra.real.square() + spectra.imag.square() + 1e-8
    magnitudes = power ** (COMPRESSION / 2)
    return magnitudes, torch.view_as_real(spectra) * (magnitudes / power**0.5).unsqueeze(-1)
