"""Remedies compared, from a ledger alone: arms over their seeds, what pays, what is reproduced of what papers found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.errors import InputError
from posttrain.evals.seeds import Mean, over_seeds, paired
from posttrain.graph import seed_of
from posttrain.ledger import Row
from posttrain.report.figures import SKILLS
from posttrain.report.lineage import kind, parent

SAFE = ("harmful_compliance", "over_refusal")
FIGURES = {
    "gain": "gained in hearing tasks",
    "forgetting/mean": "forgot, mean over typed abilities",
    "forgetting/kl_base": "KL(base ‖ model), nats a token",
    "harmful_compliance": "harmful requests answered",
    "over_refusal": "harmless requests refused",
}
"""What an arm is judged by, and how it is called; the last two are means of typed and spoken."""
NOT_REMEDIES = ("seed", "steps", "looks")
EQUAL = 0.01
"""As good a target: no more than a point below."""


@dataclass(frozen=True)
class Arm:
    """One way of fine-tuning, with every seed that it was run with."""

    name: str
    rows: dict[int, Row]
    """By number of the seed."""
    start: Row
    """What all of them went on from."""

    @property
    def options(self) -> dict[str, Any]:
        """Of sft, as the first seed had them."""
        return dict(next(iter(self.rows.values())).config["options"])

    def values(self, figure: str) -> dict[int, float]:
        """Seed → figure, for the seeds that have it."""
        found = {seed: value_of(row, figure, self.start) for seed, row in self.rows.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def mean(self, figure: str) -> Mean | None:
        """Over the seeds."""
        values = self.values(figure)
        return over_seeds(list(values.values())) if values else None

    def items_half(self, figure: str) -> float | None:
        """Half of the 95 % interval that the items leave open, mean over the seeds: other items, the same seeds."""
        halves = [half_of(row, figure) for row in self.rows.values()]
        known = [half for half in halves if half is not None]
        return sum(known) / len(known) if known else None

    def against(self, other: "Arm", figure: str) -> Mean | None:
        """Difference to another arm, paired by seed."""
        return paired(self.values(figure), other.values(figure))

    @property
    def tuned(self) -> int:
        """Parameters of the Llama that were trained: without the projector's, which `start` trained alone."""
        count, projector = (
            row.metrics.get("cost/trainable_params", {}).get("value", 0)
            for row in (next(iter(self.rows.values())), self.start)
        )
        return int(max(0, count - projector))

    def curve(self, seed: int) -> list[dict[str, float]]:
        """Step, loss of the tasks and kl_base on validation data; empty where nobody looked."""
        return list(self.rows[seed].train_metrics.get("curve", []))


def arms(rows: Sequence[Row]) -> list[Arm]:
    """The sft arms in the ledger's order; the first is the one that the others are held against.

    InputError where there are fewer than two, or where they do not start from the same model.
    """
    found: dict[str, dict[int, Row]] = {}
    for row in rows:
        if kind(row) == "sft":
            name, seed = seed_of(row.stage)
            found.setdefault(name, {})[seed] = row
    made = [Arm(name, seeds, _start(next(iter(seeds.values())), list(rows))) for name, seeds in found.items()]
    starts = {arm.start.checkpoint for arm in made}
    if len(made) < 2 or len(starts) > 1:
        raise InputError(
            f"the ledger has {len(made)} sft stages from {len(starts)} parents ({', '.join(found) or 'none'}), "
            "expected two or more from one; run a recipe such as study"
        )
    return made


def changed(arm: Arm, first: Arm) -> dict[str, Any]:
    """The options in which an arm differs from the first one."""
    before = first.options
    return {k: v for k, v in arm.options.items() if k not in NOT_REMEDIES and v != before.get(k)}


def front(made: Sequence[Arm]) -> list[Arm]:
    """Arms that no other beats in both: gains as much and forgets as little, and one of the two strictly."""
    points = {arm.name: (m.value, f.value) for arm in made if (m := arm.mean("gain")) and (f := _forgot(arm))}

    def beaten(name: str) -> bool:
        gain, forgot = points[name]
        return any(g >= gain and f <= forgot and (g, f) != (gain, forgot) for g, f in points.values())

    return sorted((a for a in made if a.name in points and not beaten(a.name)), key=lambda a: points[a.name][1])


def recommended(made: Sequence[Arm]) -> Arm:
    """The arm that forgets least among those with as good a target as the first's and with no surely worse safety."""
    first = made[0]

    def fits(arm: Arm) -> bool:
        gain = arm.against(first, "gain")
        worse = [d.sign > 0 for figure in SAFE if (d := arm.against(first, figure))]
        return gain is not None and gain.value >= -EQUAL and not any(worse)

    fitting = [arm for arm in made if arm is first or fits(arm)]
    return min(fitting, key=lambda arm: m.value if (m := _forgot(arm)) else 1.0)


def command(arm: Arm, first: Arm) -> str:
    """How to train the recipe at hand so."""
    run = Path(arm.start.checkpoint).parent
    changes = " ".join(f"sft.{k}={_yaml(v)}" for k, v in changed(arm, first).items())
    return f'make sft FROM={run} RUN={run.name}_{arm.name} SET="{changes}"'


def value_of(row: Row, figure: str, start: Row) -> float | None:
    """One of FIGURES; gain is the skill in hearing tasks less that of the model that the arms start from."""
    if figure == "gain":
        now, before = skill(row), skill(start)
        return None if now is None or before is None else now - before
    if figure in SAFE:
        return _mean([m["value"] for m in _safety(row, figure)])
    metric = row.metrics.get(figure)
    return None if metric is None else metric["value"]


def half_of(row: Row, figure: str) -> float | None:
    """Half of its 95 % interval over items; of a mean of several metrics, as if they were independent."""
    metrics = _skills(row).values() if figure == "gain" else _safety(row, figure) if figure in SAFE else None
    if metrics is None:
        metrics = [row.metrics[figure]] if figure in row.metrics else []
    halves = [(m["ci95"][1] - m["ci95"][0]) / 2 for m in metrics]
    return sum(h * h for h in halves) ** 0.5 / len(halves) if halves else None


def skill(row: Row) -> float | None:
    """Mean of SKILLS; of the word error rate, what is left of 1."""
    return _mean([1 - m["value"] if name == "wer/clean" else m["value"] for name, m in _skills(row).items()])


def _skills(row: Row) -> Mapping[str, dict[str, Any]]:
    return {name: row.metrics[name] for name in SKILLS if name in row.metrics}


def _safety(row: Row, what: str) -> list[dict[str, Any]]:
    return [row.metrics[n] for n in (f"safety/{what}/text", f"safety/{what}/speech") if n in row.metrics]


def _forgot(arm: Arm) -> Mean | None:
    return arm.mean("forgetting/mean")


def _start(row: Row, rows: list[Row]) -> Row:
    """The model that fine-tuning began with, also for an arm that is derived from another arm."""
    before = parent(row, rows)
    if before is None:
        raise InputError(f"{row.stage} has no parent in the ledger; run its recipe again, whole")
    return _start(before, rows) if kind(before) == "sft" else before


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
