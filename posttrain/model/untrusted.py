"""Reads a model's folder as untrusted data, and refuses it if it asks for code of its own.

Transformers and PEFT can import Python that a folder names. Nothing here needs that, so only their concrete classes are
used (the Auto classes look for code), weights are safetensors (never pickles), and an adapter's config may set only
what this project's adapters set.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from peft import LoraConfig, PromptTuningConfig
from transformers import LlamaConfig, PreTrainedConfig

from posttrain.errors import InputError
from posttrain.model.adapters import LAYER

ATTENTION = (None, "eager", "sdpa", "flash_attention_2", "flex_attention")
"""Transformers' own implementations; any other name means code to download."""
ADAPTERS = {"LORA": LoraConfig, "PROMPT_TUNING": PromptTuningConfig}
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FREE = {
    "base_model_name_or_path", "revision", "inference_mode", "peft_version", "task_type", "r", "lora_alpha",
    "lora_dropout", "use_dora", "target_modules", "modules_to_save", "num_virtual_tokens", "token_dim",
    "num_transformer_submodules", "num_attention_heads", "num_layers", "prompt_tuning_init",
}  # fmt: skip
"""What an adapter's config may choose; all other options must have PEFT's defaults."""
VALUES = {
    "task_type": ("CAUSAL_LM", "SEQ_CLS"),
    "prompt_tuning_init": ("RANDOM", "SAMPLE_VOCAB"),
}
SAVED = {"projector", "score", "classifier"}
"""Modules that an adapter may save in full; PEFT adds the third for a reward model."""
TARGETS = re.compile(re.escape(LAYER) + r"\(\?:[a-z_|]+\)")
"""A list of layer names; an arbitrary pattern could take forever to match."""
MEND = "get the folder from where you trust it, or train that stage again"


def read_content(source: str | Path, revision: str | None = None, **options: Any) -> dict[str, Any]:
    """The content of config.json in a folder or under a hub id.

    Raises InputError if it asks for code, and what Transformers raises (OSError, ValueError) if it cannot be read.
    """
    content, _ = PreTrainedConfig.get_config_dict(str(source), revision=revision, **options)
    check_config(source, content)
    return dict(content)


def pinned(source: str | Path, revision: str | None) -> str | None:
    """The commit that a hub id's revision, or its newest one, is now; a folder's revision as it is.

    A checkpoint names this commit, so that it loads the same weights after the hub's repository has moved on.
    """
    read_content(source, revision)  # now it is in the cache, whose folders have the commits' names
    if Path(source).is_dir():
        return revision
    cached = try_to_load_from_cache(str(source), "config.json", revision=revision)
    return Path(cached).parent.name if isinstance(cached, str) else revision


def read_config(source: str | Path, revision: str | None = None, **options: Any) -> Any:
    """The config of a Llama, or a plain one with the `model_type` of another model; raises as `read_content` does."""
    content = read_content(source, revision, **options)
    kind = content.get("model_type")
    if kind == "llama":
        return LlamaConfig.from_dict(content)
    made = PreTrainedConfig()
    made.model_type = kind or "model of no known type"
    return made


def check_config(source: str | Path, content: dict[str, Any]) -> None:
    """Raise InputError if a model's config names code of its own, or an adapter's config lies beside it."""
    problems = [f"{source}: config.json has {key}, {why}; {MEND}" for key, why in _asks_for_code(content)]
    if Path(source, ADAPTER_CONFIG).is_file():
        problems.append(
            f"{source} has {ADAPTER_CONFIG} beside config.json, which would change the model; merge the adapter first"
        )
    if problems:
        raise InputError(problems)


def check_adapter(folder: Path) -> None:
    """Raise InputError unless the folder holds safetensors and an adapter config such as this project writes."""
    problems: list[str] = []
    if not (folder / ADAPTER_WEIGHTS).is_file():
        problems.append(f"{folder / ADAPTER_WEIGHTS} is missing, and other kinds of weights are not read; {MEND}")
    try:
        content = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        kind = ADAPTERS[content["peft_type"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = " or ".join(ADAPTERS)
        problems.append(f"{folder / ADAPTER_CONFIG} is not the config of {expected} ({error!r}); {MEND}")
    else:
        problems += [f"{folder / ADAPTER_CONFIG}: {wrong}; {MEND}" for wrong in _beyond(content, kind)]
    if problems:
        raise InputError(problems)


def _asks_for_code(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for part in (content, *(value for value in content.values() if isinstance(value, dict))):
        if "auto_map" in part:
            yield "auto_map", "which names Python files to import"
        for key in ("attn_implementation", "_attn_implementation", "experts_implementation"):
            if part.get(key) not in ATTENTION:
                yield key, f"{part[key]!r}, which is not Transformers' own"
    if "custom_pipelines" in content:
        yield "custom_pipelines", "which name Python files to import"


def _beyond(content: dict[str, Any], kind: type) -> Iterator[str]:
    """Problems with options that no adapter of this project sets."""
    usual = json.loads(json.dumps(kind().to_dict(), default=str))
    for key, value in content.items():
        if key not in usual:
            yield f"{key} is not an option of this version of PEFT"
        elif key == "target_modules" and not (isinstance(value, str) and TARGETS.fullmatch(value)):
            yield f"target_modules is {value!r}, expected a pattern of layers' names"
        elif key == "modules_to_save" and value is not None and not set(value) <= SAVED:
            yield f"modules_to_save is {value!r}, expected none but {', '.join(sorted(SAVED))}"
        elif key in VALUES and value not in VALUES[key]:
            yield f"{key} is {value!r}, expected one of {', '.join(map(str, VALUES[key]))}"
        elif key not in FREE and key != "peft_type" and value != usual.get(key):
            yield f"{key} is {value!r}, expected {usual.get(key)!r}"
