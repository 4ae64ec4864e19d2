"""The stage graph: a recipe's nodes, their parents by role, and a key for everything a node's result depends on."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from posttrain.config.recipe import ASIDE, Recipe, StageConfig, section
from posttrain.config.sections import RETIRED
from posttrain.errors import InputError
from posttrain.files import value_hash
from posttrain.run import content

PARENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "base": {},
    "ctc": {},
    "align": {"llm": ("base",), "encoder": ("ctc",)},
    "distill": {"model": ("align",)},
    "sft": {"model": ("distill", "align")},
    "reward": {"model": ("sft",)},
    "dpo": {"model": ("sft",)},
    "grpo": {"model": ("dpo", "sft")},
    "enhance": {},
    "personalise": {"model": ("sft",)},
}
"""Stage → role → the stages that may fill it; of several earlier nodes, the latest is taken."""

OPTIONAL = {"base": ("full_precision",), "sft": ("match",), "grpo": ("reward",), "enhance": ("encoder",)}
"""Roles that are filled only if named: `match` is the node at whose validation WER an sft stops; `full_precision` is
the base that another base quantises; `reward` is the reward model, also filled if grpo has a weight for it; `encoder`
is the encoder that transcribes the enhancer's output, also filled if enhance has a weight for it."""

QUANTISED = "base@nf4"
"""Name of the base that a QLoRA's text figures are compared with."""


@dataclass(frozen=True)
class Node:
    """One stage of one run."""

    name: str
    """Folder and ledger row."""
    stage: str
    """Which function runs."""
    options: Any
    """The stage's frozen config."""
    parents: dict[str, str]
    """Role → name of an earlier node."""
    key: str
    """Hash of everything the result depends on: options, seed, corpus, files it reads and the parents' keys."""


def corpus_key(recipe: Recipe) -> str:
    """Hash of what the corpus is built from: config, seed, and the cards, manifests and recordings of its sources."""
    options = {k: v for k, v in dataclasses.asdict(recipe.corpus).items() if k != "data_root"}
    return value_hash([options, recipe.seed, content.of_sources(recipe.corpus)])


def nodes(recipe: Recipe) -> list[Node]:
    """The recipe's nodes in order, parents resolved; `base@nf4` is inserted before the first QLoRA.

    Raises InputError with every problem: a name used twice, a role that nothing earlier fills, an unknown parent.
    """
    made: dict[str, Node] = {}
    problems: list[str] = []
    corpus = corpus_key(recipe)
    for spec in _with_seeds(recipe, _with_quantised(recipe)):
        if spec.name in made:
            problems.append(f"stages: {spec.name} is there twice; give the second one another name")
            continue
        known = (*PARENTS[spec.stage], *OPTIONAL.get(spec.stage, ()))
        for role in set(spec.parents) - set(known):
            takes = ", ".join(known) or "no parents"
            problems.append(f"stages.{spec.name}: role {role} is unknown; {spec.stage} takes {takes}")
        options = section(recipe, spec)
        wanted = {role: (spec.parents.get(role), kinds) for role, kinds in PARENTS[spec.stage].items()}
        wanted |= {role: (name, ()) for role, name in spec.parents.items() if role in OPTIONAL.get(spec.stage, ())}
        if spec.stage == "grpo" and options.reward_model_weight:
            wanted["reward"] = (spec.parents.get("reward"), ("reward",))
        if spec.stage == "enhance" and options.machine_weight:
            wanted["encoder"] = (spec.parents.get("encoder"), ("ctc",))
        parents = {}
        for role, (named, kinds) in wanted.items():
            fits = [n.name == named if named else n.stage in kinds and not seed_of(n.name)[1] for n in made.values()]
            found = [name for name, fit in zip(made, fits, strict=True) if fit]
            if found:
                parents[role] = found[-1]
            else:
                want = named or " or ".join(kinds)
                problems.append(f"stages.{spec.name} needs {want} before it as its {role}; add that or name another")
                parents[role] = ""
        lineage = [[role, made[name].key] for role, name in sorted(parents.items()) if name]
        lineage += _read_by(spec.stage, options)
        counted = RETIRED.get(spec.stage, {}) | dataclasses.asdict(options)
        key = value_hash([spec.stage, counted, recipe.seed, corpus, *lineage])
        made[spec.name] = Node(spec.name, spec.stage, options, parents, key)
    if problems:
        raise InputError(problems)
    return list(made.values())


