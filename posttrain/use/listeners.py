"""Measure a finished enhancer for each listener, in minutes and on demand; the figures go into its run's ledger."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain import files
from posttrain.errors import InputError, collecting
from posttrain.machine import disk
from posttrain.machine.lock import alone
from posttrain.machine.source import code_of
from posttrain.model import origin
from posttrain.run import ledger, place
from posttrain.run.ledger import Row

if TYPE_CHECKING:
    from posttrain.acoustics.audiogram import Audiogram
    from posttrain.acoustics.enhancer import Enhancer
    from posttrain.corpus.store import Corpus
    from posttrain.evals.hearing.listeners import Heard, Line

STANDARD = ("N1", "N3", "S2")
NAME = re.compile(r"[\w.-]+")
CACHE = "scores.jsonl"


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    run: Path
    """The run's folder."""
    row: Row
    """Ledger row of its enhance stage."""
    listeners: tuple["Audiogram", ...]
    model: Path | None
    """The checkpoint that transcribes; None if there is none."""
    measures: tuple[str, ...]
    sources: tuple[str, ...]
    snrs_db: tuple[float, ...]
    clips: int
    """Clips per cell, for the measures that take seconds per clip."""
    denoise: float = 1.0
    """Strength of the enhancer, 0 to 1."""

    @property
    def folder(self) -> Path:
        """Folder of the enhance stage."""
        return self.run / self.row.stage

    def as_dict(self) -> dict[str, Any]:
        """The settings that the ledger keeps beside the figures."""
        return {
            "run": str(self.run),
            "enhancer": str(self.folder),
            "model": self.model and str(self.model),
            "listeners": [listener.name for listener in self.listeners],
            "measures": list(self.measures),
            "sources": list(self.sources),
            "snrs_db": list(self.snrs_db),
            "clips": self.clips,
            "denoise": self.denoise,
        }


def plan(
    run: Path,
    listeners: Sequence[str] = (),
    data_root: Path | None = None,
    model: Path | None = None,
    sources: Sequence[str] = (),
    snrs_db: Sequence[float] = (5.0,),
    clips: int = 10,
    denoise: float = 1.0,
) -> Plan:
    """What an evaluation would measure; InputError lists all problems of the run and of the arguments.

    Default `listeners`: N1, N3, S2 and, with a data root, the first of its Clarity listeners. Default `model`: the last
    one of the run, or else of the run whose corpus it shares.
    """
    problems: list[str] = []
    row, last = _rows(run, problems)
    people = _listeners(listeners, data_root, problems)
    if model is not None and not (model / "checkpoint.json").is_file():
        problems.append(f"--model is {model}, expected a stage's folder from align on; name one such as runs/tiny/sft")
    if problems or row is None:
        raise InputError(problems)
    from posttrain.evals.hearing import perception  # loads torch

    measures = perception.available()
    return Plan(
        run,
        row,
        tuple(people),
        model or last,
        tuple(measures),
        tuple(sources) or ("made",),
        tuple(snrs_db),
        clips,
        denoise,
    )


def evaluate(wanted: Plan, jobs: int, device: str) -> Row:
    """Measure, add lines and figures to those of the stage's own evaluation, and return the new ledger row."""
    from posttrain.acoustics import enhancer
    from posttrain.corpus.store import Corpus
    from posttrain.evals import evaluate as stage_evaluation
    from posttrain.evals.hearing.listener_metrics import of_listeners

    with alone(wanted.run), disk.watched(wanted.run):
        corpus = Corpus.load(origin.resolve(wanted.folder).corpus)
        made = enhancer.load(wanted.folder, device)
        lines = _lines(wanted, made, corpus, jobs, device)
        kept = [line for line in stage_evaluation.read_answers(wanted.folder) if not of_listeners(line["probe"])]
        stage_evaluation.write_answers(wanted.folder / "answers.jsonl", kept + lines)
        row = _with_figures(wanted, lines)
        files.write_json(wanted.folder / "metrics.json", row.as_dict())
        ledger.put(wanted.run / "ledger.jsonl", row)
        _pages(wanted, row, made, corpus)
    return row


def figures(row: Row) -> dict[str, dict[str, Any]]:
    """The row's figures for listeners and machine hearing, by name."""
    from posttrain.evals.hearing.listener_metrics import of_listeners

    return {name: metric for name, metric in row.metrics.items() if of_listeners(name)}


def _lines(wanted: Plan, made: "Enhancer", corpus: "Corpus", jobs: int, device: str) -> "list[Line]":
    from posttrain.evals.hearing import listeners
    from posttrain.evals.hearing.enhancement import CLIPS
    from posttrain.evals.hearing.machine_hearing import Machine, through_ears, with_and_without
    from posttrain.machine.device import quiet_libraries, say

    if "pesq" not in wanted.measures:
        say("  PESQ is left out; pip install 'posttrain[hearing]' adds it, which takes a C compiler")
    machine = behind = None
    if wanted.model is not None:
        quiet_libraries()
        machine = Machine.load(wanted.model, device)
        behind = machine.behind(wanted.folder)
    at_the_ears = list(_heard(wanted, made, corpus, wanted.clips, better=False))
    if not at_the_ears:
        raise InputError(
            f"{corpus.folder} has no clean test speech of {', '.join(wanted.sources)}; name other --source"
        )
    texts = {clip.id: clip.text for clip in corpus.clips.values()}
    measured = listeners.measure(at_the_ears, wanted.measures, wanted.run / "listeners" / CACHE, jobs)
    lines = [line | {"content": texts[line["clip"]] or line["clip"]} for line in measured]
    if machine is None:
        say("  the run has no model that hears: machine hearing is left out; --model names one")
        return lines
    lines += through_ears(machine, _heard(wanted, made, corpus, CLIPS, better=True), texts)
    return lines + list(with_and_without(machine, made, corpus, wanted.denoise, behind))


