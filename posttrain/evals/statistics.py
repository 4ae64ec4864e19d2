"""Intervals, paired differences and detectable differences, each with its source; 95 % throughout.

The unit is the widest that items share (`clusters`): content, for speech also voice. Proportions get Wilson and Tango
score intervals with effective numbers of items, because a bootstrap of 0/n has no width; exact tests flip clusters.
Ratios of sums (WER) are resampled by cluster. With one item per cluster, all are the ordinary methods.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its packages are loaded when they are used; stats would take a second

from posttrain.evals.clusters import Clusters

Z = float(scipy.special.ndtri(0.975))
POWER_Z = float(scipy.special.ndtri(0.8))


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Power:
    """What determines the smallest detectable difference, as a ledger has it under `power`: n and changed, else se."""

    n: float = 0.0
    """Effective number of items."""
    changed: float = 0.0
    """Share of items that changed either way."""
    se: float = 0.0
    """Standard error of the difference."""
    df: float | None = None
    """Degrees of freedom; None for a normal distribution."""
    units: float | None = None
    """Number of clusters whose signs an exact test flips, smallest over its ways; None if there is no exact test."""

    def detectable(self, alpha: float = 0.05) -> float:
        """Smallest true difference that this many items show with 80 % power in a two-sided test at level alpha.

        Under Holm's correction over m figures use alpha = 0.05 / m, the level for the smallest of m p values. A
        proportion of fewer than 1 − log₂ alpha clusters gives 1: an exact test cannot reach alpha there.
        """
        if self.n:
            return detectable_difference(self.n, self.changed, alpha, self.df, self.units)
        return (critical(self.df, alpha) + POWER_Z) * self.se


@dataclass(frozen=True)
class Difference:
    """A paired difference (after − before) with its 95 % interval."""

    value: float
    lo: float
    hi: float
    p: float
    """Two-sided p value of no difference."""
    power: Power
    """What determines the smallest detectable difference."""

    @property
    def detectable(self) -> float:
        """Smallest true difference that this many items show with 80 % power at the 5 % level."""
        return self.power.detectable()


def critical(df: float | None, alpha: float = 0.05) -> float:
    """Two-sided critical value of t, or of the normal distribution if df is None."""
    return -float(scipy.special.ndtri(alpha / 2) if df is None else scipy.special.stdtrit(df, alpha / 2))


def wilson(successes: float, n: float, z: float = Z) -> Interval:
    """Score interval of a proportion; it has width at 0/n and n/n (Wilson 1927; Newcombe 1998a, method 3).

    Counts need not be whole: with effective counts, and t for z, it is the clustered interval of `share`.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"proportion is {successes} of {n}, expected 0 <= successes <= n and n > 0; give the counts")
    value = successes / n
    centre = (successes + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(n * value * (1 - value) + z * z / 4)
    return Interval(value, min(max(centre - half, 0.0), value), max(min(centre + half, 1.0), value))


def share(scores: Sequence[float], clusters: Clusters) -> Interval:
    """Mean of scores in 0..1 (right and wrong, or grades) over items that share contents and voices.

    Wilson's interval with the effective number of items n/deff and t for z (Korn & Graubard 1998; Dean & Pagano 2015
    find it best for clustered proportions). deff is the clustered variance over the binomial one (Kish 1965), see
    `_design_effect`. If all are right or all are wrong, the data do not show how alike the items of a content are, so
    each content counts as one item.
    """
    p, n, df = float(np.mean(scores)), effective_n(scores, clusters), clusters.df
    if p in (0.0, 1.0):
        return wilson(p * n, n)
    found = wilson(p * n, n, critical(df))
    return Interval(p, min(found.lo, p), max(found.hi, p))


def effective_n(scores: Sequence[float], clusters: Clusters) -> float:
    """Number of independent items that say as much of a mean of scores in 0..1; of contents if all are 0 or all 1."""
    values = np.asarray(scores, dtype=float)
    n, p = len(values), float(values.mean())
    if p in (0.0, 1.0):
        return clusters.contents
    return n / _design_effect(values - p, n * p * (1 - p), ((1 - p) ** 2 + p**2) / 2, clusters)


def mcnemar(won: int, lost: int) -> float:
    """Exact two-sided p of equal proportions from the discordant pairs (McNemar 1947, binomial form)."""
    return min(1.0, 2 * float(scipy.special.bdtr(min(won, lost), won + lost, 0.5)))


def flip_test(changes: Sequence[int] | np.ndarray) -> float:
    """Exact two-sided p that clusters changed by chance: the share of sign choices with a sum at least as far from 0.

    changes: won − lost in each cluster. Under the null hypothesis a cluster's before and after could be swapped as a
    whole (Fisher 1935; for few clusters Canay, Romano & Shaikh 2017). The distribution is computed, not sampled. With
    one item per cluster it is exact McNemar, whose clustered chi-squared form is Durkalski et al. (2003).
    """
    whole = np.rint(np.asarray(changes)).astype(np.int64)
    sizes, observed = np.abs(whole), abs(int(whole.sum()))
    chances = np.ones(1)  # of sums −reach … reach
    for size in sizes[sizes > 0]:
        wider = np.zeros(len(chances) + 2 * size)
        wider[: len(chances)] += chances / 2
        wider[2 * size :] += chances / 2
        chances = wider
    reach = len(chances) // 2
    far = np.abs(np.arange(-reach, reach + 1)) >= observed
    return min(1.0, float(chances[far].sum()))


def paired_proportions(
    won: float, lost: float, n: float, df: float | None = None, p: float | None = None, units: float | None = None
) -> Difference:
    """Difference (won − lost)/n of two proportions on the same n items.

    won: wrong before and right after; lost: right before and wrong after. Tango's (1998) score interval, which at
    won = lost = 0 is ± z²/(n + z²); p is exact McNemar. If items share contents, pass effective counts, the df of
    their clusters and the exact p (`paired_shares`).
    """
    if min(won, lost) < 0 or won + lost > n * (1 + 1e-9) or n == 0:
        raise ValueError(f"discordant pairs are {won} + {lost} of {n}, expected at most n > 0; give the counts")
    value, z = (won - lost) / n, critical(df)
    lo = scipy.optimize.brentq(lambda d: _tango_z(won, lost, n, d) - z, -1 + 1e-12, value) if value > -1 else -1.0
    hi = scipy.optimize.brentq(lambda d: _tango_z(won, lost, n, d) + z, value, 1 - 1e-12) if value < 1 else 1.0
    p = mcnemar(round(won), round(lost)) if p is None else p
    return Difference(value, lo, hi, p, Power(n, (won + lost) / n, 0.0, df, n if units is None else units))


def paired_shares(after: Sequence[float], before: Sequence[float], clusters: Clusters) -> Difference:
    """Difference of two means of scores in 0..1 on the same items, which share contents and voices.

    Right and wrong: Tango's interval with effective counts and t for z; p is the largest of exact McNemar by item,
    `flip_test` by content and by voice, and t if both are shared. Grades: clustered t. No change: contents count.
    """
    new, old = np.asarray(after, dtype=float), np.asarray(before, dtype=float)
    change, n = new - old, len(new)
    if not change.any():
        return paired_proportions(0, 0, clusters.contents)
    value, df = float(change.mean()), clusters.df
    se = math.sqrt(clusters.variance(change - value)) / n if n > 1 else 1.0  # one item shows no spread
    if not (np.isin(new, (0, 1)).all() and np.isin(old, (0, 1)).all()):
        df = max(n - 1, 1) if df is None else df
        half = critical(df) * se
        return Difference(value, max(value - half, -1), min(value + half, 1), _p(value, se, df), Power(se=se, df=df))
    won, lost = int((change > 0).sum()), int((change < 0).sum())
    spread = float(((change - value) ** 2).sum())
    deff = _design_effect(change - value, spread, (1 + value**2) / 2, clusters)
    sums = clusters.sums(change)
    two_way = _p(value, se, df) if len(clusters.sharing) > 1 else 0.0
    p, fewest = max(mcnemar(won, lost), *map(flip_test, sums), two_way), min(map(len, sums))
    found = paired_proportions(won / deff, lost / deff, n / deff, df, p, fewest)
    return Difference(value, min(found.lo, value), max(found.hi, value), p, found.power)


def detectable_difference(
    n: float, discordant: float = 0.0, alpha: float = 0.05, df: float | None = None, units: float | None = None
) -> float:
    """Smallest paired difference in proportion that n items show with 80 % power in a two-sided test at level alpha.

    discordant: share of items expected to change either way. Solves n δ² = (z₀.₉₇₅ √ψ + z₀.₈ √(ψ − δ²))², ψ =
    max(discordant, δ) (Connor 1987; Miettinen 1968), t for z. 1 if n or units are too few to reach alpha.
    """
    z = critical(df, alpha)

    def excess(delta: float) -> float:
        psi = max(discordant, delta)
        return n * delta**2 - (z * math.sqrt(psi) + POWER_Z * math.sqrt(psi - delta**2)) ** 2

    if units is not None and 2 ** (1 - units) > alpha:
        return 1.0
    return float(scipy.optimize.brentq(excess, 1e-9, 1.0)) if excess(1.0) > 0 else 1.0


def deciding_share_n(share: float, limit: float) -> int | None:
    """Number of items from which Wilson's interval of this share excludes the limit; None if the two are equal.

    Wilson's interval contains what the score test does not reject: |share − limit| ≤ z √(limit (1 − limit) / n).
    """
    gap = share - limit
    return math.ceil(max(1.0, Z**2 * limit * (1 - limit) / gap**2)) if gap else None


def deciding_n(value: float, interval: tuple[float, float], limit: float, n: int) -> int | None:
    """Number of items of the same kind that would keep the limit out of the interval, if its width falls with 1/√n.

    None if the figure equals its limit.
    """
    gap = limit - value
    width = (interval[1] if gap > 0 else interval[0]) - value
    return math.ceil(n * max(1.0, (width / gap) ** 2)) if gap else None


def unpaired_difference(after: Interval, before: Interval, df: float | None = None) -> Difference:
    """Difference of two independent figures from their own intervals (Newcombe 1998b, method 10; Zou & Donner 2008).

    For proportions of different items; p from the interval (Altman & Bland 2011). df: that of the side with fewer
    clusters, whose t the intervals used.
    """
    value = after.value - before.value
    lo = value - math.hypot(after.value - after.lo, before.hi - before.value)
    hi = value + math.hypot(after.hi - after.value, before.value - before.lo)
    z = critical(df)
    se = (value - lo if value > 0 else hi - value) / z
    return Difference(value, lo, hi, _p(value, se, df), Power(se=(hi - lo) / (2 * z), df=df))


def resample(size: int, bootstrap: int, seed: int) -> np.ndarray:
    """Indices of `bootstrap` samples with replacement. # (bootstrap, size)"""
    return np.random.default_rng([seed, size]).integers(0, size, (bootstrap, size), dtype=np.int32)


def percentile_interval(value: float, samples: np.ndarray, units: float) -> Interval:
    """Percentiles of bootstrap samples, widened for few resampled units (Hesterberg 2015, expanded percentiles).

    The tail is Φ(−√(u/(u−1)) t₀.₉₇₅,ᵤ₋₁) instead of 2.5 %: without it 10 speakers would give about 90 % coverage.
    """
    if units < 2:
        return Interval(value, float(samples.min()), float(samples.max()))
    tail = float(scipy.special.ndtr(-math.sqrt(units / (units - 1)) * critical(units - 1)))
    lo, hi = np.quantile(samples, [tail, 1 - tail])
    return Interval(value, float(lo), float(hi))


def bootstrap_difference(value: float, samples: np.ndarray, units: float) -> Difference:
    """A paired difference from bootstrap samples of it; p from t with the bootstrap's standard error."""
    ci = percentile_interval(value, samples, units)
    df = max(units - 1, 1)
    se = float(samples.std()) * math.sqrt(units / df)
    return Difference(value, ci.lo, ci.hi, _p(value, se, df), Power(se=se, df=df))


def ratio_of_sums(
    numerators: Sequence[float],
    denominators: Sequence[float],
    clusters: Clusters,
    seed: int,
    bootstrap: int,
    transform: Callable[[np.ndarray], np.ndarray] = lambda ratio: ratio,
) -> Interval:
    """Σ numerators / Σ denominators, such as WER, with an interval over clusters (Bisani & Ney 2004, by speaker).

    Items, contents or voices are resampled, whichever have the largest variance, and the samples are widened to the
    two-way variance (`widened`). transform: applied to the ratio, such as exp for perplexity.
    """
    columns = np.array([numerators, denominators], dtype=float)  # (2, items)
    top, bottom = columns.sum(axis=1)
    sums, factor = _widest(columns, columns[0] - top / bottom * columns[1], clusters)
    drawn = _resampled(sums, seed, bootstrap)
    ratios = widened(top / bottom, drawn[0] / drawn[1], factor)
    if columns[0].min() >= 0:
        ratios = np.maximum(ratios, 0)
    value = float(transform(np.asarray(top / bottom)))
    return percentile_interval(value, transform(ratios), clusters.units)


def ratio_difference(
    after: tuple[Sequence[float], Sequence[float]],
    before: tuple[Sequence[float], Sequence[float]],
    clusters: Clusters,
    seed: int,
    bootstrap: int,
    transform: Callable[[np.ndarray], np.ndarray] = lambda ratio: ratio,
) -> Difference:
    """Difference of two ratios of sums on the same items: both are resampled together, by cluster.

    after, before: (numerators, denominators), item by item in the same order as clusters.
    """
    columns = np.array([*after, *before], dtype=float)  # (4, items)
    a, b, c, d = columns.sum(axis=1)
    influence = (columns[0] - a / b * columns[1]) / b - (columns[2] - c / d * columns[3]) / d
    sums, factor = _widest(columns, influence, clusters)

    def difference(parts: np.ndarray) -> np.ndarray:
        return transform(parts[0] / parts[1]) - transform(parts[2] / parts[3])

    value = float(difference(columns.sum(axis=1)))
    samples = widened(value, difference(_resampled(sums, seed, bootstrap)), factor)
    return bootstrap_difference(value, samples, clusters.units)


def widened(value: float, samples: np.ndarray, factor: float) -> np.ndarray:
    """Bootstrap samples with their distance from the value stretched by `factor`; they keep their shape.

    factor: root of the two-way variance over the variance of the way that was resampled.
    """
    return value + factor * (samples - value)


def family_means(
    families: Sequence[np.ndarray], seed: int, bootstrap: int, contents: Sequence[np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Column means of each family, and of its bootstrap samples: contents are resampled within their family.

    families: arrays (items, columns); contents: labels (items,) of each family, None if every item has its own.
    Returns (families, columns) and (bootstrap, families, columns).
    """
    means = np.stack([family.mean(axis=0) for family in families])
    samples = []
    for number, family in enumerate(families):
        labels = np.arange(len(family)) if contents is None else np.unique(contents[number], return_inverse=True)[1]
        sums = [np.bincount(labels, weights=column) for column in (*family.T, np.ones(len(family)))]
        index = resample(len(sums[0]), bootstrap, seed + 7919 * number)
        *drawn, sizes = (column[index].sum(axis=1) for column in sums)
        samples.append(np.stack([column / sizes for column in drawn], axis=1))  # (bootstrap, columns)
    return means, np.stack(samples, axis=1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for the number of comparisons (Holm 1979): reject if the adjusted one is below 0.05."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _tango_z(won: float, lost: float, n: float, delta: float) -> float:
    """Tango's score statistic for a true difference delta; it decreases with delta. Equation 2 of Tango (1998)."""
    a, numerator = 2 * n, won - lost - n * delta
    b = -won - lost + (2 * n - won + lost) * delta
    c = -lost * delta * (1 - delta)
    # q: maximum-likelihood share of (right before, wrong after) given p(won) − p(lost) = delta.
    q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * q + delta * (1 - delta))
    if variance <= 0:
        return math.copysign(math.inf, numerator) if abs(numerator) > 1e-9 else 0.0
    return numerator / math.sqrt(variance)


def _design_effect(residuals: np.ndarray, spread: float, prior: float, clusters: Clusters) -> float:
    """Number of items as informative as one independent item, at least 1 for right and wrong (Kish 1965).

    residuals: of the items; spread: what Σ residuals² would be if they were independent. Half a content whose items are
    all alike is added to both variances (Jeffreys' prior, applied to contents; `prior`: its residual² per item²): a few
    errors do not show how alike a content's items are, so until there are more, each content counts as one item.
    """
    n = len(residuals)
    size = n / clusters.contents
    clustered = clusters.variance(residuals) * (n - 1) / n if n > 1 else spread
    return (clustered + prior * size**2) / (spread + prior * size)


def _widest(columns: np.ndarray, influence: np.ndarray, clusters: Clusters) -> tuple[np.ndarray, float]:
    """Columns summed within the units of largest variance, and the factor by which both ways widen the standard error.

    The units are items or the clusters of one way; the sums are (k, units).
    """
    ways = (np.arange(clusters.n), *clusters.sharing)
    variances = clusters.variances(influence)
    largest = int(np.argmax(variances))
    sums = np.stack([np.bincount(ways[largest], weights=column) for column in columns])
    within = variances[largest]
    return sums, math.sqrt(clusters.variance(influence) / within) if within > 0 else 1.0


def _resampled(sums: np.ndarray, seed: int, bootstrap: int) -> np.ndarray:
    """Totals of resampled units. # (k, bootstrap)"""
    index = resample(sums.shape[1], bootstrap, seed)
    return np.stack([row[index].sum(axis=1) for row in sums])


def _p(value: float, se: float, df: float | None) -> float:
    """Two-sided p value of t, or of the normal distribution if df is None."""
    if se <= 0:
        return float(value == 0)
    return 2 * float(scipy.special.ndtr(-abs(value) / se) if df is None else scipy.special.stdtr(df, -abs(value) / se))
