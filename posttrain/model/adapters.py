"""Applies a file of adapters/ to a Llama: projector, lora, qlora, dora, prompt_tuning or full."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from posttrain.config.adapter_file import Adapter as Adapter
from posttrain.config.adapter_file import read as read

LAYER = r"model\.(?:language_model\.)?layers\.\d+\.(?:self_attn|mlp)\."


def apply(llama: nn.Module, adapter: Adapter) -> Any:
    """Make exactly what the adapter names trainable; returns the Llama itself, or a PeftModel around it.

    LoRA also trains the projector (`modules_to_save`, in float32); prompt tuning leaves it frozen.
    """
    llama.requires_grad_(False)
    if adapter.method == "projector" or (adapter.method == "lora" and adapter.rank == 0):
        projector_of(llama).requires_grad_(True)
        return llama
    if adapter.method == "full":
        llama.requires_grad_(True)
        return llama
    if adapter.method == "prompt_tuning":
        return get_peft_model(llama, prompt_config(adapter))
    peft_model = get_peft_model(llama, lora_config(adapter))
    check_targets(peft_model, adapter)
    return peft_model


def lora_config(
    adapter: Adapter, task_type: str = "CAUSAL_LM", modules_to_save: tuple[str, ...] = ("projector",)
) -> LoraConfig:
    """PEFT's config for the adapter, on the decoder blocks only, even if layers elsewhere have the same names."""
    return LoraConfig(
        task_type=TaskType(task_type),
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        use_dora=adapter.use_dora,
        target_modules=LAYER + f"(?:{'|'.join(adapter.target_modules)})",
        modules_to_save=list(modules_to_save) or None,
    )


def prompt_config(adapter: Adapter) -> PromptTuningConfig:
    """PEFT's config for prompt tuning, initialised with embeddings of random words."""
    return PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=adapter.virtual_tokens,
        prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
    )


def check_targets(model: Any, adapter: Adapter) -> None:
    """Raise ValueError unless the named layers of every decoder block, and no others, have LoRA."""
    found = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    expected = model.config.get_text_config().num_hidden_layers * len(adapter.target_modules)
    if len(found) != expected:
        raise ValueError(
            f"adapter {adapter.name} landed on {len(found)} layers ({', '.join(found[:3])}, …), expected {expected}; "
            "correct its target_modules"
        )


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """The model without its adapter: the underlying Llama, and the projector as it was when the adapter was added."""
    if isinstance(model, PeftModel):
        with model.disable_adapter():
            yield
    else:
        yield


def projector_of(model: Any) -> nn.Module:
    """The projector in use: the adapter's own if it has one, else the one in the embedding."""
    embedding = speech_embedding_of(model)
    return embedding.projector


def projector_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors of the projector below the adapter, or of the only projector."""
    embedding = speech_embedding_of(model)
    projector = embedding.projector
    beneath = getattr(projector, "original_module", projector) if isinstance(model, PeftModel) else projector
    return {name: tensor.detach().cpu().contiguous() for name, tensor in beneath.state_dict().items()}


def speech_embedding_of(model: nn.Module) -> Any:
    """The SpeechEmbedding of a Llama, of a PeftModel or of a classifier around it."""
    llama: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    return llama.get_input_embeddings()


def float32_trainables(model: nn.Module) -> None:
    """Cast trainable bfloat16 parameters back to float32.

    On a 4-bit base TRL casts trainable parameters to bfloat16, in which small updates of a projector vanish. Call this
    after a TRL trainer is built and before it trains; parameters already in float32 stay as they are.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.float()


def linear_bytes(model: nn.Module) -> tuple[int, int]:
    """Bytes of the linear layers of all blocks, as stored and in bfloat16.

    4-bit layers count with their scales; LoRA's own matrices are not counted.
    """
    held = in_bfloat16 = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and ".layers." in name and ".lora_" not in name:
            state = getattr(module.weight, "quant_state", None)
            held += module.weight.nbytes
            if state is not None:
                held += sum(t.nbytes for t in state.as_dict(packed=True).values())
            in_bfloat16 += 2 * (module.weight.numel() if state is None else state.shape.numel())
    return held, in_bfloat16


def count_trainable(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def trainable_summary(model: nn.Module) -> str:
    """What trains and what is frozen, with counts per part: `trains projector 83,136; frozen llama 3,150,000`."""
    trains: Counter[str] = Counter()
    frozen: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        (trains if parameter.requires_grad else frozen)[_part(name)] += _numel(parameter)
    told = [
        f"{verb} " + (", ".join(f"{part} {count:,}" for part, count in counts.items()) or "nothing")
        for verb, counts in (("trains", trains), ("frozen", frozen))
    ]
    return "; ".join(told)


def _part(name: str) -> str:
    if ".ref." in name:
        return "reference"
    if "projector" in name:
        return "projector (parent's)" if ".original_module." in name else "projector"
    parts = {"lora_": "adapter", "prompt_encoder": "prompt", "score": "reward head", "ctc_head": "CTC head"}
    for key, part in parts.items():
        if key in name:
            return part
    return "encoder" if "encoder." in name else "llama"


def _numel(parameter: nn.Parameter) -> int:
    """Number of weights; two 4-bit weights share a byte."""
    return parameter.numel() * (2 if parameter.__class__.__name__ == "Params4bit" else 1)
