"""Helpers for the notebooks: a run and its branches, figures before and after, pictures and players.

Nothing is measured here: figures are read from the ledger, where the pipeline's own evaluation wrote them.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from IPython.display import HTML, Audio, Image
from markupsafe import Markup
from matplotlib.figure import Figure

from posttrain.acoustics import SAMPLE_RATE
from posttrain.cli import pipeline, show
from posttrain.config.recipe import load_recipe, with_stage
from posttrain.corpus.store import Corpus
from posttrain.errors import InputError
from posttrain.evals.compute import measures
from posttrain.evals.evaluate import read_answers
from posttrain.evals.measures import Measure
from posttrain.evals.statistics import Difference
from posttrain.machine.device import pick_device, quiet_libraries
from posttrain.model import checkpoint, origin
from posttrain.model.corpus_table import corpus_table
from posttrain.model.speech_llama import SpeechLlama
from posttrain.report import template
from posttrain.report.charts import WIDTH
from posttrain.report.figures import Plot
from posttrain.report.lineage import references
from posttrain.report.words import between, change, label, number, unit
from posttrain.run import ledger, runner
from posttrain.run.graph import ancestors, nodes
from posttrain.run.ledger import Row

LEGEND_PX = 60
SEED, BOOTSTRAP = 0, 1000
"""For the intervals of differences that the ledger does not have."""


@dataclass(frozen=True)
class Run:
    """A recipe's run on disk."""

    recipe: str
    """The recipe's name or YAML file."""
    folder: Path
    """Folder with its ledger and stages."""
    changes: tuple[str, ...] = ()
    """Overrides of the recipe's options, as `--set` takes them."""
    origin: Path | None = None
    """The run that it branches from."""

    @property
    def rows(self) -> dict[str, Row]:
        """Stage → its ledger row, in order."""
        return {row.stage: row for row in ledger.read(self.folder / "ledger.jsonl")}

    @property
    def corpus(self) -> Corpus:
        """The run's corpus: what is said, asked and answered."""
        return Corpus.load(self.stage("corpus"))

    def value(self, stage: str, metric: str) -> float:
        """A figure from the ledger; KeyError if the stage does not have it."""
        return self.rows[stage].metrics[metric]["value"]

    def stage(self, name: str) -> Path:
        """Folder of a stage: in this run, or in the run that it was taken from."""
        recipe, until = load_recipe(self.recipe, list(self.changes)), None if name == "corpus" else name
        return next(s.folder for s in runner.plan(recipe, self.folder, self.origin, until) if s.name == name)

    def answers(self, stage: str) -> list[dict[str, Any]]:
        """The stage's answers in its evaluation, one line per item."""
        return read_answers(self.stage(stage))

    def load(self, stage: str) -> SpeechLlama:
        """The stage's checkpoint, frozen; from `align` on with the corpus's clips attached."""
        device = pick_device("auto")
        made = origin.resolve(self.stage(stage))
        llama = checkpoint.load(made.folder, device)
        if not made.encoder:
            return llama
        return llama.attach(corpus_table(made.encoder, Corpus.load(made.corpus), device, llama.spec.transcript))

    def branch(self, name: str, *changes: str, until: str | None) -> "Run":
        """This run with `changes` such as "sft.steps=150", run up to stage `until` in `notebooks/RUN/NAME` beside it.

        Stages that the changes do not affect are read from this run, which stays as it is. Finished stages are not run
        again.
        """
        folder = self.folder.parent / "notebooks" / self.folder.name / name
        return _made(Run(self.recipe, folder, (*self.changes, *changes), self.folder), until)

    def arms(self, name: str, stage: str, options: Mapping[str, Mapping[str, Any]], *changes: str) -> "Run":
        """A branch in which the stage is trained once per arm, each with its own options, all from one parent."""
        recipe = with_stage(load_recipe(self.recipe, [*self.changes, *changes]), stage)
        above = [node.name for node in ancestors(nodes(recipe), stage) if node.name != stage]
        arms = [{"name": arm, "stage": stage, "options": dict(own)} for arm, own in options.items()]
        return self.branch(name, *changes, f"stages={json.dumps([*above, *arms])}", until=None)

    def short(self, stage: str, share: float) -> str:
        """The change, such as "sft.steps=150", that trains a stage for a share of its steps; at least two, since the
        first may be all warm-up."""
        steps = getattr(load_recipe(self.recipe, list(self.changes)), stage).steps
        return f"{stage}.steps={max(2, round(share * steps))}"

    def difference(self, metric: str, stage: str, other: str) -> Difference | None:
        """A stage's figure minus another's, paired by item, with its 95 % interval; None if they share no items."""
        now, before = (self._measures(name).get(metric) for name in (stage, other))
        return now.difference(before, SEED, BOOTSTRAP) if now and before else None  # type: ignore[arg-type]

    def against(self, other: str, metrics: Iterable[str], stages: Sequence[str]) -> HTML:
        """Table of metrics × stages: `difference` to stage `other`; bold if its interval excludes zero."""
        lines = [[label(n), *(_apart(n, self.difference(n, stage, other)) for stage in stages)] for n in metrics]
        return table([f"less that of {other}", *stages], lines)

    def _measures(self, stage: str) -> dict[str, Measure]:
        """Measures of a stage's answers against the answers that they refer to."""
        rows = self.rows
        zero = [line for row in references(rows[stage], [*rows.values()]) for line in self.answers(row.stage)]
        return measures(self.answers(stage), zero)


def prepare(recipe: str, run: str | Path, until: str | None = None) -> Run:
    """The recipe's run in that folder; missing stages, up to `until` or all, are run first."""
    return _made(Run(recipe, Path(run)), until)


