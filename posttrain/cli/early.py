"""Checks that need no torch, so a mistyped name is reported at once, not after the libraries have loaded."""

import json
import re
from pathlib import Path
from typing import Any

import typer
import yaml

from posttrain.config.stage_table import spec_of
from posttrain.errors import InputError, problems_of
from posttrain.model.folder import checkpoint_problems
from posttrain.run import ledger

DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")


def device(value: str) -> str:
    """Callback of --device."""
    if not DEVICE.fullmatch(value):
        raise typer.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:1, …")
    return value


def run_folder(run: str) -> Path:
    """A run's folder: runs/NAME, or the folder itself if the name is a path. Raises InputError if it is not a name."""
    if run.strip() in ("", ".", ".."):
        raise InputError(f"a run is named {run!r}, expected a name such as mine, or a folder")
    return Path(run) if "/" in run else Path("runs") / run


def rows(folder: Path, stage: str | None = None, lacks: str = "ledger.jsonl with rows") -> list[ledger.Row]:
    """The rows of a run's ledger; InputError if it has none, or none of that stage."""
    found = ledger.read(folder / "ledger.jsonl")
    if not found:
        raise InputError(f"{folder} has no {lacks}; name a run that has finished one")
    if stage and all(row.stage != stage for row in found):
        known = ", ".join(row.stage for row in found)
        raise InputError(f"{folder} has no finished stage {stage} (it has {known}); name one of these")
    return found


def evaluation(folder: Path, probes: Path | None, data_root: Path | None = None) -> None:
    """Raise InputError listing what is wrong with a stage's folder, a file of probes and the data root."""
    from posttrain.tasks.probe_file import read_probes

    problems: list[str] = []
    config = folder / "config.yaml"
    if config.is_file():
        made = _mapping(config, problems)
        stage = made.get("stage")
        if lost := [name for name in ("stage", "seed", "corpus") if made and name not in made]:
            problems.append(f"{config} lacks {', '.join(lost)}, as after a crash; run that stage again")
        problems += [] if spec_of(str(stage)).aside else checkpoint_problems(folder)
    else:
        problems.append(f"{folder} is not a stage's folder (no config.yaml); name one such as runs/tiny/sft")
    if data_root is not None and not data_root.is_dir():
        problems.append(f"--data-root (or DATA_ROOT) is {data_root}: folder not found; check the path, or leave it out")
    if probes is not None:
        problems += problems_of(read_probes, probes)
    if problems:
        raise InputError(problems)


def export(folder: Path, out: Path, merge: bool, int8: bool) -> None:
    """Raise InputError listing why the checkpoint in `folder` cannot be exported to `out`."""
    alone = is_enhancer(folder)
    problems = [] if alone else checkpoint_problems(folder, hears=True)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        problems.append(f"FOLDER is {out}, which is there and not empty; name a new folder, or remove that one")
    if alone and merge:
        problems.append(f"{folder} holds an enhancer, which has no adapter; leave --merge out")
    if int8 and not alone:
        problems.append(f"{folder} holds no enhancer, and --int8 is for one; leave --int8 out")
    if not problems and not alone:
        spec = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
        path = folder / "adapter" / "adapter_config.json"
        adapter = _mapping(path, problems) if path.is_file() else {}
        if not (folder / "projector.safetensors").is_file():
            problems.append(f"{folder} ({spec.get('stage')}) only scores answers; name a stage such as runs/tiny/sft")
        if adapter.get("peft_type") == "PROMPT_TUNING":
            problems.append(f"{folder} has prompt tuning, which cannot be exported; train lora, dora or full instead")
        if merge and spec.get("quantization", "none") != "none":
            problems.append(f"{folder}: --merge is for full precision, and the base is in 4 bits; leave --merge out")
        if (folder / "personal").is_dir() and not merge:
            problems.append(f"{folder} has two adapters, the stage's and a person's; add --merge")
    if problems:
        raise InputError(problems)


def is_enhancer(folder: Path) -> bool:
    """Whether the folder is an enhancer's and no speech model's."""
    return (folder / "enhancer.json").is_file() and not (folder / "checkpoint.json").is_file()


def _mapping(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problems.append(f"{path} cannot be read: {' '.join(str(error).split())}; train that stage again")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path} holds no options; train that stage again")
        return {}
    return content
