"""A second, small LoRA for one person, on top of the one that a stage trained; it can be removed again.

Both are added to the frozen layers, so without the personal one the model equals its parent, bit for bit. The projector
is the parent's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from posttrain.config.adapter_file import Adapter
from posttrain.errors import InputError
from posttrain.model.adapters import lora_config
from posttrain.model.untrusted import check_adapter

PERSONAL = "personal"
PARENTS = "default"


def add(model: nn.Module, adapter: Adapter, seed: int) -> None:
    """Add a new personal LoRA, the only part that trains; it changes nothing yet. Raises InputError if the model has no
    LoRA."""
    if not isinstance(model, PeftModel) or model.peft_config[PARENTS].is_prompt_learning:
        raise InputError("personalise stands on a LoRA, and its parent has none; name an sft with adapter lora or dora")
    config = lora_config(adapter, modules_to_save=())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_adapter(PERSONAL, config)
    _use(model, [PARENTS, PERSONAL])
    for name, parameter in model.named_parameters():
        parameter.requires_grad = f".{PERSONAL}." in name


def load(model: PeftModel, folder: Path) -> None:
    """Add the personal LoRA in a folder, frozen."""
    check_adapter(folder)
    model.load_adapter(str(folder), PERSONAL)
    _use(model, [PARENTS, PERSONAL])


def has(model: nn.Module) -> bool:
    """Whether the model has a personal LoRA."""
    return isinstance(model, PeftModel) and PERSONAL in model.peft_config


@contextmanager
def personal_off(model: nn.Module) -> Iterator[None]:
    """The model without its personal LoRA, as its parent was."""
    _use(model, [PARENTS])
    try:
        yield
    finally:
        _use(model, [PARENTS, PERSONAL])


def _use(model: nn.Module, names: list[str]) -> None:
    """Activate these LoRAs; PEFT's own switch would do so on the projector too, which has only the parent's."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.set_adapter(names, inference_mode=True)
