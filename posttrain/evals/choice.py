"""Choose one of several arms, each trained with several seeds: validation chooses, the test reports.

Both see the same trained models, so a lucky seed shows in both, and the choice must allow for the number of arms
compared. An arm is chosen only if its validation figure is significantly lower than the first arm's, after Holm over
all arms; otherwise the first arm stays. The test then makes one comparison, for the chosen arm.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from posttrain.evals.statistics import Z, holm

ALPHA = 0.025
"""One-sided; equivalent to a 95 % interval that lies below zero."""
Scores = Mapping[str, Mapping[str, Sequence[float]]]
"""Probe → `right` and `of`: for each content, how many of its items were right and how many there are."""


@dataclass(frozen=True)
class Apart:
    """An arm's mean figure minus the first arm's, over seeds and items."""

    value: float
    se: float
    df: float
    seeds: int

    @property
    def p_lower(self) -> float:
        """One-sided p value of the null hypothesis that the true difference is not below zero."""
        if not self.se:
            return float(self.value >= 0)
        return float(stats.t.cdf(self.value / self.se, self.df))

    @property
    def ci95(self) -> tuple[float, float]:
        """95 % interval for this single comparison."""
        half = float(stats.t.ppf(1 - ALPHA, self.df)) * self.se if self.se else 0.0
        return (self.value - half, self.value + half)

    @property
    def sign(self) -> int:
        """+1 or −1 if the interval lies on that side of zero, else 0."""
        lo, hi = self.ci95
        return int(lo > 0) - int(hi < 0)


def apart(values: np.ndarray, item_variances: Sequence[float]) -> list[Apart]:
    """Each further row of `values` (arms, seeds) minus the first row, paired by seed.

    item_variances: for each arm but the first, the variance of its difference over other items. The variance over
    seeds is the larger of the arm's own and the one pooled over all arms (residuals of arms × seeds): with three seeds
    the arm's own is often too small by chance, and the pooled one is too small for an arm that varies more than the
    rest. Degrees of freedom by Satterthwaite. ValueError with fewer than two seeds.
    """
    values = np.asarray(values, dtype=float)
    arms, seeds = values.shape
    if seeds < 2:
        raise ValueError(f"arms have {seeds} seeds in common, expected two or more; raise seeds in the recipe")
    differences = values[1:] - values[0]  # (arms − 1, seeds)
    residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    df = (arms - 1) * (seeds - 1)
    common = 2 * float((residuals**2).sum()) / df / seeds
    own = differences.var(axis=1, ddof=1) / seeds
    made = []
    for value, variance, items in zip(differences.mean(axis=1), own, item_variances, strict=True):
        over_seeds = max(float(variance), common)
        total = over_seeds + items
        freedom = df * (total / over_seeds) ** 2 if over_seeds > 1e-12 * total else math.inf
        made.append(Apart(float(value), math.sqrt(total), min(freedom, 1e6), seeds))
    return made


def choose(found: Sequence[Apart], eligible: Sequence[bool]) -> int | None:
    """Index of the lowest eligible difference that is below zero after Holm over all arms; None if there is none."""
    adjusted = holm([one.p_lower for one in found])
    sure = [i for i, p in enumerate(adjusted) if p <= ALPHA and eligible[i]]
    return min(sure, key=lambda i: found[i].value) if sure else None


def item_variance(arm: Sequence[Scores], first: Sequence[Scores], zero: Scores) -> float:
    """Variance over other items of how much more an arm forgot than the first arm, averaged over probes and seeds.

    Forgetting is relative to `zero`, row zero's scores. Contents are the unit; the seeds' answers to one content are
    averaged first. The variance is at least what Wilson's limit for 0 of n items implies, so it is not 0 if nothing
    differs.
    """
    probes = [p for p in zero if sum(zero[p]["right"]) and all(p in scores for scores in (*arm, *first))]
    total, items = 0.0, 0.0
    for probe in probes:
        of = np.asarray(zero[probe]["of"], dtype=float)  # (contents,)
        share = sum(zero[probe]["right"]) / of.sum()
        ours, theirs = (np.mean([scores[probe]["right"] for scores in side], axis=0) for side in (arm, first))
        differs = ours - theirs
        off = differs - differs.sum() / of.sum() * of
        total += float((off**2).sum()) * len(of) / max(1, len(of) - 1) / of.sum() ** 2 / share**2
        items += float(of.sum())
    if not probes:
        return 0.0
    return max(total / len(probes) ** 2, (Z / (items + Z**2)) ** 2)
