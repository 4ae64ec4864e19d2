"""The enhancer: a causal time–frequency mask conditioned on the listener's audiogram.

Network. A full-band recurrence sees the whole spectrum; a small sub-band recurrence, the same for all bands, sees one
band, its neighbours and what the first says of it (FullSubNet, Hao et al. 2021). What it learns about noise is thus not
tied to a frequency. Both see each band's level above its noise floor and above its own mean, so that the level of a
recording does not matter.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE, streaming
from posttrain.acoustics.audiogram import AUDIOMETRIC_HZ
from posttrain.acoustics.bands import (
    ANALYSIS,
    BANDS,
    FLOOR,
    HOP,
    LATENCY_SAMPLES,
    SYNTHESIS,
    above_floor,
    bands,
    windows,
)
from posttrain.errors import InputError
from posttrain.machine import threads

OPEN = 1.0
"""Bias of the mask before its sigmoid: an untrained mask passes most of the signal."""
NEIGHBOURS = 2
"""Bands on either side that the sub-band recurrence sees too."""
CONTEXT = 4
"""Numbers per band that the full-band recurrence hands over."""
HL_SCALE_DB = 60.0
"""Scales thresholds to about 1."""
Condition = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Scale and shift before the full-band recurrence (B, 1, width), and after the sub-band one (B, 1, 1, sub_width)."""
WEIGHTS, SPEC = "enhancer.safetensors", "enhancer.json"
FORMAT = 2
SCALE = ".scale"
"""After the name of a matrix in 8 bits: what a step of each row is."""


