"""Kinds of figure computed from per-item results, each with its interval and its paired difference to another.

Pairs are matched by item id: a difference is over the items that both have. `units` holds what items share (content;
for spoken ones voice too), which is what intervals and tests resample; an item without a unit stands alone.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from posttrain.evals import statistics
from posttrain.evals.clusters import Clusters, Unit
from posttrain.evals.statistics import Difference, Interval

Units = Mapping[str, Unit]
"""Item → what it shares with other items."""


@dataclass(frozen=True)
class Share:
    """Mean of one score in 0..1 per item: a proportion where all are 0 or 1, else a mean."""

    scores: dict[str, float]
    """Item → score."""
    units: Units = field(default_factory=dict)
    chance: float | None = None
    """The share by guessing, if the items offer their answers."""

    @property
    def n(self) -> int:
        """Items."""
        return len(self.scores)

    def interval(self, seed: int, bootstrap: int) -> Interval:
        """Wilson's interval with the effective number of items; no bootstrap."""
        return statistics.share(list(self.scores.values()), Clusters.of_items(self.scores, self.units))

    def difference(self, before: "Share", seed: int, bootstrap: int) -> Difference | None:
        """Tango's interval and an exact clustered test for proportions, a clustered t for grades; no bootstrap."""
        ids = _common(self.scores, before.scores)
        if not ids:
            return None
        new, old = [self.scores[i] for i in ids], [before.scores[i] for i in ids]
        return statistics.paired_shares(new, old, Clusters.of_items(ids, self.units))

    def extra(self) -> dict[str, Any]:
        """Contents, speakers and chance."""
        return _shared(self.scores, self.units) | ({} if self.chance is None else {"chance": self.chance})


@dataclass(frozen=True)
class Ratio:
    """Ratio of sums, such as an error rate or nats per token, resampled by what items share."""

    parts: dict[str, tuple[float, float]]
    """Item → numerator, denominator (> 0)."""
    counts: str
    """What the denominator counts: words, chars or tokens."""
    exponential: bool = False
    """Report exp of the ratio (perplexity)."""
    units: Units = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Items."""
        return len(self.parts)

    def interval(self, seed: int, bootstrap: int) -> Interval:
        """Cluster bootstrap; with no error or nothing but errors, to Wilson's limit for none of the contents."""
        numerators, denominators = zip(*self.parts.values(), strict=True)
        clusters = Clusters.of_items(self.parts, self.units)
        found = statistics.ratio_of_sums(numerators, denominators, clusters, seed, bootstrap, self._transform)
        limit = statistics.wilson(0, clusters.contents).hi
        if self.counts != "tokens" and not any(numerators):
            return Interval(0.0, 0.0, limit)
        if self.counts != "tokens" and numerators == denominators:
            return Interval(1.0, 1.0 - limit, 1.0)
        return found

    def difference(self, before: "Ratio", seed: int, bootstrap: int) -> Difference | None:
        """Paired cluster bootstrap; an error rate with no clip changed gets the interval for 0 of its contents."""
        ids = _common(self.parts, before.parts)
        if not ids:
            return None
        new, old = [self.parts[i] for i in ids], [before.parts[i] for i in ids]
        clusters = Clusters.of_items(ids, self.units)
        found = statistics.ratio_difference(
            ([p[0] for p in new], [p[1] for p in new]),
            ([p[0] for p in old], [p[1] for p in old]),
            clusters,
            seed,
            bootstrap,
            self._transform,
        )
        return found if self.counts == "tokens" else _with_width(found, new == old, clusters)

    def extra(self) -> dict[str, Any]:
        """The sum of the denominators, and the numbers of contents and speakers."""
        return {self.counts: round(sum(p[1] for p in self.parts.values()))} | _shared(self.parts, self.units)

    def _transform(self, ratio: np.ndarray) -> np.ndarray:
        return np.exp(ratio) if self.exponential else ratio


