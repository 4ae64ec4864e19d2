"""Run a recipe: corpus → every stage → the same evaluation after each → one ledger row each.

A stage is finished when its folder holds answers.jsonl and metrics.json. Whatever was finished under the same key (see
graph.py) is reused, from this run or from the one it branches from. So a killed run continues where it stopped, and a
second run with nothing changed does nothing.
"""

import dataclasses
import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from posttrain import files
from posttrain.config.recipe import Recipe, with_stage
from posttrain.errors import InputError
from posttrain.evals import benchmarks
from posttrain.machine import disk
from posttrain.machine.device import peak_rss_mb, pick_device, quiet_libraries, reset_peak_rss, say
from posttrain.machine.lock import alone
from posttrain.machine.side_by_side import run_all
from posttrain.machine.source import code_of
from posttrain.model import origin
from posttrain.run import ledger, requests
from posttrain.run.graph import Node, corpus_key, nodes, reference
from posttrain.run.planning import Step, evaluation_key, held_out_key, plan

__all__ = ["Step", "make_corpus", "plan", "run"]


def run(
    recipe: Recipe,
    folder: Path,
    branch_from: Path | None = None,
    until: str | None = None,
    jobs: int = 1,
    fresh_code: bool = False,
) -> list[ledger.Row]:
    """Carry out `plan` and return the run's ledger rows; no other command may write to the run meanwhile.

    On a CPU up to `jobs` stages that do not depend on each other run in parallel; a GPU trains one at a time.

    Raises InputError before anything is run if the recipe or its data are wrong, or another command holds the run;
    DiskFullError if a disk fills up.
    """
    from posttrain.run.preflight import check

    with alone(folder), disk.watched(folder):
        corpus_step, *steps = plan(recipe, folder, branch_from, until, fresh_code, refuse=False)
        check(recipe, folder, [corpus_step, *steps])  # before pick_device, which loads torch
        device = pick_device(recipe.device)
        if jobs > 1 and device != "cpu":
            say(f"one stage at a time, not {jobs}: the device is {device}")
            jobs = 1
        _tell(corpus_step, *steps)
        corpus = make_corpus(recipe, corpus_step)
        if corpus_step.action == "run":
            steps = plan(recipe, folder, branch_from, until, fresh_code)[1:]  # the new corpus may change them
        if not corpus.valid_items and (chosen := [s.name for s in steps if s.action != "done" and _looks(s.node)]):
            raise InputError(
                f"{corpus.folder} has no validation items, by which a choice between {', '.join(chosen)} is made: it is"
                " of an older version; make its run again, in another folder"
            )
        path = folder / "ledger.jsonl"
        ledger.repair(path)
        ledger.drop(path, [step.name for step in steps if step.action in ("run", "evaluate")])
        going = _Run(recipe, folder, steps, corpus, device)
        together = {step.name: going.needs(step) for step in steps if jobs > 1 and step.action in ("run", "evaluate")}
        for step in steps:
            if step.name not in together:
                going.do(step.name)
        if together:
            run_all(together, going.do, jobs, folder / "logs")
        ledger.arrange(path, [node.name for node in nodes(with_stage(recipe, until))])
        return ledger.read(path)


def make_corpus(recipe: Recipe, step: Step) -> Any:
    """The Corpus of a plan's first step, built if it does not exist yet."""
    from posttrain.corpus import build, store
    from posttrain.tasks.plan import plan

    if step.action == "run":
        say("\n■ corpus: what is said, by whom, in what noise")
        (step.folder / "key").unlink(missing_ok=True)
        asked = requests.written(recipe, step.folder.with_name("requests.json"))
        taught = requests.taught(recipe, step.folder.with_name(requests.ANSWERS))
        build.build(plan(recipe.corpus, recipe.seed, asked, taught), recipe.corpus, recipe.seed, step.folder)
        files.write_json(step.folder / "code.json", code_of("corpus"))
        files.write_text(step.folder / "key", corpus_key(recipe))
    return store.Corpus.load(step.folder)


def _tell(*steps: Step) -> None:
    """Report crash damage, and stages that other code made."""
    for step in steps:
        for problem in step.damage:
            say(f"! {problem}: it counts as missing and is made again")
    if others := [step.name for step in steps if step.other_code]:
        say(f"! {', '.join(others)}: made by other code than this and left as it is; --fresh-code makes it again")


