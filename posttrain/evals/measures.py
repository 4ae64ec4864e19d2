"""Kinds of figure made from per-item results; each knows its interval and its paired difference to its like.

Pairs are matched by item id: a difference is over the items that both have.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from posttrain.evals import statistics
from posttrain.evals.statistics import Difference, Interval


@dataclass(frozen=True)
class Share:
    """Mean of one score in 0..1 per item: a proportion where all are 0 or 1, else a mean."""

    scores: dict[str, float]
    """Item → score."""

    @property
    def n(self) -> int:
        """Items."""
        return len(self.scores)

    def interval(self, seed: int, bootstrap: int) -> Interval:
        """Wilson for a proportion; bootstrap over items for a mean of grades."""
        scores = list(self.scores.values())
        if _binary(scores):
            return statistics.wilson(int(sum(scores)), self.n)
        return statistics.ratio_of_sums(scores, [1.0] * self.n, list(self.scores), seed, bootstrap)

    def difference(self, before: "Share", seed: int, bootstrap: int) -> Difference | None:
        """Tango and exact McNemar for proportions; paired bootstrap over items for grades."""
        ids = _common(self.scores, before.scores)
        if not ids:
            return None
        new, old = [self.scores[i] for i in ids], [before.scores[i] for i in ids]
        if _binary(new) and _binary(old):
            won = sum(a > b for a, b in zip(new, old, strict=True))
            lost = sum(a < b for a, b in zip(new, old, strict=True))
            return statistics.paired_proportions(won, lost, len(ids))
        ones = [1.0] * len(ids)
        found = statistics.ratio_difference((new, ones), (old, ones), ids, seed, bootstrap)
        return _with_width(found, new == old, len(ids))

    def extra(self) -> dict[str, Any]:
        """Nothing beside n."""
        return {}


@dataclass(frozen=True)
class Ratio:
    """Sum over sum, resampled by cluster: error rates by speaker; nats per token by text."""

    parts: dict[str, tuple[float, float, str]]
    """Item → numerator, denominator (> 0), cluster."""
    counts: str
    """What the denominator counts: words, chars or tokens."""
    exponential: bool = False
    """Report exp of the ratio (perplexity)."""

    @property
    def n(self) -> int:
        """Items."""
        return len(self.parts)

    def interval(self, seed: int, bootstrap: int) -> Interval:
        """Cluster bootstrap. No error in n clips: up to Wilson's limit of clips with one, which bounds the rate."""
        numerators, denominators, clusters = zip(*self.parts.values(), strict=True)
        found = statistics.ratio_of_sums(numerators, denominators, clusters, seed, bootstrap, self._transform)
        if self.counts != "tokens" and not any(numerators):
            return Interval(0.0, 0.0, statistics.wilson(0, self.n).hi)
        return found

    def difference(self, before: "Ratio", seed: int, bootstrap: int) -> Difference | None:
        """Paired cluster bootstrap; error rates with no clip changed get the width that 0 of n clips has."""
        ids = _common(self.parts, before.parts)
        if not ids:
            return None
        new, old = [self.parts[i] for i in ids], [before.parts[i] for i in ids]
        found = statistics.ratio_difference(
            ([p[0] for p in new], [p[1] for p in new]),
            ([p[0] for p in old], [p[1] for p in old]),
            [p[2] for p in new],
            seed,
            bootstrap,
            self._transform,
        )
        same = [p[:2] for p in new] == [p[:2] for p in old]
        return found if self.counts == "tokens" else _with_width(found, same, len(ids))

    def extra(self) -> dict[str, Any]:
        """How much was counted, and over how many speakers."""
        total = round(sum(p[1] for p in self.parts.values()))
        if self.counts == "tokens":
            return {"tokens": total}
        return {self.counts: total, "speakers": len({p[2] for p in self.parts.values()})}

    def _transform(self, ratio: np.ndarray) -> np.ndarray:
        return np.exp(ratio) if self.exponential else ratio


@dataclass(frozen=True)
class Precision:
    """Of the items that were flagged, the share that deserved it."""

    flagged: dict[str, float]
    """Flagged item → 1 when it deserved it."""

    @property
    def n(self) -> int:
        """Flagged items."""
        return len(self.flagged)

    def interval(self, seed: int, bootstrap: int) -> Interval:
        """Wilson."""
        return statistics.wilson(int(sum(self.flagged.values())), self.n)

    def difference(self, before: "Precision", seed: int, bootstrap: int) -> Difference | None:
        """Unpaired: the two flag different items."""
        if self.flagged == before.flagged:
            return statistics.paired_proportions(0, 0, self.n)
        return statistics.unpaired_difference(self.interval(seed, bootstrap), before.interval(seed, bootstrap))

    def extra(self) -> dict[str, Any]:
        """Nothing beside n."""
        return {}


