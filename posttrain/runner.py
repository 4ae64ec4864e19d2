"""Runs a recipe: corpus → every stage → the same evaluation after each → one ledger row → report.

A step is finished when its folder holds metrics.json. Whatever was finished under the same key (see graph.py) is
reused, from this run or from the one it branches from; so a killed run goes on where it stopped, and a second run with
nothing changed does nothing.
"""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from posttrain import ledger
from posttrain.config import Recipe
from posttrain.errors import InputError
from posttrain.graph import Node, ancestors, corpus_key, digest, nodes
from posttrain.machine import code_version, peak_rss_mb, pick_device, reset_peak_rss, say


@dataclass(frozen=True)
class Step:
    """One line of a plan."""

    name: str
    stage: str
    action: str
    """run, evaluate, reuse (from the run it branches from) or done."""
    why: str
    folder: Path
    node: Node | None = None
    """None for the corpus."""


def plan(recipe: Recipe, folder: Path, branch_from: Path | None = None, until: str | None = None) -> list[Step]:
    """What a run would do; nothing is made. `until` names the last stage wanted, with what it hangs on."""
    if branch_from is not None and not (branch_from / "ledger.jsonl").is_file():
        raise InputError(f"{branch_from} is not a run (no ledger.jsonl in it); name a finished run after --from")
    wanted = nodes(recipe)
    if until:
        wanted = ancestors(wanted, until)
    steps = [_plan_corpus(recipe, folder, branch_from)]
    evaluation = _evaluation_key(recipe)
    for node in wanted:
        home, other = folder / node.name, branch_from and branch_from / node.name
        state = _state(home, node.key, evaluation)
        if state == "finished":
            step = Step(node.name, node.stage, "done", "nothing it hangs on has changed", home, node)
        elif other and _state(other, node.key, evaluation) == "finished":
            step = Step(node.name, node.stage, "reuse", f"finished in {branch_from} with the same options", other, node)
        elif state == "trained":
            step = Step(node.name, node.stage, "evaluate", "trained, not evaluated yet", home, node)
        else:
            why = "an option it hangs on has changed" if home.exists() else "not there yet"
            step = Step(node.name, node.stage, "run", why, home, node)
        steps.append(step)
    return steps


def run(
    recipe: Recipe, folder: Path, branch_from: Path | None = None, until: str | None = None
) -> list[dict[str, Any]]:
    """Do what `plan` says; returns the run's ledger rows.

    Raises InputError before anything is made when the recipe or its data are wrong.
    """
    from posttrain.corpus import build, store
    from posttrain.preflight import check

    corpus_step, *steps = plan(recipe, folder, branch_from, until)
    check(recipe, folder, steps)
    folder.mkdir(parents=True, exist_ok=True)
    if corpus_step.action == "run":
        build.build(recipe.corpus, recipe.seed, corpus_step.folder)
        (corpus_step.folder / "key").write_text(corpus_key(recipe))
    corpus = store.Corpus.load(corpus_step.folder)
    folders = {step.name: step.folder for step in steps}
    path = folder / "ledger.jsonl"
    for step in steps:
        if step.action == "run":
            _train(recipe, step, folders, steps, corpus, folder)
        if step.action in ("run", "evaluate"):
            _evaluate(recipe, step, folders, steps, corpus)
        row = json.loads((step.folder / "metrics.json").read_text())
        ledger.put(path, {**row, "run": folder.name})
    return [row.as_dict() for row in ledger.read(path)]


def _train(recipe: Recipe, step: Step, folders: dict, steps: list[Step], corpus: Any, folder: Path) -> None:
    """Run one stage into a partial folder that takes its name only when it is whole."""
    from posttrain.stages.context import StageContext

    node = step.node
    assert node is not None
    say(f"\n■ {node.name}: {step.why}")
    started, clock = datetime.now(UTC), time.monotonic()
    reset_peak_rss()
    device = pick_device(recipe.device)
    with _stage_folder(step.folder) as partial:
        context = StageContext(
            seed=recipe.seed,
            device=device,
            folder=partial,
            parents={role: folders[name] for role, name in node.parents.items()},
            corpus=corpus,
            table=_table(steps, corpus, device, recipe) if node.stage not in ("base", "ctc") else None,
            report_to=recipe.report_to,
            logs=folder / "logs" / node.name,
        )
        metrics = import_module(f"posttrain.stages.{node.stage}").run(node.options, context)
        options = {"key": node.key, "seed": recipe.seed, "stage": node.stage, "options": _plain(node.options)}
        (partial / "config.yaml").write_text(yaml.safe_dump(options, sort_keys=False))
        trained = {
            "started": started.isoformat(timespec="seconds"),
            "wall_s": round(time.monotonic() - clock, 1),
            "peak_rss_mb": peak_rss_mb(),
            "device": device,
            "train_metrics": metrics,
        }
        (partial / "trained.json").write_text(json.dumps(trained, indent=1))


