"""Training with bfloat16 products on a CPU: where it pays, and with which attention. Weights stay in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from transformers import AttentionInterface, LlamaPreTrainedModel, Trainer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.llama.modeling_llama import eager_attention_forward

WIDE = 256
"""Width of a Llama from which a CPU with AMX uses bfloat16: the wider, the less the conversions count. At 64 nothing is
gained, at 192 a little; `make bench RUN=NAME` shows what a run's Llama gains."""
PREPARED = ("forward", "_original_forward", "_is_accelerate_prepared")
"""What accelerate puts into a model that it prepares for training, autocast among it."""
ATTENTION = "posttrain_cpu"
"""Name of `_attention` in Transformers."""
SHORT = 256
"""Longest rows, in tokens, whose attention is computed by matrix products."""


def pays_on_cpu(llama: Any) -> bool:
    """Whether a Llama trains faster on this CPU if its products are in bfloat16."""
    wide = llama.config.hidden_size >= WIDE and not getattr(llama, "is_quantized", False)
    return wide and torch.cpu._is_amx_tile_supported()


@contextmanager
def quick(trainer: Trainer) -> Iterator[None]:
    """Train in this block, after which the model computes as before it, in its own type and with its own attention."""
    model: Any = trainer.model
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    config = llama.config if isinstance(llama, LlamaPreTrainedModel) else None
    before = {name: model.__dict__.get(name) for name in PREPARED}
    attention = config and config._attn_implementation
    if config and trainer.args.use_cpu and trainer.args.bf16:
        config._attn_implementation = ATTENTION  # the Llama's alone: an encoder in its embedding has its own config
    try:
        yield
    finally:
        if config:
            config._attn_implementation = attention
        for name, value in before.items():
            model.__dict__.pop(name, None)
            if value is not None:
                setattr(model, name, value)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    **options: Any,
) -> Any:
    """Attention by matrix products for short rows, since the backward pass of PyTorch's own does not use AMX; long rows
    gain nothing by it and take much memory. mask (B, 1, L, L) is 0 where a token sees another, else very negative."""
    if query.shape[-2] <= SHORT:
        return eager_attention_forward(module, query, key, value, mask, **options)
    return sdpa_attention_forward(module, query, key, value, mask >= 0, **options)


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)