def reference(all_nodes: list[Node], node: Node) -> str:
    """Name of the base that the node's text figures are compared with: from a QLoRA on, the quantised one."""
    by_name = {n.name: n for n in all_nodes}
    at: Node | None = node
    while at is not None:
        if at.stage == "sft" and at.options.adapter == "qlora" and QUANTISED in by_name:
            return QUANTISED
        at = by_name.get(at.parents.get("model", ""))
    return "base" if "base" in by_name else next(n.name for n in all_nodes if n.stage == "base")


def ancestors(all_nodes: list[Node], name: str) -> list[Node]:
    """The node and everything it depends on, in order, with the bases that its evaluation refers to."""
    by_name = {node.name: node for node in all_nodes}
    if name not in by_name:
        raise InputError(f"stage {name} is not in this recipe; it has {', '.join(by_name)}")
    wanted, queue = set(), [name]
    while queue:
        node = by_name[queue.pop()]
        wanted.add(node.name)
        queue += node.parents.values()
    if any(by_name[other].stage not in ("base", *ASIDE) for other in wanted):
        wanted.add(reference(all_nodes, by_name[name]))
        wanted |= {n.name for n in all_nodes if n.stage == "base"}
    return [node for node in all_nodes if node.name in wanted]


def _with_quantised(recipe: Recipe) -> list[StageConfig]:
    """The recipe's stages, with `base@nf4` before the first that trains a QLoRA on a base in full precision."""
    specs = list(recipe.stages)
    uses = [
        i for i, s in enumerate(specs) if s.stage == "sft" and s.options.get("adapter", recipe.sft.adapter) == "qlora"
    ]
    if uses and recipe.base.quantization == "none" and not any(s.name == QUANTISED for s in specs):
        parents = {"full_precision": next((s.name for s in specs if s.stage == "base"), "base")}
        specs.insert(uses[0], StageConfig(QUANTISED, "base", parents, {"quantization": "nf4"}))
    return specs


def _read_by(stage: str, options: Any) -> list[list[Any]]:
    """Hashes of what a stage reads besides its corpus and parents, so that changed content makes another node."""
    if stage in ("base", "ctc") and (found := content.of_model(options.model)):
        return [["model", found]]
    if stage == "sft":
        return [["adapter", content.of_adapter(options.adapter)]]
    if stage == "personalise":
        return [["person", content.of_personal(options.manifest, options.listener)]]
    if stage == "enhance":
        return [["audiograms", content.standard_audiograms()]]
    return []


def _with_seeds(recipe: Recipe, specs: list[StageConfig]) -> list[StageConfig]:
    """The stages, each sft followed by its copies with other seeds; copy k continues from copy k of a parent sft."""
    copied = {s.name for s in specs if s.stage == "sft" and recipe.seeds > 1}
    made = []
    for spec in specs:
        made.append(spec)
        for k in range(1, recipe.seeds) if spec.name in copied else ():
            parents = {role: f"{name}@{k}" if name in copied else name for role, name in spec.parents.items()}
            first = section(recipe, spec).seed
            options = spec.options | {"seed": (recipe.seed if first is None else first) + k}
            made.append(StageConfig(f"{spec.name}@{k}", "sft", parents, options))
    return made


def seed_of(name: str) -> tuple[str, int]:
    """A node's name without its seed number, and that number: sft@2 → sft, 2; sft → sft, 0."""
    arm, _, number = name.rpartition("@")
    return (arm, int(number)) if number.isdigit() else (name, 0)
