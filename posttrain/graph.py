"""The stage graph: a recipe's nodes, their parents by role, and the key that says what a node's result hangs on."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.config import Recipe, section
from posttrain.errors import InputError

PARENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "base": {},
    "ctc": {},
    "align": {"llm": ("base",), "encoder": ("ctc",)},
    "distill": {"model": ("align",)},
    "sft": {"model": ("distill", "align")},
    "reward": {"model": ("sft",)},
    "dpo": {"model": ("sft",)},
    "grpo": {"model": ("dpo", "sft"), "reward": ("reward",)},
}
"""Stage → role → the stages that may fill it; where several do, the latest earlier node."""


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
    """Hash of all that the result hangs on: options, seed, corpus and the parents' keys."""


def corpus_key(recipe: Recipe) -> str:
    """Hash of what the corpus is made from: its config, the seed, and the manifests of recorded sources."""
    manifests = {}
    for source in recipe.corpus.sources:
        path = Path(recipe.corpus.data_root or "") / source / "manifest.csv"
        manifests[source] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    options = {k: v for k, v in dataclasses.asdict(recipe.corpus).items() if k != "data_root"}
    return digest([options, recipe.seed, manifests])


def nodes(recipe: Recipe) -> list[Node]:
    """The recipe's nodes in order, parents resolved.

    Raises InputError with every problem: a name used twice, a role that nothing earlier fills, an unknown parent.
    """
    made: dict[str, Node] = {}
    problems: list[str] = []
    corpus = corpus_key(recipe)
    for spec in recipe.stages:
        if spec.name in made:
            problems.append(f"stages: {spec.name} is there twice; give the second one another name")
            continue
        for role in spec.parents:
            if role not in PARENTS[spec.stage]:
                known = ", ".join(PARENTS[spec.stage]) or "no parents"
                problems.append(f"stages.{spec.name}: role {role} is unknown; {spec.stage} takes {known}")
        options = section(recipe, spec)
        parents = {}
        for role, kinds in PARENTS[spec.stage].items():
            if spec.stage == "grpo" and role == "reward" and not options.reward_model_weight:
                continue
            named = spec.parents.get(role)
            found = [n for n in made.values() if (n.name == named if named else n.stage in kinds)]
            if found:
                parents[role] = found[-1].name
            else:
                want = named or " or ".join(kinds)
                problems.append(f"stages.{spec.name} needs {want} as its {role} before it; add that stage or name another")
        key = digest(
            [spec.stage, dataclasses.asdict(options), recipe.seed, corpus]
            + [[role, made[name].key] for role, name in sorted(parents.items())]
        )
        made[spec.name] = Node(spec.name, spec.stage, options, parents, key)
    if problems:
        raise InputError(problems)
    return list(made.values())


def ancestors(all_nodes: list[Node], name: str) -> list[Node]:
    """The node and what it hangs on, in order; with the base and the encoder that its evaluation refers to."""
    by_name = {node.name: node for node in all_nodes}
    if name not in by_name:
        raise InputError(f"stage {name} is not in this recipe; it has {', '.join(by_name)}")
    wanted, queue = set(), [name]
    while queue:
        node = by_name[queue.pop()]
        wanted.add(node.name)
        queue += node.parents.values()
    if by_name[name].stage != "base":
        wanted |= {n.name for n in all_nodes if n.stage == "base"}
    return [node for node in all_nodes if node.name in wanted]


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
