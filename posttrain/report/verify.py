"""Checks a ledger's figures against its saved answers: every metric is recomputed and compared."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from posttrain.evals.compute import compute
from posttrain.evals.metrics import Group, of
from posttrain.machine.source import stage_code
from posttrain.report.changes import Line
from posttrain.report.lineage import parent, references
from posttrain.run.ledger import Row

Metrics = dict[str, dict[str, Any]]
LATER = ("modality_gap/instruction", "enhance/noise_gain/")
"""Metrics or families of answers saved before there was such a metric: a ledger of earlier code may lack them."""


@dataclass(frozen=True)
class Wrong:
    """A ledger figure that the saved answers do not reproduce."""

    stage: str
    metric: str
    key: str
    """Which of the metric's figures: value, n, ci95, …"""
    ledger: Any
    """None if the ledger lacks it."""
    answers: Any
    """None if the answers do not give it."""

    def __str__(self) -> str:
        """One line."""
        said, found = ("nothing" if x is None else str(x) for x in (self.ledger, self.answers))
        return f"{self.stage}, {self.metric}: {self.key} is {said} in the ledger, {found} from the saved answers"


def missing(row: Row, rows: list[Row], answers: Mapping[str, list[Line]]) -> list[str]:
    """Stages that the row's figures depend on but that have no saved answers."""
    before = parent(row, rows)
    needed = [row, *references(row, rows), *([before] if before else [])]
    return [other.stage for other in needed if other.stage not in answers]


def recompute(row: Row, rows: list[Row], answers: Mapping[str, list[Line]], bootstrap: int) -> Metrics:
    """The row's metrics from its answers, its references' and its parent's, as its evaluation computed them."""
    before = parent(row, rows)
    return compute(
        answers[row.stage],
        base=[line for other in references(row, rows) for line in answers[other.stage]],
        parent=answers[before.stage] if before else None,
        seed=row.seed,
        bootstrap=bootstrap,
    )


def differences(row: Row, found: Metrics, resampled: bool) -> Iterator[Wrong]:
    """Figures that differ between the row and its answers; costs are skipped, as they are not from answers.

    resampled: also compare intervals and p values, which depend on the number of resamples.
    """
    names = {name for name in row.metrics if of(name).group is not Group.COSTS} | set(found)
    for name in sorted(names):
        ours, theirs = row.metrics.get(name), found.get(name)
        if ours is None and {name, of(name).name} & set(LATER) and not _by_this_code(row):
            continue
        if ours is None or theirs is None:
            yield Wrong(row.stage, name, "value", ours and ours["value"], theirs and theirs["value"])
            continue
        for key in dict.fromkeys([*theirs, *ours]):
            exact = not ("ci95" in key or key.startswith("p_vs") or key in ("detectable", "power"))
            if (resampled or exact) and not _same(ours.get(key), theirs.get(key)):
                yield Wrong(row.stage, name, key, ours.get(key), theirs.get(key))


def _by_this_code(row: Row) -> bool:
    recorded = row.config.get("evaluation_code")
    return isinstance(recorded, dict) and recorded.get("training") == stage_code("evaluation")


def _same(a: Any, b: Any) -> bool:
    """Equal up to the last digits, which depend on the machine's arithmetic."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    return bool(a == b)
