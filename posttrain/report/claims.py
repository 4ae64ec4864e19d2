"""Checks what papers found about forgetting against a study's arms: whether each finding is reproduced in shape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from posttrain.evals.choice import Apart
from posttrain.evals.seeds import (
    Line,
    Mean,
    PowerLaw,
    at,
    least_squares,
    left_out_r2,
    line,
    over_seeds,
    power_law,
)
from posttrain.report.study.study import Arm, changed, difference, forgot
from posttrain.report.words import between, change, number

REPRODUCED, NOT_SHOWN, DISAGREES, NOT_RUN = "reproduced", "not shown", "disagrees", "not run"
UNDECIDABLE = "cannot be said"
"""The arms that were run could not have shown the contrary."""
HELD = 0.02
"""Abilities count as held if at most this share of them is forgotten. Our limit; the papers give none."""
FITS = 0.9
"""Points count as on a curve from this R²: of a rank's points, under a curve fitted to the other ranks."""
BENT = 2.0
"""Points count as on a line if its left-out error is at most this many times that of a parabola."""
SIZES_EXPLAIN = 0.5
"""Share of the left-out error of a law in steps alone that the number of parameters has to explain."""
SIZES = 3
"""Numbers of tuned parameters needed: a power law passes through any two."""


Look = tuple[dict[str, float], Arm]
"""A point of a training curve, and its arm."""


@dataclass(frozen=True)
class Claim:
    """One finding of a paper."""

    said: str
    source: str
    verdict: str
    """reproduced; not shown: not sure either way; disagrees: surely the other way; not run: an arm is missing;
    cannot be said: these arms could not have shown the contrary."""
    figures: str
    """What was measured, with n."""


def claims(arms: Sequence[Arm]) -> list[Claim]:
    """All claims, in a fixed order."""
    return [
        _full(arms), _rank(arms), _replay(arms), _safety(arms), _over_refusal(arms), _on_a_line(arms), _power_law(arms)
    ]  # fmt: skip


def _full(arms: Sequence[Arm]) -> Claim:
    """Compared at the lowest validation loss that both reach: an equal target, whatever the learning rates."""
    said, source = "LoRA forgets less than full fine-tuning at equal target", "Biderman et al. 2024, 2405.09673"
    lora, full = arms[0], _with(arms, adapter="full")
    seeds = [s for s in lora.rows if full and s in full.rows and lora.curve(s) and full.curve(s)]
    if full is None or not seeds:
        return _missing(said, source, "full, with looks")
    losses, ours, theirs = [], [], []
    for seed in seeds:
        curves = [[(p["loss"], p["kl_base"]) for p in arm.curve(seed)] for arm in (lora, full)]
        loss = max(min(x for x, _ in curve) for curve in curves)
        kl = [at(loss, *zip(*curve, strict=True)) for curve in curves]
        losses.append(loss)
        ours.append(kl[0])
        theirs.append(kl[1])
    apart = over_seeds([b - a for a, b in zip(ours, theirs, strict=True)])
    figures = (
        f"at a validation loss of {_mean(losses):.3f} nats a token KL(base ‖ model) is {_mean(ours):.4f} with "
        f"{lora.name} and {_mean(theirs):.4f} with {full.name}: {_nats(apart)}"
    )
    return Claim(said, source, _verdict(apart.sign), figures)


def _rank(arms: Sequence[Arm]) -> Claim:
    """More parameters learn more and forget more, so ranks lie along one front."""
    said, source = "rank moves along that front", "Kalajdzievski 2024, 2401.05605"
    ranked = sorted(_ranks(arms), key=lambda arm: arm.tuned)
    if len(ranked) < 2:
        return _missing(said, source, "lora of a second rank")
    low, high = ranked[0], ranked[-1]
    gain, forgot = (difference(arms, high, low, figure) for figure in ("gain", "forgetting/kl_base"))
    if gain is None or forgot is None:
        return _missing(said, source, "lora of a second rank, with the same seeds")
    rises = all(_value(a, f) <= _value(b, f) for f in ("gain", "forgetting/kl_base") for a, b in pairwise(ranked))
    verdict = REPRODUCED if gain.sign == forgot.sign == 1 and rises else NOT_SHOWN
    verdict = DISAGREES if -1 in (gain.sign, forgot.sign) else verdict
    tuned = ", ".join(f"{arm.name} {arm.tuned:,}" for arm in ranked)
    figures = f"{high.name} against {low.name}: gain {_points(gain)}, KL {_nats(forgot)}; parameters tuned: {tuned}"
    return Claim(said, source, verdict, figures)


