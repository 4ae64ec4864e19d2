"""A recipe: YAML + overrides → frozen dataclasses; its sections are in sections.py."""

import dataclasses
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from posttrain.config.counted import RETIRED
from posttrain.config.gate import GateConfig
from posttrain.config.sections import STRICT, CorpusConfig, Count, CountOrZero, EvaluationConfig, Name
from posttrain.config.stage_table import TABLE, Sections
from posttrain.config.yaml_reader import override, parse, read_mapping
from posttrain.errors import InputError
from posttrain.machine.device import say

RECIPES = Path(__file__).parent.parent / "recipes"
YAML = (".yaml", ".yml")


@dataclass(frozen=True, config=STRICT)
class StageConfig:
    """One node of the graph; `stages` of a recipe lists them in order."""

    name: Name
    """Its folder and its row in the ledger."""
    stage: Literal[tuple(TABLE)]  # type: ignore[valid-type]
    """Which function runs."""
    parents: dict[str, str] = field(default_factory=dict)
    """Role → name of an earlier node; roles left out are filled as the stage table says."""
    options: dict[str, Any] = field(default_factory=dict)
    """Overrides of that stage's section, for this node alone."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Recipe(Sections):
    """Everything that one run needs: one YAML file, and the recipe that it extends."""

    name: Name
    """Default name of the run."""
    extends: str | None = None
    """Another recipe, a name or a file beside this one, whose options hold where this one sets none."""
    seed: CountOrZero = 0
    """Seed of everything random."""
    seeds: Count = 1
    """How many seeds each sft is trained with: copies NAME@1, NAME@2, … differ only in `sft.seed`, and other stages do
    not continue from them."""
    device: str = "auto"
    """auto, cpu, cuda, …"""
    report_to: tuple[str, ...] = ("tensorboard",)
    """Where training curves go: any `report_to` of transformers."""
    stages: tuple[StageConfig, ...] = tuple(
        StageConfig(name=name, stage=name) for name, spec in TABLE.items() if not spec.on_demand
    )
    """The nodes, in order."""
    corpus: CorpusConfig = CorpusConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()


def load_recipe(recipe: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe with that name or in that YAML file, with `section.option=value` overrides applied.

    Raises InputError with every problem found: unknown keys, wrong types and values, a missing file.
    """
    loaded, problems = read_recipe(recipe, overrides)
    if problems:
        raise InputError(problems)
    return loaded


def read_recipe(recipe: str | Path, overrides: list[str] | None = None) -> tuple[Recipe, list[str]]:
    """The recipe and its problems; defaults replace wrong entries, so that later checks can add their problems.

    Raises InputError if there is no such recipe.
    """
    path = _place(recipe)
    if not path.is_file():
        raise InputError(f"recipe {recipe} not found ({path}); name one of {_known()} or a YAML file")
    problems: list[str] = []
    raw, origins = _extended(path, problems)
    for change in overrides or []:
        override(raw, change, problems)

    def where(place: str) -> str:
        """The last override that sets the option or what contains it, else the file that does."""
        prefixes = [place[: i or None] for i in (*(i for i, c in enumerate(place) if c == "."), 0)]
        changed = (change for change in overrides or () if change.partition("=")[0].strip() in prefixes)
        return next((f"--set {change}" for change in changed), None) or str(
            next((origins[prefix] for prefix in reversed(prefixes) if prefix in origins), path)
        )

    if isinstance(raw.get("stages"), list):
        raw["stages"] = [{"name": s, "stage": s} if isinstance(s, str) else s for s in raw["stages"]]
    _drop_retired(raw, where, problems)
    loaded = parse(Recipe, raw, where, problems, {"name": path.stem})
    mended = []
    for node in loaded.stages:
        before = len(problems)
        options = _section(loaded, node, f"{where('stages')}: stages.{node.name}.options", problems)
        mended.append(
            node if len(problems) == before else dataclasses.replace(node, options=dataclasses.asdict(options))
        )
    return dataclasses.replace(loaded, stages=tuple(mended)), problems


def with_stage(recipe: Recipe, name: str | None) -> Recipe:
    """The recipe with the stage `name` appended, if it runs on demand and is not listed yet; else as it is."""
    if name is None or name not in TABLE or not TABLE[name].on_demand or any(s.name == name for s in recipe.stages):
        return recipe
    return dataclasses.replace(recipe, stages=(*recipe.stages, StageConfig(name, name)))


def _drop_retired(raw: dict[str, Any], where: Callable[[str], str], problems: list[str]) -> None:
    """Take options that no longer exist out of `raw`: with a warning if they name what is now always done."""
    nodes = [node for node in raw.get("stages") or [] if isinstance(node, dict)]
    for stage, retired in RETIRED.items():
        own = [(f"stages.{n.get('name')}.options", n.get("options")) for n in nodes if n.get("stage") == stage]
        given = [(place, found) for place, found in [(stage, raw.get(stage)), *own] if isinstance(found, dict)]
        for place, options in given:
            for name in retired.keys() & options.keys():
                value, at = options.pop(name), where(f"{place}.{name}")
                if value != retired[name]:
                    problems.append(f"{at}: {place}.{name} is {value!r}, which is no longer possible; remove it")
                else:
                    say(f"{at}: {place}.{name} is no longer an option, and {value} is what is done; remove it")


def section(recipe: Recipe, node: StageConfig) -> Any:
    """The node's own config: its stage's section with the node's options applied."""
    problems: list[str] = []
    options = _section(recipe, node, f"stages.{node.name}.options", problems)
    if problems:
        raise InputError(problems)
    return options


def _section(recipe: Recipe, node: StageConfig, where: str, problems: list[str]) -> Any:
    config = getattr(recipe, node.stage)
    given = dataclasses.asdict(config)
    return parse(type(config), {**given, **node.options}, lambda place: where, problems, given)


def _place(recipe: str | Path, beside: Path = Path()) -> Path:
    """The file of a recipe: itself, relative to the folder `beside`, or the one of that name in RECIPES."""
    return beside / recipe if Path(recipe).suffix in YAML else RECIPES / f"{recipe}.yaml"


def _known() -> str:
    return ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def _extended(path: Path, problems: list[str], below: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[str, Path]]:
    """A file's options over those of the recipe that it extends, and section or section.option → the file that sets it.

    Sections are merged option by option; a list, such as `stages`, replaces the other one. `below`: the recipes that
    extend this one.
    """
    own = {"name": path.stem, **read_mapping(path, problems)}
    options = {f"{name}.{key}": path for name, value in own.items() if isinstance(value, dict) for key in value}
    origins = dict.fromkeys(own, path) | options
    if not isinstance(other := own.get("extends"), str):
        if below and other is not None:  # parse reports that of the first file
            problems.append(f"{path}: extends is {other!r}, expected a recipe's name or file; correct it")
        return own, origins
    above, chain = _place(other, path.parent), (*below, path.resolve())
    if not above.is_file():
        problems.append(f"{path}: extends is {other}, which was not found ({above}); name one of {_known()} or a file")
        return own, origins
    if above.resolve() in chain:
        shown = " → ".join(file.name for file in (*chain, above))
        problems.append(f"{path}: extends is {other}, which makes a circle ({shown}); remove one `extends`")
        return own, origins
    made, from_above = _extended(above, problems, chain)
    for name, value in own.items():
        both = isinstance(value, dict) and isinstance(made.get(name), dict)
        made[name] = {**made[name], **value} if both else value
    return made, from_above | origins
