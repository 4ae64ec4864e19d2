"""Figures of what a sequence of stages kept, from the matrix R[t][i]: accuracy after stage t in ability i.

Stages are rows, from the base (t = 0) to the last one (T); abilities are columns. Functions take (…, stages,
abilities), so that bootstrap samples of the matrix go through the same code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posttrain.evals import statistics
from posttrain.evals.clusters import Clusters
from posttrain.evals.statistics import Interval


@dataclass(frozen=True)
class Ability:
    """One column of the matrix, with the changes of its items between base and last stage."""

    chance: float
    """Accuracy of guessing among the answers that the questions offer."""
    accuracy: list[float]
    """After each stage."""
    n: int
    """Number of items that every stage answered."""
    contents: int
    """Number of contents that the items are wordings of."""
    lost: int
    """Right in the base, wrong in the last stage."""
    won: int
    """Wrong in the base, right in the last stage."""
    p: float
    """Exact p value of lost against won, by content; see `statistics.paired_shares`."""
    holm: float
    """The p value after Holm over the abilities."""


@dataclass(frozen=True)
class Trajectory:
    """The matrix and its figures."""

    stages: list[str]
    abilities: dict[str, Ability]
    figures: dict[str, Interval]
    """acc, bwt, forgetting, fg, fg_above_chance; a figure is absent if no ability has anything to lose in it."""

    @property
    def n(self) -> int:
        """Total number of items."""
        return sum(ability.n for ability in self.abilities.values())


def accuracy(r: np.ndarray) -> Any:
    """ACC: mean over abilities after the last stage (Lopez-Paz & Ranzato 2017)."""
    return r[..., -1, :].mean(axis=-1)


def backward_transfer(r: np.ndarray, learned: Sequence[int] | None = None) -> Any:
    """BWT: mean of R[T][i] − R[learned i][i]; negative is forgetting (Lopez-Paz & Ranzato 2017).

    learned: stage at which each ability was learned; those of the last stage are left out, as in the paper. None: all
    at 0.
    """
    at, columns = _learned(r, learned)
    return (r[..., -1, columns] - r[..., at, columns]).mean(axis=-1)


def forgetting(r: np.ndarray, learned: Sequence[int] | None = None) -> Any:
    """Mean of max over t < T of R[t][i], minus R[T][i] (Chaudhry et al. 2018); positive is forgetting.

    The best of several noisy accuracies is biased upwards, and so are this figure and its bootstrap samples.
    """
    _, columns = _learned(r, learned)
    return (r[..., :-1, :].max(axis=-2) - r[..., -1, :])[..., columns].mean(axis=-1)


def relative_loss(r: np.ndarray, chance: Sequence[float] | np.ndarray | float = 0.0) -> Any:
    """FG: mean of (b − a)/(b − c) over abilities and over stages after the base; with c = 0 as in arXiv 2308.08747.

    b: base, a: after a stage, c: chance, below which nothing is left to forget. Abilities with b ≤ c are left out of
    the mean, which is 0 if none remains.
    """
    base, after = r[..., :1, :], r[..., 1:, :]  # (…, 1, abilities), (…, stages − 1, abilities)
    room = np.broadcast_to(base - np.asarray(chance), after.shape)
    lost = np.divide(base - after, room, out=np.zeros(after.shape), where=room > 0)
    return lost.sum(axis=(-2, -1)) / np.maximum((room > 0).sum(axis=(-2, -1)), 1)


def trace(
    scores: Mapping[str, np.ndarray],
    chance: Mapping[str, float],
    stages: Sequence[str],
    seed: int,
    bootstrap: int,
    contents: Mapping[str, Sequence[str]] | None = None,
) -> Trajectory:
    """The matrix and its figures, with intervals by paired bootstrap: a content is drawn with all its items and stages.

    scores: ability → grades (items, stages), 1 is right; chance: ability → accuracy of a guess; contents: ability → the
    content of each item, its own by default.
    """
    columns = [np.asarray(grades, dtype=float) for grades in scores.values()]
    shared = {name: _clusters(len(grades), contents[name] if contents else None) for name, grades in scores.items()}
    labels = [clusters.ways[0] for clusters in shared.values()]
    means, samples = statistics.family_means(columns, seed, bootstrap, labels)
    matrix, drawn = means.T, samples.swapaxes(-1, -2)  # (stages, abilities), (bootstrap, stages, abilities)
    c = np.array([chance[name] for name in scores])
    figures: dict[str, Callable[[np.ndarray], Any]] = {
        "acc": accuracy, "bwt": backward_transfer, "forgetting": forgetting, "fg": relative_loss,
        "fg_above_chance": lambda r: relative_loss(r, c),
    }  # fmt: skip
    if not (matrix[0] > 0).any():
        del figures["fg"]
    if not (matrix[0] > c).any():
        del figures["fg_above_chance"]
    units = sum(clusters.contents for clusters in shared.values())
    made = {name: _interval(name, f(matrix), f(drawn), columns, units) for name, f in figures.items()}
    return Trajectory(list(stages), _abilities(scores, chance, matrix, shared), made)


def _clusters(n: int, contents: Sequence[str] | None) -> Clusters:
    return Clusters.of([(str(content),) for content in (range(n) if contents is None else contents)])


def _abilities(
    scores: Mapping[str, np.ndarray], chance: Mapping[str, float], r: np.ndarray, shared: Mapping[str, Clusters]
) -> dict[str, Ability]:
    flips, p_values = [], []
    for name, grades in scores.items():
        first, last = grades[:, 0] == 1, grades[:, -1] == 1
        flips.append((int((first & ~last).sum()), int((~first & last).sum())))
        p_values.append(statistics.paired_shares(last.astype(float), first.astype(float), shared[name]).p)
    return {
        name: Ability(
            chance[name], accuracies.tolist(), len(scores[name]), shared[name].contents, *flipped, p, adjusted
        )
        for name, accuracies, flipped, p, adjusted in zip(
            scores, r.T, flips, p_values, statistics.holm(p_values), strict=True
        )
    }


def _interval(name: str, value: Any, samples: np.ndarray, columns: list[np.ndarray], n: int) -> Interval:
    """Percentile interval; if no resample can differ, the interval for 0 (or all) of n contents."""
    right = [bool(grades[:, -1].all()) for grades in columns], [bool(grades[:, -1].any()) for grades in columns]
    if name == "acc":
        if all(right[0]) or not any(right[1]):
            return statistics.wilson(n if all(right[0]) else 0, n)
        return statistics.percentile_interval(float(value), samples, n)
    if all((grades == grades[:, :1]).all() for grades in columns):
        width = statistics.wilson(0, n).hi
        return Interval(float(value) + 0.0, -width, width)
    return statistics.percentile_interval(float(value) + 0.0, samples, n)


def _learned(r: np.ndarray, learned: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """(stage, column) of each ability that was learned before the last stage."""
    stages, abilities = r.shape[-2:]
    at = np.zeros(abilities, dtype=int) if learned is None else np.asarray(learned)
    columns = np.flatnonzero(at < stages - 1)
    if not len(columns):
        raise ValueError(f"learned is {at.tolist()} of {stages} stages, expected one before the last; add a stage")
    return at[columns], columns