@dataclass(frozen=True)
class Precision:
    """The share of flagged items that were flagged rightly."""

    flagged: dict[str, float]
    """Flagged item → 1 if rightly flagged, else 0."""
    units: Units = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Flagged items."""
        return len(self.flagged)

    def interval(self, seed: int, bootstrap: int) -> Interval:
        """The interval of a share."""
        return statistics.share(list(self.flagged.values()), self._clusters)

    def difference(self, before: "Precision", seed: int, bootstrap: int) -> Difference | None:
        """Unpaired: the two flag different items."""
        if self.flagged == before.flagged:
            return statistics.paired_proportions(0, 0, self._clusters.contents)
        df = min((d for d in (self._clusters.df, before._clusters.df) if d is not None), default=None)
        return statistics.unpaired_difference(self.interval(seed, bootstrap), before.interval(seed, bootstrap), df)

    def extra(self) -> dict[str, Any]:
        """Contents and speakers."""
        return _shared(self.flagged, self.units)

    @property
    def _clusters(self) -> Clusters:
        return Clusters.of_items(self.flagged, self.units)


@dataclass(frozen=True)
class Gap:
    """Typed minus spoken accuracy on the same items, by family, then the mean over families."""

    families: dict[str, dict[str, tuple[float, float]]]
    """Family → item → (typed, spoken) score."""
    units: Units = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Items that exist in both forms."""
        return sum(map(len, self.families.values()))

    def interval(self, seed: int, bootstrap: int) -> Interval:
        """Bootstrap over contents within their family, widened to the variance by contents and voices."""
        drawn = _Families.of(self.families, self.units)
        if all((family[:, 0] == family[:, 1]).all() for family in drawn.columns):
            hi = statistics.wilson(0, drawn.clusters.contents).hi
            return Interval(0.0, -hi, hi)
        value, samples = drawn.sampled(_gap, lambda means: [[1.0, -1.0]] * len(means), seed, bootstrap)
        return statistics.percentile_interval(value, samples, drawn.units)

    def difference(self, before: "Gap", seed: int, bootstrap: int) -> Difference | None:
        """Change of the gap; typed and spoken scores, after and before, are resampled together by content."""
        both = {
            family: {i: items[i] + before.families[family][i] for i in _common(items, before.families[family])}
            for family, items in self.families.items()
            if family in before.families
        }
        drawn = _Families.of({family: items for family, items in both.items() if items}, self.units)
        if not drawn.columns:
            return None

        def change(means: np.ndarray) -> Any:
            return _gap(means) - _gap(means[..., 2:])

        value, samples = drawn.sampled(change, lambda means: [[1.0, -1.0, -1.0, 1.0]] * len(means), seed, bootstrap)
        found = statistics.bootstrap_difference(value, samples, drawn.units)
        same = all((family[:, :2] == family[:, 2:]).all() for family in drawn.columns)
        return _with_width(found, same, drawn.clusters)

    def extra(self) -> dict[str, Any]:
        """Families in the mean, contents and speakers."""
        return {"families": len(self.families)} | _Families.of(self.families, self.units).shared


