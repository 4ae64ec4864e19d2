"""Everything that can be known to be wrong before a long run starts, in one error."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from posttrain import assets
from posttrain.config import Recipe
from posttrain.errors import InputError

if TYPE_CHECKING:
    from posttrain.runner import Step

GIB = 2**30


def check(recipe: Recipe, folder: Path, steps: "list[Step]") -> None:
    """Raises InputError that lists every problem: adapters, model folders, recorded sources, disk space."""
    problems: list[str] = []
    for step in steps:
        if step.stage == "sft" and step.node is not None:
            _collect(problems, assets.path, "adapters", step.node.options.adapter)
    for key, model in (("base.model", recipe.base.model), ("ctc.model", recipe.ctc.model)):
        if model and _is_local(model) and not (Path(model) / "config.json").is_file():
            problems.append(f"{key} is {model}, expected a folder with config.json; name a folder or a hub id")
    if any(step.action == "run" for step in steps):
        problems += _sources(recipe)
        problems += _disk(recipe, folder)
    if problems:
        raise InputError(problems)


def _sources(recipe: Recipe) -> list[str]:
    if not recipe.corpus.sources:
        return []
    from posttrain.corpus import sources

    problems: list[str] = []
    _collect(problems, sources.check, recipe.corpus)
    return problems


def _disk(recipe: Recipe, folder: Path) -> list[str]:
    """The corpus and its frames take some 120 kB a made clip; a stage of a loaded model leaves adapters only."""
    need = 1 * GIB + recipe.corpus.train_clips * 150_000
    here = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(here).free
    if free >= need:
        return []
    return [f"{here} has {free / GIB:.1f} GiB free, expected {need / GIB:.1f}; free some or put runs/ elsewhere"]


def _is_local(model: str) -> bool:
    return model.startswith((".", "/", "~")) or Path(model).exists() or model.count("/") != 1


def _collect(problems: list[str], call, *args) -> None:
    try:
        call(*args)
    except InputError as error:
        problems.extend(error.problems)