@dataclass(frozen=True)
class _Run:
    """State that the steps of one run share."""

    recipe: Recipe
    folder: Path
    steps: list[Step]
    corpus: Any
    device: str

    def do(self, name: str) -> None:
        """Train and evaluate the node as its step requires, and put its row into the ledger."""
        quiet_libraries()
        step = next(step for step in self.steps if step.name == name)
        with disk.watched(self.folder):
            if step.action == "run":
                _train(self, step)
            elif step.damage and step.action != "reuse":
                _restore(step.folder)
            if step.action in ("run", "evaluate"):
                _evaluate(self, step)
            ledger.put(self.folder / "ledger.jsonl", self.row(step))

    def row(self, step: Step) -> dict[str, Any]:
        """The stage's ledger row with current paths: the run may have been renamed or moved since."""
        row = files.read_json(step.folder / "metrics.json")
        corpus = next((folder for folder in (self.corpus.folder,) if row["data"] == self.corpus.fingerprint), None)
        named = {role: os.path.relpath(path) for role, path in self.references(step.node).items()}
        config = row["config"] | {"references": named} | ({"corpus": os.path.relpath(corpus)} if corpus else {})
        parents = {role: os.path.relpath(path) for role, path in self.parents(step.node).items()}
        place = {"run": self.folder.name, "checkpoint": os.path.relpath(step.folder), "parents": parents}
        return row | place | {"config": config}

    def needs(self, step: Step) -> set[str]:
        """Nodes that must be finished before it: its parents, and those its figures are compared with."""
        return {*step.node.parents.values(), *(path.name for path in self.references(step.node).values())} - {step.name}

    def home(self, name: str) -> Path:
        """Folder of a node."""
        return next(step.folder for step in self.steps if step.name == name)

    def parents(self, node: Node) -> dict[str, Path]:
        """Role → folder of the parent."""
        return {role: self.home(name) for role, name in node.parents.items()}

    def references(self, node: Node) -> dict[str, Path]:
        """Folders of the base and the encoder the node's figures are compared with; none if it answers nothing."""
        if node.spec.aside:
            return {}
        nodes = [step.node for step in self.steps]
        encoder = next((n.name for n in nodes if n.spec.leaves == "encoder" and node.spec.leaves != "llama"), None)
        found = {"base": reference(nodes, node), "ctc": encoder}
        return {role: self.home(name) for role, name in found.items() if name in {n.name for n in nodes}}

    def table(self, node: Node) -> Any:
        """Frames of every clip from the encoder that the node starts from; None without one.

        Computed once per encoder and corpus, then read from the cache. With the transcripts of training clips if the
        node's model reads them.
        """
        from posttrain.model.corpus_table import corpus_table

        if node.spec.aside:
            return None
        parents = self.parents(node)
        encoder = origin.located(parents["model"], "encoder") if "model" in parents else parents.get("encoder")
        if not encoder:
            return None
        spec = files.read_json(parents["model"] / origin.SPEC) if "model" in parents else {}
        transcripts = spec.get("transcript", False) or _reads_transcripts(node)
        return corpus_table(encoder, self.corpus, self.device, transcripts)


def _train(run: _Run, step: Step) -> None:
    """Run one stage in a partial folder that gets its final name only when it is complete."""
    from posttrain.stages.training.context import StageContext

    node = step.node
    say(f"\n■ {node.name}: {step.why}")
    started = datetime.now(UTC)
    kept = step.folder.parent / "replaced" / f"{step.name}-{started:%Y%m%dT%H%M%S}"
    stopped = run.folder / "stopped" / node.name / node.key[:12]
    for other in stopped.parent.glob("*"):
        if other != stopped:
            files.remove(other)
    with files.new_folder(step.folder, kept) as partial:
        table = run.table(node)
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
            stopped=stopped,
        )
        metrics = import_module(f"posttrain.stages.{node.stage}").run(node.options, context)
        trained = {
            "started": started.isoformat(timespec="seconds"),
            "wall_s": round(time.monotonic() - clock + metrics.get("earlier_s", 0.0), 1),
            "peak_rss_mb": peak_rss_mb(),
            "device": run.device,
            "train_metrics": metrics,
        }
        files.write_json(partial / "trained.json", trained)
        _write_config(partial, _identity(run, step, partial))
    files.remove(stopped.parent)


def _identity(run: _Run, step: Step, partial: Path) -> dict[str, Any]:
    """What made a checkpoint and what its evaluation refers to: paths relative to the project, links to the folder."""
    node = step.node
    places = {role: partial if path == step.folder else path for role, path in _places(run, node).items()}
    return {
        "recipe": run.recipe.name,
        "stage": node.stage,
        "key": node.key,
        "seed": run.recipe.seed,
        "options": json.loads(json.dumps(dataclasses.asdict(node.options))),
        "corpus": os.path.relpath(run.corpus.folder),
        "references": {stage: os.path.relpath(path) for stage, path in run.references(node).items()},
        origin.LINKS: origin.links(partial, places),
        "code": code_of(node.stage),
    } | _evaluated_with(run)


def _linked(run: _Run, step: Step) -> origin.Origin:
    """What the checkpoint refers to; one that an older version trained gets the links that it lacks."""
    made = origin.resolve(step.folder)
    if origin.LINKS in made.config:
        return made
    links = {origin.LINKS: origin.links(step.folder, _places(run, step.node))}
    return dataclasses.replace(made, config=made.config | links)


def _places(run: _Run, node: Node) -> dict[str, Path]:
    """Role → folder, for everything a node refers to."""
    parents = {origin.PARENT + role: path for role, path in run.parents(node).items()}
    return {"corpus": run.corpus.folder, **run.references(node), **parents}