@dataclass(frozen=True)
class Forgetting:
    """Mean over families of the relative drop (row zero − now) / row zero, on the same items; positive = forgot."""

    families: dict[str, dict[str, tuple[float, float]]]
    """Family → item → (row zero's, this row's) score."""
    units: Units = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Paired items."""
        return sum(map(len, self.families.values()))

    def interval(self, seed: int, bootstrap: int) -> Interval:
        """Bootstrap over contents within their family; with no item changed, the interval for 0 of n contents."""
        drawn = _Families.of(self.families, self.units)
        if all((family[:, 0] == family[:, 1]).all() for family in drawn.columns):
            hi = statistics.wilson(0, drawn.clusters.contents).hi
            return Interval(0.0, -hi, hi)
        value, samples = drawn.sampled(_drop, lambda means: [[b / a**2, -1 / a] for a, b in means], seed, bootstrap)
        return statistics.percentile_interval(value, samples, drawn.units)

    def difference(self, before: "Forgetting", seed: int, bootstrap: int) -> Difference | None:
        """Change of the drop, both relative to the same row zero."""
        families: dict[str, dict[str, tuple[float, float, float]]] = {}
        for family, items in self.families.items():
            old = before.families.get(family, {})
            both = {i: (*items[i], old[i][1]) for i in _common(items, old) if items[i][0] == old[i][0]}
            if any(zero for zero, _, _ in both.values()):
                families[family] = both
        drawn = _Families.of(families, self.units)
        if not drawn.columns:
            return None

        def change(means: np.ndarray) -> Any:
            return _drop(means) - _drop(means[..., [0, 2]])

        def slopes(means: np.ndarray) -> list[list[float]]:
            return [[(now - old) / zero**2, -1 / zero, 1 / zero] for zero, now, old in means]

        value, samples = drawn.sampled(change, slopes, seed, bootstrap)
        found = statistics.bootstrap_difference(value, samples, drawn.units)
        return _with_width(found, all((c[:, 1] == c[:, 2]).all() for c in drawn.columns), drawn.clusters)

    def extra(self) -> dict[str, Any]:
        """Families in the mean, and contents."""
        return {"families": len(self.families)} | _Families.of(self.families, self.units).shared


Measure = Share | Ratio | Precision | Gap | Forgetting


@dataclass(frozen=True)
class _Families:
    """Scores of items by family, resampled by content within their family."""

    columns: list[np.ndarray]
    """(items, columns) of each family."""
    clusters: Clusters
    """Clusters of all items, family after family."""

    @classmethod
    def of(cls, families: Mapping[str, Mapping[str, tuple[float, ...]]], units: Units) -> "_Families":
        """Families in order; an item without a unit is its own content."""
        every = [units.get(i, (f"{family} {i}",)) for family, items in families.items() for i in items]
        return cls([np.array(list(items.values())) for items in families.values()], Clusters.of(every))

    @property
    def units(self) -> float:
        """Number of units for a t interval: contents or voices, whichever are fewer."""
        return self.clusters.units

    @property
    def shared(self) -> dict[str, Any]:
        """Contents and speakers."""
        return _counted(self.clusters)

    def sampled(self, value: Any, slopes: Any, seed: int, bootstrap: int) -> tuple[float, np.ndarray]:
        """The value of the families' means, and of their bootstrap samples, widened to the full clustered variance.

        slopes: the value's derivative with respect to each column's mean, times the number of families.
        """
        ends = np.cumsum([len(family) for family in self.columns])
        contents = np.split(self.clusters.ways[0], ends[:-1])
        means, samples = statistics.family_means(self.columns, seed, bootstrap, contents)
        influence = np.concatenate(
            [
                (family - mean) @ np.asarray(slope) / len(family)
                for family, mean, slope in zip(self.columns, means, slopes(means), strict=True)
            ]
        )
        families = np.repeat(np.arange(len(self.columns)), np.diff(ends, prepend=0))
        labels = np.unique(families * self.clusters.n + self.clusters.ways[0], return_inverse=True)[1]
        drawn = Clusters((labels,)).variances(influence)[-1]
        factor = math.sqrt(max(1.0, self.clusters.variance(influence) / drawn)) if drawn > 0 else 1.0
        return float(value(means)), statistics.widened(float(value(means)), value(samples), factor)


def _shared(ids: Iterable[str], units: Units) -> dict[str, Any]:
    return _counted(Clusters.of_items(ids, units))


def _counted(clusters: Clusters) -> dict[str, Any]:
    voices = clusters.voices
    return {"contents": clusters.contents} | ({"speakers": voices} if voices else {})


def _common(new: Iterable[str], old: Iterable[str]) -> list[str]:
    old = set(old)
    return [i for i in new if i in old]


def _with_width(found: Difference, same: bool, clusters: Clusters) -> Difference:
    """The difference; if no item changed, exactly 0 with Tango's interval for 0 of its contents."""
    return statistics.paired_proportions(0, 0, clusters.contents) if same else found


def _gap(means: np.ndarray) -> Any:
    """(…, families, columns) → typed − spoken, mean over families."""
    return _plain((means[..., 0] - means[..., 1]).mean(axis=-1))


def _drop(means: np.ndarray) -> Any:
    """(…, families, columns) → mean relative drop; a resample where row zero has no right answer counts as 0."""
    zero, now = means[..., 0], means[..., 1]
    drop = np.divide(zero - now, zero, out=np.zeros_like(zero), where=zero > 0)
    return _plain(drop.mean(axis=-1))


def _plain(values: np.ndarray) -> Any:
    return float(values) if np.ndim(values) == 0 else values


def finite(value: float) -> float:
    """The value, with −0.0 as 0.0; asserts that it is finite, since anything else is our own bug."""
    assert math.isfinite(value)
    return value + 0.0
