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

from posttrain import combinations, ledger
from posttrain.config import ASIDE, Recipe, with_stage
from posttrain.corpus import general_text
from posttrain.errors import InputError
from posttrain.graph import Node, ancestors, corpus_key, digest, nodes, reference
from posttrain.machine import code_version, peak_rss_mb, pick_device, quiet_libraries, reset_peak_rss, say
from posttrain.side_by_side import run_all


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
    """What is to be made."""


def plan(
    recipe: Recipe, folder: Path, branch_from: Path | None = None, until: str | None = None, refuse: bool = True
) -> list[Step]:
    """What a run would do; nothing is made. `until` names the last stage wanted, with what it hangs on.

    Raises InputError for stages and options that do not go together; without `refuse` that is left to preflight.py,
    which lists them with all else.
    """
    if branch_from is not None and not (branch_from / "ledger.jsonl").is_file():
        raise InputError(f"{branch_from} is not a run (no ledger.jsonl in it); {_runs_beside(branch_from)}")
    wanted = nodes(with_stage(recipe, until))
    if until:
        wanted = ancestors(wanted, until)
    if refuse:
        combinations.check(recipe, wanted)
    steps = [_plan_corpus(recipe, folder, branch_from)]
    evaluation, held_out = _evaluation_key(recipe), _held_out_key(recipe)
    for node in wanted:
        home, other = folder / node.name, branch_from and branch_from / node.name
        state = _state(home, node.key, evaluation, None if node.stage in ASIDE else held_out)
        if state == "finished":
            step = Step(node.name, node.stage, "done", "nothing it hangs on has changed", home, node)
        elif other and _state(other, node.key, evaluation) == "finished":
            step = Step(node.name, node.stage, "reuse", f"finished in {branch_from} with the same options", other, node)
        elif state == "trained":
            step = Step(node.name, node.stage, "evaluate", "trained, not evaluated yet", home, node)
        else:
            why = "an option it hangs on has changed" if home.exists() else "to be made"
            step = Step(node.name, node.stage, "run", why, home, node)
        steps.append(step)
    return steps


def _runs_beside(folder: Path) -> str:
    runs = sorted(path.parent.name for path in folder.absolute().parent.glob("*/ledger.jsonl"))
    return f"name one of {', '.join(runs)} after --from" if runs else "make a run first, and name it after --from"


def run(
    recipe: Recipe, folder: Path, branch_from: Path | None = None, until: str | None = None, jobs: int = 1
) -> list[ledger.Row]:
    """Do what `plan` says and return the run's ledger rows.

    On a CPU up to `jobs` stages go side by side, where they do not hang on each other; a GPU trains one at a time.

    Raises InputError before anything is made when the recipe or its data are wrong.
    """
    from posttrain.preflight import check

    corpus_step, *steps = plan(recipe, folder, branch_from, until, refuse=False)
    check(recipe, folder, [corpus_step, *steps])  # first, since a look at the device loads torch
    device = pick_device(recipe.device)
    if jobs > 1 and device != "cpu":
        say(f"one stage at a time, not {jobs}: the device is {device}")
        jobs = 1
    folder.mkdir(parents=True, exist_ok=True)
    corpus = make_corpus(recipe, corpus_step)
    if not corpus.valid_items and (chosen := [s.name for s in steps if s.action != "done" and _looks(s.node)]):
        raise InputError(
            f"{corpus.folder} has no validation items, by which a choice between {', '.join(chosen)} is made: it is of"
            " an older version; make its run again, in another folder"
        )
    path = folder / "ledger.jsonl"
    ledger.drop(path, [step.name for step in steps if step.action in ("run", "evaluate")])
    going = _Run(recipe, folder, steps, corpus, device)
    together = {step.name: going.needs(step) for step in steps if jobs > 1 and step.action in ("run", "evaluate")}
    for step in steps:
        if step.name not in together:
            going.do(step.name)
    if together:
        run_all(together, going.do, jobs, folder / "logs")
    ledger.arrange(path, [step.name for step in plan(recipe, folder, branch_from, refuse=False)[1:]])
    return ledger.read(path)


def make_corpus(recipe: Recipe, step: Step) -> Any:
    """The Corpus of a plan's first step, built where it is not there yet."""
    from posttrain.corpus import build, store

    if step.action == "run":
        say("\n■ corpus: what is said, by whom, in what noise")
        build.build(recipe.corpus, recipe.seed, step.folder)
        (step.folder / "key").write_text(corpus_key(recipe), encoding="utf-8")
    return store.Corpus.load(step.folder)


