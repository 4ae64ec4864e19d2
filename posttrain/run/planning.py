"""Plan a run: which stages it trains, evaluates, reuses from another run, or leaves as they are, and why."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from posttrain import files
from posttrain.config.counted import counted
from posttrain.config.recipe import Recipe, with_stage
from posttrain.corpus import choices, general_text
from posttrain.errors import InputError
from posttrain.evals import benchmarks
from posttrain.files import content_hash, value_hash
from posttrain.machine.source import code_of
from posttrain.model import origin
from posttrain.run import combinations
from posttrain.run.graph import Node, ancestors, corpus_key, nodes


@dataclass(frozen=True)
class Step:
    """One line of a plan."""

    name: str
    stage: str
    action: str
    """run, evaluate, reuse (from the run it branches from) or done."""
    why: str
    folder: Path
    node: Node
    """The node that the recipe asks for."""
    other_code: bool = False
    """Whether other code than this trained or evaluated it; it is left as it is."""
    damage: tuple[str, ...] = field(default=())
    """Files that a crash emptied or broke; the run writes them again."""


def plan(
    recipe: Recipe,
    folder: Path,
    branch_from: Path | None = None,
    until: str | None = None,
    fresh_code: bool = False,
    refuse: bool = True,
) -> list[Step]:
    """What a run would do; nothing is run. `until` names the last stage wanted; the stages it depends on are included.

    `fresh_code`: run stages again that other code made, and all that depend on them. Raises InputError for incompatible
    stages and options; without `refuse` that is left to preflight.py, which lists them with all other problems.
    """
    if branch_from is not None and not (branch_from / "ledger.jsonl").is_file():
        raise InputError(f"{branch_from} is not a run (no ledger.jsonl in it); {_runs_beside(branch_from)}")
    wanted = nodes(with_stage(recipe, until))
    if until:
        wanted = ancestors(wanted, until)
    if refuse:
        combinations.check(recipe, wanted)
    steps = [_plan_corpus(recipe, folder, branch_from, fresh_code)]
    places = {} if steps[0].action == "run" else {"corpus": steps[0].folder}
    evaluation = (evaluation_key(recipe), held_out_key(recipe))
    for node in wanted:
        made = {step.name for step in steps if step.action == "run"}
        steps.append(_plan_stage(evaluation, node, folder, branch_from, fresh_code, made, places))
        places[node.name] = steps[-1].folder
    return steps


def evaluation_key(recipe: Recipe) -> str:
    """Hash of the evaluation's options."""
    return value_hash(counted("evaluation", recipe.evaluation))


def held_out_key(recipe: Recipe) -> str | None:
    """Hash of the held-out text and of the benchmarks' items; None if there are none.

    Also None if those from the hub cannot be had here, which preflight.py reports before anything is evaluated.
    """
    root = recipe.corpus.data_root
    if benchmarks.missing(recipe.evaluation, root):
        return None
    return choices.held_out_key(general_text.passages(root), benchmarks.items(recipe.evaluation, root))


def _plan_corpus(recipe: Recipe, folder: Path, branch_from: Path | None, fresh_code: bool) -> Step:
    node = Node("corpus", "corpus", recipe.corpus, {}, corpus_key(recipe))
    damage: tuple[str, ...] = ()
    why = "to be made"
    for home, action in ((folder / "corpus", "done"), (branch_from and branch_from / "corpus", "reuse")):
        if home is None or not home.is_dir():
            continue
        broken = _corpus_damage(home)
        said = _code(files.json_or_empty(home / "code.json") or None, None, "corpus")
        if not broken and _text(home / "key") == node.key and not (said and fresh_code):
            why = "; ".join(["made from the same settings", *filter(None, [said])])
            return Step("corpus", "corpus", action, why, home, node, bool(said))
        if action == "done":
            changed = "an option or a recording that it depends on has changed"
            damage, why = broken, "; ".join(broken) or (said if _text(home / "key") == node.key else changed)
    return Step("corpus", "corpus", "run", why, folder / "corpus", node, damage=damage)


def _plan_stage(
    wanted: tuple[str, str | None],
    node: Node,
    folder: Path,
    branch_from: Path | None,
    fresh_code: bool,
    made: set[str],
    places: dict[str, Path],
) -> Step:
    evaluation, held_out = wanted
    home, other = folder / node.name, branch_from and branch_from / node.name
    here = _look(home, node, evaluation, None if node.spec.aside else held_out, places)
    state, why = here.state, here.why
    again = sorted(made & set(node.parents.values()))
    if again:
        state, why = "missing", f"{again[0]} is made again" if home.is_dir() else "to be made"
    elif fresh_code and here.trained_by:
        state, why = "missing", here.trained_by
    elif fresh_code and here.evaluated_by and state == "finished":
        state, why = "trained", here.evaluated_by
    if state == "finished":
        why = "; ".join(["nothing it depends on has changed", *here.code, *here.damage])
        return Step(node.name, node.stage, "done", why, home, node, bool(here.code), here.damage)
    if other and not again:
        there = _look(other, node, evaluation, None, places)
        if there.state == "finished" and not there.damage and not (fresh_code and there.code):
            why = "; ".join([f"finished in {branch_from} with the same options", *there.code])
            return Step(node.name, node.stage, "reuse", why, other, node, bool(there.code))
    action = "evaluate" if state == "trained" else "run"
    return Step(node.name, node.stage, action, "; ".join([why, *here.damage]), home, node, damage=here.damage)


