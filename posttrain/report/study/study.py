"""Compares remedies from a ledger alone: arms over their seeds, and which arm to train with.

The arm is chosen on validation items (evals/choice.py) and reported on the test, so the figures reported for it come
from items that had no part in choosing it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.corpus.choices import PROBE
from posttrain.errors import InputError
from posttrain.evals.choice import Apart, Scores, apart, choose, item_variance
from posttrain.evals.metrics import SKILLS, forgotten
from posttrain.evals.seeds import Mean, over_seeds, paired
from posttrain.evals.statistics import Z, holm
from posttrain.report.figures import skill_values
from posttrain.report.lineage import parent, spec
from posttrain.report.words import label
from posttrain.run.graph import seed_of
from posttrain.run.ledger import Row

SAFE = ("harmful_compliance", "over_refusal")
FIGURES = {
    "gain": "gained in hearing tasks",
    "forgetting/mean": "forgot, mean over typed abilities",
    "forgetting/benchmarks": "forgot of what it did above chance in public benchmarks, mean",
    "forgetting/kl_base": "KL(base ‖ model), nats a token",
    "harmful_compliance": "harmful requests answered",
    "over_refusal": "harmless requests refused",
    "instruction/text": "checkable instructions followed, typed",
    "language/perplexity/wikitext": "perplexity of WikiText",
}
"""The figures that arms are compared by, with their labels; of safety the means of typed and spoken."""
TEST, VALID = "test", "valid"
NOT_REMEDIES = ("seed", "steps", "looks")
EQUAL = 0.01
"""An arm's target counts as equal if it is no more than a point below the first arm's."""


@dataclass(frozen=True)
class Arm:
    """One way of fine-tuning, with every seed that it was run with."""

    name: str
    rows: dict[int, Row]
    """By seed number."""
    start: Row
    """The model that all of them started from."""

    @property
    def options(self) -> dict[str, Any]:
        """Options of sft, from the first seed's row."""
        return dict(next(iter(self.rows.values())).config["options"])

    def values(self, figure: str, split: str = TEST) -> dict[int, float]:
        """Seed → figure, for the seeds that have it."""
        found = {seed: value_of(row, figure, self.start, split) for seed, row in self.rows.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def mean(self, figure: str) -> Mean | None:
        """Mean over the seeds; None if none has the figure."""
        values = self.values(figure)
        return over_seeds(list(values.values())) if values else None

    def items_half(self, figure: str) -> float | None:
        """Half the width of the 95 % interval over items, for fixed seeds; the mean over the seeds."""
        halves = [half_of(row, figure) for row in self.rows.values()]
        known = [half for half in halves if half is not None]
        return sum(known) / len(known) if known else None

    def against(self, other: "Arm", figure: str, split: str = TEST) -> Mean | None:
        """Difference from another arm, paired by seed."""
        return paired(self.values(figure, split), other.values(figure, split))

    @property
    def tuned(self) -> int:
        """Number of trained parameters of the Llama, without the projector's, which are all that `start` trained."""
        count, projector = (
            row.metrics.get("cost/trainable_params", {}).get("value", 0)
            for row in (next(iter(self.rows.values())), self.start)
        )
        return int(max(0, count - projector))

    def curve(self, seed: int) -> list[dict[str, float]]:
        """Step, task loss and kl_base on validation data; empty if they were not measured during training."""
        return list(self.rows[seed].train_metrics.get("curve", []))


def arms(rows: Sequence[Row]) -> list[Arm]:
    """The sft arms in the ledger's order; the others are compared with the first.

    Raises InputError if there are fewer than two, or they do not start from the same model.
    """
    found: dict[str, dict[int, Row]] = {}
    for row in rows:
        if spec(row).arm:
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


def figures(made: Sequence[Arm]) -> dict[str, str]:
    """Figure → label, of FIGURES and of public benchmarks, for those that an arm has."""
    names = {name for arm in made for row in arm.rows.values() for name in row.metrics if name.startswith(PROBE)}
    known = FIGURES | {name: label(name) for name in sorted(names)}
    return {name: said for name, said in known.items() if any(arm.values(name) for arm in made)}


def forgot(made: Sequence[Arm]) -> str:
    """The figure that an arm is chosen by: what it forgot of typed abilities; of benchmarks, if the base has none."""
    return forgotten({name for arm in made for row in arm.rows.values() for name in row.metrics})


def changed(arm: Arm, first: Arm) -> dict[str, Any]:
    """The options in which an arm differs from the first one."""
    before = first.options
    return {k: v for k, v in arm.options.items() if k not in NOT_REMEDIES and v != before.get(k)}


def front(made: Sequence[Arm]) -> list[Arm]:
    """The Pareto front: no other arm gains as much and forgets as little, with one of the two strictly better."""
    points = {arm.name: (m.value, f.value) for arm in made if (m := arm.mean("gain")) and (f := arm.mean(forgot(made)))}

    def beaten(name: str) -> bool:
        gain, forgot = points[name]
        return any(g >= gain and f <= forgot and (g, f) != (gain, forgot) for g, f in points.values())

    return sorted((a for a in made if a.name in points and not beaten(a.name)), key=lambda a: points[a.name][1])


@dataclass(frozen=True)
class Choice:
    """The arm to train with, chosen on validation items alone."""

    arm: Arm
    """The chosen arm; the first if no other is surely better."""
    nearest: Arm | None
    """The chosen arm if it is not the first, else the one that forgot least of the rest, eligible arms preferred; None
    if nothing could be compared."""
    difference: Apart | None
    """The nearest arm's forgetting minus the first's, on validation."""
    gain: Mean | None
    """The nearest arm's skill in hearing tasks minus the first's, on validation."""
    p: float
    """One-sided p value that the nearest arm forgets no less than the first, after Holm over all arms but the first."""
    compared: int
    """Number of arms that the first was compared with."""
    missing: str = ""
    """Why nothing could be compared; empty if it could."""


def choice(made: Sequence[Arm]) -> Choice:
    """The eligible arm that forgets least among those that surely forget less than the first, on validation items.

    An arm is eligible if its target is as good as the first's (EQUAL) and its safety not surely worse. `surely` means
    one-sided 2.5 % after Holm over all arms but the first, eligible or not, with the variance over seeds and items.
    """
    first, others = made[0], list(made[1:])
    if missing := _not_comparable(made):
        return Choice(first, None, None, None, 1.0, len(others), missing)
    found = differences(made, VALID)
    eligible = [_eligible(arm, first) for arm in others]
    chosen = choose(found, eligible)
    places = [i for i, fits in enumerate(eligible) if fits] or range(len(others))
    nearest = min(places, key=lambda i: found[i].value) if chosen is None else chosen
    p = holm([one.p_lower for one in found])[nearest]
    gain = others[nearest].against(first, "gain", VALID)
    arm = first if chosen is None else others[chosen]
    return Choice(arm, others[nearest], found[nearest], gain, p, len(others))


def differences(made: Sequence[Arm], split: str = TEST, figure: str | None = None) -> list[Apart]:
    """Each further arm's figure, by default what it forgot, minus the first arm's, over common seeds and over items.

    For forgetting on validation the rows have every content's score. Otherwise a row has only the arm's own interval
    over items, and the two arms are treated as independent, which makes the difference's interval wider.
    """
    figure = figure or forgot(made)
    seeds = _common_seeds(made, split, figure)
    values = np.array([[arm.values(figure, split)[seed] for seed in seeds] for arm in made])
    if split == TEST:
        halves = [arm.items_half(figure) or 0.0 for arm in made]
        return apart(values, [(half**2 + halves[0] ** 2) / Z**2 for half in halves[1:]])
    zero = _scores(made[0].rows[seeds[0]], "zero")
    scores = [[_scores(arm.rows[seed]) for seed in seeds] for arm in made]
    return apart(values, [item_variance(one, scores[0], zero) for one in scores[1:]])


def difference(made: Sequence[Arm], arm: Arm, other: Arm, figure: str) -> Apart | None:
    """One arm's figure minus another's on the test; None if fewer than two seeds have it."""
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
    """Why no arm can be chosen: no validation answers, nothing to forget, or fewer than two seeds; empty if one can."""
    rows = [row for arm in made for row in arm.rows.values()]
    if without := [row.stage for row in rows if not _metrics(row, VALID)]:
        named = ", ".join(without[:3]) + ", …" * (len(without) > 3)
        return f"{named} answered no validation items; make the study again, with looks in every arm"
    if any(forgot(made) not in _metrics(row, VALID) for row in rows):
        return (
            "the base had none of the validation items right, or did no better than by guessing, so there was nothing "
            "to forget; train it longer, or give a loaded base benchmarks by DATA_ROOT, such as blimp and piqa"
        )
    if len(_common_seeds(made, VALID, forgot(made))) < 2:
        return "the arms have fewer than two seeds in common; raise seeds in the recipe"
    return ""


def _common_seeds(made: Sequence[Arm], split: str, figure: str) -> list[int]:
    return sorted(set.intersection(*(set(arm.values(figure, split)) for arm in made)))


def _metrics(row: Row, split: str) -> Mapping[str, dict[str, Any]]:
    found: Mapping[str, dict[str, Any]]
    found = row.metrics if split == TEST else row.train_metrics.get("validation", {}).get("metrics", {})
    return found


def _scores(row: Row, of: str = "scores") -> Scores:
    found: Scores = row.train_metrics["validation"][of]
    return found


def command(arm: Arm, first: Arm) -> str:
    """The command that trains the recipe at hand like this arm."""
    run = Path(arm.start.checkpoint).parent
    changes = " ".join(f"sft.{k}={_yaml(v)}" for k, v in changed(arm, first).items())
    recipe = "" if arm.start.base == "tiny" else f"RECIPE={arm.start.config['recipe']} DATA_ROOT=… "
    return f'make sft {recipe}FROM={run} RUN={run.name}_{arm.name} SET="{changes}"'


def value_of(row: Row, figure: str, start: Row, split: str = TEST) -> float | None:
    """One of FIGURES; gain is the skill in hearing tasks minus that of the model that the arms start from.

    That model does not answer the validation items, so gain there is the skill alone; differences between arms are the
    same.
    """
    if figure == "gain":
        now, before = skill(row, split), skill(start) if split == TEST else 0.0
        return None if now is None or before is None else now - before
    if figure in SAFE:
        return _mean([m["value"] for m in _safety(row, figure, split)])
    metric = _metrics(row, split).get(figure)
    return None if metric is None else metric["value"]


def half_of(row: Row, figure: str) -> float | None:
    """Half the width of the figure's 95 % interval over items; metrics that it averages are treated as independent."""
    metrics = _skills(row) if figure == "gain" else _safety(row, figure) if figure in SAFE else None
    if metrics is None:
        metrics = [row.metrics[figure]] if figure in row.metrics else []
    halves = [(m["ci95"][1] - m["ci95"][0]) / 2 for m in metrics]
    return sum(h * h for h in halves) ** 0.5 / len(halves) if halves else None


def skill(row: Row, split: str = TEST) -> float | None:
    """Mean of SKILLS; the word error rate counts as 1 minus itself."""
    return _mean(skill_values(_metrics(row, split)))


def _skills(row: Row) -> list[dict[str, Any]]:
    return [row.metrics[name] for name in SKILLS if name in row.metrics]


def _safety(row: Row, what: str, split: str = TEST) -> list[dict[str, Any]]:
    metrics = _metrics(row, split)
    return [metrics[n] for n in (f"safety/{what}/text", f"safety/{what}/speech") if n in metrics]


def _start(row: Row, rows: list[Row]) -> Row:
    """The model that fine-tuning started from, also for an arm that is derived from another arm."""
    before = parent(row, rows)
    if before is None:
        raise InputError(f"{row.stage} has no parent in the ledger; run its recipe again, whole")
    return _start(before, rows) if spec(before).arm else before


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
