"""Remedies compared, from a ledger alone: arms over their seeds, and which arm to train with.

The arm is chosen on validation items (evals/choice.py) and reported on the test: what is said of the chosen arm comes
from items that had no part in choosing it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.errors import InputError
from posttrain.evals.choice import Apart, Scores, apart, choose, item_variance
from posttrain.evals.seeds import Mean, over_seeds, paired
from posttrain.evals.statistics import Z, holm
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
FORGOT = "forgetting/mean"
"""What an arm is chosen by."""
TEST, VALID = "test", "valid"
NOT_REMEDIES = ("seed", "steps", "looks")
EQUAL = 0.01
"""As good a target: no more than a point below the first arm."""


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

    def values(self, figure: str, split: str = TEST) -> dict[int, float]:
        """Seed → figure, for the seeds that have it."""
        found = {seed: value_of(row, figure, self.start, split) for seed, row in self.rows.items()}
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

    def against(self, other: "Arm", figure: str, split: str = TEST) -> Mean | None:
        """Difference to another arm, paired by seed."""
        return paired(self.values(figure, split), other.values(figure, split))

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


@dataclass(frozen=True)
class Choice:
    """Which arm to train with, by validation items alone."""

    arm: Arm
    """The chosen one; the first where no other is surely better."""
    nearest: Arm | None
    """Of the others the one that forgot least, chosen or not; None where nothing could be compared."""
    difference: Apart | None
    """The nearest one's forgetting less the first's, on validation."""
    gain: Mean | None
    """The nearest one's skill in hearing tasks less the first's, on validation."""
    p: float
    """One-sided, that the nearest one forgets no less; after Holm over all arms but the first."""
    compared: int
    """Arms that the first was compared with."""
    missing: str = ""
    """Why nothing could be compared."""


def choice(made: Sequence[Arm]) -> Choice:
    """The arm that forgets least among those that surely forget less than the first one, by validation items.

    An arm is eligible with as good a target as the first's (EQUAL) and no surely worse safety. `surely` is one-sided
    2.5 % after Holm over all arms but the first, eligible or not, with the variance over seeds and over items.
    """
    first, others = made[0], list(made[1:])
    if missing := _not_comparable(made):
        return Choice(first, None, None, None, 1.0, len(others), missing)
    found = differences(made, VALID, FORGOT)
    eligible = [_eligible(arm, first) for arm in others]
    chosen = choose(found, eligible)
    places = [i for i, fits in enumerate(eligible) if fits] or range(len(others))
    nearest = min(places, key=lambda i: found[i].value) if chosen is None else chosen
    p = holm([one.p_lower for one in found])[nearest]
    gain = others[nearest].against(first, "gain", VALID)
    arm = first if chosen is None else others[chosen]
    return Choice(arm, others[nearest], found[nearest], gain, p, len(others))


def recommended(made: Sequence[Arm]) -> Arm:
    """The chosen arm."""
    return choice(made).arm


def differences(made: Sequence[Arm], split: str = TEST, figure: str = FORGOT) -> list[Apart]:
    """Each further arm's figure less the first arm's, over the seeds that all arms have, and over items.

    For forgetting on validation the rows have every content's score. Else a row has the arm's own interval over items;
    the difference's is taken as if the two arms' were independent, which is wider.
    """
    seeds = _common_seeds(made, split, figure)
    values = np.array([[arm.values(figure, split)[seed] for seed in seeds] for arm in made])
    if split == TEST:
        halves = [arm.items_half(figure) or 0.0 for arm in made]
        return apart(values, [(half**2 + halves[0] ** 2) / Z**2 for half in halves[1:]])
    zero = _scores(made[0].rows[seeds[0]], "zero")
    scores = [[_scores(arm.rows[seed]) for seed in seeds] for arm in made]
    return apart(values, [item_variance(one, scores[0], zero) for one in scores[1:]])


def difference(made: Sequence[Arm], arm: Arm, other: Arm, figure: str) -> Apart | None:
    """One arm's figure less another's on the test; None with fewer than two seeds that have it."""
    with_it = [one for one in made if one.values(figure)]
    if arm not in with_it or other not in with_it or len(_common_seeds(with_it, TEST, figure)) < 2:
        return None
    rest = [one for one in with_it if one is not other and one is not arm]
    return differences([other, arm, *rest], TEST, figure)[0]


def _eligible(arm: Arm, first: Arm) -> bool:
    gain = arm.against(first, "gain", VALID)
    worse = [d.sign > 0 for figure in SAFE if (d := arm.against(first, figure, VALID))]
    return gain is not None and gain.value >= -EQUAL and not any(worse)


def _not_comparable(made: Sequence[Arm]) -> str:
    """Why no arm can be chosen: a row without validation answers, or fewer than two seeds; empty where one can."""
    rows = [row for arm in made for row in arm.rows.values()]
    if without := [row.stage for row in rows if not _metrics(row, VALID)]:
        named = ", ".join(without[:3]) + ", …" * (len(without) > 3)
        return f"{named} answered no validation items; make the study again, with looks in every arm"
    if any(FORGOT not in _metrics(row, VALID) for row in rows):
        return "the base had none of the validation items right, so there was nothing to forget; train it longer"
    if len(_common_seeds(made, VALID)) < 2:
        return "the arms have fewer than two seeds in common; raise seeds in the recipe"
    return ""


def _common_seeds(made: Sequence[Arm], split: str, figure: str = FORGOT) -> list[int]:
    return sorted(set.intersection(*(set(arm.values(figure, split)) for arm in made)))


def _metrics(row: Row, split: str) -> Mapping[str, dict[str, Any]]:
    found: Mapping[str, dict[str, Any]]
    found = row.metrics if split == TEST else row.train_metrics.get("validation", {}).get("metrics", {})
    return found


def _scores(row: Row, of: str = "scores") -> Scores:
    found: Scores = row.train_metrics["validation"][of]
    return found


def command(arm: Arm, first: Arm) -> str:
    """How to train the recipe at hand so."""
    run = Path(arm.start.checkpoint).parent
    changes = " ".join(f"sft.{k}={_yaml(v)}" for k, v in changed(arm, first).items())
    return f'make sft FROM={run} RUN={run.name}_{arm.name} SET="{changes}"'


def value_of(row: Row, figure: str, start: Row, split: str = TEST) -> float | None:
    """One of FIGURES; gain is the skill in hearing tasks less that of the model that the arms start from.

    On validation, which that model does not answer, gain is the skill alone: differences of arms are the same.
    """
    if figure == "gain":
        now, before = skill(row, split), skill(start) if split == TEST else 0.0
        return None if now is None or before is None else now - before
    if figure in SAFE:
        return _mean([m["value"] for m in _safety(row, figure, split)])
    metric = _metrics(row, split).get(figure)
    return None if metric is None else metric["value"]


def half_of(row: Row, figure: str) -> float | None:
    """Half of its 95 % interval over items; of a mean of several metrics, as if they were independent."""
    metrics = _skills(row).values() if figure == "gain" else _safety(row, figure) if figure in SAFE else None
    if metrics is None:
        metrics = [row.metrics[figure]] if figure in row.metrics else []
    halves = [(m["ci95"][1] - m["ci95"][0]) / 2 for m in metrics]
    return sum(h * h for h in halves) ** 0.5 / len(halves) if halves else None


def skill(row: Row, split: str = TEST) -> float | None:
    """Mean of SKILLS; of the word error rate, what is left of 1."""
    return _mean([1 - m["value"] if name == "wer/clean" else m["value"] for name, m in _skills(row, split).items()])


def _skills(row: Row, split: str = TEST) -> Mapping[str, dict[str, Any]]:
    metrics = _metrics(row, split)
    return {name: metrics[name] for name in SKILLS if name in metrics}


def _safety(row: Row, what: str, split: str = TEST) -> list[dict[str, Any]]:
    metrics = _metrics(row, split)
    return [metrics[n] for n in (f"safety/{what}/text", f"safety/{what}/speech") if n in metrics]


def _forgot(arm: Arm) -> Mean | None:
    return arm.mean(FORGOT)


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
