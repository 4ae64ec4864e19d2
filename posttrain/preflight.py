"""Everything that can be known to be wrong before a long run starts, in one error."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.config import Recipe
from posttrain.errors import InputError
from posttrain.sections import SFTConfig

if TYPE_CHECKING:
    from posttrain.runner import Step

GIB = 2**30
REPORT_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    """What was looked at."""
    ok: bool
    """False stops a run."""
    message: str
    """What was found and, where it is not ok, how to mend it."""

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON has it."""
        return asdict(self)


def check(recipe: Recipe, folder: Path, steps: "list[Step]") -> None:
    """Raises InputError that lists every problem: adapters, sizes, models, recorded sources, device, disk space."""
    problems = [*_adapters(steps), *_rows(recipe, steps), *_personal(steps)]
    if any(step.action == "run" for step in steps):
        problems += [*_sizes(recipe), *_device(recipe), *_reports(recipe)]
        problems += [str(finding) for finding in models(recipe) if not finding.ok]
        problems += [*_sources(recipe), *_disk(recipe, folder)]
    if problems:
        raise InputError(list(dict.fromkeys(problems)))


def models(recipe: Recipe) -> Iterator[Finding]:
    """Whether the recipe's hub ids and local folders can be had, and a folder's weights have its config's shapes."""
    for key, name, revision in (
        ("base.model", recipe.base.model, recipe.base.revision),
        ("ctc.model", recipe.ctc.model, recipe.ctc.revision),
    ):
        if name is None:
            continue
        if _is_local(name):
            from posttrain.model.folder import check_folder

            found: list[str] = []
            _collect(found, check_folder, Path(name).expanduser(), "llama" if key == "base.model" else "parakeet_ctc")
            yield Finding(key, not found, f"{name}: {'; '.join(found)}" if found else f"folder {name} is whole")
        else:
            yield _hub(key, name, revision)


def _adapters(steps: "list[Step]") -> Iterator[str]:
    """Named and, where a node gives a rank, with one."""
    for node in (step.node for step in steps if step.stage == "sft"):
        if node is not None:
            found: list[str] = []
            _collect(found, _read_adapter, node.options)
            yield from (f"{node.name}: {problem}" for problem in found)


def _personal(steps: "list[Step]") -> Iterator[str]:
    """A person's manifest, with its recordings, and audiogram."""
    from posttrain.acoustics import audiogram
    from posttrain.corpus import personal

    for node in (step.node for step in steps if step.stage == "personalise" and step.action == "run"):
        found: list[str] = []
        if node.options.manifest is None:
            found.append("personalise.manifest is not given; name a CSV path,text,split with MANIFEST=FILE.csv")
        else:
            _collect(found, personal.load, node.options.manifest)
        _collect(found, audiogram.find, node.options.listener)
        yield from found


def _read_adapter(options: SFTConfig) -> None:
    """And whether less of its change can be kept, where that is asked for."""
    from posttrain.model import adapter_file

    adapter = adapter_file.read(options.adapter, options.rank)
    scales = adapter.method == "full" or (adapter.method == "lora" and adapter.rank and not adapter.use_dora)
    if options.keep_change < 1 and not scales:
        raise InputError(
            f"keep_change is {options.keep_change}, but the change of adapter {options.adapter} cannot be scaled; "
            "expected LoRA without DoRA, or full; set it to 1"
        )


def _rows(recipe: Recipe, steps: "list[Step]") -> Iterator[str]:
    """Shares that leave nothing for the tasks, and rows of the tiny world for a model that never lived in it."""
    for node in (step.node for step in steps if step.stage in ("sft", "personalise")):
        options = node.options
        typed = node.stage == "personalise" or options.replay_share or options.kl_weight
        if recipe.base.model and options.typed_rows == "world" and typed:
            yield f"{node.name}: typed_rows is world, which {recipe.base.model} never learned; set it to text"
    for node in (step.node for step in steps if step.stage == "sft"):
        options = node.options
        if options.replay_share + (options.safety_share or 0) >= 1:
            yield f"{node.name}: replay_share and safety_share leave nothing for the tasks; lower one of them"


