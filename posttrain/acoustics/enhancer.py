"""The enhancer: a causal time–frequency mask conditioned on the listener's audiogram; offline and streaming.

Network. A full-band recurrence sees the whole spectrum; a small sub-band recurrence, the same for all bands, sees one
band, its neighbours and what the first says of it (FullSubNet, Hao et al. 2021). What it learns about noise is thus not
tied to a frequency. Both see each band's level above its noise floor and above its own mean, so that the level of a
recording does not matter.

Latency. Frames look back over a long window, but only their last 8 ms are overlap-added, so that frequency resolution
costs no latency (Mauler and Martin 2007; in low-latency enhancement Wood and Rickard 2019 and Wang et al. 2022). A
sample is final when the second frame that covers it has arrived: LATENCY_SAMPLES after the sample itself, hop buffering
included. Later input cannot change it.
"""

import json
import math
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
SINGLE_BINS = 48
"""Bins up to 1.5 kHz that are bands of their own, so that harmonics are resolved."""
WIDE_BANDS = 24
"""Bands above, 0.6 equivalent rectangular bandwidths apart (Glasberg and Moore 1990)."""
BANDS = SINGLE_BINS + WIDE_BANDS
NEIGHBOURS = 2
"""Bands on either side that the sub-band recurrence sees too."""
CONTEXT = 4
"""Numbers per band that the full-band recurrence hands over."""
QUICK, SLOW = 0.2, 0.004
"""Share of each frame in the smoothed level and in the mean level: 20 ms and one second."""
RISE = 6.0 * HOP / SAMPLE_RATE * math.log(10) / 10 / 4
"""How fast the noise floor follows a rise, per frame: 6 dB a second, in the scale of the levels. It falls with the
smoothed level."""
DEPTH = 30.0 * math.log(10) / 10 / 4
"""The floor is never further below the mean level than this, 30 dB: a gap in the sound must not blind the network."""
SILENT = 3e-8
"""Power of the loudest band below which a frame is silent, as if muted, and nothing is tracked: −100 dBFS of noise."""
Condition = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Scale and shift before the full-band recurrence (B, 1, width), and after the sub-band one (B, 1, 1, sub_width)."""
State = tuple[torch.Tensor, ...]
"""Between two pieces of a stream: smoothed level, floor and mean of each band (B, BANDS), infinite before the first
sound; and both recurrences."""
WEIGHTS, SPEC = "enhancer.safetensors", "enhancer.json"
FORMAT = 2


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
        halves, _ = self.frames(padded, self.condition(hl_db), denoise, together=together)
        return (halves[:, 1:, 0] + halves[:, :-1, 1]).flatten(1)[:, :samples]  # (B, S)

    def condition(self, hl_db: torch.Tensor) -> Condition:
        """Scale and shift of both layers for the audiograms (B, 8)."""
        loss = hl_db / HL_SCALE_DB * self.spec.conditioned
        scale, shift = self.film_enter(loss).unsqueeze(1).chunk(2, dim=-1)
        later_scale, later_shift = self.film_leave(loss)[:, None, None].chunk(2, dim=-1)
        return 1 + scale, shift, 1 + later_scale, later_shift

    def frames(
        self,
        padded: torch.Tensor,
        condition: Condition,
        denoise: float,
        state: State | None = None,
        together: bool = False,
    ) -> tuple[torch.Tensor, State]:
        """Output of each complete frame as two halves of a hop each, (B, F, 2, HOP), and the state after them.

        together: the rows are channels of one recording and share the mask of their mean power, which keeps their
        differences in level and time, and so the direction of sounds. Condition and state then have one row.
        """
        spectra = torch.fft.rfft(padded.unfold(1, ANALYSIS, HOP) * self.analysis)  # (B, F, BINS)
        power = spectra.real.square() + spectra.imag.square()
        power = power.mean(0, keepdim=True) if together else power
        levels = (power @ self.bands + FLOOR).log() / 4  # (B, F, BANDS)
        gains, state = self.gains(levels, condition, state)
        spectra = spectra * (1 + denoise * (gains @ self.spread - 1))
        frames = torch.fft.irfft(spectra, ANALYSIS)[..., -SYNTHESIS:] * self.synthesis
        return frames.unflatten(-1, (2, HOP)), state

    def gains(self, levels: torch.Tensor, condition: Condition, state: State | None) -> tuple[torch.Tensor, State]:
        """Levels of the bands → the gain of each, 0 to 1, (B, F, BANDS) both, and the state after them."""
        scale, shift, later_scale, later_shift = condition
        unknown = torch.full_like(levels[:, 0], math.inf)
        *tracked, full, sub = state or (unknown, unknown, unknown, None, None)
        above, tracked = above_floor(levels, tracked)  # (B, F, 2, BANDS)
        entered = F.silu(self.enter(above.flatten(2)) * scale + shift)
        entered, full = self.full(entered, full)  # (B, F, width)
        context = self.hand_over(entered).unflatten(-1, (BANDS, CONTEXT))
        near = F.pad(above, (NEIGHBOURS, NEIGHBOURS)).unfold(-1, 2 * NEIGHBOURS + 1, 1)  # (B, F, 2, BANDS, near)
        each = torch.cat([near.transpose(2, 3).flatten(3), context], dim=-1).transpose(1, 2)  # (B, BANDS, F, …)
        left, sub = self.sub(each.flatten(0, 1), sub)
        left = left.unflatten(0, (-1, BANDS)).transpose(1, 2)  # (B, F, BANDS, sub_width)
        gains = torch.sigmoid(self.leave(left * later_scale + later_shift).squeeze(-1) + OPEN)
        return gains, (*tracked, full, sub)

    @torch.no_grad()
    def enhance(self, waveform: np.ndarray, hl_db: np.ndarray, denoise: float = 1.0) -> np.ndarray:
        """Enhance one waveform (S,), or its channels (C, S) together, for thresholds hl_db (8,); float32, as many."""
        device = self.analysis.device
        noisy, loss = (torch.atleast_2d(torch.from_numpy(array).float().to(device)) for array in (waveform, hl_db))
        return self(noisy, loss, denoise, together=True).view(waveform.shape).cpu().numpy()

    def stream(self, hl_db: torch.Tensor, denoise: float = 1.0) -> "Stream":
        """Enhance one waveform, or its channels together, as it arrives, for thresholds hl_db (8,)."""
        return Stream(self, hl_db, denoise)

    @property
    def latency_ms(self) -> float:
        """Algorithmic latency: window and hop buffering."""
        return 1000 * LATENCY_SAMPLES / SAMPLE_RATE


class Stream:
    """Enhances one recording piece by piece; the pieces together equal `Enhancer.forward` of the whole input.

    Its channels are enhanced `together`.
    """

    def __init__(self, enhancer: Enhancer, hl_db: torch.Tensor, denoise: float):
        self.enhancer, self.denoise = enhancer, denoise
        with torch.no_grad():
            self.condition = enhancer.condition(hl_db[None])
        self.waiting = hl_db.new_zeros(1, ANALYSIS - HOP)
        self.half: torch.Tensor | None = None
        self.state: State | None = None
        self.taken = self.given = 0
        self.channels: tuple[int, ...] = ()

    @torch.inference_mode()
    def push(self, samples: torch.Tensor) -> torch.Tensor:
        """Any number of samples (n,) or (C, n) → the samples that are now final, (m,) or (C, m)."""
        self.channels = tuple(samples.shape[:-1])
        self.taken += samples.shape[-1]
        return self._advance(samples)

    @torch.inference_mode()
    def flush(self) -> torch.Tensor:
        """The last samples, after the end of the input; this ends the stream."""
        rest = self.taken - self.given
        return self._advance(self.waiting.new_zeros(*self.channels, -self.taken % HOP + HOP))[..., :rest]

    def _advance(self, samples: torch.Tensor) -> torch.Tensor:
        rows = torch.atleast_2d(samples)  # (C, n)
        self.waiting = torch.cat([self.waiting.expand(len(rows), -1), rows], dim=1)
        if self.waiting.shape[1] < ANALYSIS:
            return samples[..., :0]
        halves, self.state = self.enhancer.frames(self.waiting, self.condition, self.denoise, self.state, True)
        self.waiting = self.waiting[:, halves.shape[1] * HOP :]
        late = halves[:, :, 1]  # (C, F, HOP)
        early = halves[:, :, 0]
        if self.half is None:  # the first half of the first frame lies before the waveform
            early, before = early[:, 1:], late[:, :-1]
        else:
            before = torch.cat([self.half, late[:, :-1]], dim=1)
        self.half = late[:, -1:]
        final = (early + before).flatten(1)  # (C, m)
        self.given += final.shape[1]
        return final.view(*self.channels, final.shape[1])


def windows() -> tuple[torch.Tensor, torch.Tensor]:
    """The analysis window (ANALYSIS,) and the synthesis window (SYNTHESIS,) for its end.

    Their product is a Hann window of two hops, which overlap-adds to 1 (Mauler and Martin 2007).
    """
    long = torch.hann_window(2 * (ANALYSIS - HOP), dtype=torch.float64).sqrt()[: ANALYSIS - HOP]
    short = torch.hann_window(SYNTHESIS, dtype=torch.float64)
    analysis = torch.cat([long, short[HOP:].sqrt()])
    synthesis = torch.cat([short[:HOP] / long[-HOP:], short[HOP:].sqrt()])
    return analysis.float(), synthesis.float()


def bands() -> torch.Tensor:
    """Weights of the bins in each band, (BINS, BANDS): single bins, then triangles; each bin's weights sum to 1."""
    hz = torch.arange(BINS, dtype=torch.float64) * SAMPLE_RATE / ANALYSIS
    erb_rate = 21.4 * (1 + 0.00437 * hz).log10()
    last, end = erb_rate[SINGLE_BINS - 1], erb_rate[-1]
    centres = torch.linspace(float(last), float(end), WIDE_BANDS + 1, dtype=torch.float64)[1:]
    places = torch.cat([erb_rate[:SINGLE_BINS], centres])
    after = torch.searchsorted(places, erb_rate).clamp(1, BANDS - 1)  # each bin lies between two centres
    share = ((erb_rate - places[after - 1]) / (places[after] - places[after - 1])).clamp(0, 1)
    weights = torch.zeros(BINS, BANDS, dtype=torch.float64)
    weights.scatter_(1, after[:, None], share[:, None])
    weights.scatter_(1, after[:, None] - 1, 1 - share[:, None])
    return weights.float()


