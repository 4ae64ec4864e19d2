"""A Llama in a GGUF file → an ordinary Hugging Face folder. Quantised weights are dequantised to float32, exactly.

Transformers reads GGUF as well, but marks the model as quantised, leaves out the RoPE factors of Llama 3.1 without a
word, and splits numbers otherwise than SmolLM2's tokenizer does.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from posttrain.errors import InputError

OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""A block's weights: name in GGUF → name in Transformers."""
ROPE_FACTORS = "rope_freqs.weight"
"""Llama 3.1's scaling of RoPE, as one divisor for each frequency."""
LLAMA3_FACTORS = (8.0, 32.0)
"""`factor` of Llama 3.1, and of Llama 3.2."""
CONTROL, USER_DEFINED = 3, 4
"""Types of a token."""
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: dict[str, list[dict[str, Any]]] = {
    "smollm": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL],
    "llama-bpe": [
        {"type": "Split", "pattern": {"Regex": LLAMA3_WORDS}, "behavior": "Isolated", "invert": False},
        BYTE_LEVEL | {"use_regex": False},
    ],
}
"""tokenizer.ggml.pre → how the tokenizer cuts text before it merges bytes."""


def llama_from_gguf(path: Path, folder: Path) -> None:
    """Write the Hugging Face folder of a Llama in a GGUF file, or in the only one of a folder.

    Every tensor of the file is used exactly once, and every weight of the model is filled exactly once. Raises
    InputError with path, value and fix if the file is cut off, or is not a Llama with a known byte-level tokenizer.
    """
    path = _file(path)
    reader = _reader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = _config(path, fields, tensors)
    state = _state(path, tensors, config)
    _write_tokenizer(path, fields, folder)
    config.save_pretrained(folder)
    ids = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    GenerationConfig(**ids).save_pretrained(folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _file(path: Path) -> Path:
    """The file, or the only GGUF file of a folder."""
    found = sorted(path.glob("*.gguf")) if path.is_dir() else [path]
    if len(found) != 1:
        raise InputError(f"{path} has {len(found)} GGUF files, expected one; name the file")
    if not found[0].is_file():
        raise InputError(f"{path}: no GGUF file; check the path")
    return found[0]


def _reader(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise InputError(f"{path} takes the package gguf to read; install posttrain's extra `weights`") from error
    try:
        return GGUFReader(path)
    except (ValueError, KeyError, IndexError, OverflowError, OSError) as error:
        raise InputError(f"{path} is not a whole GGUF file: {error}; get the file again") from error


def _config(path: Path, fields: dict[str, Any], tensors: dict[str, Any]) -> LlamaConfig:
    """Takes the RoPE factors out of `tensors`."""

    def field(name: str, expected: Any = None) -> Any:
        value = fields.get(name)
        if value is None or (expected is not None and value != expected):
            wanted = f", expected {expected}" if expected is not None else ""
            raise InputError(f"{path}: {name} is {value}{wanted}; name the GGUF file of a Llama")
        return value

    field("general.architecture", "llama")
    for name in ("llama.expert_count", "llama.rope.scaling.type", "llama.attention.sliding_window"):
        if fields.get(name) not in (None, 0, "none"):
            raise InputError(f"{path}: {name} is {fields[name]}, which is not converted; name a plain Llama")
    heads, width = field("llama.attention.head_count"), field("llama.embedding_length")
    head_dim = fields.get("llama.attention.key_length", width // heads)
    field("llama.rope.dimension_count", head_dim)
    ids = {f"{name}_token_id": field(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    config = LlamaConfig(
        **ids,
        pad_token_id=fields.get("tokenizer.ggml.padding_token_id"),
        architectures=["LlamaForCausalLM"],
        dtype="float32",
        vocab_size=len(field("tokenizer.ggml.tokens")),
        hidden_size=width,
        intermediate_size=field("llama.feed_forward_length"),
        num_hidden_layers=field("llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=fields.get("llama.attention.head_count_kv", heads),
        head_dim=head_dim,
        max_position_embeddings=field("llama.context_length"),
        rms_norm_eps=float(np.format_float_positional(np.float32(field("llama.attention.layer_norm_rms_epsilon")))),
        rope_parameters={"rope_type": "default", "rope_theta": float(fields.get("llama.rope.freq_base", 10_000.0))},
        tie_word_embeddings="output.weight" not in tensors,
    )
    if (factors := tensors.pop(ROPE_FACTORS, None)) is not None:
        config.rope_parameters = _scaling(path, config, _dequantised(factors))
    return config


def _scaling(path: Path, config: LlamaConfig, divisors: np.ndarray) -> dict[str, Any]:
    """The `llama3` parameters that give these divisors of the frequencies."""
    theta = config.rope_parameters["rope_theta"]
    plain = 1.0 / theta ** (torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim)
    for factor in LLAMA3_FACTORS:
        tried = {"rope_type": "llama3", "rope_theta": theta, "factor": factor, "low_freq_factor": 1.0}
        tried |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        config.rope_parameters = tried
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        if np.allclose((plain / scaled).numpy(), divisors, rtol=1e-4):
            return tried
    raise InputError(f"{path}: {ROPE_FACTORS} is neither Llama 3.1's nor 3.2's scaling; name another file")


def _state(path: Path, tensors: dict[str, Any], config: LlamaConfig) -> dict[str, torch.Tensor]:
    """Name in Transformers → float32 weight, for exactly the model's weights."""
    with torch.device("meta"):
        shapes = {name: tuple(weight.shape) for name, weight in LlamaForCausalLM(config).state_dict().items()}
    if config.tie_word_embeddings:
        del shapes["lm_head.weight"]
    names = OUTER | {
        f"blk.{block}.{name}.weight": f"model.layers.{block}.{to}.weight"
        for block in range(config.num_hidden_layers)
        for name, to in INNER.items()
    }
    names = {name: to for name, to in names.items() if to in shapes}
    if wrong := sorted(names.keys() ^ tensors.keys()):
        raise InputError(f"{path}: {', '.join(wrong[:5])} is missing, or more than a Llama has; name another file")
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = {}
    for name, to in tqdm(names.items(), desc="llama", unit="weight", disable=None):
        weight = _dequantised(tensors[name])
        if weight.shape != shapes[to]:
            raise InputError(f"{path}: {name} is of shape {weight.shape}, expected {shapes[to]}; get the file again")
        if (kind := name.split(".")[-2]) in heads:
            weight = _halves(weight, heads[kind])
        state[to] = torch.from_numpy(np.array(weight, dtype=np.float32))
    return state


def _dequantised(tensor: Any) -> np.ndarray:
    from gguf import dequantize

    return np.asarray(dequantize(tensor.data, tensor.tensor_type)).reshape(tensor.shape[::-1].tolist())


def _halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """Each head's rows (0, 1, 2, …) in GGUF's order (0, h, 1, h + 1, …) → Transformers', where RoPE turns halves."""
    rows, width = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def _write_tokenizer(path: Path, fields: dict[str, Any], folder: Path) -> None:
    model, split = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if model != "gpt2" or split not in SPLITS:
        raise InputError(
            f"{path}: tokenizer is {model} with {split}, expected gpt2 with {' or '.join(SPLITS)}; name another file, "
            "or add its way to cut text to SPLITS in posttrain/model/weights/llama_gguf.py"
        )
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": number, "content": tokens[number], **flags, "special": kind == CONTROL}
        for number, kind in enumerate(types)
        if kind in (CONTROL, USER_DEFINED)
    ]
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: fields.get(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": fields["llama.context_length"],
        **({"chat_template": template} if (template := fields.get("tokenizer.chat_template")) else {}),
        **{name: tokens[number] for name, number in ids.items() if number is not None},
    }
    first = {"SpecialToken": {"id": settings["bos_token"], "type_id": 0}}
    begins = {
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            settings["bos_token"]: {
                "id": settings["bos_token"],
                "ids": [ids["bos_token"]],
                "tokens": [settings["bos_token"]],
            }
        },
    }
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": SPLITS[split]},
        "post_processor": begins if fields.get("tokenizer.ggml.add_bos_token", split == "llama-bpe") else None,
        "decoder": BYTE_LEVEL | {"add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": split == "llama-bpe",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": fields["tokenizer.ggml.merges"],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