@dataclass(frozen=True)
class _Run:
    """What the steps of one run share."""

    recipe: Recipe
    folder: Path
    steps: list[Step]
    corpus: Any
    device: str

    def do(self, name: str) -> None:
        """Train and evaluate that node, as far as its step says, and put its row into the ledger."""
        quiet_libraries()
        step = next(step for step in self.steps if step.name == name)
        if step.action == "run":
            _train(self, step)
        if step.action in ("run", "evaluate"):
            _evaluate(self, step)
        row = json.loads((step.folder / "metrics.json").read_text(encoding="utf-8"))
        ledger.put(self.folder / "ledger.jsonl", row | {"run": self.folder.name})

    def needs(self, step: Step) -> set[str]:
        """Nodes that must be finished before it: its parents, and what its figures refer to."""
        return {*step.node.parents.values(), *(path.name for path in self.references(step.node).values())} - {step.name}

    def home(self, name: str) -> Path:
        """Folder of a node."""
        return next(step.folder for step in self.steps if step.name == name)

    def parents(self, node: Node) -> dict[str, Path]:
        """Role → folder."""
        return {role: self.home(name) for role, name in node.parents.items()}

    def references(self, node: Node) -> dict[str, Path]:
        """Folders of the base and of the encoder that the node's figures refer to; none where it does not answer."""
        if node.stage in ASIDE:
            return {}
        names = {step.name for step in self.steps}
        base = reference([step.node for step in self.steps], node)
        encoder = [step.name for step in self.steps if step.stage == "ctc" and node.stage != "base"]
        found = {"base": base} | ({"ctc": encoder[0]} if encoder else {})
        return {stage: self.home(name) for stage, name in found.items() if name in names}

    def table(self, node: Node, trained: bool) -> Any:
        """Frames of every clip by the encoder that the node starts from or, `trained`, leaves; None without one.

        Made once per encoder and corpus, then read from the cache.
        """
        from posttrain.model.corpus_table import corpus_table

        if node.stage in ("base", *ASIDE) or (node.stage == "ctc" and not trained):
            return None
        folder = self._encoder(node, trained)
        return corpus_table(folder, self.corpus, self.device) if folder else None

    def _encoder(self, node: Node, trained: bool) -> Path | None:
        """The nearest jointly trained encoder upwards, else the ctc stage's."""
        by_name = {step.name: step.node for step in self.steps}
        at = node if trained else by_name.get(node.parents.get("model", ""))
        while at is not None:
            if at.stage == "sft" and at.options.train_encoder:
                return self.home(at.name) / "encoder"
            at = by_name.get(at.parents.get("model", ""))
        return self.references(node).get("ctc")


def _train(run: _Run, step: Step) -> None:
    """Run one stage into a partial folder that takes its name only when it is whole."""
    from posttrain.stages.context import StageContext

    node = step.node
    say(f"\n■ {node.name}: {step.why}")
    started = datetime.now(UTC)
    with _stage_folder(step.folder) as partial:
        table = run.table(node, trained=False)
        clock = time.monotonic()
        reset_peak_rss()
        context = StageContext(
            seed=run.recipe.seed,
            device=run.device,
            folder=partial,
            parents=run.parents(node),
            corpus=run.corpus,
            table=table,
            report_to=run.recipe.report_to,
            logs=run.folder / "logs" / node.name,
        )
        metrics = import_module(f"posttrain.stages.{node.stage}").run(node.options, context)
        trained = {
            "started": started.isoformat(timespec="seconds"),
            "wall_s": round(time.monotonic() - clock, 1),
            "peak_rss_mb": peak_rss_mb(),
            "device": run.device,
            "train_metrics": metrics,
        }
        (partial / "trained.json").write_text(json.dumps(trained, indent=1), encoding="utf-8")
        (partial / "config.yaml").write_text(yaml.safe_dump(_identity(run, node), sort_keys=False), encoding="utf-8")


def _identity(run: _Run, node: Node) -> dict[str, Any]:
    """What made a checkpoint and what its evaluation refers to; paths relative to the project."""
    held_out = _held_out_key(run.recipe)
    identity = {
        "recipe": run.recipe.name,
        "stage": node.stage,
        "key": node.key,
        "seed": run.recipe.seed,
        "options": json.loads(json.dumps(dataclasses.asdict(node.options))),
        "corpus": os.path.relpath(run.corpus.folder),
        "references": {stage: os.path.relpath(path) for stage, path in run.references(node).items()},
        "evaluation": _evaluation_key(run.recipe),
    }
    return identity | ({"held_out": held_out} if held_out else {})


