"""What is known of each kind of encoder without loading it: its files and, from config.json, its size and frame rate.

Importing this imports no torch.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.acoustics import SAMPLE_RATE
from posttrain.errors import InputError

INSTEAD = {"preprocessor_config.json": "processor_config.json"}
"""Another name that a file of a folder may have."""
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
    layers: int
    """Blocks that compute frames."""

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
    return Shape(layers * 24 * width**2, width, subsampling_factor * hop_samples, layers)


def _parakeet(config: Mapping[str, Any], hop_samples: int) -> Shape:
    inner = {"hidden_size": 1024, "num_hidden_layers": 24, "subsampling_factor": 8} | dict(config["encoder_config"])
    return conformer(inner["hidden_size"], inner["num_hidden_layers"], inner["subsampling_factor"], hop_samples)


def _ctc(config: Mapping[str, Any], hop_samples: int) -> Shape:
    """Transformer blocks over convolutions of the waveform, or a conformer over every second mel frame."""
    config = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072} | dict(config)
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    adapters = config.get("num_adapter_layers", 1) if config.get("add_adapter") else 0
    stride = config.get("adapter_stride", 2) ** adapters
    if config["model_type"] == "wav2vec2-bert":
        return conformer(width, layers, 2 * stride, hop_samples)
    params = layers * (4 * width**2 + 2 * width * config["intermediate_size"])
    return Shape(params, width, math.prod(config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2))) * stride, layers)


def _whisper(config: Mapping[str, Any], hop_samples: int) -> Shape:
    """Attention of 4 D² weights a layer, twice in the decoder, and two layers of the feed-forward network."""
    config = {"d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "vocab_size": 51865} | dict(config)
    width, layers = config["d_model"], config["encoder_layers"]
    encoder = layers * (4 * width**2 + 2 * width * config.get("encoder_ffn_dim", 4 * width))
    decoder = config["decoder_layers"] * (8 * width**2 + 2 * width * config.get("decoder_ffn_dim", 4 * width))
    return Shape(encoder + decoder + config["vocab_size"] * width, width, 2 * hop_samples, layers)


COMMON = ("config.json", "preprocessor_config.json", "tokenizer_config.json")
KINDS = {
    "parakeet_ctc": Kind((*COMMON, "tokenizer.json"), _parakeet),
    "whisper": Kind((*COMMON, "tokenizer.json", "generation_config.json"), _whisper),
    **{
        name: Kind((*COMMON, "vocab.json"), _ctc)
        for name in ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "wav2vec2-bert")
    },
}
"""`model_type` of config.json → the kind; `loading.IMPLEMENTATIONS` has the code of each."""
KNOWN = {
    "nvidia/parakeet-ctc-0.6b": Shape(608_000_000, 1024, 8 * HOP_SAMPLES, 24),
    "nvidia/parakeet-ctc-1.1b": Shape(1_062_000_000, 1024, 8 * HOP_SAMPLES, 42),
    "facebook/wav2vec2-base-960h": Shape(94_400_000, 768, 320, 12),
    "facebook/wav2vec2-large-960h-lv60-self": Shape(315_500_000, 1024, 320, 24),
    "facebook/hubert-large-ls960-ft": Shape(315_500_000, 1024, 320, 24),
    "openai/whisper-tiny.en": Shape(37_800_000, 384, 2 * HOP_SAMPLES, 4),
    "openai/whisper-base.en": Shape(72_600_000, 512, 2 * HOP_SAMPLES, 6),
    "openai/whisper-small.en": Shape(241_700_000, 768, 2 * HOP_SAMPLES, 12),
    "openai/whisper-medium.en": Shape(763_900_000, 1024, 2 * HOP_SAMPLES, 24),
    "openai/whisper-large-v3": Shape(1_543_500_000, 1280, 2 * HOP_SAMPLES, 32),
    "openai/whisper-large-v3-turbo": Shape(808_900_000, 1280, 2 * HOP_SAMPLES, 32),
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


def lacking(folder: Path, wanted: tuple[str, ...]) -> list[str]:
    """Problems: the wanted files that are not in a model's folder."""
    there = {path.name for path in folder.iterdir()}
    names = [name for name in wanted if not there & {name, INSTEAD.get(name, name)}]
    return [f"{folder} has no {name}; get the folder again, whole" for name in names]


def frame_samples(folder: Path) -> int:
    """Samples per frame of the encoder in a folder; raises OSError, ValueError, KeyError or TypeError if unreadable."""
    config, features = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("config.json", "preprocessor_config.json")
    )
    features = features.get("feature_extractor", features)
    return KINDS[kind_of(folder, config)].shape(config, int(features.get("hop_length", HOP_SAMPLES))).frame_samples