def _evaluated_with(run: _Run) -> dict[str, Any]:
    """The options of the evaluation and, if there is held-out text, its hash."""
    held_out = held_out_key(run.recipe)
    options = dataclasses.asdict(run.recipe.evaluation)
    found = {"evaluation": evaluation_key(run.recipe), "evaluation_options": options}
    return found | ({"held_out": held_out} if held_out else {})


def _reads_transcripts(node: Node) -> bool:
    """Whether the node's model is the first that reads the encoder's transcripts."""
    return bool(getattr(node.options, "transcript", False))


def _evaluate(run: _Run, step: Step) -> None:
    """Answer every item, measure against row zero and the parent, write answers.jsonl and, last, metrics.json."""
    from posttrain.evals import evaluate, standalone
    from posttrain.model.corpus_table import corpus_table

    node = step.node
    say(f"  evaluating {node.name}")
    if node.spec.leaves == "encoder" and any(_reads_transcripts(other.node) for other in run.steps):
        corpus_table(step.folder, run.corpus, run.device, transcripts=True)  # else it is encoded once more for them
    clock = time.monotonic()
    reset_peak_rss()
    made = _linked(run, step)
    answers, measured, costs = standalone.measure(
        made, run.corpus, run.recipe.evaluation, run.device, run.recipe.corpus.data_root
    )
    evaluate.write_answers(step.folder / "answers.jsonl", answers)
    trained = files.read_json(step.folder / "trained.json")
    costs |= {
        "cost/wall_s": trained["wall_s"],
        "cost/evaluation_s": round(time.monotonic() - clock, 1),
        "cost/peak_rss_mb": max(trained["peak_rss_mb"], peak_rss_mb()),
        "cost/train_tokens": trained["train_metrics"].get("tokens", 0),
        "cost/trainable_params": trained["train_metrics"].get("trainable_params", 0),
    }
    config = {k: v for k, v in made.config.items() if k not in ("held_out", "listeners")} | _evaluated_with(run)
    code = made.config.get("code") or {"version": made.row.get("code")}
    row = {
        "run": run.folder.name,
        "stage": node.name,
        "checkpoint": os.path.relpath(step.folder),
        "parents": {role: os.path.relpath(path) for role, path in run.parents(node).items()},
        "config": config | {"evaluation_code": code_of("evaluation")},
        "code": code["version"] or "unknown",
        "base": run.recipe.base.model or "tiny",
        "data": run.corpus.fingerprint,
        "seed": run.recipe.seed,
        "device": trained["device"],
        "started": trained["started"],
        "wall_s": trained["wall_s"],
        "train_metrics": trained["train_metrics"] | _validated(run, step, made),
        "metrics": measured | {name: {"value": value} for name, value in costs.items()},
    }
    files.write_json(step.folder / "metrics.json", row)


def _validated(run: _Run, step: Step, made: origin.Origin) -> dict[str, Any]:
    """Figures on the validation items for an sft with `looks`; a choice between arms may use only these.

    Writes validation.jsonl. Other stages are not chosen between and do not answer these items.
    """
    from posttrain.evals import evaluate, validated
    from posttrain.model.corpus_table import corpus_table

    if not _looks(step.node):
        return {}
    config = run.recipe.evaluation
    table = corpus_table(made.encoder, run.corpus, run.device) if made.encoder else None
    asked = dataclasses.replace(run.corpus, choices=benchmarks.items(config, run.recipe.corpus.data_root, "valid"))
    lines = evaluate.validation(step.folder, asked, table, config, run.device)
    evaluate.write_answers(step.folder / evaluate.VALIDATION, lines)
    return {"validation": validated.figures(lines, _of_base(run, step, asked), run.recipe.seed, config.bootstrap)}


def _of_base(run: _Run, step: Step, asked: Any) -> list[dict[str, Any]]:
    """Answers of the step's reference base to the typed validation items of the corpus `asked`; generated once."""
    from posttrain.evals import evaluate

    home = run.references(step.node)["base"]
    known = files.value_hash([item.id for item in asked.choices])[:8] if asked.choices else ""
    name = "-".join(filter(None, (home.name, str(origin.identity(home))[:16], known)))
    path = run.folder / "validation" / f"{name}.jsonl"
    if files.damage(path):
        path.parent.mkdir(exist_ok=True)
        evaluate.write_answers(path, evaluate.validation(home, asked, None, run.recipe.evaluation, run.device))
    return evaluate.read_answers(path.parent, path.name)


def _looks(node: Node) -> bool:
    return node.spec.arm and node.options.looks > 0


def _restore(folder: Path) -> None:
    """Write config.yaml and trained.json again from the row in metrics.json, if a crash broke them."""
    if files.damage(folder / "metrics.json"):
        return
    row = files.read_json(folder / "metrics.json")
    if files.damage(folder / origin.CONFIG):
        _write_config(folder, {k: v for k, v in row["config"].items() if k not in ("evaluation_code", "listeners")})
    if files.damage(folder / "trained.json"):
        trained = {name: row[name] for name in ("started", "wall_s", "device", "train_metrics")}
        peak = row["metrics"].get("cost/peak_rss_mb", {}).get("value", 0.0)
        files.write_json(folder / "trained.json", trained | {"peak_rss_mb": peak})


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    files.write_text(folder / origin.CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
