"""What a waveform's numbers mean at the ear: the one calibration constant, and the functions that own it."""

import torch

RMS_ONE_DB_SPL = 65.0
"""A waveform of root mean square 1 is conversational speech at 65 dB SPL at the ear: pyclarity's default in HASPI and
HASQI (`level1`); its MSBG takes the same as Ear(equiv_0db_spl=65, ahr=0), where its own default is 100 + 20."""


def rms_at(level_db_spl: float) -> float:
    """dB SPL → the root mean square that stands for it."""
    return 10 ** ((level_db_spl - RMS_ONE_DB_SPL) / 20)


def db_spl(power: torch.Tensor, floor_db_spl: float = -60.0) -> torch.Tensor:
    """Mean square → dB SPL, element by element; never below `floor_db_spl`, where the gradient ends too."""
    return 10 * torch.log10(power.clamp(min=rms_at(floor_db_spl) ** 2)) + RMS_ONE_DB_SPL


def active_level(waveforms: torch.Tensor, frame: int = 320) -> torch.Tensor:
    """dB SPL over frames of 20 ms (at 16 kHz) within 35 dB of the loudest: pauses do not count. (…, S) → (…).

    The measure that scenes.active_rms has in numpy, here differentiable.
    """
    samples = waveforms.shape[-1] // frame * frame or waveforms.shape[-1]
    frames = waveforms[..., :samples].unflatten(-1, (-1, min(frame, samples)))  # (…, frames, frame)
    power = frames.square().mean(-1)  # (…, frames)
    active = (power >= power.amax(-1, keepdim=True) * 10**-3.5).to(power.dtype)  # (…, frames)
    return db_spl((power * active).sum(-1) / active.sum(-1))


def present(waveforms: torch.Tensor, level_db_spl: float, reference: torch.Tensor | None = None) -> torch.Tensor:
    """The waveforms scaled so that the active level of `reference` (default: their own) is `level_db_spl`. # (…, S)

    Give the clean speech as the reference of noisy speech: its talker then has that level.
    """
    level = active_level(waveforms if reference is None else reference).unsqueeze(-1)  # (…, 1)
    return waveforms * 10 ** ((level_db_spl - level) / 20)
