"""Encoder folders: load, save, refer to one stored elsewhere, and find the one that was trained with an enhancer."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import nn

from posttrain import files
from posttrain.acoustics.enhancer import SPEC
from posttrain.errors import InputError
from posttrain.model import origin
from posttrain.model.encoders import ctc, kinds, parakeet, whisper
from posttrain.model.encoders.contract import Encoder, state_hash
from posttrain.model.untrusted import read_content

SPEC_FILE = "checkpoint.json"
TRAINED_WITH = "encoder"
"""Subfolder of an enhancer's folder for the encoder that was trained with it."""


class Implementation(Protocol):
    """What the module of one kind of encoder offers."""

    def load(self, source: str | Path, revision: str | None, device: str) -> Encoder:
        """The encoder, frozen, in eval(); its own errors (OSError, ValueError, RuntimeError) are reworded by `load`."""

    def skeleton(self, config: dict[str, Any]) -> nn.Module:
        """An untrained module whose weights have the names and shapes that a folder with this config.json must have."""


class Body(Protocol):
    """The part without a transcript, as the Hugging Face interface carries it in a larger model."""

    @property
    def NO_SPLIT(self) -> tuple[str, ...]:
        """Classes of its blocks, each of which must lie on one device."""

    def body(self, config: Any) -> Any:
        """An untrained `Encoder.module` for its config."""

    def features(self, extractor: Any, waveforms: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms (S_i,) → features (B, F, M) and mask (B, F), as `Encoder.features` by the extractor's settings."""

    def encode(self, module: Any, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Encoder.encode`, with this module."""

    def num_frames(self, config: dict[str, Any], mask: torch.Tensor) -> list[int]:
        """The number of frames of each clip, by its mask (B, F)."""


IMPLEMENTATIONS: dict[str, Implementation] = {
    "parakeet_ctc": parakeet,
    "whisper": whisper,
    **dict.fromkeys(ctc.MODELS, ctc),
}
"""`model_type` of an encoder's config.json → its code."""
BODIES: dict[str, Body] = {"parakeet_encoder": parakeet, "whisper": whisper, **dict.fromkeys(ctc.MODELS, ctc)}
"""`model_type` of `Encoder.module`'s config → its code."""


def load(source: str | Path, revision: str | None = None, device: str = "cpu") -> Encoder:
    """The encoder in a folder or under a hub id, frozen, in eval(); InputError names what is missing or wrong."""
    source, revision = _referred(source, revision)
    if str(source).startswith((".", "/", "~")) and not Path(source).is_dir():
        raise InputError(f"encoder {source} not found; name an encoder's folder, or a hub id")
    try:
        kind = kinds.kind_of(source, read_content(source, revision))
        if Path(source).is_dir() and (problems := kinds.lacking(Path(source), kinds.KINDS[kind].files)):
            raise InputError(problems)
        return IMPLEMENTATIONS[kind].load(source, revision, device)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        known = ", ".join(kinds.KINDS)
        raise InputError(f"encoder {source} cannot be loaded: {error}; name a folder or hub id of {known}") from error


def save(encoder: Encoder, folder: Path) -> None:
    """Save an encoder trained here: write its folder, read it back, and complete it with checkpoint.json.

    Raises RuntimeError if it does not read back as written."""
    encoder.save(folder)
    weights = state_hash(load(folder).model)
    if weights != state_hash(encoder.model):
        raise RuntimeError(f"{folder} does not read back as what was written; look at the disk")
    _write_spec(folder, {"encoder": "./.", "revision": None, "weights": weights})


def trained_with(enhancer: Path, encoder: Encoder) -> Encoder:
    """The encoder that was fine-tuned together with an enhancer, on its output, or the given one if there is none.

    Raises InputError if it is missing or changed, or was fine-tuned from another encoder than the given one: a Llama
    trained with the given one would not understand it.
    """
    known = json.loads((enhancer / SPEC).read_text(encoding="utf-8")).get("heard_by")
    if known is None:
        return encoder
    folder = enhancer / TRAINED_WITH
    if known["learned_from"] != state_hash(encoder.model):
        raise InputError(
            f"{folder} learned from another encoder than the checkpoint hears by; name an enhancer of the checkpoint's"
            " run, or a checkpoint whose sft left the ctc stage's encoder as it was"
        )
    made = load(os.path.abspath(folder), device=str(encoder.device))
    if known["weights"] != state_hash(made.model):
        raise InputError(f"{folder} is not the encoder that learned with the enhancer; get the folder again, whole")
    return made


def refer(folder: Path, source: str, revision: str | None) -> None:
    """Save a reference to an encoder stored elsewhere; a folder below the working folder is named relative to it."""
    if Path(source).is_dir():
        link = {origin.LINKS: origin.links(folder, {"encoder": Path(os.path.abspath(source))})}
        source = origin.shown(Path(source)).as_posix()
        source = source if source.startswith("/") else f"./{source}"
        _write_spec(folder, {"encoder": source, "revision": revision, **link})
        return
    _write_spec(folder, {"encoder": source, "revision": revision})


def _write_spec(folder: Path, spec: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / SPEC_FILE, {"format": 1, "stage": "ctc", **spec})


def _referred(source: str | Path, revision: str | None) -> tuple[str | Path, str | None]:
    """The encoder that a ctc checkpoint refers to, if it only refers to one; else the source itself."""
    path = Path(source) / SPEC_FILE
    if path.is_file() and not (Path(source) / "config.json").is_file():
        try:
            spec = json.loads(path.read_text(encoding="utf-8"))
            named, revision = spec["encoder"], spec["revision"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} names no encoder ({error!r}); name a ctc stage's folder, whole") from error
        if named == "./.":
            raise InputError(f"{source} holds no encoder (no config.json); get the folder again, whole")
        if link := (spec.get(origin.LINKS) or {}).get("encoder"):
            return str(origin.place(Path(source), "encoder", named.removeprefix("./"), link)), revision
        return named, revision
    return source, revision
