"""The enhancer: a causal time–frequency mask conditioned on the listener's audiogram; offline and streaming.

Latency. Frames look back over a long window, but only their last 8 ms are overlap-added, so that frequency resolution
costs no latency (Mauler and Martin 2007; in low-latency enhancement Wood and Rickard 2019 and Wang et al. 2022). A
sample is final when the second frame that covers it has arrived: LATENCY_SAMPLES after the sample itself, hop buffering
included. Later input cannot change it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.audiogram import AUDIOMETRIC_HZ
from posttrain.errors import InputError

HOP = 64
ANALYSIS = 512
SYNTHESIS = 2 * HOP
LATENCY_SAMPLES = SYNTHESIS
BINS = ANALYSIS // 2 + 1
HL_SCALE_DB = 60.0
"""Scales thresholds to about 1."""
FLOOR = 1e-9
"""Added to the power of each bin; below any microphone's own noise."""
OPEN = 1.0
"""Bias of the mask before its sigmoid: an untrained mask passes most of the signal."""
Condition = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Scale and shift before the recurrence (B, 1, width), and after it (B, 1, hidden)."""
WEIGHTS, SPEC = "enhancer.safetensors", "enhancer.json"
FORMAT = 1


@dataclass(frozen=True)
class EnhancerSpec:
    """Settings needed to rebuild the model for its weights."""

    width: int = 128
    """Width of the layer before the recurrence."""
    hidden: int = 192
    """Width of the recurrence."""
    conditioned: bool = True
    """Whether the audiogram is used; False is the control that shows its benefit."""


class Enhancer(nn.Module):
    """Noisy waveforms → enhanced ones, aligned and at the same level; `fitting` adds the gain for the hearing loss.

    Shapes: B waveforms of S samples at 16 kHz, F frames of 4 ms; hl_db (B, 8) is dB HL at AUDIOMETRIC_HZ
    (`Audiogram.levels`; zeros: normal hearing), which scale and shift the layers (FiLM, Perez et al. 2018). `denoise`
    is the strength, from 0 (none) to 1 (full): every mask m becomes 1 + denoise · (m − 1).

    Deviation from SoundStream (Zeghidour et al. 2021), where the switch is an input of the network: here the output at
    0 equals the input by construction, up to rounding.
    """

    analysis: torch.Tensor
    synthesis: torch.Tensor

    def __init__(self, spec: EnhancerSpec | None = None):
        super().__init__()
        self.spec = spec or EnhancerSpec()
        analysis, synthesis = windows()
        self.register_buffer("analysis", analysis, persistent=False)
        self.register_buffer("synthesis", synthesis, persistent=False)
        self.enter = nn.Linear(BINS, self.spec.width)
        self.recur = nn.GRU(self.spec.width, self.spec.hidden, batch_first=True)
        self.leave = nn.Linear(self.spec.hidden, BINS)
        self.film_enter = nn.Linear(len(AUDIOMETRIC_HZ), 2 * self.spec.width)
        self.film_leave = nn.Linear(len(AUDIOMETRIC_HZ), 2 * self.spec.hidden)
        for film in (self.film_enter, self.film_leave):
            nn.init.zeros_(film.bias)

    def forward(self, noisy: torch.Tensor, hl_db: torch.Tensor, denoise: float = 1.0) -> torch.Tensor:
        """(B, S) and (B, 8) → (B, S)."""
        samples = noisy.shape[1]
        padded = F.pad(noisy, (ANALYSIS - HOP, -samples % HOP + HOP))
        halves, _ = self.frames(padded, self.condition(hl_db), denoise)
        return (halves[:, 1:, 0] + halves[:, :-1, 1]).flatten(1)[:, :samples]  # (B, S)

    def condition(self, hl_db: torch.Tensor) -> Condition:
        """Scale and shift of both layers for the audiograms (B, 8)."""
        loss = hl_db / HL_SCALE_DB * self.spec.conditioned
        (scale, shift), (later_scale, later_shift) = (
            film(loss).unsqueeze(1).chunk(2, dim=-1) for film in (self.film_enter, self.film_leave)
        )
        return 1 + scale, shift, 1 + later_scale, later_shift

    def frames(
        self, padded: torch.Tensor, condition: Condition, denoise: float, hidden: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Output of each complete frame as two halves of a hop each, (B, F, 2, HOP), and the final recurrent state."""
        spectra = torch.fft.rfft(padded.unfold(1, ANALYSIS, HOP) * self.analysis)  # (B, F, BINS)
        power = spectra.real.square() + spectra.imag.square()
        scale, shift, later_scale, later_shift = condition
        features = self.enter((power + FLOOR).log() / 4 + 2) * scale + shift  # (B, F, width)
        features, hidden = self.recur(F.silu(features), hidden)  # (B, F, hidden)
        mask = torch.sigmoid(self.leave(features * later_scale + later_shift) + OPEN)  # (B, F, BINS)
        spectra = spectra * (1 + denoise * (mask - 1))
        frames = torch.fft.irfft(spectra, ANALYSIS)[..., -SYNTHESIS:] * self.synthesis
        return frames.unflatten(-1, (2, HOP)), hidden

    @torch.no_grad()
    def enhance(self, waveform: np.ndarray, hl_db: np.ndarray, denoise: float = 1.0) -> np.ndarray:
        """Enhance one waveform (S,) for thresholds hl_db (8,); float32 (S,)."""
        device = self.analysis.device
        noisy, loss = (torch.from_numpy(array).float().to(device)[None] for array in (waveform, hl_db))
        return self(noisy, loss, denoise)[0].cpu().numpy()

    def stream(self, hl_db: torch.Tensor, denoise: float = 1.0) -> "Stream":
        """Enhance one waveform as it arrives, for thresholds hl_db (8,)."""
        return Stream(self, hl_db, denoise)

    @property
    def latency_ms(self) -> float:
        """Algorithmic latency: window and hop buffering."""
        return 1000 * LATENCY_SAMPLES / SAMPLE_RATE


