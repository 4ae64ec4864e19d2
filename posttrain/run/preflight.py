"""Find everything that can be known to be wrong before a long run starts, and report it in one error."""

import functools
import importlib.util
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.config.recipe import Recipe
from posttrain.config.sections import CorpusConfig, SFTConfig
from posttrain.errors import InputError, problems_of
from posttrain.evals import benchmarks
from posttrain.model.folder import checkpoint_problems
from posttrain.model.weights import cards
from posttrain.run import combinations

if TYPE_CHECKING:
    from posttrain.corpus.plan import Plan
    from posttrain.corpus.types import Example
    from posttrain.run.graph import Node
    from posttrain.run.runner import Step

GIB = 2**30
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")
ENOUGH = 200
"""Number of synthetic clips that is enough for every kind of request to occur."""
REPORT_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    name: str
    """What was checked."""
    ok: bool
    """False stops a run."""
    message: str
    """What was found and, if it is not ok, how to fix it."""

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return asdict(self)


def check(recipe: Recipe, folder: Path, steps: "list[Step]") -> None:
    """Raises InputError that lists every problem: mistakes in the input, and what this machine lacks."""
    problems = [*wrong(recipe, steps), *lacking(recipe, folder, steps)]
    if problems:
        raise InputError(list(dict.fromkeys(problems)))


def wrong(recipe: Recipe, steps: "list[Step]") -> list[str]:
    """Mistakes that every machine would refuse: combinations, sizes, adapters, missing files.

    Loads torch only to compare a local model's weights with its config.
    """
    problems = [*combinations.problems(recipe, _nodes(steps)), *_adapters(steps), *_rows(recipe, steps)]
    problems += [*_places(recipe), *_personal(steps), *_names(recipe)]
    if any(step.action == "run" for step in steps):
        problems += [*_parents(steps), *_corpus(recipe, steps), *_recorded(recipe)]
        if recipe.corpus.data_root is not None:
            problems += _sources(recipe)
        problems += [str(finding) for finding in models(recipe, local=True) if not finding.ok]
    return list(dict.fromkeys(problems))


def lacking(recipe: Recipe, folder: Path, steps: "list[Step]") -> list[str]:
    """What this machine lacks: benchmarks and models to be downloaded, recordings' folder, a device, packages, disk
    space."""
    problems = []
    if any(step.action in ("run", "evaluate") for step in steps):
        problems += benchmarks.missing(recipe.evaluation, recipe.corpus.data_root)
    if all(step.action != "run" for step in steps):
        return problems
    problems += [str(finding) for finding in models(recipe, local=False) if not finding.ok]
    if recipe.corpus.data_root is None:
        problems += _sources(recipe)
    return [*problems, *_device(recipe), *_reports(recipe), *_four_bit(steps), *_disk(recipe, folder)]


def models(recipe: Recipe, local: bool | None = None) -> Iterator[Finding]:
    """Whether the recipe's hub ids and local folders are available, and a folder's weights have its config's shapes.

    `local`: only folders, or only hub ids.
    """
    for key, name, revision in (
        ("base.model", recipe.base.model, recipe.base.revision),
        ("ctc.model", recipe.ctc.model, recipe.ctc.revision),
    ):
        bring = name is not None and Path(name).name in cards.names() and not Path(name).exists()
        if name is None or local not in (None, _is_local(name) and not bring):
            continue
        if bring:
            yield Finding(key, False, f"{name} is not there; bring it with `make weights`, or give another folder")
        elif _is_local(name):
            from posttrain.model.folder import check_folder

            found = problems_of(check_folder, Path(name), "llama" if key == "base.model" else "encoder")
            yield Finding(key, not found, f"{name}: {'; '.join(found)}" if found else f"folder {name} is whole")
        else:
            yield _hub(key, name, revision)


def _adapters(steps: "list[Step]") -> Iterator[str]:
    """Problems of the adapters that sft nodes name, and of their ranks."""
    for node in _nodes(steps):
        if node.spec.adapter == "named":
            yield from (f"{node.name}: {problem}" for problem in problems_of(_read_adapter, node.options))


def _places(recipe: Recipe) -> Iterator[str]:
    """Problems of files and folders that the recipe names, whether or not a stage of this plan reads them."""
    root, person = recipe.corpus.data_root, recipe.personalise
    if root is not None and not Path(root).is_dir():
        yield f"corpus.data_root is {root}: folder not found; check the path"
    if person.manifest is not None and not Path(person.manifest).is_file():
        yield f"personalise.manifest is {person.manifest}: file not found; check the path"
    if person.listener != "normal":
        yield from _listener(person.listener)


