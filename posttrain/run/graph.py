"""The stage graph: a recipe's nodes, their parents by role, and a key for everything a node's result depends on."""

from dataclasses import dataclass
from typing import Any

from posttrain.config.counted import counted
from posttrain.config.recipe import Recipe, StageConfig, section
from posttrain.config.stage_table import TABLE, StageSpec
from posttrain.errors import InputError
from posttrain.files import value_hash
from posttrain.run import content, requests

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

    @property
    def spec(self) -> StageSpec:
        """The stage's row of the table."""
        return TABLE[self.stage]


def corpus_key(recipe: Recipe) -> str:
    """Hash of what the corpus is built from: config, seed, and the cards, manifests and recordings of its sources."""
    options = {name: value for name, value in counted("corpus", recipe.corpus).items() if name != "data_root"}
    read: list[object] = [content.of_sources(recipe.corpus)]
    if recipe.corpus.world == "general":
        read += [content.of_text(recipe.corpus), content.of_prompts(recipe.corpus)]
    read += content.of_rows(recipe.corpus)
    return value_hash([options, recipe.seed, *read, *requests.key(recipe)])


def nodes(recipe: Recipe) -> list[Node]:
    """The recipe's nodes in order, parents resolved; `base@nf4` is inserted before the first QLoRA.

    Raises InputError with every problem: a name used twice, a role that nothing earlier fills, an unknown parent.
    """
    made: dict[str, Node] = {}
    problems: list[str] = []
    corpus = corpus_key(recipe)
    for wanted in _with_seeds(recipe, _with_quantised(recipe)):
        if wanted.name in made:
            problems.append(f"stages: {wanted.name} is there twice; give the second one another name")
            continue
        roles, options = TABLE[wanted.stage].parents, section(recipe, wanted)
        for role in set(wanted.parents) - set(roles):
            takes = ", ".join(roles) or "no parents"
            problems.append(f"stages.{wanted.name}: role {role} is unknown; {wanted.stage} takes {takes}")
        parents = {}
        for role, may in roles.items():
            named = wanted.parents.get(role)
            if may.optional and not named and not (may.option and getattr(options, may.option)):
                continue
            fits = [
                n.name == named if named else n.stage in may.usual and not seed_of(n.name)[1] for n in made.values()
            ]
            found = [name for name, fit in zip(made, fits, strict=True) if fit]
            if found:
                parents[role] = found[-1]
            else:
                want = named or " or ".join(may.usual)
                problems.append(f"stages.{wanted.name} needs {want} before it as its {role}; add that or name another")
                parents[role] = ""
        lineage = [[role, made[name].key] for role, name in sorted(parents.items()) if name]
        lineage += _read_by(TABLE[wanted.stage], options)
        key = value_hash([wanted.stage, counted(wanted.stage, options), recipe.seed, corpus, *lineage])
        made[wanted.name] = Node(wanted.name, wanted.stage, options, parents, key)
    if problems:
        raise InputError(problems)
    return list(made.values())


def reference(all_nodes: list[Node], node: Node) -> str:
    """Name of the base that the node's text figures are compared with: from a QLoRA on, the quantised one."""
    by_name = {n.name: n for n in all_nodes}
    at: Node | None = node
    while at is not None:
        if at.spec.adapter == "named" and at.options.adapter == "qlora" and QUANTISED in by_name:
            return QUANTISED
        at = by_name.get(at.parents.get("model", ""))
    return next(n.name for n in all_nodes if n.spec.leaves == "llama")


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
    if any(by_name[other].spec.leaves not in ("llama", "enhancer") for other in wanted):
        wanted.add(reference(all_nodes, by_name[name]))
        wanted |= {n.name for n in all_nodes if n.spec.leaves == "llama"}
    return [node for node in all_nodes if node.name in wanted]


def _with_quantised(recipe: Recipe) -> list[StageConfig]:
    """The recipe's stages, with `base@nf4` before the first that trains a QLoRA on a base in full precision."""
    listed = list(recipe.stages)
    named = [i for i, s in enumerate(listed) if TABLE[s.stage].adapter == "named"]
    uses = [i for i in named if section(recipe, listed[i]).adapter == "qlora"]
    first = next((s for s in listed if TABLE[s.stage].leaves == "llama"), None)
    if uses and first and recipe.base.quantization == "none" and all(s.name != QUANTISED for s in listed):
        parents = {"full_precision": first.name}
        listed.insert(uses[0], StageConfig(QUANTISED, first.stage, parents, {"quantization": "nf4"}))
    return listed


def _read_by(spec: StageSpec, options: Any) -> list[list[Any]]:
    """Hashes of what a stage reads besides its corpus and parents, so that changed content makes another node."""
    if spec.loads and (found := content.of_model(options.model)):
        return [["model", found]]
    if spec.adapter == "named":
        return [["adapter", content.of_adapter(options.adapter)]]
    if spec.adapter == "personal":
        return [["person", content.of_personal(options.manifest, options.listener)]]
    if spec.leaves == "enhancer":
        return [["audiograms", content.standard_audiograms()]]
    return []


def _with_seeds(recipe: Recipe, specs: list[StageConfig]) -> list[StageConfig]:
    """The stages, each arm (sft) followed by its copies with other seeds; copy k continues from copy k of a parent."""
    copied = {s.name for s in specs if TABLE[s.stage].arm and recipe.seeds > 1}
    made = []
    for spec in specs:
        made.append(spec)
        for k in range(1, recipe.seeds) if spec.name in copied else ():
            parents = {role: f"{name}@{k}" if name in copied else name for role, name in spec.parents.items()}
            first = section(recipe, spec).seed
            options = spec.options | {"seed": (recipe.seed if first is None else first) + k}
            made.append(StageConfig(f"{spec.name}@{k}", spec.stage, parents, options))
    return made


def seed_of(name: str) -> tuple[str, int]:
    """A node's name without its seed number, and that number: sft@2 → sft, 2; sft → sft, 0."""
    arm, _, number = name.rpartition("@")
    return (arm, int(number)) if number.isdigit() else (name, 0)