def _heard(wanted: Plan, made: "Enhancer", corpus: "Corpus", clips: int, better: bool) -> "Iterator[Heard]":
    """The first clips of every source at every SNR, listener by listener; `better`: for the better ear only."""
    from posttrain.evals.hearing import listeners
    from posttrain.evals.hearing.enhancement import mixtures_of

    for source in wanted.sources:
        mixtures = list(islice(mixtures_of(corpus, source, wanted.snrs_db), clips * len(wanted.snrs_db)))
        for listener in wanted.listeners:
            for ear in (listener.better_ear,) if better else listeners.ears(listener):
                for mixture in mixtures:
                    yield listeners.hear(made, mixture, source, listener, ear, wanted.denoise)


def _pages(wanted: Plan, row: Row, made: "Enhancer", corpus: "Corpus") -> None:
    """Write a page for each listener, from the first source and SNR."""
    from posttrain.report import listener_page

    first = replace(wanted, sources=wanted.sources[:1], snrs_db=wanted.snrs_db[:1])
    texts = {clip.id: clip.text for clip in corpus.clips.values()}
    for _, places in groupby(_heard(first, made, corpus, wanted.clips, better=True), lambda place: place.listener.name):
        listener_page.write(wanted.run, row, list(places), texts)


def _with_figures(wanted: Plan, lines: "list[Line]") -> Row:
    """The stage's row with the figures of these lines instead of earlier ones, and the settings of the measurement."""
    from posttrain.evals.compute import compute
    from posttrain.evals.hearing.listener_metrics import of_listeners

    row = ledger.as_row(files.read_json(wanted.folder / "metrics.json")).as_dict()
    found = compute(lines, seed=row["seed"], bootstrap=origin.resolve(wanted.folder).evaluation.bootstrap)
    others = {name: metric for name, metric in row["metrics"].items() if not of_listeners(name)}
    told = {name: value for name, value in wanted.as_dict().items() if name not in ("run", "enhancer")}
    told["code"] = code_of("listeners")
    if wanted.model is not None:
        told["model_hash"] = files.sha256(wanted.model / "checkpoint.json")[:16]
    row["config"]["listeners"] = told
    row["metrics"] = dict(sorted((others | found).items()))
    row["run"] = wanted.row.run
    return Row(**row)


def _rows(run: Path, problems: list[str]) -> tuple[Row | None, Path | None]:
    """The row of the run's own enhance stage, and the last model of the run, else of the run whose corpus it has."""
    from posttrain.report.lineage import spec

    rows = ledger.read(run / "ledger.jsonl")
    row = next((row for row in reversed(rows) if spec(row).aside), None)
    last = _last_model(rows, run)
    if last is None and row is not None:
        other = origin.resolve(run / row.stage).corpus.parent if (run / row.stage).is_dir() else run
        last = _last_model(ledger.read(other / "ledger.jsonl"), other)
    if row is None:
        problems.append(f"{run} has no finished enhance stage; run `make enhance RUN={run.name}` first")
    elif not (run / row.stage / "metrics.json").is_file():
        problems.append(f"{row.stage} of {run} is taken from {Path(row.checkpoint).parent}; evaluate that run")
        row = None
    return row, last


def _last_model(rows: Sequence[Row], run: Path) -> Path | None:
    """Checkpoint of the run's last row whose stage answers items."""
    from posttrain.report.lineage import is_model

    return next((place.of_row(run, row) or Path(row.checkpoint) for row in reversed(rows) if is_model(row)), None)


def _listeners(names: Sequence[str], data_root: Path | None, problems: list[str]) -> "list[Audiogram]":
    from posttrain.acoustics import audiogram

    asked = list(names)
    found = []
    if not asked:
        asked = list(STANDARD)
        if data_root is not None:
            known = audiogram.clarity_listeners(data_root)
            if known:
                asked.append(min(known))
            else:
                problems.append(
                    f"{data_root}/clarity has no listener; give a folder that has, or leave --data-root out"
                )
    for name in dict.fromkeys(asked):
        with collecting(problems):
            found.append(audiogram.find(name, data_root))
    problems += [
        f"listener {who.name!r}: expected a name of letters, digits, _ . and -; rename it in its file"
        for who in found
        if not NAME.fullmatch(who.name)
    ]
    twice = {who.name for who in found if [other.name for other in found].count(who.name) > 1}
    problems += [f"listener {name} is there twice; name one of the two" for name in sorted(twice)]
    return found
