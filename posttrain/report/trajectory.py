"""The trajectory of a run's last model: how much of the base's typed abilities each stage on the way kept."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from posttrain.evals.trajectory import Trajectory, trace
from posttrain.evals.units import unit
from posttrain.report.changes import Line
from posttrain.report.findings import SURE, final
from posttrain.report.lineage import lineage
from posttrain.report.words import between, label, number
from posttrain.run.ledger import Row
from posttrain.tasks.abilities import chance

PREFIX = "ability/"
BOOTSTRAP = 1000
FIGURES = {
    "acc": ("ACC", "mean accuracy after the last stage (Lopez-Paz & Ranzato 2017)"),
    "bwt": ("BWT", "mean change since the base, below zero is forgetting (Lopez-Paz & Ranzato 2017)"),
    "forgetting": ("forgetting", "mean drop from the best earlier stage, leans upwards (Chaudhry et al. 2018)"),
    "fg": ("FG", "mean over stages of the drop, relative to the base (arXiv 2308.08747)"),
    "fg_above_chance": ("FG above chance", "the same, relative to what the base has above chance"),
}


def trajectory(rows: list[Row], answers: Mapping[str, list[Line]]) -> Trajectory | None:
    """From base to last model, over the typed items that all stages answered; None without such items or either end."""
    last = final(rows)
    way = lineage(last, rows) if last else []
    if len(way) < 2 or any(row.stage not in answers for row in (way[0], way[-1])):
        return None
    stages = [row.stage for row in way if row.stage in answers]
    scored = [{(x["probe"], x["id"]): x for x in answers[s] if x["probe"].startswith(PREFIX)} for s in stages]
    items: dict[str, list[tuple[Line, list[float]]]] = {}
    for key, line in scored[0].items():
        if all(key in later for later in scored):
            items.setdefault(key[0], []).append((line, [later[key]["score"] for later in scored]))
    if not items:
        return None
    scores = {probe: np.array([grades for _, grades in items[probe]]) for probe in sorted(items)}
    guess = {p: sum(chance(x["text"], x["answer"]) for x, _ in items[p]) / len(items[p]) for p in scores}
    contents = {probe: [unit(line)[0] for line, _ in items[probe]] for probe in scores}
    return trace(scores, guess, stages, rows[-1].seed, BOOTSTRAP, contents)


def trajectory_table(found: Trajectory | None) -> dict[str, Any] | None:
    """As text: (figure, value, interval, meaning), and a line per ability, with a verdict if its change holds."""
    if found is None:
        return None
    figures = [
        (name, number(PREFIX, ci.value).replace("-", "−"), between(PREFIX, (ci.lo, ci.hi)), said)
        for (name, said), ci in ((FIGURES[key], ci) for key, ci in found.figures.items())
    ]
    lines = []
    for name, a in found.abilities.items():
        cells = [label(name).rpartition(",")[0], f"{a.n:,}", f"{a.contents:,}", number(name, a.chance)]
        cells += [number(name, value) for value in a.accuracy]
        cells += [str(a.lost), str(a.won), f"{a.p:.2g}", f"{a.holm:.2g}"]
        lines.append((cells, "" if a.holm >= SURE else "won" if a.won > a.lost else "lost"))
    columns = [
        "ability",
        "n",
        "contents",
        "chance",
        *found.stages,
        "right → wrong",
        "wrong → right",
        "p",
        "p after Holm",
    ]
    return {"n": found.n, "figures": figures, "columns": columns, "lines": lines}