def _evaluate(recipe: Recipe, step: Step, folders: dict, steps: list[Step], corpus: Any) -> None:
    """Answer every item, measure against row zero and the parent, write answers.jsonl and, last, metrics.json."""
    from posttrain.evals import evaluate, metrics

    node = step.node
    assert node is not None
    device = pick_device(recipe.device)
    trained = json.loads((step.folder / "trained.json").read_text())
    by_stage = {s.stage: s.folder for s in reversed(steps)}
    clock = time.monotonic()
    reset_peak_rss()
    table = _table(steps, corpus, device, recipe) if node.stage != "base" else None
    answers, costs = evaluate.evaluate(
        step.folder,
        node.stage,
        corpus,
        table,
        by_stage,
        {role: folders[name] for role, name in node.parents.items()},
        recipe.evaluation,
        device,
    )
    evaluate.write_answers(step.folder / "answers.jsonl", answers)
    earlier = {s.stage: evaluate.read_answers(s.folder) for s in steps if s.stage in ("base", "ctc") and s.name != node.name}
    parent = folders.get(node.parents.get("model", "") or "")
    measured = metrics.compute(
        answers,
        base=earlier.get("base", []) + earlier.get("ctc", []) if node.stage not in ("base",) else None,
        parent=evaluate.read_answers(parent) if parent else None,
        seed=recipe.seed,
        bootstrap=recipe.evaluation.bootstrap,
    )
    costs |= {
        "cost/wall_s": trained["wall_s"],
        "cost/evaluation_s": round(time.monotonic() - clock, 1),
        "cost/peak_rss_mb": max(trained["peak_rss_mb"], peak_rss_mb()),
        "cost/train_tokens": trained["train_metrics"].get("train_tokens", 0),
        "cost/trainable_params": trained["train_metrics"].get("trainable_params", 0),
    }
    row = {
        "run": "",
        "stage": node.name,
        "checkpoint": os.path.relpath(step.folder),
        "parents": {role: os.path.relpath(folders[name]) for role, name in node.parents.items()},
        "config": {"recipe": recipe.name, "stage": node.stage, "key": node.key, "options": _plain(node.options)},
        "code": code_version(),
        "base": recipe.base.model or "tiny",
        "data": corpus.fingerprint,
        "seed": recipe.seed,
        "device": trained["device"],
        "started": trained["started"],
        "wall_s": trained["wall_s"],
        "train_metrics": trained["train_metrics"],
        "metrics": measured | {name: {"value": value} for name, value in costs.items()},
    }
    row["config"]["evaluation"] = _evaluation_key(recipe)
    _write_last(step.folder / "metrics.json", row)


def _table(steps: list[Step], corpus: Any, device: str, recipe: Recipe) -> Any:
    """The frozen encoder's frames of every clip: made once per encoder and corpus, then read from the cache."""
    from posttrain.model.encoder import corpus_frames

    encoder = next((s.folder for s in steps if s.stage == "ctc"), None)
    return corpus_frames(encoder, corpus, device) if encoder else None


def _plan_corpus(recipe: Recipe, folder: Path, branch_from: Path | None) -> Step:
    key = corpus_key(recipe)
    for home, action in ((folder, "done"), (branch_from, "reuse")):
        if home and (home / "corpus" / "key").is_file() and (home / "corpus" / "key").read_text() == key:
            return Step("corpus", "corpus", action, "made from the same settings", home / "corpus")
    return Step("corpus", "corpus", "run", "not there yet", folder / "corpus")


def _state(home: Path, key: str, evaluation: str) -> str:
    """finished, trained or missing; under this key."""
    config = home / "config.yaml"
    if not config.is_file() or (yaml.safe_load(config.read_text()) or {}).get("key") != key:
        return "missing"
    done = home / "metrics.json"
    if done.is_file() and json.loads(done.read_text())["config"]["evaluation"] == evaluation:
        return "finished"
    return "trained"


@contextmanager
def _stage_folder(folder: Path) -> Iterator[Path]:
    """A partial folder, renamed when its block ends well; what stood there before is kept under replaced/."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    if folder.exists():
        kept = folder.parent / "replaced" / f"{folder.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        kept.parent.mkdir(exist_ok=True)
        folder.rename(kept)
    partial.rename(folder)


def _write_last(path: Path, row: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(row, indent=1))
    os.replace(partial, path)


def _evaluation_key(recipe: Recipe) -> str:
    return digest(dataclasses.asdict(recipe.evaluation))


def _plain(options: Any) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(options)))
