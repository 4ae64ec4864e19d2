"""Check what could stop a long run: versions, torch with torchaudio, devices, memory, disk, a recipe's parts."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from posttrain.config.recipe import Recipe
from posttrain.errors import InputError
from posttrain.run.preflight import Finding, lacking, models, wrong

if TYPE_CHECKING:
    from posttrain.run.runner import Step

GIB = 2**30
PACKAGES = ("torch", "torchaudio", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets")
TORCH_FIRST, TORCH_END = (2, 11), (2, 15)
"""torchaudio 2.11, the newest, works with torch from the first version up to, but not including, the second."""


def examine(recipe: Recipe, folder: Path, branch_from: Path | None = None) -> list[Finding]:
    """All findings about this machine and about the recipe on it. InputError if the recipe itself is wrong."""
    from posttrain.run import runner

    return [*machine(folder), *needs(recipe, folder, runner.plan(recipe, folder, branch_from, refuse=False))]


def machine(folder: Path) -> list[Finding]:
    """Versions, the torch/torchaudio pair, devices, free memory, free disk, the speech synthesiser."""
    found = [Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}")]
    versions = {name: _version(name) for name in PACKAGES}
    lacking = [name for name, version in versions.items() if version is None]
    listed = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    found.append(Finding("packages", not lacking, listed + ("; run make setup" if lacking else "")))
    found += [_audio_pair(versions), _devices(), _memory(), _disk_free(folder), _synthesiser()]
    return found


def needs(recipe: Recipe, folder: Path, steps: "list[Step]") -> list[Finding]:
    """Whether the recipe is valid, its parts are available here, and the steps to run fit in memory."""
    return [*_told(recipe, wrong(recipe, steps)), *needs_here(recipe, folder, steps)]


def needs_here(recipe: Recipe, folder: Path, steps: "list[Step]") -> list[Finding]:
    """Whether the parts of a valid recipe are available on this machine, and whether the steps to run fit in memory."""
    found = [*models(recipe), *_recordings(recipe)]
    try:
        if trained := {step.name for step in steps if step.action == "run" and step.stage != "corpus"}:
            found.append(_fits_memory(recipe, trained))
    except InputError as error:
        found += [Finding("fit", False, problem) for problem in error.problems]
    return [*found, *_told(recipe, lacking(recipe, folder, steps), found)]


def _told(recipe: Recipe, problems: list[str], found: Sequence[Finding] = ()) -> list[Finding]:
    """A finding for each problem that `found` (default: those of models and recordings) does not mention."""
    named = " ".join(map(str, found or (*models(recipe), *_recordings(recipe))))
    return [Finding("recipe", False, problem) for problem in problems if problem not in named]


def memory_by_stage(recipe: Recipe) -> dict[str, float]:
    """Stage → GiB at its peak; empty if the shape of a model is not known here."""
    from posttrain.run import memory

    try:
        return {need.name: round(need.total / GIB, 1) for need in memory.estimate(recipe)}
    except InputError:
        return {}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _audio_pair(versions: dict[str, str | None]) -> Finding:
    """Whether torch and torchaudio match: Transformers imports any installed torchaudio, so a mismatch breaks all."""
    torch, torchaudio = versions["torch"], versions["torchaudio"]
    name = "torch and torchaudio"
    fix = "install the pair of constraints.txt with make setup"
    try:
        import torchaudio as _  # noqa: F401
    except (ImportError, OSError) as error:
        return Finding(name, False, f"{torch} and {torchaudio} do not go together ({error}); {fix}")
    release = tuple(int(part) for part in (torch or "0.0").split("+")[0].split(".")[:2])
    if not TORCH_FIRST <= release < TORCH_END:
        return Finding(name, False, f"torch is {torch}, expected 2.11 to 2.14 for torchaudio {torchaudio}; {fix}")
    return Finding(name, True, f"{torch} and {torchaudio} go together")


def _devices() -> Finding:
    import torch

    found = [f"{os.cpu_count()} CPU cores"]
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found.append(f"{torch.cuda.get_device_name(number)} ({free / GIB:.0f} of {total / GIB:.0f} GiB free)")
    return Finding("devices", True, ", ".join(found) + ("" if len(found) > 1 else ", no GPU"))


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    return Finding("memory", True, f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free")


def _disk_free(folder: Path) -> Finding:
    here = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return Finding("disk", True, f"{shutil.disk_usage(here).free / GIB:.1f} GiB free for {folder}")


def _synthesiser() -> Finding:
    """Whether espeak-ng's library loads, which comes in a wheel; synthetic speech needs it."""
    import ctypes

    try:
        import espeakng_loader

        library = espeakng_loader.get_library_path()
        ctypes.CDLL(library)
    except (ImportError, OSError) as error:
        return Finding("espeak-ng", False, f"its library does not load ({error}); run make setup")
    return Finding("espeak-ng", True, "its library and voices are there")


def _recordings(recipe: Recipe) -> Iterator[Finding]:
    """Whether the folders of the recipe's sources exist."""
    root = recipe.corpus.data_root
    if recipe.corpus.sources and root is None:
        named = ", ".join(recipe.corpus.sources)
        yield Finding("recordings", False, f"{named} need a folder; give DATA_ROOT=… or --set corpus.data_root=…")
        return
    for source in recipe.corpus.sources:
        folder = Path(root or "") / source
        there = folder.is_dir()
        yield Finding(source, there, f"{folder}" + ("" if there else " not found; name the folder that holds it"))


def _fits_memory(recipe: Recipe, names: set[str]) -> Finding:
    from posttrain.run import memory

    return Finding("fit", *memory.fits(recipe, names))