def _replay(arms: Sequence[Arm]) -> Claim:
    said, source = "1 % replay holds abilities", "Scialom et al. 2022, 2205.12393"
    arm = _with(arms, replay_share=0.01)
    figure = forgot(arms)
    apart = difference(arms, arm, arms[0], figure) if arm else None
    if arm is None or apart is None:
        return _missing(said, source, "replay of 1 %")
    left = _value(arm, figure)
    held = REPRODUCED if left <= HELD else NOT_SHOWN
    figures = (
        f"forgot {number(figure, left)} with {arm.name} and "
        f"{number(figure, _value(arms[0], figure))} with {arms[0].name}: {_points(apart)}; "
        f"held is {100 * HELD:.0f} % or less, and surely less than without"
    )
    return Claim(said, source, {-1: held, 0: NOT_SHOWN, 1: DISAGREES}[apart.sign], figures)


def _safety(arms: Sequence[Arm]) -> Claim:
    said, source = "some 3 % safety rows restore refusals", "Bianchi et al. 2024, 2309.07875"
    arm = _with(arms, safety_share=0.03)
    apart = difference(arms, arm, arms[0], "harmful_compliance") if arm else None
    if arm is None or apart is None:
        return _missing(said, source, "safety rows of 3 %")
    figures = (
        f"answered {number('', _value(arm, 'harmful_compliance'))} of the harmful requests with {arm.name} and "
        f"{number('', _value(arms[0], 'harmful_compliance'))} with {arms[0].name}: {_points(apart)}"
    )
    return Claim(said, source, _verdict(-apart.sign), figures)


def _over_refusal(arms: Sequence[Arm]) -> Claim:
    said, source = "more safety rows raise over-refusal", "Bianchi et al. 2024, 2309.07875"
    some, more = _with(arms, safety_share=0.03), _with(arms, safety_share=0.1)
    apart = difference(arms, more, some, "over_refusal") if some and more else None
    if some is None or more is None or apart is None:
        return _missing(said, source, "safety rows of 3 % and of 10 %")
    figures = (
        f"refused {number('', _value(more, 'over_refusal'))} of the harmless requests with {more.name} and "
        f"{number('', _value(some, 'over_refusal'))} with {some.name}: {_points(apart)}"
    )
    return Claim(said, source, _verdict(apart.sign), figures)


def _on_a_line(arms: Sequence[Arm]) -> Claim:
    """One line for all ranks, as in the paper: each rank's points are compared with a line fitted to the other ranks,
    and a parabola fitted to those must not come much closer.

    One rank is not enough: its loss falls and its forgetting rises as it trains, and a line fits that in any case.
    """
    said, source = "forgetting L_f falls on a line in fine-tuning loss", "Kalajdzievski 2024, 2401.05605"
    points, sizes = _points_of(arms), _sizes(arms)
    fit = _line(points)
    if fit is None:
        return _missing(said, source, "lora of two ranks, with looks")
    if len(sizes) < 2:
        return Claim(said, source, UNDECIDABLE, "one rank, whose loss falls and whose forgetting rises in any case")
    x, y = np.array([[p["loss"]] for p, _ in points]), np.array([p["kl_base"] for p, _ in points])
    r2 = left_out_r2(least_squares, x, y, [arm.tuned for _, arm in points])
    curved = left_out_r2(least_squares, np.hstack([x, x**2]), y, [arm.tuned for _, arm in points])
    slope = _over_seeds(arms, lambda found: one.slope if (one := _line(found)) else None)
    straight = r2 is not None and r2 >= FITS and (curved is None or 1 - r2 <= BENT * (1 - curved))
    verdict = DISAGREES if slope > 0 else REPRODUCED if slope < 0 and straight else NOT_SHOWN
    figures = (
        f"KL = {fit.intercept:.4f} {fit.slope:+.4f} · loss, R² = {fit.r2:.3f}, {_left_out(r2)} "
        f"({_left_out(curved, '')} by a parabola), {_n(arms, fit.n)}"
    )
    alone = {arm.name: _line(_points_of([arm])) for arm in _ranks(arms)}
    figures += "; each rank by itself: " + ", ".join(f"{name} R² = {own.r2:.3f}" for name, own in alone.items() if own)
    return Claim(said, source, verdict, figures.replace("-", "−"))


