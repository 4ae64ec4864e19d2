"""The state of a training loop of our own that may be stopped: written now and then, read when it starts again.

Safetensors with the step and what else is to be known as metadata; nothing is pickled.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

from posttrain import files
from posttrain.machine.device import say

STATE = "training.safetensors"
Parts = Mapping[str, nn.Module | Optimizer]
"""Name without a slash → what trains, or trains it."""


def keep(folder: Path | None, parts: Parts, made_by: dict[str, str], known: dict[str, Any]) -> None:
    """Write the parts' states, what they were made by and what else is `known` (JSON) to a folder, which is made.

    Nothing if the folder is None.
    """
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{name}/{key}": value for name, part in parts.items() for key, value in _state(part).items()}
    with files.beside(folder / STATE) as partial:
        save_file(tensors, partial, {"made_by": json.dumps(made_by), "known": json.dumps(known)})


def restore(folder: Path | None, parts: Parts, made_by: dict[str, str]) -> dict[str, Any]:
    """Load the parts' states in place; returns what was known then, or {} if nothing readable was kept.

    A state made by something else, such as earlier code, is not used, and this is said.
    """
    path = folder / STATE if folder else None
    if path is None or not path.is_file():
        return {}
    try:
        with safe_open(str(path), "pt") as opened:
            kept_by, known = (json.loads(opened.metadata()[name]) for name in ("made_by", "known"))
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        say(f"{path} cannot be read ({error}); the training starts anew")
        return {}
    if other := [name for name, value in made_by.items() if kept_by.get(name) != value]:
        say(f"{path} is of another {' and '.join(other)}; the training starts anew")
        return {}
    for name, part in parts.items():
        state = {key.partition("/")[2]: value for key, value in tensors.items() if key.partition("/")[0] == name}
        if isinstance(part, nn.Module):
            part.load_state_dict(state)
            continue
        by_place: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in state.items():
            place, _, what = key.partition("/")
            by_place.setdefault(int(place), {})[what] = value
        part.load_state_dict({"state": by_place, "param_groups": part.state_dict()["param_groups"]})
    return dict(known)


def _state(part: nn.Module | Optimizer) -> dict[str, torch.Tensor]:
    state = part.state_dict()
    if isinstance(part, Optimizer):
        state = {f"{place}/{what}": value for place, of in state["state"].items() for what, value in of.items()}
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
