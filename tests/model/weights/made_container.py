"""Writes CTranslate2's container of a Whisper: the inverse of posttrain/model/weights, for tests."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import WhisperForConditionalGeneration

from posttrain.model.weights.whisper_ctranslate2 import SETTINGS, TIED

TYPE = {np.dtype(dtype): number for number, dtype in enumerate((np.float32, np.int8, np.int16, np.int32, np.float16))}


def text(value: str) -> bytes:
    return struct.pack("<H", len(value.encode()) + 1) + value.encode() + b"\0"


def array(name: str, values: np.ndarray, kind: int | None = None, length: int | None = None) -> bytes:
    """One entry; `kind` and `length` may lie."""
    content = values.tobytes()
    head = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
    kind = TYPE[values.dtype] if kind is None else kind
    return text(name) + head + struct.pack("<BI", kind, len(content) if length is None else length) + content


def container(
    entries: list[bytes], aliases: dict[str, str], version: int = 6, specification: str = "WhisperSpec"
) -> bytes:
    head = struct.pack("<I", version) + text(specification) + struct.pack("<II", 3, len(entries))
    tail = struct.pack("<I", len(aliases)) + b"".join(text(name) + text(target) for name, target in aliases.items())
    return head + b"".join(entries) + tail


def arrays_of(model: WhisperForConditionalGeneration) -> dict[str, np.ndarray]:
    """Name in CTranslate2 → float16 array, or setting, of a Whisper."""
    state = {name: tensor.detach().numpy().astype(np.float16) for name, tensor in model.state_dict().items()}
    heads = {"encoder": model.config.encoder_attention_heads, "decoder": model.config.decoder_attention_heads}
    found = {name: np.array(value, np.int16 if "align" in name else np.int8) for name, value in SETTINGS.items()}
    found |= {f"{side}/num_heads": np.array(number, np.int16) for side, number in heads.items()}
    found["decoder/embeddings/weight"] = state["model.decoder.embed_tokens.weight"]
    for conv in ("conv1", "conv2"):
        found |= dict(_linear(state, (f"model.encoder.{conv}",), f"encoder/{conv}"))
    for side in heads:
        found[f"{side}/position_encodings/encodings"] = state[f"model.{side}.embed_positions.weight"]
        found |= dict(_norm(state, f"model.{side}.layer_norm", f"{side}/layer_norm"))
        for number in range(getattr(model.config, f"{side}_layers")):
            layer, name = f"model.{side}.layers.{number}", f"{side}/layer_{number}"
            found |= dict(_norm(state, f"{layer}.self_attn_layer_norm", f"{name}/self_attention/layer_norm"))
            attention = [f"{layer}.self_attn.{letter}_proj" for letter in "qkv"]
            found |= dict(_linear(state, attention, f"{name}/self_attention/linear_0"))
            found |= dict(_linear(state, [f"{layer}.self_attn.out_proj"], f"{name}/self_attention/linear_1"))
            if side == "decoder":
                found |= dict(_norm(state, f"{layer}.encoder_attn_layer_norm", f"{name}/attention/layer_norm"))
                cross = [
                    [f"{layer}.encoder_attn.{part}" for part in parts]
                    for parts in (["q_proj"], ["k_proj", "v_proj"], ["out_proj"])
                ]
                for i, parts in enumerate(cross):
                    found |= dict(_linear(state, parts, f"{name}/attention/linear_{i}"))
            found |= dict(_norm(state, f"{layer}.final_layer_norm", f"{name}/ffn/layer_norm"))
            found |= dict(_linear(state, [f"{layer}.fc1"], f"{name}/ffn/linear_0"))
            found |= dict(_linear(state, [f"{layer}.fc2"], f"{name}/ffn/linear_1"))
    return found


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.write_bytes(container([array(name, values) for name, values in arrays.items()], TIED))


def _norm(state: dict[str, np.ndarray], norm: str, name: str) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{name}/gamma", state[f"{norm}.weight"]
    yield f"{name}/beta", state[f"{norm}.bias"]


def _linear(state: dict[str, np.ndarray], parts: list[str], name: str) -> Iterator[tuple[str, np.ndarray]]:
    weights = [state[f"{part}.weight"] for part in parts]
    yield f"{name}/weight", np.concatenate(weights)
    yield (
        f"{name}/bias",
        np.concatenate(
            [state.get(f"{p}.bias", np.zeros(len(w), np.float16)) for p, w in zip(parts, weights, strict=True)]
        ),
    )
