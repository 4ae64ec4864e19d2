"""Intervals, paired differences and what a sample could show, each with its source; 95 % throughout.

Proportions have Wilson and Tango score intervals, because a bootstrap of 0/n has no width. Ratios of sums (WER) are
resampled by cluster (speaker), because clips of one voice are not independent. What SciPy has is SciPy's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

Z = float(stats.norm.ppf(0.975))
POWER_Z = float(stats.norm.ppf(0.8))


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Difference:
    """A paired difference (after − before) with its 95 % interval."""

    value: float
    lo: float
    hi: float
    p: float
    """Two-sided, of no difference."""
    detectable: float
    """Smallest true difference that as many items show with 80 % power at the 5 % level."""


def wilson(successes: int, n: int) -> Interval:
    """Score interval of a proportion; it has width at 0/n and n/n (Wilson 1927; Newcombe 1998a, method 3)."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"proportion is {successes} of {n}, expected 0 <= successes <= n and n > 0; give the counts")
    ci = stats.binomtest(successes, n).proportion_ci(method="wilson")
    return Interval(successes / n, float(ci.low), float(ci.high))


def mcnemar(won: int, lost: int) -> float:
    """Exact two-sided p of equal proportions from the discordant pairs (McNemar 1947, binomial form)."""
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def paired_proportions(won: int, lost: int, n: int) -> Difference:
    """Difference (won − lost)/n of two proportions on the same n items.

    won: wrong before and right after; lost: right before and wrong after. Tango's (1998) score interval, which at
    won = lost = 0 is ± z²/(n + z²); p is exact McNemar.
    """
    if min(won, lost) < 0 or won + lost > n or n == 0:
        raise ValueError(f"discordant pairs are {won} + {lost} of {n}, expected at most n > 0; give the counts")
    value = (won - lost) / n
    lo = optimize.brentq(lambda d: _tango_z(won, lost, n, d) - Z, -1 + 1e-12, value) if value > -1 else -1.0
    hi = optimize.brentq(lambda d: _tango_z(won, lost, n, d) + Z, value, 1 - 1e-12) if value < 1 else 1.0
    return Difference(value, lo, hi, mcnemar(won, lost), detectable_difference(n, (won + lost) / n))


def detectable_difference(n: int, discordant: float = 0.0) -> float:
    """Smallest paired difference in proportion that n items show with 80 % power at the 5 % level.

    discordant: share of items expected to change either way; at least the difference itself must change. Solves
    n δ² = (z₀.₉₇₅ √ψ + z₀.₈ √(ψ − δ²))², ψ = max(discordant, δ) (Connor 1987; Miettinen 1968). 1 when n is too small.
    """

    def excess(delta: float) -> float:
        psi = max(discordant, delta)
        return n * delta**2 - (Z * math.sqrt(psi) + POWER_Z * math.sqrt(psi - delta**2)) ** 2

    return float(optimize.brentq(excess, 1e-9, 1.0)) if excess(1.0) > 0 else 1.0


def deciding_share_n(share: float, limit: float) -> int | None:
    """Items from which Wilson's interval of this share no longer holds the limit; None where the two are equal.

    Wilson's interval holds what the score test does not reject: |share − limit| ≤ z √(limit (1 − limit) / n).
    """
    gap = share - limit
    return math.ceil(max(1.0, Z**2 * limit * (1 - limit) / gap**2)) if gap else None


def deciding_n(value: float, interval: tuple[float, float], limit: float, n: int) -> int | None:
    """As many items of the same kind as would keep the limit out of the interval, if its width falls with 1/√n.

    None where the figure lies on its limit.
    """
    gap = limit - value
    width = (interval[1] if gap > 0 else interval[0]) - value
    return math.ceil(n * max(1.0, (width / gap) ** 2)) if gap else None


def unpaired_difference(after: Interval, before: Interval) -> Difference:
    """Difference of two independent figures from their own intervals (Newcombe 1998b, method 10; Zou & Donner 2008).

    For proportions of different items, such as a precision; conservative where the two agree. p from the interval
    (Altman & Bland 2011).
    """
    value = after.value - before.value
    lo = value - math.hypot(after.value - after.lo, before.hi - before.value)
    hi = value + math.hypot(after.hi - after.value, before.value - before.lo)
    se = (value - lo if value > 0 else hi - value) / Z
    return Difference(value, lo, hi, _p_normal(value, se), (Z + POWER_Z) * (hi - lo) / (2 * Z))


def resample(size: int, bootstrap: int, seed: int) -> np.ndarray:
    """Indices of `bootstrap` samples with replacement. # (bootstrap, size)"""
    return np.random.default_rng([seed, size]).integers(0, size, (bootstrap, size), dtype=np.int32)


