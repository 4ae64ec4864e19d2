"""Figures over seeds of a stage, and curves that forgetting is claimed to follow (Kalajdzievski 2024, 2401.05605)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, stats


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its 95 % t interval, None for one seed."""

    value: float
    n: int
    """Number of seeds."""
    ci95: tuple[float, float] | None

    @property
    def sign(self) -> int:
        """+1 or −1 if the interval lies on that side of zero, else 0."""
        if self.ci95 is None:
            return 0
        return int(self.ci95[0] > 0) - int(self.ci95[1] < 0)


@dataclass(frozen=True)
class Line:
    """y = slope · x + intercept."""

    slope: float
    intercept: float
    r2: float
    n: int


@dataclass(frozen=True)
class PowerLaw:
    """y = scale · x₁^exponents[0] · x₂^exponents[1] …; R² is that of log y."""

    scale: float
    exponents: tuple[float, ...]
    r2: float
    n: int


def over_seeds(values: Sequence[float]) -> Mean:
    """Mean ± t₀.₉₇₅,ₙ₋₁ s/√n; a single seed has no interval, three have a rough one (t = 4.30)."""
    n, value = len(values), float(np.mean(values))
    if n < 2:
        return Mean(value, n, None)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Mean(value, n, (value - half, value + half))


def paired(after: Mapping[int, float], before: Mapping[int, float]) -> Mean | None:
    """Mean of after − before over the seeds that both have, which cancels a seed's own luck; None without any."""
    common = [after[seed] - before[seed] for seed in after if seed in before]
    return over_seeds(common) if common else None


def line(x: Sequence[float], y: Sequence[float]) -> Line | None:
    """Least-squares line; None with fewer than three points or a single x."""
    if len(x) < 3 or len(set(x)) < 2:
        return None
    fit = stats.linregress(x, y)
    return Line(float(fit.slope), float(fit.intercept), float(fit.rvalue**2), len(x))


def power_law(columns: Sequence[Sequence[float]], y: Sequence[float]) -> PowerLaw | None:
    """Least squares in logarithms; None if a column does not vary, a value is not positive or points are too few."""
    x, values = np.asarray(columns, dtype=float), np.asarray(y, dtype=float)  # (k, points), (points,)
    flat = any(len(set(column)) < 2 for column in columns)
    if len(values) < len(x) + 2 or flat or min(x.min(), values.min()) <= 0:
        return None
    design = np.column_stack([np.ones(len(values)), *np.log(x)])  # (points, 1 + k)
    log_y = np.log(values)
    found = linalg.lstsq(design, log_y)[0]
    off, spread = log_y - design @ found, log_y - log_y.mean()
    r2 = float(1 - off @ off / (spread @ spread))
    return PowerLaw(float(np.exp(found[0])), tuple(map(float, found[1:])), r2, len(values))


def left_out_r2(
    fit: Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray] | None],
    x: np.ndarray,
    y: np.ndarray,
    groups: Sequence[object],
) -> float | None:
    """R² of y with each group predicted by a fit to the other groups; below 0, the mean would predict better.

    x: (points, k). Unlike the R² of the fitted points, it can be low for a curve with as many coefficients as there are
    groups. None if the other groups cannot be fitted.
    """
    names = np.unique(np.asarray(groups))
    off = np.zeros(len(y))
    for name in names:
        out = np.asarray(groups) == name
        made = fit(x[~out], y[~out])
        if made is None:
            return None
        off[out] = y[out] - made(x[out])
    spread = y - y.mean()
    return float(1 - off @ off / (spread @ spread)) if spread.any() else None


def least_squares(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """Least-squares plane with intercept, as a function; None if a column does not vary or points are too few."""
    design = np.column_stack([np.ones(len(x)), x])  # (points, 1 + k)
    if len(y) <= design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    found = linalg.lstsq(design, y)[0]
    return lambda points: np.column_stack([np.ones(len(points)), points]) @ found


def at(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """y at x, interpolated linearly between the points, which may be in any order."""
    order = np.argsort(xs)
    return float(np.interp(x, np.asarray(xs)[order], np.asarray(ys)[order]))