@torch.no_grad()
def above_floor(levels: torch.Tensor, tracked: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Levels (B, F, BANDS) above the noise floor and above the mean, (B, F, 2, BANDS), and what is tracked after them.

    The floor is the smoothed level where that falls, and rises slowly. A silent frame has zeros and changes nothing.
    """
    heard = levels.amax(-1, keepdim=True) > math.log(SILENT) / 4  # (B, F, 1)
    gaps = not heard.all()
    if not gaps:
        tracked = [torch.where(known.isinf(), levels[:, 0], known) for known in tracked]
    smooth, floor, mean = tracked
    floors, means = [], []
    for level, sound in zip(levels.unbind(1), heard.unbind(1), strict=True):
        before = smooth, floor, mean
        smooth, mean = smooth.lerp(level, QUICK), mean.lerp(level, SLOW)
        floor = torch.minimum(smooth, floor + RISE).maximum(mean - DEPTH)
        if gaps:
            now = (
                torch.where(known.isinf(), level, new) for known, new in zip(before, (smooth, floor, mean), strict=True)
            )
            smooth, floor, mean = (torch.where(sound, new, known) for known, new in zip(before, now, strict=True))
        floors.append(floor)
        means.append(mean)
    above = torch.stack([levels - torch.stack(floors, 1), levels - torch.stack(means, 1)], dim=2)
    return torch.where(heard.unsqueeze(-1), above, torch.zeros_like(above)), [smooth, floor, mean]


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
