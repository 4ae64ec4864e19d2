"""Calibration of waveforms to levels at the ear: the only calibration constant, and the functions that use it."""

import torch

RMS_ONE_DB_SPL = 65.0
"""A waveform of root mean square 1 is conversational speech at 65 dB SPL at the ear: pyclarity's default in HASPI and
HASQI (`level1`). For its MSBG this is Ear(equiv_0db_spl=65, ahr=0); the default there is 100 + 20."""


def rms_at(level_db_spl: float) -> float:
    """dB SPL → the root mean square of that level."""
    return 10 ** ((level_db_spl - RMS_ONE_DB_SPL) / 20)


def db_spl(power: torch.Tensor, floor_db_spl: float = -60.0) -> torch.Tensor:
    """Mean square → dB SPL, element by element; never below `floor_db_spl`, under which the gradient is 0."""
    return 10 * torch.log10(power.clamp(min=rms_at(floor_db_spl) ** 2)) + RMS_ONE_DB_SPL


def active_level(waveforms: torch.Tensor, frame: int = 320) -> torch.Tensor:
    """Level in dB SPL over 20 ms frames (at 16 kHz) within 35 dB of the loudest: pauses do not count. (…, S) → (…).

    A differentiable version of scenes.active_rms.
    """
    samples = waveforms.shape[-1] // frame * frame or waveforms.shape[-1]
    frames = waveforms[..., :samples].unflatten(-1, (-1, min(frame, samples)))  # (…, frames, frame)
    return active_level_of(frames.square().mean(-1))


def active_level_of(power: torch.Tensor) -> torch.Tensor:
    """`active_level` from the mean square of each frame. # (…, frames) → (…)"""
    active = (power >= power.amax(-1, keepdim=True) * 10**-3.5).to(power.dtype)  # (…, frames)
    return db_spl((power * active).sum(-1) / active.sum(-1))


def present(waveforms: torch.Tensor, level_db_spl: float, reference: torch.Tensor | None = None) -> torch.Tensor:
    """The waveforms scaled so that the active level of `reference` (default: their own) is `level_db_spl`. # (…, S)

    For noisy speech, give the clean speech as the reference, so that the talker has that level.
    """
    level = active_level(waveforms if reference is None else reference).unsqueeze(-1)  # (…, 1)
    return waveforms * 10 ** ((level_db_spl - level) / 20)