class Stream:
    """Enhances one waveform piece by piece; the pieces together equal `Enhancer.forward` of the whole input."""

    def __init__(self, enhancer: Enhancer, hl_db: torch.Tensor, denoise: float):
        self.enhancer, self.denoise = enhancer, denoise
        with torch.no_grad():
            self.condition = enhancer.condition(hl_db[None])
        self.waiting = hl_db.new_zeros(1, ANALYSIS - HOP)
        self.half: torch.Tensor | None = None
        self.hidden: torch.Tensor | None = None
        self.taken = self.given = 0

    @torch.no_grad()
    def push(self, samples: torch.Tensor) -> torch.Tensor:
        """Any number of samples (n,) → the samples that are now final (m,)."""
        self.taken += len(samples)
        return self._advance(samples)

    @torch.no_grad()
    def flush(self) -> torch.Tensor:
        """The last samples, after the end of the input; this ends the stream."""
        rest = self.taken - self.given
        return self._advance(self.waiting.new_zeros(-self.taken % HOP + HOP))[:rest]

    def _advance(self, samples: torch.Tensor) -> torch.Tensor:
        self.waiting = torch.cat([self.waiting, samples[None]], dim=1)
        if self.waiting.shape[1] < ANALYSIS:
            return samples.new_zeros(0)
        halves, self.hidden = self.enhancer.frames(self.waiting, self.condition, self.denoise, self.hidden)
        self.waiting = self.waiting[:, halves.shape[1] * HOP :]
        late = halves[0, :, 1]  # (F, HOP)
        early = halves[0, :, 0]
        if self.half is None:  # the first half of the first frame lies before the waveform
            early, before = early[1:], late[:-1]
        else:
            before = torch.cat([self.half, late[:-1]])
        self.half = late[-1:]
        final = (early + before).flatten()
        self.given += len(final)
        return final


def windows() -> tuple[torch.Tensor, torch.Tensor]:
    """The analysis window (ANALYSIS,) and the synthesis window (SYNTHESIS,) for its end.

    Their product is a Hann window of two hops, which overlap-adds to 1 (Mauler and Martin 2007).
    """
    long = torch.hann_window(2 * (ANALYSIS - HOP), dtype=torch.float64).sqrt()[: ANALYSIS - HOP]
    short = torch.hann_window(SYNTHESIS, dtype=torch.float64)
    analysis = torch.cat([long, short[HOP:].sqrt()])
    synthesis = torch.cat([short[:HOP] / long[-HOP:], short[HOP:].sqrt()])
    return analysis.float(), synthesis.float()


def save(folder: Path, enhancer: Enhancer, heard_by: dict[str, str] | None = None) -> None:
    """Write weights and spec to temporary files and rename them, the spec last; RuntimeError if they do not read back.

    `heard_by`: hashes of the encoder trained with it (weights) and of the one that this started from (learned_from).
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in enhancer.state_dict().items()}
    with files.beside(folder / WEIGHTS) as partial:
        save_file(weights, partial)
    spec = {"format": FORMAT, "spec": asdict(enhancer.spec), "sample_rate": SAMPLE_RATE}
    spec |= {"latency_ms": enhancer.latency_ms, "sha256": files.sha256(folder / WEIGHTS)}
    spec |= {"heard_by": heard_by} if heard_by else {}
    files.write_json(folder / SPEC, spec)
    found = load(folder).state_dict()
    if any(not torch.equal(found[name], tensor) for name, tensor in weights.items()):
        raise RuntimeError(f"{folder / WEIGHTS} read back is not what was saved; look at the disk and save again")


def load(folder: str | Path, device: str = "cpu") -> Enhancer:
    """The enhancer in a folder, frozen; InputError if a file is missing, changed or of another shape."""
    folder = Path(folder)
    if not (folder / SPEC).is_file():
        raise InputError(f"{folder} holds no enhancer (no {SPEC}); name the folder of a finished enhance stage")
    fix = "train that stage again, or take the folder from where it is whole"
    try:
        content = json.loads((folder / SPEC).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format is {content['format']}, expected {FORMAT}")
        enhancer = Enhancer(EnhancerSpec(**content["spec"]))
        wanted = content["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / SPEC} is not an enhancer's spec ({error!r}); {fix}") from error
    try:
        if files.sha256(folder / WEIGHTS) != wanted:
            raise InputError(f"{folder / WEIGHTS} is not what {SPEC} says (sha256 differs); {fix}")
        enhancer.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{folder / WEIGHTS} cannot be used: {error}; {fix}") from error
    return enhancer.requires_grad_(False).eval().to(device)