@dataclass(frozen=True)
class EnhancerSpec:
    """Settings needed to rebuild the model for its weights."""

    width: int = 128
    """Width of the full-band recurrence."""
    sub_width: int = 32
    """Width of the sub-band recurrence."""
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
    bands: torch.Tensor
    spread: torch.Tensor

    def __init__(self, spec: EnhancerSpec | None = None):
        super().__init__()
        self.spec = spec or EnhancerSpec()
        width, sub_width = self.spec.width, self.spec.sub_width
        weights = bands()
        means = weights / weights.sum(0)
        for name, values in zip(
            ("analysis", "synthesis", "bands", "spread"), (*windows(), means, weights.T), strict=True
        ):
            self.register_buffer(name, values.contiguous(), persistent=False)
        self.enter = nn.Linear(2 * BANDS, width)
        self.full = nn.GRU(width, width, batch_first=True)
        self.hand_over = nn.Linear(width, BANDS * CONTEXT)
        self.sub = nn.GRU(2 * (2 * NEIGHBOURS + 1) + CONTEXT, sub_width, batch_first=True)
        self.leave = nn.Linear(sub_width, 1)
        self.film_enter = nn.Linear(len(AUDIOMETRIC_HZ), 2 * width)
        self.film_leave = nn.Linear(len(AUDIOMETRIC_HZ), 2 * sub_width)
        for film in (self.film_enter, self.film_leave):
            nn.init.zeros_(film.bias)

    def forward(
        self, noisy: torch.Tensor, hl_db: torch.Tensor, denoise: float = 1.0, together: bool = False
    ) -> torch.Tensor:
        """(B, S) and (B, 8) → (B, S); with `together`, hl_db is (1, 8): see `frames`."""
        samples = noisy.shape[1]
        padded = F.pad(noisy, (ANALYSIS - HOP, -samples % HOP + HOP))
        halves = self.frames(padded, self.condition(hl_db), denoise, together)
        return (halves[:, 1:, 0] + halves[:, :-1, 1]).flatten(1)[:, :samples]  # (B, S)

    def condition(self, hl_db: torch.Tensor) -> Condition:
        """Scale and shift of both layers for the audiograms (B, 8)."""
        loss = hl_db / HL_SCALE_DB * self.spec.conditioned
        scale, shift = self.film_enter(loss).unsqueeze(1).chunk(2, dim=-1)
        later_scale, later_shift = self.film_leave(loss)[:, None, None].chunk(2, dim=-1)
        return 1 + scale, shift, 1 + later_scale, later_shift

    def frames(self, padded: torch.Tensor, condition: Condition, denoise: float, together: bool) -> torch.Tensor:
        """Output of each complete frame as two halves of a hop each, (B, F, 2, HOP).

        together: the rows are channels of one recording and share the mask of their mean power, which keeps their
        differences in level and time, and so the direction of sounds. The condition then has one row.
        """
        spectra = torch.fft.rfft(padded.unfold(1, ANALYSIS, HOP) * self.analysis)  # (B, F, BINS)
        power = spectra.real.square() + spectra.imag.square()
        power = power.mean(0, keepdim=True) if together else power
        gains = self.gains((power @ self.bands + FLOOR).log() / 4, condition)
        spectra = spectra * (1 + denoise * (gains @ self.spread - 1))
        frames = torch.fft.irfft(spectra, ANALYSIS)[..., -SYNTHESIS:] * self.synthesis
        return frames.unflatten(-1, (2, HOP))

    def gains(self, levels: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Levels of the bands → the gain of each, 0 to 1, (B, F, BANDS) both."""
        scale, shift, later_scale, later_shift = condition
        above = above_floor(levels)  # (B, F, 2, BANDS)
        entered, _ = self.full(F.silu(self.enter(above.flatten(2)) * scale + shift))  # (B, F, width)
        context = self.hand_over(entered).unflatten(-1, (BANDS, CONTEXT))
        near = F.pad(above, (NEIGHBOURS, NEIGHBOURS)).unfold(-1, 2 * NEIGHBOURS + 1, 1)  # (B, F, 2, BANDS, near)
        each = torch.cat([near.transpose(2, 3).flatten(3), context], dim=-1).transpose(1, 2)  # (B, BANDS, F, …)
        left, _ = self.sub(each.flatten(0, 1))
        left = left.unflatten(0, (-1, BANDS)).transpose(1, 2)  # (B, F, BANDS, sub_width)
        return torch.sigmoid(self.leave(left * later_scale + later_shift).squeeze(-1) + OPEN)

    @torch.no_grad()
    def enhance(self, waveform: np.ndarray, hl_db: np.ndarray, denoise: float = 1.0) -> np.ndarray:
        """Enhance one waveform (S,), or its channels (C, S) together, for thresholds hl_db (8,); float32, as many."""
        device = self.analysis.device
        noisy, loss = (torch.atleast_2d(torch.from_numpy(array).float().to(device)) for array in (waveform, hl_db))
        with threads.single():
            enhanced: torch.Tensor = self(noisy, loss, denoise, together=True)
        return enhanced.view(waveform.shape).cpu().numpy()

    @torch.no_grad()
    def stream(self, hl_db: torch.Tensor, denoise: float = 1.0) -> streaming.Stream:
        """Enhance one waveform, or its channels together, as it arrives, for thresholds hl_db (8,); on the CPU."""
        return streaming.Stream(self.network(hl_db), denoise)

    def network(self, hl_db: torch.Tensor) -> streaming.Network:
        """The network for one listener in NumPy: scales and shifts for thresholds hl_db (8,) are in its weights."""
        scale, shift, later_scale, later_shift = (
            part.flatten() for part in self.condition(hl_db[None].to(self.analysis.device))
        )
        weights: dict[str, Sequence[torch.Tensor]] = {
            "enter": (self.enter.weight * scale[:, None], self.enter.bias * scale + shift),
            "hand_over": (self.hand_over.weight, self.hand_over.bias),
            "leave": (self.leave.weight * later_scale, self.leave.weight @ later_shift + self.leave.bias + OPEN),
        }
        for name, cell in (("full", self.full), ("sub", self.sub)):
            own = dict(cell.named_parameters())
            weights[name] = [own[f"{kind}_{of}_l0"] for of in ("ih", "hh") for kind in ("weight", "bias")]
        filters = {name: getattr(self, name) for name in ("analysis", "synthesis", "bands", "spread")}
        return streaming.Network(weights, filters, NEIGHBOURS)

    @property
    def latency_ms(self) -> float:
        """Algorithmic latency: window and hop buffering."""
        return 1000 * LATENCY_SAMPLES / SAMPLE_RATE


def save(folder: Path, enhancer: Enhancer, heard_by: dict[str, str] | None = None, eight_bits: bool = False) -> None:
    """Write weights and spec to temporary files and rename them, the spec last; RuntimeError if they do not read back.

    `heard_by`: hashes of the encoder trained with it (weights) and of the one that this started from (learned_from).
    `eight_bits`: matrices as in `rounded`, in a quarter of the space.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in enhancer.state_dict().items()}
    weights = rounded(weights) if eight_bits else weights
    with files.beside(folder / WEIGHTS) as partial:
        save_file(weights, partial)
    spec = {"format": FORMAT, "spec": asdict(enhancer.spec), "sample_rate": SAMPLE_RATE}
    spec |= {"latency_ms": enhancer.latency_ms, "sha256": files.sha256(folder / WEIGHTS)}
    spec |= {"heard_by": heard_by} if heard_by else {}
    files.write_json(folder / SPEC, spec)
    found = load(folder).state_dict()
    if any(not torch.equal(found[name], tensor) for name, tensor in whole(weights).items()):
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
        enhancer.load_state_dict(whole(load_file(folder / WEIGHTS)))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{folder / WEIGHTS} cannot be used: {error}; {fix}") from error
    return enhancer.requires_grad_(False).eval().to(device)


def rounded(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each matrix as 8-bit integers and a scale for each of its rows (NAME + SCALE); the rest as it is."""
    found = {}
    for name, tensor in weights.items():
        if tensor.dim() == 2:
            found[name + SCALE] = (tensor.abs().amax(1, keepdim=True) / 127).clamp(min=torch.finfo(torch.float32).tiny)
            tensor = (tensor / found[name + SCALE]).round().to(torch.int8)
        found[name] = tensor
    return found


def whole(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights as floats again, of those that `rounded` may have made."""
    scales = {name.removesuffix(SCALE): scale for name, scale in weights.items() if name.endswith(SCALE)}
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith(SCALE)}
    return {name: tensor.float() * scales[name] if name in scales else tensor for name, tensor in kept.items()}