def percentile_interval(value: float, samples: np.ndarray, units: int) -> Interval:
    """Percentiles of bootstrap samples, widened for few resampled units (Hesterberg 2015, expanded percentiles).

    The tail is Φ(−√(u/(u−1)) t₀.₉₇₅,ᵤ₋₁) instead of 2.5 %: without it 10 speakers would give about 90 % coverage.
    """
    if units < 2:
        return Interval(value, float(samples.min()), float(samples.max()))
    tail = float(stats.norm.cdf(-math.sqrt(units / (units - 1)) * stats.t.ppf(0.975, units - 1)))
    lo, hi = np.quantile(samples, [tail, 1 - tail])
    return Interval(value, float(lo), float(hi))


def bootstrap_difference(value: float, samples: np.ndarray, units: int) -> Difference:
    """A paired difference from bootstrap samples of it; p from t with the bootstrap's standard error."""
    ci = percentile_interval(value, samples, units)
    df = max(units - 1, 1)
    se = float(samples.std()) * math.sqrt(units / df)
    p = 2 * float(stats.t.sf(abs(value) / se, df)) if se > 0 else float(value == 0)
    return Difference(value, ci.lo, ci.hi, p, (float(stats.t.ppf(0.975, df)) + POWER_Z) * se)


def ratio_of_sums(
    numerators: Sequence[float],
    denominators: Sequence[float],
    clusters: Sequence[str],
    seed: int,
    bootstrap: int,
    transform: Callable[[np.ndarray], np.ndarray] = lambda ratio: ratio,
) -> Interval:
    """Σ numerators / Σ denominators, such as WER, with an interval over clusters (Bisani & Ney 2004, by speaker).

    transform: applied to the ratio, such as exp for perplexity. With one cluster the items are resampled instead:
    the interval then holds for that speaker alone.
    """
    sums = _cluster_sums(np.array([numerators, denominators], dtype=float), clusters)  # (2, units)
    samples = _resampled(sums, seed, bootstrap)
    value = float(transform(np.asarray(sums[0].sum() / sums[1].sum())))
    return percentile_interval(value, transform(samples[0] / samples[1]), sums.shape[1])


def ratio_difference(
    after: tuple[Sequence[float], Sequence[float]],
    before: tuple[Sequence[float], Sequence[float]],
    clusters: Sequence[str],
    seed: int,
    bootstrap: int,
    transform: Callable[[np.ndarray], np.ndarray] = lambda ratio: ratio,
) -> Difference:
    """Difference of two ratios of sums on the same items: both are resampled together, by cluster.

    after, before: (numerators, denominators), item by item in the same order as clusters.
    """
    sums = _cluster_sums(np.array([*after, *before], dtype=float), clusters)  # (4, units)
    totals, samples = sums.sum(axis=1), _resampled(sums, seed, bootstrap)

    def difference(parts: np.ndarray) -> np.ndarray:
        return transform(parts[0] / parts[1]) - transform(parts[2] / parts[3])

    return bootstrap_difference(float(difference(totals)), difference(samples), sums.shape[1])


def family_means(families: Sequence[np.ndarray], seed: int, bootstrap: int) -> tuple[np.ndarray, np.ndarray]:
    """Column means of each family, and of its bootstrap samples: items are resampled within their family.

    families: arrays (items, columns). Returns (families, columns) and (bootstrap, families, columns).
    """
    means = np.stack([family.mean(axis=0) for family in families])
    samples = []
    for number, family in enumerate(families):
        index = resample(len(family), bootstrap, seed + 7919 * number)
        samples.append(np.stack([column[index].mean(axis=1) for column in family.T], axis=1))  # (bootstrap, columns)
    return means, np.stack(samples, axis=1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for how many were looked at (Holm 1979): reject where the adjusted one is below 0.05."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _tango_z(won: int, lost: int, n: int, delta: float) -> float:
    """Tango's score statistic of a true difference delta; falls with delta. Equation 2 of Tango (1998)."""
    a, numerator = 2 * n, won - lost - n * delta
    b = -won - lost + (2 * n - won + lost) * delta
    c = -lost * delta * (1 - delta)
    # q: maximum-likelihood share of (right before, wrong after) where p(won) − p(lost) = delta.
    q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * q + delta * (1 - delta))
    if variance <= 0:
        return math.copysign(math.inf, numerator) if abs(numerator) > 1e-9 else 0.0
    return numerator / math.sqrt(variance)


def _cluster_sums(columns: np.ndarray, clusters: Sequence[str]) -> np.ndarray:
    """Columns (k, items) summed within clusters (k, units); one cluster alone is left as its items."""
    _, where = np.unique(np.asarray(clusters), return_inverse=True)
    units = int(where.max()) + 1
    if units == 1:
        return columns
    return np.stack([np.bincount(where, weights=column, minlength=units) for column in columns])


def _resampled(sums: np.ndarray, seed: int, bootstrap: int) -> np.ndarray:
    """Totals of resampled units. # (k, bootstrap)"""
    index = resample(sums.shape[1], bootstrap, seed)
    return np.stack([row[index].sum(axis=1) for row in sums])


def _p_normal(value: float, se: float) -> float:
    return 2 * float(stats.norm.sf(abs(value) / se)) if se > 0 else float(value == 0)
