"""What is known of each kind of encoder without loading it: its files and, from config.json, its size and frame rate.

Importing this imports no torch.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.acoustics import SAMPLE_RATE
from posttrain.errors import InputError

HOP_SAMPLES = 160
"""Samples per mel frame where a folder does not say."""


@dataclass(frozen=True)
class Shape:
    """The numbers of an encoder that memory and lengths depend on."""

    params: int
    """Weights, about."""
    width: int
    """D of its frames."""
    frame_samples: int
    """Samples at 16 kHz per frame."""

    @property
    def frames_s(self) -> float:
        """Frames per second."""
        return SAMPLE_RATE / self.frame_samples


@dataclass(frozen=True)
class Kind:
    """One kind of encoder."""

    files: tuple[str, ...]
    """Files that its folder has besides the weights."""
    shape: Callable[[Mapping[str, Any], int], Shape]
    """config.json and the samples per mel frame → its shape."""


def conformer(width: int, layers: int, subsampling_factor: int, hop_samples: int = HOP_SAMPLES) -> Shape:
    """A FastConformer: some 24 D² weights a block (two feed-forwards of 4 D, attention with positions, convolution)."""
    return Shape(layers * 24 * width**2, width, subsampling_factor * hop_samples)


def _parakeet(config: Mapping[str, Any], hop_samples: int) -> Shape:
    inner = {"hidden_size": 1024, "num_hidden_layers": 24, "subsampling_factor": 8} | dict(config["encoder_config"])
    return conformer(inner["hidden_size"], inner["num_hidden_layers"], inner["subsampling_factor"], hop_samples)


KINDS = {
    "parakeet_ctc": Kind(
        ("config.json", "preprocessor_config.json", "tokenizer_config.json", "tokenizer.json"), _parakeet
    ),
}
"""`model_type` of config.json → the kind; `loading.IMPLEMENTATIONS` has the code of each."""
KNOWN = {
    "nvidia/parakeet-ctc-0.6b": Shape(608_000_000, 1024, 8 * HOP_SAMPLES),
    "nvidia/parakeet-ctc-1.1b": Shape(1_062_000_000, 1024, 8 * HOP_SAMPLES),
}
"""Shapes of models on the hub, for estimates before they are downloaded."""


def kind_of(source: str | Path, config: Mapping[str, Any]) -> str:
    """The config's `model_type`; InputError that names the file, the value and the known ones if it is not in KINDS."""
    found = config.get("model_type")
    if found not in KINDS:
        raise InputError(
            f"{source}/config.json: model_type is {found}, expected an encoder's: {', '.join(KINDS)}; name another "
            "folder or hub id, or add that kind to posttrain/model/encoders"
        )
    return str(found)


def files_of(folder: Path) -> tuple[str, ...]:
    """The files that an encoder's folder needs, by its config.json; only that one if it is missing.

    InputError if config.json cannot be read or is not of a known kind.
    """
    if not (folder / "config.json").is_file():
        return ("config.json",)
    try:
        config = dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder}/config.json cannot be read: {error}; get the folder again") from error
    return KINDS[kind_of(folder, config)].files


def frame_samples(folder: Path) -> int:
    """Samples per frame of the encoder in a folder; raises OSError, ValueError, KeyError or TypeError if unreadable."""
    config, features = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("config.json", "preprocessor_config.json")
    )
    features = features.get("feature_extractor", features)
    return KINDS[kind_of(folder, config)].shape(config, int(features["hop_length"])).frame_samples