def _power_law(arms: Sequence[Arm]) -> Claim:
    """L_f minus the base's entropy is KL(base ‖ model), so the law's offset is known and need not be fitted.

    Reproduced if both exponents are surely positive over seeds and the law predicts ranks that it was not fitted to,
    better than a law in steps alone does.
    """
    said, source = "L_f follows a power law in steps and tuned parameters", "Kalajdzievski 2024, 2401.05605"
    points, sizes = _points_of(arms), _sizes(arms)
    if not points or len(sizes) < 2:
        return _missing(said, source, "lora of three ranks, with looks")
    if len(sizes) < SIZES:
        return Claim(
            said, source, UNDECIDABLE, f"two sizes, through which a power law goes in any case; {_sized(sizes)}"
        )
    fit = _law(points)
    if fit is None:
        return Claim(said, source, NOT_SHOWN, f"KL is not above zero at every look; {_sized(sizes)}")
    x = np.log([[p["step"], arm.tuned] for p, arm in points])
    y, groups = np.log([p["kl_base"] for p, _ in points]), [arm.tuned for _, arm in points]
    r2, in_steps = left_out_r2(least_squares, x, y, groups), left_out_r2(least_squares, x[:, :1], y, groups)
    signs = [_over_seeds(arms, lambda found, k=k: one.exponents[k] if (one := _law(found)) else None) for k in (0, 1)]  # type: ignore[misc]
    predicts = r2 is not None and in_steps is not None and r2 >= FITS and 1 - r2 <= SIZES_EXPLAIN * (1 - in_steps)
    verdict = DISAGREES if min(signs) < 0 else REPRODUCED if min(signs) > 0 and predicts else NOT_SHOWN
    a, b = fit.exponents
    figures = (
        f"KL = {fit.scale:.2g} · steps^{a:.2f} · parameters^{b:.2f}, R² of log KL = {fit.r2:.3f}, {_left_out(r2)} "
        f"({_left_out(in_steps, '')} by steps alone), {_n(arms, fit.n)}"
    )
    return Claim(said, source, verdict, figures.replace("-", "−"))


def _over_seeds(arms: Sequence[Arm], figure: Callable[[Sequence[Look]], float | None]) -> int:
    """Sign of a figure computed from each seed's own curve points; 0 if it is not sure over seeds."""
    seeds = sorted({seed for arm in _ranks(arms) for seed in arm.rows})
    found = [figure([(x, arm) for arm in _ranks(arms) if seed in arm.rows for x in arm.curve(seed)]) for seed in seeds]
    known = [round(value, 12) for value in found if value is not None]
    return over_seeds(known).sign if known else 0


def _left_out(r2: float | None, before: str = "of a rank left out ") -> str:
    return f"{before}R² = {r2:.3f}" if r2 is not None else f"{before}not to be had"


def _law(points: Sequence[Look]) -> PowerLaw | None:
    steps, tuned = [x["step"] for x, _ in points], [arm.tuned for _, arm in points]
    return power_law([steps, tuned], [x["kl_base"] for x, _ in points]) if points else None


def _sizes(arms: Sequence[Arm]) -> list[int]:
    """The different numbers of tuned parameters among the points."""
    return sorted({arm.tuned for _, arm in _points_of(arms)})


def _sized(sizes: Sequence[int]) -> str:
    return "parameters tuned: " + ", ".join(f"{size:,}" for size in sizes)


def _ranks(arms: Sequence[Arm]) -> list[Arm]:
    """The LoRA arms that differ in rank alone."""
    return [arm for arm in arms if set(changed(arm, arms[0])) <= {"rank"} and arm.tuned]


def _line(points: Sequence[Look]) -> Line | None:
    return line([look["loss"] for look, _ in points], [look["kl_base"] for look, _ in points])


def _points_of(arms: Sequence[Arm]) -> list[Look]:
    """The curve points of LoRA, of every seed and rank."""
    return [(x, arm) for arm in _ranks(arms) for seed in arm.rows for x in arm.curve(seed)]


def _with(arms: Sequence[Arm], **options: object) -> Arm | None:
    """The arm that differs from the first in these options alone, apart from the learning rate."""
    for arm in arms:
        found = {k: v for k, v in changed(arm, arms[0]).items() if k != "learning_rate"}
        if found == options and arm.tuned:
            return arm
    return None


def _missing(said: str, source: str, arm: str) -> Claim:
    return Claim(said, source, NOT_RUN, f"needs an arm of {arm}")


def _verdict(sign: int) -> str:
    return {1: REPRODUCED, 0: NOT_SHOWN, -1: DISAGREES}[sign]


def _value(arm: Arm, figure: str) -> float:
    found = arm.mean(figure)
    return found.value if found else float("nan")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _points(found: Apart) -> str:
    return f"{change('', found.value)} points {between('', found.ci95)}, n = {found.seeds} seeds"


def _nats(found: Mean | Apart) -> str:
    ci = f" [{found.ci95[0]:.4f}, {found.ci95[1]:.4f}]" if found.ci95 else ""
    n = found.n if isinstance(found, Mean) else found.seeds
    return f"{found.value:+.4f}{ci} nats, n = {n} seeds".replace("-", "−")


def _n(arms: Sequence[Arm], points: int) -> str:
    ranks = _ranks(arms)
    return f"n = {points} looks at {sum(len(arm.rows) for arm in ranks)} trainings of {len(ranks)} ranks"