def _personal(steps: "list[Step]") -> Iterator[str]:
    """Problems of a person's manifest, its recordings, and the audiogram."""
    from posttrain.corpus import personal

    for node in _nodes([step for step in steps if step.action == "run"]):
        if node.spec.adapter != "personal":
            continue
        if node.options.manifest is None:
            yield "personalise.manifest is not given; name a CSV path,text,split with MANIFEST=FILE.csv"
        elif Path(node.options.manifest).is_file():
            yield from problems_of(personal.load, node.options.manifest)
        else:
            yield f"personalise.manifest is {node.options.manifest}: file not found; check the path"
        yield from _listener(node.options.listener)


def _listener(name: str) -> list[str]:
    from posttrain.acoustics import audiogram

    return [f"personalise.listener: {problem}" for problem in problems_of(audiogram.find, name)]


def _names(recipe: Recipe) -> Iterator[str]:
    """Misspelt names in option values."""
    if not DEVICE.fullmatch(recipe.device):
        yield f"device is {recipe.device}, expected auto, cpu, cuda or cuda:1; correct it"
    for name in recipe.report_to:
        if not name.isidentifier():  # find_spec("a.b") would import a
            yield f"report_to names {name!r}, expected such as tensorboard, wandb or none; correct the name"


def _parents(steps: "list[Step]") -> Iterator[str]:
    """Missing or broken files of finished stages that other stages continue from."""
    needed = {name for step in steps if step.action == "run" for name in step.node.parents.values()}
    for step in (step for step in steps if step.name in needed and step.action != "run"):
        for problem in checkpoint_problems(step.folder):
            yield f"{problem} (without the folder {step.folder} it is made again)"


def _corpus(recipe: Recipe, steps: "list[Step]") -> Iterator[str]:
    """Corpus sizes that are impossible or leave a stage without rows; found by planning a small corpus."""
    sizes = recipe.corpus
    if steps[0].stage != "corpus" or steps[0].action != "run":
        return
    few = {name: min(getattr(sizes, name), ENOUGH) for name in ("train_clips", "rl_clips", "valid_clips")}
    try:
        made = _planned(replace(sizes, **few), recipe.seed)
    except InputError as error:
        yield from (f"corpus: {problem}" for problem in error.problems)
        return
    nodes = _nodes(steps)
    wanted, arms = {node.spec.rows for node in nodes if node.spec.trains}, [node for node in nodes if node.spec.arm]
    rows = [example for said in made.spoken for example in said.examples if not example.probe]
    train = [row for row in rows if row.split == "train"]
    lacks = {
        "spoken sentences to repeat": "sentences" in wanted and not _repeated(train),
        "preference pairs": "pairs" in wanted and not any(p.split == "train" for p in made.pairs),
        "harmful requests, which sft.safety_share wants": any(node.options.safety_share for node in arms)
        and not any(row.grader == "refusal" for row in train),
    }
    for what, missing in lacks.items():
        if missing and sizes.train_clips and not sizes.sources:
            yield f"corpus.train_clips is {sizes.train_clips}, which leaves no {what}; raise it"
    if arms and sizes.valid_clips and not _repeated([row for row in rows if row.split == "valid"]):
        said = f"which leaves no sentence to measure {arms[0].stage} on"
        yield f"corpus.valid_clips is {sizes.valid_clips}, {said}; raise it"


@functools.lru_cache(maxsize=4)
def _planned(sizes: CorpusConfig, seed: int) -> "Plan":
    """The plan of a corpus, drawn once for all runs of a process that have the same sizes."""
    from posttrain.tasks.plan import plan

    return plan(sizes, seed)


def _repeated(rows: "list[Example]") -> bool:
    return any(row.task == "repeat" and row.text and row.clip for row in rows)


def _read_adapter(options: SFTConfig) -> None:
    """Check the adapter file, and that the adapter's change can be scaled if `keep_change` is below 1."""
    from posttrain.config import adapter_file

    adapter = adapter_file.read(options.adapter, options.rank)
    scales = adapter.method == "full" or (adapter.method == "lora" and adapter.rank and not adapter.use_dora)
    if options.keep_change < 1 and not scales:
        raise InputError(
            f"keep_change is {options.keep_change}, but the change of adapter {options.adapter} cannot be scaled; "
            "expected LoRA without DoRA, or full; set it to 1"
        )