def finished(recipe: str, run: str | Path) -> Run:
    """The recipe's finished run in that folder; nothing is run.

    Recordings are looked for in the folder that DATA_ROOT names. Ends the notebook with one line that says what to run
    if a stage is not finished.
    """
    here = Run(recipe, Path(run), _data_root())
    quiet_libraries()
    try:
        steps = runner.plan(load_recipe(recipe, list(here.changes)), here.folder)
        lacking = [step.name for step in steps if step.action != "done"]
    except InputError as error:
        lacking = error.problems
    if lacking:
        make = "make weights && make pipeline" if load_recipe(recipe).base.model else "make pipeline"
        said = f"{run} is not finished ({', '.join(lacking[:3])}): first run {make} RECIPE={recipe} DATA_ROOT=folder"
        raise SystemExit(f"{said}, with the same DATA_ROOT in this notebook's environment")
    return here


def on_gpu(recipe: str, until: str | None = None) -> Run | None:
    """The run `runs/RECIPE`, if there is a GPU; else None, after printing its plan and the memory it takes.

    Recordings are looked for in the folder that DATA_ROOT names, as the command does it.
    """
    changes = _data_root()
    if torch.cuda.is_available():
        return _made(Run(recipe, Path("runs") / recipe, changes), until)
    pipeline.run(recipe, list(changes), None, None, until, dry_run=True, as_json=False)
    return None


def measure(metrics: Iterable[str], rows: Mapping[str, Row]) -> HTML:
    """Table of metrics × ledger rows: value, 95 % interval and n; a dash if a row does not have the figure."""
    lines = [[label(name), *(_figure(name, row.metrics.get(name)) for row in rows.values())] for name in metrics]
    return table(["", *rows], lines)


def table(columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> HTML:
    """An HTML table of lines under their columns; text is escaped."""
    head = Markup("").join(Markup("<th>{}</th>").format(column) for column in columns)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup('<td style="text-align: left">{}</td>').format(cell) for cell in line)
        )
        for line in lines
    )
    return HTML(Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body))


def players(sounds: Mapping[str, torch.Tensor | np.ndarray]) -> HTML:
    """A player for each sound (S,) at 16 kHz; if one exceeds ±1 all are turned down equally, so levels compare."""
    waves = {name: np.asarray(sound, dtype=np.float32) for name, sound in sounds.items()}
    peak = max(1.0, *(float(np.abs(wave).max()) for wave in waves.values()))
    made = {name: Audio(wave / peak, rate=SAMPLE_RATE, normalize=False) for name, wave in waves.items()}
    return table(["", ""], [(name, Markup(player._repr_html_())) for name, player in made.items()])


def pictures(
    matrices: Mapping[str, torch.Tensor | np.ndarray], x: str, y: str, y_ticks: Sequence[str] = (), width: float = 9.0
) -> Image:
    """Matrices (rows, columns) side by side in one colour scale, row 0 at the bottom; `y_ticks` names the rows."""
    shown = {name: np.asarray(matrix, dtype=np.float32) for name, matrix in matrices.items()}
    figure = Figure(figsize=(width, 3.4), layout="constrained")
    scale = {"vmin": min(m.min() for m in shown.values()), "vmax": max(m.max() for m in shown.values())}
    for axes, (name, matrix) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        drawn = axes.imshow(matrix, origin="lower", aspect="auto", interpolation="nearest", **scale)
        axes.set(title=name, xlabel=x, ylabel=y)
        axes.set_yticks(range(len(y_ticks)), y_ticks) if y_ticks else None
    figure.colorbar(drawn, ax=figure.axes)
    png = BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return Image(png.getvalue())


def chart(plot: Plot) -> HTML:
    """A plot of the report, in the report's own style; a frame separates that style from the notebook's."""
    title, said, svg, legend = plot
    keys = Markup("").join(
        Markup('<span class="key {}" style="--strength:{}%">{}</span>').format(*entry) for entry in legend
    )
    page = Markup("<style>{}</style><figure style='margin:0'><p class='legend'>{}</p>{}</figure>").format(
        template.asset("report.css") + Markup("body { padding: 8px 40px; background: var(--card); }"), keys, svg
    )
    height = float(svg.split('viewBox="0 0 ')[1].split('"')[0].split()[1]) + LEGEND_PX
    frame = '<b>{}</b><br>{}<br><iframe srcdoc="{}" style="width: {}px; height: {:.0f}px; border: 0"></iframe>'
    return HTML(Markup(frame).format(title, said, str(page), WIDTH + 80, height))


def _data_root() -> tuple[str, ...]:
    """The change that names the folder of recordings, if the environment has it."""
    return (f"corpus.data_root={root}",) if (root := os.environ.get("DATA_ROOT")) else ()


def _made(run: Run, until: str | None) -> Run:
    quiet_libraries()
    recipe = load_recipe(run.recipe, list(run.changes))
    _, *steps = runner.plan(recipe, run.folder, run.origin, until)
    if any(step.action != "done" or step.name not in run.rows for step in steps):
        with show.quiet_stdout():
            runner.run(recipe, run.folder, run.origin, until)
    return run


def _figure(name: str, metric: Mapping[str, Any] | None) -> str:
    if metric is None:
        return "–"
    items = f" {between(name, metric.get('ci95'))}, n = {metric['n']:,}" if "n" in metric else ""
    return number(name, metric["value"]) + items


def _apart(name: str, found: Difference | None) -> str:
    if found is None:
        return "–"
    said = f"{change(name, found.value)}{unit(name)} {between(name, (found.lo, found.hi))}"
    return said if found.lo <= 0 <= found.hi else Markup("<b>{}</b>").format(said)
