"""What a long run would stumble over: versions, torch with torchaudio, devices, memory, disk, a recipe's parts."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.config import Recipe
from posttrain.errors import InputError

if TYPE_CHECKING:
    from posttrain.runner import Step

GIB = 2**30
PACKAGES = ("torch", "torchaudio", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets")
TORCH_FIRST, TORCH_END = (2, 11), (2, 15)
"""torchaudio 2.11, the newest, works with torch from the first up to, and not including, the second."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    """What was looked at."""
    ok: bool
    """False stops a run."""
    message: str
    """What was found and, where it is not ok, how to mend it."""

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON has it."""
        return asdict(self)


def examine(recipe: Recipe, folder: Path, branch_from: Path | None = None) -> list[Finding]:
    """Everything about this machine, and about this recipe on it. InputError where the recipe itself is wrong."""
    from posttrain import runner

    return [*machine(folder), *needs(recipe, folder, runner.plan(recipe, folder, branch_from))]


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
    """Whether the recipe's parts can be had here, and whether the steps that would run will fit."""
    found = [*_models(recipe), *_recordings(recipe)]
    if any(step.action == "run" for step in steps):
        found += [_fits_memory(recipe), *_preflight(recipe, folder, steps)]
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _audio_pair(versions: dict[str, str | None]) -> Finding:
    """Transformers imports torchaudio wherever it is installed, so that a pair that does not fit breaks everything."""
    torch, torchaudio = versions["torch"], versions["torchaudio"]
    name = "torch and torchaudio"
    mend = "install the pair of constraints.txt with make setup"
    try:
        import torchaudio as _  # noqa: F401
    except (ImportError, OSError) as error:
        return Finding(name, False, f"{torch} and {torchaudio} do not go together ({error}); {mend}")
    release = tuple(int(part) for part in (torch or "0.0").split("+")[0].split(".")[:2])
    if not TORCH_FIRST <= release < TORCH_END:
        return Finding(name, False, f"torch is {torch}, expected 2.11 to 2.14 for torchaudio {torchaudio}; {mend}")
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
    """The made speech needs espeak-ng's library, which comes in a wheel."""
    import ctypes

    try:
        import espeakng_loader

        library = espeakng_loader.get_library_path()
        ctypes.CDLL(library)
    except (ImportError, OSError) as error:
        return Finding("espeak-ng", False, f"its library does not load ({error}); run make setup")
    return Finding("espeak-ng", True, "its library and voices are there")


def _models(recipe: Recipe) -> Iterator[Finding]:
    """Hub ids and local folders."""
    for key, name, revision in (
        ("base.model", recipe.base.model, recipe.base.revision),
        ("ctc.model", recipe.ctc.model, recipe.ctc.revision),
    ):
        if name is None:
            continue
        if Path(name).expanduser().is_dir():
            complete = (Path(name).expanduser() / "config.json").is_file()
            yield Finding(key, complete, f"folder {name}" + ("" if complete else " has no config.json; get it again"))
        else:
            yield _hub(key, name, revision)


def _hub(key: str, name: str, revision: str | None) -> Finding:
    """In the cache, or to be had from the hub with this user's token."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True)
        return Finding(key, True, f"{name} is in the cache ({found})")
    except HFValidationError:
        return Finding(key, False, f"{name} is neither a folder nor a hub id; name one of them")
    except LocalEntryNotFoundError:
        folder = f"give a local folder with --set {key}=FOLDER"
    if constants.HF_HUB_OFFLINE:
        return Finding(key, False, f"{name} is not in the cache and HF_HUB_OFFLINE is set; unset it, or {folder}")
    try:
        info = huggingface_hub.HfApi().model_info(name, revision=revision, timeout=10, files_metadata=True)
    except (OSError, ValueError, RuntimeError) as error:
        mend = "accept its licence on the hub and run `hf auth login`, check the network, or " + folder
        return Finding(key, False, f"{name} cannot be had ({type(error).__name__}: {_first_line(error)}); {mend}")
    size = sum(file.size or 0 for file in info.siblings or [] if file.rfilename.endswith((".safetensors", ".json")))
    return Finding(key, True, f"{name} will be downloaded, {size / GIB:.1f} GiB")


def _recordings(recipe: Recipe) -> Iterator[Finding]:
    """The folders of the recipe's sources."""
    root = recipe.corpus.data_root
    if recipe.corpus.sources and root is None:
        named = ", ".join(recipe.corpus.sources)
        yield Finding("recordings", False, f"{named} need a folder; give DATA_ROOT=… or --set corpus.data_root=…")
        return
    for source in recipe.corpus.sources:
        folder = Path(root or "") / source
        there = folder.is_dir()
        yield Finding(source, there, f"{folder}" + ("" if there else " is not there; name the folder that holds it"))


def _fits_memory(recipe: Recipe) -> Finding:
    from posttrain.model import memory

    return Finding("fit", *memory.fits(recipe))


def _preflight(recipe: Recipe, folder: Path, steps: "list[Step]") -> Iterator[Finding]:
    """What `posttrain run` itself refuses before it starts."""
    from posttrain import preflight

    try:
        preflight.check(recipe, folder, steps)
    except InputError as error:
        for problem in error.problems:
            yield Finding("recipe", False, problem)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