@dataclass(frozen=True)
class _Look:
    """State of a stage's folder."""

    state: str
    """finished, trained or missing, for the node that is wanted."""
    why: str = ""
    """Why it is not finished."""
    damage: tuple[str, ...] = ()
    """What is wrong with its files, as after a crash."""
    trained_by: str = ""
    """Which other code trained it; empty if this code did."""
    evaluated_by: str = ""
    """Which other code evaluated it."""

    @property
    def code(self) -> list[str]:
        """Which other code trained or evaluated it."""
        return [said for said in (self.trained_by, self.evaluated_by) if said]


def _look(home: Path, node: Node, evaluation: str, held_out: str | None, places: dict[str, Path]) -> _Look:
    """What exists of a node. An evaluation on more text than is wanted also counts as finished.

    metrics.json repeats config.yaml and trained.json, so either can be restored from it.
    """
    if not home.is_dir():
        return _Look("missing", "to be made")
    row = files.json_or_empty(home / "metrics.json")
    names = ("metrics.json", origin.CONFIG, "trained.json", "answers.jsonl", origin.SPEC, origin.ENHANCER)
    broken = {name: found for name in names if (home / name).exists() and (found := files.damage(home / name))}
    if row and not (isinstance(row.get("config"), dict) and isinstance(row.get("metrics"), dict)):
        row, broken["metrics.json"] = {}, f"{home / 'metrics.json'} is no ledger row"
    damage = tuple(broken.values())
    config = _config(home, row)
    if not config or {origin.SPEC, origin.ENHANCER} & broken.keys():
        return _Look("missing", "to be made", damage)
    if config.get("key") != node.key:
        return _Look("missing", _difference(config, node), damage)
    if changed := _moved_on(home, config, row, node, places):
        return _Look("missing", changed, damage)
    trained_by = _code(config.get("code"), row.get("code"), node.stage)
    if row and (home / "answers.jsonl").is_file() and "answers.jsonl" not in broken:
        made = row["config"]
        evaluated_by = _code(made.get("evaluation_code"), None, "evaluation").replace("made by", "evaluated by")
        if made.get("evaluation") == evaluation and held_out in (None, made.get("held_out")):
            return _Look("finished", "", damage, trained_by, evaluated_by)
    if not row and files.damage(home / "trained.json"):
        return _Look("missing", "to be made", damage, trained_by)
    return _Look("trained", "trained, not evaluated yet", damage, trained_by)


def _config(home: Path, row: dict[str, Any]) -> dict[str, Any]:
    """Content of config.yaml, or its copy in metrics.json if a crash broke it."""
    path = home / origin.CONFIG
    if files.damage(path) is None:
        read = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        if {"stage", "seed", "corpus", "options"} <= read.keys():
            return read  # else its end was lost: a truncated file can be valid YAML too
    made = row.get("config")
    return dict(made) if isinstance(made, dict) else {}


def _moved_on(home: Path, config: dict[str, Any], row: dict[str, Any], node: Node, places: dict[str, Path]) -> str:
    """Which of its corpus and parents is no longer the one that it was made from; empty if none has changed."""
    links = config.get(origin.LINKS) or {}
    wanted = {role: link.get("hash") for role, link in links.items()}
    wanted.setdefault("corpus", row.get("data"))
    for role, name in {"corpus": "corpus", **{origin.PARENT + r: n for r, n in node.parents.items()}}.items():
        expected = wanted.get(role)
        if expected is None or name not in places:
            continue
        found = origin.identity(places[name])
        if found is not None and found != expected:
            return f"made from another {name} ({expected[:8]}) than {places[name]} is now ({found[:8]})"
    return ""


def _difference(config: dict[str, Any], node: Node) -> str:
    """Which options differ from those it was trained with."""
    before, now = dict(config.get("options") or {}), json.loads(json.dumps(dataclasses.asdict(node.options)))
    changed = [f"{name} was {before.get(name)}, is {now[name]}" for name in now if before.get(name) != now[name]]
    if changed:
        return f"an option has changed: {', '.join(changed[:3])}"
    return "what it depends on has changed: an option of a stage before it, its corpus, or a file that it reads"


def _code(recorded: Any, version: Any, stage: str) -> str:
    """How the code that made something differs from this code; empty if it is the same, or none is recorded.

    `version`: the version in the ledger's row, which is all that older versions recorded.
    """
    now = code_of(stage)
    if isinstance(recorded, dict) and version in (None, recorded.get("version")):
        if recorded.get("source") == now["source"]:
            return ""
        same = recorded.get("training") == now["training"]
        return f"made by other code ({recorded.get('version')}" + "; comments or messages differ" * same + ")"
    if version is None or str(version).rpartition("+")[2] == now["version"].rpartition("+")[2]:
        return ""
    return f"made by other code ({version})"


def _corpus_damage(home: Path) -> tuple[str, ...]:
    """What is wrong with a corpus's files, as after a crash; a list may be empty if corpus.json says so."""
    summary = files.json_or_empty(home / origin.CORPUS)
    found = [files.damage(home / origin.CORPUS), None if _text(home / "key") else f"{home / 'key'} is empty or missing"]
    for name, content in (summary.get("hashes") or {}).items():
        path = home / f"{name}.jsonl"
        if name == "audio":
            found.append(files.broken_tensors(home / "audio.safetensors"))
        elif name == "valid_items" and not path.is_file():
            continue  # a corpus of an older version; the run refuses it if it needs these items
        elif content != content_hash("") or not path.is_file():
            found.append(files.damage(path))
    return tuple(problem for problem in found if problem)


def _runs_beside(folder: Path) -> str:
    runs = sorted(path.parent.name for path in folder.absolute().parent.glob("*/ledger.jsonl"))
    return f"name one of {', '.join(runs)} after --from" if runs else "make a run first, and name it after --from"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip("\0 \n")
    except (OSError, UnicodeDecodeError):
        return ""