def _rows(recipe: Recipe, steps: "list[Step]") -> Iterator[str]:
    """Shares that leave nothing for the tasks, and tiny-world rows for a loaded model, which never learned them."""
    for node in _nodes(steps):
        options, personal = node.options, node.spec.adapter == "personal"
        typed = personal or (node.spec.arm and (options.replay_share or options.kl_weight))
        if recipe.base.model and typed and options.typed_rows == "world":
            yield f"{node.name}: typed_rows is world, which {recipe.base.model} never learned; set it to text"
        if node.spec.arm and options.replay_share + (options.safety_share or 0) >= 1:
            yield f"{node.name}: replay_share and safety_share leave nothing for the tasks; lower one of them"


def _device(recipe: Recipe) -> Iterator[str]:
    if recipe.device in ("auto", "cpu") or not DEVICE.fullmatch(recipe.device):
        return
    import torch

    try:
        torch.zeros(1, device=recipe.device)
    except (RuntimeError, AssertionError) as error:
        yield f"device is {recipe.device}: {first_line(error)}; expected auto, cpu or a device of this machine"


def _reports(recipe: Recipe) -> Iterator[str]:
    for name in recipe.report_to:
        known = name in ("none", "all") or not name.isidentifier()
        if not known and importlib.util.find_spec(REPORT_PACKAGES.get(name, name)) is None:
            yield f"report_to names {name}, which is not installed; install it, or name tensorboard or none"


def _four_bit(steps: "list[Step]") -> Iterator[str]:
    """Missing bitsandbytes, if weights are to be stored in 4 bits."""
    made = _nodes([step for step in steps if step.action == "run"])
    used = any(node.spec.leaves == "llama" and node.options.quantization != "none" for node in made)
    used |= any(node.spec.adapter == "named" and node.options.adapter == "qlora" for node in _nodes(steps))
    if used and importlib.util.find_spec("bitsandbytes") is None:
        yield "bitsandbytes is not installed, which 4-bit weights need; run make setup, or set another sft.adapter"


def _sources(recipe: Recipe) -> list[str]:
    if not recipe.corpus.sources:
        return []
    from posttrain.corpus import sources

    return problems_of(sources.check, recipe.corpus)


def _recorded(recipe: Recipe) -> list[str]:
    """What is wrong with the recordings of prompts; of files that cannot be read, `_corpus` says it."""
    if not (recipe.corpus.instructions or recipe.corpus.preferences):
        return []
    from posttrain.corpus import recorded_prompts, row_files

    try:
        recordings = row_files.recordings(recipe.corpus)
    except InputError:
        return []
    return problems_of(recorded_prompts.check, recordings)


def _disk(recipe: Recipe, folder: Path) -> Iterator[str]:
    """Too little disk space: corpus and frames take some 120 kB per synthetic clip; loaded models add adapters only."""
    need = 1 * GIB + (recipe.corpus.train_clips + recipe.corpus.rl_clips) * 150_000
    here = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(here).free
    if free < need:
        yield f"{here} has {free / GIB:.1f} GiB free, expected {need / GIB:.1f}; free some or put runs/ elsewhere"


def _hub(key: str, name: str, revision: str | None) -> Finding:
    """Whether the model is in the cache, or the hub gives it to this user's token."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils import httpx

    fix = f"give a local folder with --set {key}=FOLDER"
    try:
        found = huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True)
        return Finding(key, True, f"{name} is in the cache ({found})")
    except HFValidationError:
        return Finding(key, False, f"{name} is neither a folder nor a hub id; name one of them")
    except LocalEntryNotFoundError:
        pass
    if constants.HF_HUB_OFFLINE:
        return Finding(key, False, f"{name} is not in the cache and HF_HUB_OFFLINE is set; unset it, or {fix}")
    try:
        info = huggingface_hub.HfApi().model_info(name, revision=revision, timeout=10, files_metadata=True)
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        fix = f"accept its licence on the hub and run `hf auth login`, check the network, or {fix}"
        return Finding(key, False, f"{name} cannot be had ({why}); {fix}")
    size = sum(file.size or 0 for file in info.siblings or [] if file.rfilename.endswith((".safetensors", ".json")))
    return Finding(key, True, f"{name} will be downloaded, {size / GIB:.1f} GiB")


def _nodes(steps: "Sequence[Step]") -> "list[Node]":
    """The stages of a plan, without its corpus."""
    return [step.node for step in steps if step.stage != "corpus"]


def _is_local(model: str) -> bool:
    return model.startswith((".", "/", "~")) or Path(model).exists() or model.count("/") != 1


def first_line(error: BaseException) -> str:
    """First line of an error's message."""
    return (str(error).strip().splitlines() or [""])[0]
