"""How a recipe's figures vary between seeds of everything: base, encoder, corpus draw and every stage.

Not to be confused with the copies `sft@1`, `sft@2`, … of a recipe's `seeds` option: those vary the adapter alone, on
one base and one encoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from posttrain.errors import InputError
from posttrain.evals.metrics import FORGETTING, of
from posttrain.evals.seeds import Mean, over_seeds
from posttrain.report import words
from posttrain.report.findings import REFERENCES, WORSE, aims, final, moved, sure
from posttrain.report.lineage import kind
from posttrain.run.ledger import Row

ALL, SIGN, NOT, LACKING = "in every seed", "in sign", "not", "not measured in every seed"
DELTAS = REFERENCES | {"encoder": ("delta_vs_encoder", "delta_encoder_ci95", "")}
Runs = Mapping[int, Sequence[Row]]
"""Seed → the rows of its run."""


@dataclass(frozen=True)
class Figure:
    """One metric of one stage, for every seed."""

    stage: str
    metric: str
    values: dict[int, float]
    """By seed."""
    mean: Mean
    """With its t interval over seeds: how far other seeds would move it."""
    items: tuple[float, float] | None
    """The first seed's own 95 % interval: how far other items would move it."""

    @property
    def low(self) -> float:
        """The lowest of the seeds."""
        return min(self.values.values())

    @property
    def high(self) -> float:
        """The highest of the seeds."""
        return max(self.values.values())


@dataclass(frozen=True)
class Held:
    """A difference that at least one seed's own report calls sure, with the results of all seeds."""

    stage: str
    metric: str
    against: str
    """base (row zero or the cascade), parent or encoder; empty if the figure itself is a difference."""
    verdicts: dict[int, int]
    """By seed: +1 surely better, −1 surely worse, 0 neither."""
    changes: dict[int, float]
    """By seed, for those that measured it."""
    mean: Mean
    """Mean of the changes."""

    @property
    def survives(self) -> str:
        """`in every seed`: sure in each, always in the same direction. `in sign`: always in the same direction, but not
        sure in each. `not`: the direction differs. `not measured in every seed`: a seed lacks the figure."""
        if len(self.changes) < len(self.verdicts):
            return LACKING
        found = set(self.verdicts.values())
        if len(found) == 1 and 0 not in found:
            return ALL
        sides = {(change > 0) - (change < 0) for change in self.changes.values()}
        return SIGN if len(sides) == 1 and 0 not in sides else NOT


def figures(runs: Runs) -> list[Figure]:
    """Every metric that every run has, stage by stage in the first run's order. InputError for fewer than two."""
    first = next(iter(runs.values()), [])
    if len(runs) < 2:
        raise InputError(f"{len(runs)} seeds have a ledger, expected two or more; run more seeds")
    made = []
    for row in first:
        same = {seed: _row(rows, row.stage) for seed, rows in runs.items()}
        for metric in row.metrics:
            values = {seed: r.metrics[metric]["value"] for seed, r in same.items() if r and metric in r.metrics}
            if len(values) == len(runs):
                items = row.metrics[metric].get("ci95")
                mean = over_seeds(list(values.values()))
                made.append(Figure(row.stage, metric, values, mean, tuple(items) if items else None))
    return made


def headlines(runs: Runs) -> list[Figure]:
    """The figures to read first: the headlines of the model that the runs end with, and the metric that each stage
    should improve (StageSpec.aims)."""
    found = {(figure.stage, figure.metric): figure for figure in figures(runs)}
    first = next(iter(runs.values()))
    last = final(list(first))
    aimed = [(row.stage, metric) for metric, stage in aims() for row in first if kind(row) == stage]
    wanted = [(last.stage, metric) for metric in words.headlines(last.metrics)] if last else []
    return [found[place] for place in dict.fromkeys((*wanted, *aimed)) if place in found]


def held(runs: Runs) -> list[Held]:
    """Every difference that some seed's own report calls sure, in the order of the first run's metrics."""
    by_seed = {seed: _verdicts(list(rows)) for seed, rows in runs.items()}
    claimed = dict.fromkeys(place for found in by_seed.values() for place, way in found.items() if way)
    made = []
    for place in claimed:
        changes = {seed: _change(rows, *place) for seed, rows in runs.items()}
        known = {seed: change for seed, change in changes.items() if change is not None}
        verdicts = {seed: by_seed[seed].get(place, 0) for seed in runs}
        made.append(Held(*place, verdicts, known, over_seeds(list(known.values()))))
    order = {figure.metric: number for number, figure in enumerate(figures(runs))}
    return sorted(made, key=lambda one: order.get(one.metric, len(order)))


def _verdicts(rows: list[Row]) -> dict[tuple[str, str, str], int]:
    """(stage, metric, against) → what a run's own report concludes: +1 better, −1 worse, 0 neither."""
    last = final(rows)
    if last is None:
        return {}
    found = {(last.stage, metric, "base"): way for metric, way in sure(last).items()}
    for metric in (name for name in last.metrics if last.metrics[name].get("delta_encoder_ci95")):
        found[last.stage, metric, "encoder"] = _side(last.metrics[metric]["delta_encoder_ci95"], of(metric).better)
    for metric in (name for name in FORGETTING if name in last.metrics):
        found[last.stage, metric, ""] = _side(last.metrics[metric]["ci95"], -1)
    for row, metric, verdict in moved(rows):
        found[row.stage, metric, "parent"] = {"": 1, WORSE: -1}.get(verdict, 0)
    return found


def _side(interval: Sequence[float], better: int) -> int:
    lo, hi = interval
    return 0 if lo <= 0 <= hi else better * (1 if lo > 0 else -1)


def _change(rows: Sequence[Row], stage: str, metric: str, against: str) -> float | None:
    row = _row(rows, stage)
    if row is None or metric not in row.metrics:
        return None
    return row.metrics[metric].get(DELTAS[against][0] if against else "value")


def _row(rows: Sequence[Row], stage: str) -> Row | None:
    return next((row for row in rows if row.stage == stage), None)