def _sizes(recipe: Recipe) -> Iterator[str]:
    """Sizes of the tiny models that do not go together."""
    divisions = []
    if recipe.base.model is None:
        base = recipe.base
        divisions += [("base.hidden_size", base.hidden_size, "2 × base.heads", 2 * base.heads)]
        divisions += [("base.heads", base.heads, "base.kv_heads", base.kv_heads)]
    if recipe.ctc.model is None:
        divisions += [("ctc.hidden_size", recipe.ctc.hidden_size, "ctc.heads", recipe.ctc.heads)]
    for name, value, by, divisor in divisions:
        if value % divisor:
            yield f"{name} is {value}, expected a multiple of {by} = {divisor}; change one of them"


def _device(recipe: Recipe) -> Iterator[str]:
    if recipe.device in ("auto", "cpu"):
        return
    import torch

    try:
        torch.zeros(1, device=recipe.device)
    except (RuntimeError, AssertionError) as error:
        yield f"device is {recipe.device}: {first_line(error)}; expected auto, cpu or a device of this machine"


def _reports(recipe: Recipe) -> Iterator[str]:
    for name in recipe.report_to:
        if name not in ("none", "all") and importlib.util.find_spec(REPORT_PACKAGES.get(name, name)) is None:
            yield f"report_to names {name}, which is not installed; install it, or name tensorboard or none"


def _sources(recipe: Recipe) -> list[str]:
    if not recipe.corpus.sources:
        return []
    from posttrain.corpus import sources

    problems: list[str] = []
    _collect(problems, sources.check, recipe.corpus)
    return problems


def _disk(recipe: Recipe, folder: Path) -> Iterator[str]:
    """The corpus and its frames take some 120 kB a made clip; a stage of a loaded model leaves adapters only."""
    need = 1 * GIB + (recipe.corpus.train_clips + recipe.corpus.rl_clips) * 150_000
    here = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(here).free
    if free < need:
        yield f"{here} has {free / GIB:.1f} GiB free, expected {need / GIB:.1f}; free some or put runs/ elsewhere"


def _hub(key: str, name: str, revision: str | None) -> Finding:
    """In the cache, or to be had from the hub with this user's token."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils import httpx

    mend = f"give a local folder with --set {key}=FOLDER"
    try:
        found = huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True)
        return Finding(key, True, f"{name} is in the cache ({found})")
    except HFValidationError:
        return Finding(key, False, f"{name} is neither a folder nor a hub id; name one of them")
    except LocalEntryNotFoundError:
        pass
    if constants.HF_HUB_OFFLINE:
        return Finding(key, False, f"{name} is not in the cache and HF_HUB_OFFLINE is set; unset it, or {mend}")
    try:
        info = huggingface_hub.HfApi().model_info(name, revision=revision, timeout=10, files_metadata=True)
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        mend = f"accept its licence on the hub and run `hf auth login`, check the network, or {mend}"
        return Finding(key, False, f"{name} cannot be had ({why}); {mend}")
    size = sum(file.size or 0 for file in info.siblings or [] if file.rfilename.endswith((".safetensors", ".json")))
    return Finding(key, True, f"{name} will be downloaded, {size / GIB:.1f} GiB")


def _is_local(model: str) -> bool:
    return model.startswith((".", "/", "~")) or Path(model).exists() or model.count("/") != 1


def _collect(problems: list[str], call: Callable[..., Any], *args: Any) -> None:
    try:
        call(*args)
    except InputError as error:
        problems.extend(error.problems)


def first_line(error: BaseException) -> str:
    """Of an error's message."""
    return (str(error).strip().splitlines() or [""])[0]