@dataclass(frozen=True)
class Gap:
    """Typed minus spoken accuracy on the same items, by family, then the mean over families."""

    families: dict[str, dict[str, tuple[float, float]]]
    """Family → item → (typed, spoken) score."""

    @property
    def n(self) -> int:
        """Items that are there in both forms."""
        return sum(map(len, self.families.values()))

    def interval(self, seed: int, bootstrap: int) -> Interval:
        """Bootstrap over items within their family."""
        columns = [np.array(list(items.values())) for items in self.families.values()]  # (items, 2)
        means, samples = statistics.family_means(columns, seed, bootstrap)
        value = _gap(means)
        if all((family[:, 0] == family[:, 1]).all() for family in columns):
            hi = statistics.wilson(0, self.n).hi
            return Interval(value, -hi, hi)
        return statistics.percentile_interval(value, _gap(samples), self.n)

    def difference(self, before: "Gap", seed: int, bootstrap: int) -> Difference | None:
        """Change of the gap: typed and spoken, after and before, are resampled together by item."""
        columns = []
        for family, items in self.families.items():
            old = before.families.get(family, {})
            ids = _common(items, old)
            if ids:
                columns.append(np.array([items[i] + old[i] for i in ids]))  # (items, 4)
        if not columns:
            return None
        means, samples = statistics.family_means(columns, seed, bootstrap)
        n = sum(map(len, columns))
        value = _gap(means) - _gap(means[..., 2:])
        found = statistics.bootstrap_difference(value, _gap(samples) - _gap(samples[..., 2:]), n)
        same = all((family[:, :2] == family[:, 2:]).all() for family in columns)
        return _with_width(found, same, n)

    def extra(self) -> dict[str, Any]:
        """Families in the mean."""
        return {"families": len(self.families)}


@dataclass(frozen=True)
class Forgetting:
    """Mean over families of the relative drop (row zero − now) / row zero, on the same items; positive = forgot."""

    families: dict[str, dict[str, tuple[float, float]]]
    """Family → item → (row zero's, this row's) score."""

    @property
    def n(self) -> int:
        """Paired items."""
        return sum(map(len, self.families.values()))

    def interval(self, seed: int, bootstrap: int) -> Interval:
        """Bootstrap over items within their family; with no item changed, the width that 0 of n has."""
        columns = [np.array(list(items.values())) for items in self.families.values()]  # (items, 2)
        means, samples = statistics.family_means(columns, seed, bootstrap)
        if all((family[:, 0] == family[:, 1]).all() for family in columns):
            hi = statistics.wilson(0, self.n).hi
            return Interval(0.0, -hi, hi)
        return statistics.percentile_interval(_drop(means), _drop(samples), self.n)

    def difference(self, before: "Forgetting", seed: int, bootstrap: int) -> Difference | None:
        """Change of the drop, both against the same row zero."""
        columns = []
        for family, items in self.families.items():
            old = before.families.get(family, {})
            ids = [i for i in _common(items, old) if items[i][0] == old[i][0]]
            if ids:
                columns.append(np.array([(items[i][0], items[i][1], old[i][1]) for i in ids]))  # (items, 3)
        columns = [c for c in columns if c[:, 0].any()]
        if not columns:
            return None
        means, samples = statistics.family_means(columns, seed, bootstrap)
        n = sum(map(len, columns))
        value = _drop(means) - _drop(means[..., [0, 2]])
        found = statistics.bootstrap_difference(value, _drop(samples) - _drop(samples[..., [0, 2]]), n)
        return _with_width(found, all((c[:, 1] == c[:, 2]).all() for c in columns), n)

    def extra(self) -> dict[str, Any]:
        """Families in the mean."""
        return {"families": len(self.families)}


Measure = Share | Ratio | Precision | Gap | Forgetting


def _common(new: Iterable[str], old: Iterable[str]) -> list[str]:
    old = set(old)
    return [i for i in new if i in old]


def _binary(scores: list[float]) -> bool:
    return all(score in (0, 1) for score in scores)


def _with_width(found: Difference, same: bool, n: int) -> Difference:
    """Where no item changed, exactly 0 with the width that 0 of n changes leaves open (Tango at 0/n)."""
    return statistics.paired_proportions(0, 0, n) if same else found


def _gap(means: np.ndarray) -> Any:
    """(…, families, columns) → typed − spoken, mean over families."""
    return _plain((means[..., 0] - means[..., 1]).mean(axis=-1))


def _drop(means: np.ndarray) -> Any:
    """(…, families, columns) → mean relative drop; a resample where row zero has no right answer counts 0."""
    zero, now = means[..., 0], means[..., 1]
    drop = np.divide(zero - now, zero, out=np.zeros_like(zero), where=zero > 0)
    return _plain(drop.mean(axis=-1))


def _plain(values: np.ndarray) -> Any:
    return float(values) if np.ndim(values) == 0 else values


def finite(value: float) -> float:
    """The value, with −0.0 as 0.0; a figure that is not finite is our own mistake."""
    assert math.isfinite(value)
    return value + 0.0
