"""Clustered variances, one way and two ways, for items that share content or voice.

Wordings of the same content are not independent, nor are clips of the same voice. A typed item belongs to its content;
a spoken item to its content and its voice, which cross.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Unit = tuple[str, ...]
"""(content,) for a typed item, (content, voice) for a spoken one."""


@dataclass(frozen=True)
class Clusters:
    """The clusters that items belong to; every variance here is that of a sum of one influence per item."""

    ways: tuple[np.ndarray, ...]
    """A label per item for each way of clustering: content, then voice. # (items,) each"""

    @classmethod
    def of(cls, units: Sequence[Unit]) -> "Clusters":
        """Clusters of items in order; among spoken items, one without a voice counts as its own voice.

        With a single voice, items are clustered by content only: intervals then hold for that voice alone.
        """
        contents = _labels([unit[0] for unit in units])
        spoken = {unit[1] for unit in units if len(unit) > 1}
        if len(spoken) < 2:
            return cls((contents,))
        voices = _labels([f"voice {u[1]}" if len(u) > 1 else f"item {i}" for i, u in enumerate(units)])
        return cls((contents, voices))

    @classmethod
    def of_items(cls, ids: Iterable[str], units: Mapping[str, Unit]) -> "Clusters":
        """Clusters of items by id; an item without a unit is its own content."""
        return cls.of([units.get(i, (i,)) for i in ids])

    @property
    def n(self) -> int:
        """Number of items."""
        return len(self.ways[0])

    @property
    def contents(self) -> int:
        """Number of different contents."""
        return _count(self.ways[0])

    @property
    def voices(self) -> int | None:
        """Number of different voices; None if nothing is spoken or there is only one voice."""
        return _count(self.ways[1]) if len(self.ways) > 1 else None

    @cached_property
    def sharing(self) -> tuple[np.ndarray, ...]:
        """The ways in which some items share a cluster, but not all of them."""
        return tuple(way for way in self.ways if 1 < _count(way) < self.n)

    @property
    def single(self) -> bool:
        """Whether no two items share a cluster."""
        return all(_count(way) == self.n for way in self.ways)

    @property
    def units(self) -> float:
        """Effective number of clusters, smallest over the ways: (Σ m)² / Σ m² for clusters of m items (Kish 1965)."""
        sizes = [np.bincount(way) for way in self.ways if _count(way) < self.n]
        return min((float(s.sum() ** 2 / (s @ s)) for s in sizes), default=float(self.n))

    @property
    def df(self) -> float | None:
        """Degrees of freedom of a clustered variance: clusters − 1, at least 1. None if no items share a cluster."""
        return None if self.single else max(self.units - 1, 1.0)

    def sums(self, values: np.ndarray) -> list[np.ndarray]:
        """Values summed within the clusters of each way. # (clusters,) each"""
        return [np.bincount(way, weights=values) for way in self.ways]

    def variances(self, influence: np.ndarray) -> list[float]:
        """Variance of Σ influence by item, and by each way in which items share a cluster."""
        return [_variance(influence, way) for way in (np.arange(self.n), *self.sharing)]

    def variance(self, influence: np.ndarray) -> float:
        """Variance of Σ influence: V_content + V_voice − V_both, at least each of the two and the variance by item.

        Source: Cameron, Gelbach & Miller (2011), two-way; each part has their factor G/(G − 1). The floor is there
        because the sum minus V_both can fall below what one way alone already shows.
        """
        one = self.variances(influence)
        if len(self.sharing) < 2:
            return max(one)
        both = _labels(list(zip(*(way.tolist() for way in self.sharing), strict=True)))
        return max(*one, one[1] + one[2] - _variance(influence, both))


def _variance(influence: np.ndarray, way: np.ndarray) -> float:
    sums = np.bincount(way, weights=influence)
    return float(sums @ sums) * len(sums) / max(len(sums) - 1, 1)


def _labels(values: Sequence[object]) -> np.ndarray:
    """Integers from 0 in order of first appearance."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)


def _count(way: np.ndarray) -> int:
    return int(way.max()) + 1 if len(way) else 0
