"""What items share, and how much less they say because of it: variances by cluster, one way and two ways.

Wordings of one content are not independent, and neither are clips of one voice. A typed item belongs to its content; a
spoken one to its content and its voice, which cross.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Unit = tuple[str, ...]
"""(content,) of a typed item, (content, voice) of a spoken one."""


@dataclass(frozen=True)
class Clusters:
    """The clusters that items are in; every variance here is of a sum of one influence per item."""

    ways: tuple[np.ndarray, ...]
    """A label per item for each way of clustering: content, then voice. # (items,) each"""

    @classmethod
    def of(cls, units: Sequence[Unit]) -> "Clusters":
        """Clusters of items in order. An item without a voice among spoken ones is its own voice.

        A single voice is left out: an interval then holds for that voice alone.
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

    @classmethod
    def by(cls, labels: Sequence[str]) -> "Clusters":
        """One way of clustering, such as listeners; with one cluster alone the items are the units."""
        way = _labels(labels)
        return cls((way if _count(way) > 1 else np.arange(len(way)),))

    @property
    def n(self) -> int:
        """Items."""
        return len(self.ways[0])

    @property
    def contents(self) -> int:
        """Different contents."""
        return _count(self.ways[0])

    @property
    def voices(self) -> int | None:
        """Different voices; None where nothing is spoken, or by one voice."""
        return _count(self.ways[1]) if len(self.ways) > 1 else None

    @cached_property
    def sharing(self) -> tuple[np.ndarray, ...]:
        """The ways in which some items share a cluster and not all of them do."""
        return tuple(way for way in self.ways if 1 < _count(way) < self.n)

    @property
    def single(self) -> bool:
        """Whether no two items share anything."""
        return all(_count(way) == self.n for way in self.ways)

    @property
    def units(self) -> float:
        """Effective number of clusters, the fewest over the ways: (Σ m)² / Σ m² for clusters of m items (Kish 1965)."""
        sizes = [np.bincount(way) for way in self.ways if _count(way) < self.n]
        return min((float(s.sum() ** 2 / (s @ s)) for s in sizes), default=float(self.n))

    @property
    def df(self) -> float | None:
        """Degrees of freedom of a clustered variance: clusters − 1, at least 1. None where no items share anything."""
        return None if self.single else max(self.units - 1, 1.0)

    def sums(self, values: np.ndarray) -> list[np.ndarray]:
        """Values summed within the clusters of each way. # (clusters,) each"""
        return [np.bincount(way, weights=values) for way in self.ways]

    def variances(self, influence: np.ndarray) -> list[float]:
        """Variance of Σ influence by item, and by each way in which items share a cluster."""
        return [_variance(influence, way) for way in (np.arange(self.n), *self.sharing)]

    def variance(self, influence: np.ndarray) -> float:
        """Variance of Σ influence: V_content + V_voice − V_both, never below either of them or below the items' own.

        Source: Cameron, Gelbach & Miller (2011), two-way; each part has their factor G/(G − 1). The floor keeps a
        difference of estimates from going below what any one way already shows.
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
