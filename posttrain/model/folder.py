"""Checks that a local model folder is complete: its files exist and its weights have the shapes in its config.

Only headers are read, so what `from_pretrained` would find out minutes later is known before a run starts.
"""

import json
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from posttrain.config.stage_table import spec_of
from posttrain.errors import InputError
from posttrain.model.encoders import kinds

LLAMA_FILES = ("config.json", "tokenizer_config.json", "tokenizer.json")
NORMALISED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""Names of the parts of a weight under weight normalisation: in older folders, and in torch today."""
SHOWN = 3


def check_folder(folder: Path, kind: Literal["llama", "encoder"]) -> None:
    """Raise InputError listing what is missing or has another shape than in config.json, or if it is no such model."""
    if not folder.is_dir():
        raise InputError(f"{folder} not found; name a folder or a hub id")
    problems = kinds.lacking(folder, LLAMA_FILES if kind == "llama" else kinds.files_of(folder))
    if problems:
        raise InputError(problems)
    import torch  # only if there is something to compare

    with torch.device("meta"):
        model = _skeleton(folder, kind)
    found = _shapes(folder)
    tied = set(model._tied_weights_keys or ()) if kind == "llama" and model.config.tie_word_embeddings else set()
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if name not in found and name not in tied:
            problems.append(f"{folder}: {name} is missing, expected {shape}; get the folder again, whole")
        elif name in found and found[name] != shape:
            problems.append(
                f"{folder}: {name} is {found[name]}, expected {shape} by config.json; they do not belong together"
            )
    if len(problems) > SHOWN:
        problems = [*problems[:SHOWN], f"{folder}: {len(problems) - SHOWN} more weights like these"]
    if problems:
        raise InputError(problems)


def checkpoint_problems(folder: Path, hears: bool = False) -> list[str]:
    """Problems with a checkpoint's files, by its checkpoint.json and their names; `hears`: it must have an encoder."""
    path = folder / "checkpoint.json"
    if not path.is_file():
        if (folder / "config.json").is_file() and not hears:
            return []
        return [f"{folder} holds no checkpoint (no checkpoint.json); name a stage's folder, such as runs/tiny/sft"]
    try:
        spec = dict(json.loads(path.read_text(encoding="utf-8")))
        own = ["config.json", "model.safetensors"] if spec.get("encoder") == "./." else []
        missing = [name for name in [*dict(spec.get("hashes", {})), *own] if not (folder / name).is_file()]
    except (OSError, ValueError, TypeError) as error:
        return [f"{path} is not a checkpoint's: {error}; train that stage again"]
    problems = [f"{folder / name} is missing; train that stage again, or copy the folder whole" for name in missing]
    stage = str(spec.get("stage"))
    if hears and (spec_of(stage).leaves == "encoder" or not spec.get("encoder")):
        problems.append(f"{folder} ({stage}) does not hear; name a stage from align on, such as runs/tiny/sft")
    return problems


def _skeleton(folder: Path, kind: Literal["llama", "encoder"]) -> Any:
    """An untrained model for the folder's config.json."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from posttrain.model.encoders import loading
    from posttrain.model.untrusted import read_content

    try:
        content = read_content(folder)
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}/config.json cannot be read: {error}; get the folder again") from error
    if kind == "encoder":
        return loading.IMPLEMENTATIONS[kinds.kind_of(folder, content)].skeleton(content)
    if content.get("model_type") != kind:
        raise InputError(f"{folder} holds a {content.get('model_type')} model, expected {kind}; name another folder")
    return LlamaForCausalLM(LlamaConfig.from_dict(content))


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name → shape of every weight in the folder's safetensors files, from their headers."""
    index = folder / "model.safetensors.index.json"
    try:
        names = (
            sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            if index.is_file()
            else ["model.safetensors"]
        )
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{index} cannot be read: {error}; get the folder again") from error
    shapes: dict[str, tuple[int, ...]] = {}
    problems = []
    for name in names:
        try:
            with safe_open(folder / name, framework="pt") as file:
                shapes |= {_today(key): tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            problems.append(f"{folder / name} cannot be read: {error}; get the folder again, whole")
    if problems:
        raise InputError(problems)
    return shapes


def _today(name: str) -> str:
    """A weight's name as torch has it today; `from_pretrained` renames in the same way."""
    *module, last = name.split(".")
    return ".".join([*module, NORMALISED.get(last, last)])