def _evaluate(run: _Run, step: Step) -> None:
    """Answer every item, measure against row zero and the parent, write answers.jsonl and, last, metrics.json."""
    from posttrain.evals import evaluate, metrics

    node = step.node
    say(f"  evaluating {node.name}")
    clock = time.monotonic()
    table = run.table(node, trained=True)
    reset_peak_rss()
    parents, references = run.parents(node), run.references(node)
    held_out = general_text.passages(run.recipe.corpus.data_root)
    corpus = dataclasses.replace(run.corpus, texts=run.corpus.texts + held_out)
    answers, costs = evaluate.evaluate(
        step.folder, node.stage, corpus, table, references, parents, run.recipe.evaluation, run.device
    )
    evaluate.write_answers(step.folder / "answers.jsonl", answers)
    measured = metrics.compute(
        answers,
        base=evaluate.reference_answers(step.folder, references),
        parent=evaluate.read_answers(parents["model"]) if "model" in parents else None,
        seed=run.recipe.seed,
        bootstrap=run.recipe.evaluation.bootstrap,
    )
    trained = json.loads((step.folder / "trained.json").read_text(encoding="utf-8"))
    costs |= {
        "cost/wall_s": trained["wall_s"],
        "cost/evaluation_s": round(time.monotonic() - clock, 1),
        "cost/peak_rss_mb": max(trained["peak_rss_mb"], peak_rss_mb()),
        "cost/train_tokens": trained["train_metrics"].get("tokens", 0),
        "cost/trainable_params": trained["train_metrics"].get("trainable_params", 0),
    }
    row = {
        "run": run.folder.name,
        "stage": node.name,
        "checkpoint": os.path.relpath(step.folder),
        "parents": {role: os.path.relpath(path) for role, path in parents.items()},
        "config": _identity(run, node),
        "code": code_version(),
        "base": run.recipe.base.model or "tiny",
        "data": run.corpus.fingerprint,
        "seed": run.recipe.seed,
        "device": trained["device"],
        "started": trained["started"],
        "wall_s": trained["wall_s"],
        "train_metrics": trained["train_metrics"] | _validated(run, step, table),
        "metrics": measured | {name: {"value": value} for name, value in costs.items()},
    }
    _write_last(step.folder / "metrics.json", row)


def _validated(run: _Run, step: Step, table: Any) -> dict[str, Any]:
    """Figures on validation items of what an sft with looks made: what a choice between arms may look at.

    Writes validation.jsonl. Other stages are not chosen from, and do not answer them.
    """
    from posttrain.evals import evaluate, validated

    if not _looks(step.node):
        return {}
    config = run.recipe.evaluation
    lines = evaluate.validation(step.folder, run.corpus, table, config, run.device)
    evaluate.write_answers(step.folder / evaluate.VALIDATION, lines)
    return {"validation": validated.figures(lines, _of_base(run, step), run.recipe.seed, config.bootstrap)}


def _of_base(run: _Run, step: Step) -> list[dict[str, Any]]:
    """What the base that a step refers to answers to typed validation items; asked once a run."""
    from posttrain.evals import evaluate

    home = run.references(step.node)["base"]
    key = next(other.node.key for other in run.steps if other.name == home.name)
    path = run.folder / "validation" / f"{home.name}-{key}.jsonl"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        evaluate.write_answers(path, evaluate.validation(home, run.corpus, None, run.recipe.evaluation, run.device))
    return evaluate.read_answers(path.parent, path.name)


def _looks(node: Node) -> bool:
    return node.stage == "sft" and node.options.looks > 0


def _plan_corpus(recipe: Recipe, folder: Path, branch_from: Path | None) -> Step:
    key = corpus_key(recipe)
    node = Node("corpus", "corpus", recipe.corpus, {}, key)
    for home, action in ((folder, "done"), (branch_from, "reuse")):
        if (
            home
            and (home / "corpus" / "key").is_file()
            and (home / "corpus" / "key").read_text(encoding="utf-8") == key
        ):
            return Step("corpus", "corpus", action, "made from the same settings", home / "corpus", node)
    return Step("corpus", "corpus", "run", "to be made", folder / "corpus", node)


def _state(home: Path, key: str, evaluation: str, held_out: str | None = None) -> str:
    """finished, trained or missing; under this key. An evaluation on more text than is wanted is finished, too."""
    config = home / "config.yaml"
    if not config.is_file() or (yaml.safe_load(config.read_text(encoding="utf-8")) or {}).get("key") != key:
        return "missing"
    done = home / "metrics.json"
    if done.is_file():
        made = json.loads(done.read_text(encoding="utf-8"))["config"]
        if made["evaluation"] == evaluation and held_out in (None, made.get("held_out")):
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
    partial.write_text(json.dumps(row, indent=1), encoding="utf-8")
    os.replace(partial, path)


def _evaluation_key(recipe: Recipe) -> str:
    return digest(dataclasses.asdict(recipe.evaluation))


def _held_out_key(recipe: Recipe) -> str | None:
    """Hash of the held-out text below the data root; None where there is none."""
    held_out = general_text.passages(recipe.corpus.data_root)
    return digest(held_out) if held_out else None
