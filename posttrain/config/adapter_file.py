"""Reads and checks a file of adapters/; light to import, so that planning needs neither torch nor PEFT."""

from typing import Literal, get_args

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from posttrain.config import assets
from posttrain.errors import InputError

Layer = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""Linear layers of a Llama's decoder block: attention's, then the MLP's."""
ATTENTION: tuple[Layer, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Adapter:
    """One file of adapters/."""

    name: str
    """The file's name."""
    summary: str
    """What it changes, in a sentence."""
    method: Literal["projector", "lora", "prompt_tuning", "full"]
    """What trains. projector: nothing of the Llama. full: all of it."""
    quantization: Literal["none", "nf4"] = "none"
    """How the frozen linear layers are stored."""
    rank: int = 8
    """LoRA's r; 0 trains the projector alone."""
    alpha: int = 16
    """LoRA's α."""
    dropout: float = 0.0
    """Dropout on LoRA's input."""
    use_dora: bool = False
    """Weight-decomposed LoRA (Liu et al. 2024)."""
    target_modules: tuple[Layer, ...] = ATTENTION
    """Linear layers of every decoder block that get LoRA."""
    virtual_tokens: int = 16
    """Learned prompt embeddings before every prompt."""


def personal(rank: int) -> Adapter:
    """One person's LoRA, on every linear layer, since the MLPs also take part in producing new words."""
    return Adapter("personal", "One person's.", "lora", rank=rank, alpha=2 * rank, target_modules=get_args(Layer))


def read(name: str, rank: int | None = None) -> Adapter:
    """The adapter file called `name`; `rank` overrides its LoRA rank, α follows as 2 r. InputError if it is wrong."""
    path = assets.path("adapters", name)
    try:
        raw = {"name": path.stem, **(yaml.safe_load(path.read_text(encoding="utf-8")) or {})}
        adapter = TypeAdapter(Adapter).validate_python(raw)
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}; correct the line it names") from error
    except ValidationError as error:
        raise InputError(
            [f"{path}: {'.'.join(map(str, e['loc']))} is {e['input']!r}: {e['msg']}" for e in error.errors()]
        ) from error
    if rank is None:
        return adapter
    if adapter.method != "lora":
        raise InputError(f"rank is {rank}, but adapter {name} ({adapter.method}) has none; leave it out")
    if rank < 0:
        raise InputError(f"rank is {rank}, expected 0 or more; 0 trains the projector alone")
    return TypeAdapter(Adapter).validate_python({**adapter.__dict__, "rank": rank, "alpha": 2 * rank})
