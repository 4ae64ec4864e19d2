"""A recipe: YAML + overrides → frozen dataclasses; its sections are in sections.py."""

import dataclasses
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from posttrain.config.gate import GateConfig
from posttrain.config.sections import (
    RETIRED,
    STRICT,
    AlignConfig,
    BaseConfig,
    CorpusConfig,
    Count,
    CountOrZero,
    CTCConfig,
    DistillConfig,
    DPOConfig,
    EnhanceConfig,
    EvaluationConfig,
    GRPOConfig,
    Name,
    PersonaliseConfig,
    RewardConfig,
    SFTConfig,
)
from posttrain.config.yaml_reader import override, parse, read_mapping
from posttrain.errors import InputError
from posttrain.machine.device import say

RECIPES = Path(__file__).parent.parent / "recipes"
STAGES = ("base", "ctc", "align", "distill", "sft", "reward", "dpo", "grpo")
ASIDE = ("enhance",)
"""Stages that answer no items and that no other stage depends on."""
ON_DEMAND = (*ASIDE, "personalise")
"""Stages that run only if the recipe lists them or the user asks for them by name."""


@dataclass(frozen=True, config=STRICT)
class StageConfig:
    """One node of the graph; `stages` of a recipe lists them in order."""

    name: Name
    """Its folder and its row in the ledger."""
    stage: Literal[(*STAGES, *ON_DEMAND)]  # type: ignore[valid-type]
    """Which function runs."""
    parents: dict[str, str] = field(default_factory=dict)
    """Role → name of an earlier node; roles left out are filled as graph.PARENTS says."""
    options: dict[str, Any] = field(default_factory=dict)
    """Overrides of that stage's section, for this node alone."""


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """Everything that one run needs: one YAML file."""

    name: Name
    """Default name of the run."""
    seed: CountOrZero = 0
    """Seed of everything random."""
    seeds: Count = 1
    """How many seeds each sft is trained with: copies NAME@1, NAME@2, … differ only in `sft.seed`, and other stages do
    not continue from them."""
    device: str = "auto"
    """auto, cpu, cuda, …"""
    report_to: tuple[str, ...] = ("tensorboard",)
    """Where training curves go: any `report_to` of transformers."""
    stages: tuple[StageConfig, ...] = tuple(StageConfig(name=s, stage=s) for s in STAGES)
    """The nodes, in order."""
    corpus: CorpusConfig = CorpusConfig()
    base: BaseConfig = BaseConfig()
    ctc: CTCConfig = CTCConfig()
    align: AlignConfig = AlignConfig()
    distill: DistillConfig = DistillConfig()
    sft: SFTConfig = SFTConfig()
    reward: RewardConfig = RewardConfig()
    dpo: DPOConfig = DPOConfig()
    grpo: GRPOConfig = GRPOConfig()
    enhance: EnhanceConfig = EnhanceConfig()
    personalise: PersonaliseConfig = PersonaliseConfig()
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
    path = Path(recipe)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{recipe}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise InputError(f"recipe {recipe} is not there ({path}); name one of {known} or a YAML file")
    problems: list[str] = []
    raw = {"name": path.stem, **read_mapping(path, problems)}
    for change in overrides or []:
        override(raw, change, problems)
    if isinstance(raw.get("stages"), list):
        raw["stages"] = [{"name": s, "stage": s} if isinstance(s, str) else s for s in raw["stages"]]
    _drop_retired(raw, str(path), problems)
    loaded = parse(Recipe, raw, str(path), problems, {"name": path.stem}, overrides or ())
    mended = []
    for node in loaded.stages:
        before = len(problems)
        options = _section(loaded, node, f"{path}: stages.{node.name}.options", problems)
        mended.append(
            node if len(problems) == before else dataclasses.replace(node, options=dataclasses.asdict(options))
        )
    return dataclasses.replace(loaded, stages=tuple(mended)), problems


def with_stage(recipe: Recipe, name: str | None) -> Recipe:
    """The recipe with the stage `name` appended, if that is one of ON_DEMAND and not listed yet; else as it is."""
    if name not in ON_DEMAND or any(node.name == name for node in recipe.stages):
        return recipe
    return dataclasses.replace(recipe, stages=(*recipe.stages, StageConfig(name, name)))


def _drop_retired(raw: dict[str, Any], where: str, problems: list[str]) -> None:
    """Take options that no longer exist out of `raw`: with a warning if they name what is now always done."""
    nodes = [node for node in raw.get("stages") or [] if isinstance(node, dict)]
    for stage, retired in RETIRED.items():
        own = [(f"stages.{n.get('name')}.options", n.get("options")) for n in nodes if n.get("stage") == stage]
        given = [(place, found) for place, found in [(stage, raw.get(stage)), *own] if isinstance(found, dict)]
        for place, options in given:
            for name in retired.keys() & options.keys():
                if (value := options.pop(name)) != retired[name]:
                    problems.append(f"{where}: {place}.{name} is {value!r}, which is no longer possible; remove it")
                else:
                    say(f"{where}: {place}.{name} is no longer an option, and {value} is what is done; remove it")


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
    return parse(type(config), {**given, **node.options}, where, problems, given)
