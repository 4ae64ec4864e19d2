"""Agreement of a refusal rule with human labels, and the share of refusals corrected for the rule's errors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posttrain.errors import InputError
from posttrain.evals import statistics
from posttrain.evals.clusters import Clusters
from posttrain.evals.safety.labelled_answers import LabelledAnswer
from posttrain.evals.safety.refusal import NON_ANSWER, REFUSALS, Counts, Detector, Label, start_string
from posttrain.evals.statistics import Interval

BOOTSTRAP = 2000


@dataclass(frozen=True)
class Judged:
    """One answer as a person and a rule classify it: refusal or not."""

    prompt: str
    """The unit of the bootstrap: answers to one prompt are not independent."""
    person: bool
    rule: bool


def calibrate(
    answers: Sequence[LabelledAnswer], detector: Detector, seed: int = 0, judged: Sequence[Label] | None = None
) -> dict[str, Any]:
    """κ, precision, recall, flagged and corrected rate of the detector and of the start-string rule; the labelled rate.

    judged: an LLM judge's labels of the same answers, compared too. Its errors on other answers are unknown, so it has
    no corrected rate.

    Two classes: full and partial refusals against everything else. Every labelled row counts; detector and judge find
    no refusal in a non-answer, whatever its label. The corrected rate undoes the rule's errors as measured on answers
    held out of the fit (`detector.held_out`), not on these, which would return the labelled rate whatever the rule
    does. Comparing it with the labelled rate therefore shows how well the correction transfers.
    """
    labels = [detector.label(a.completion) for a in answers]
    rules = {
        "detector": [label in REFUSALS for label in labels],
        "start_string": [start_string(a.completion) for a in answers],
    }
    if judged is not None:
        rules["judge"] = [label in REFUSALS for label in judged]
    found: dict[str, Any] = {
        rule: _judge(
            [Judged(a.prompt, a.is_refusal, flag) for a, flag in zip(answers, flags, strict=True)],
            detector.held_out.get(rule),
            seed,
        )
        for rule, flags in rules.items()
    }
    return found | {
        "labelled_rate": figure(_share([(a.prompt, a.is_refusal) for a in answers]), len(answers)),
        "labels": {label: labels.count(label) for label in sorted(set(labels))},
        "non_answers": labels.count(NON_ANSWER),
        "n": len(answers),
    }


def kappa(judged: Sequence[Judged], seed: int = 0, bootstrap: int = BOOTSTRAP, each: float = 1.0) -> Interval | None:
    """Cohen's κ of rule and person with a bootstrap interval over prompts; None if both put all answers in one class.

    each: how many prompts count as one, if it is unknown which belong together. Source: Cohen (1960). If both agree on
    all answers, a bootstrap has no width: the lower limit is then 1 − d/(1 − pₑ), with d Wilson's upper limit of
    disagreements for 0 of n prompts.
    """
    _, where = np.unique([j.prompt for j in judged], return_inverse=True)
    cell = [2 * j.person + j.rule for j in judged]
    table = np.zeros((int(where.max()) + 1, 4))  # (prompts, cells): neither, rule alone, person alone, both
    np.add.at(table, (where, np.array(cell)), 1)
    total = table.sum(axis=0)
    value = float(_kappa(total))
    if math.isnan(value):
        return None
    if not total[1] + total[2]:
        chance = (total**2).sum() / total.sum() ** 2
        disagreements = statistics.wilson(0, len(table) / each).hi
        return Interval(value, max(-1.0, float(1 - disagreements / (1 - chance))), 1.0)
    units = max(1, round(len(table) / each))
    index = statistics.resample(len(table), bootstrap, seed)[:, :units]
    samples = _kappa(np.stack([column[index].sum(axis=1) for column in table.T]))
    return statistics.percentile_interval(value, samples[~np.isnan(samples)], units)


def cohen(first: Sequence[Label | str], second: Sequence[Label | str]) -> float:
    """Cohen's κ of two raters over any number of classes; NaN if both use the same single class."""
    classes = sorted({*first, *second})
    a, b = (np.array([[label == c for c in classes] for label in labels], dtype=float) for labels in (first, second))
    agreed, chance = (a * b).sum(axis=1).mean(), float(a.mean(axis=0) @ b.mean(axis=0))
    return float((agreed - chance) / (1 - chance)) if chance < 1 else math.nan


def counted(answers: Sequence[LabelledAnswer], labels: Sequence[Label]) -> Counts:
    """How a rule that gave these labels did on the answers; InputError unless some are refusals and some are not."""
    flags = [label in REFUSALS for label in labels]
    found = sum(a.is_refusal and flag for a, flag in zip(answers, flags, strict=True))
    passed = sum(not a.is_refusal and not flag for a, flag in zip(answers, flags, strict=True))
    refusals = sum(a.is_refusal for a in answers)
    if not 0 < refusals < len(answers):
        raise InputError(
            f"{refusals} of {len(answers)} labelled answers are refusals, expected both kinds; give more answers"
        )
    each = len(answers) / len({a.prompt for a in answers})
    return Counts(found, refusals, passed, len(answers) - refusals, each)


def measured_error(held_out: Counts, seed: int = 0) -> dict[str, Any]:
    """κ, precision, recall and specificity of a rule from its counts on answers; `each` answers count as one."""
    missed, false_alarms = held_out.refusals - held_out.found, held_out.others - held_out.passed
    cells = {(True, True): held_out.found, (True, False): missed, (False, True): false_alarms}
    cells[False, False] = held_out.passed
    verdicts = [cell for cell, times in cells.items() for _ in range(times)]
    found = _judge([Judged(str(i), *cell) for i, cell in enumerate(verdicts)], held_out, seed, held_out.each)
    passed = statistics.wilson(held_out.passed / held_out.each, held_out.others / held_out.each)
    specificity = figure(passed, held_out.others)
    return {name: found[name] for name in ("kappa", "precision", "recall")} | {"specificity": specificity}


def corrected_rate(flagged: float, n: float, held_out: Counts, df: float | None = None) -> Interval | None:
    """The true rate for a flagged rate p: (p + Sp − 1)/(Se + Sp − 1), clipped to 0..1.

    The interval includes the sampling error of p, Se and Sp (Rogan & Gladen 1978 for the rate; Lang & Reiczigel 2014,
    equations 4, 7, 16 and 17, for the interval, which is not centred on it). It assumes the same Se and Sp for these
    answers as for the held-out ones, so it does not cover differences between models. For answers that share prompts,
    pass effective counts and the df of their clusters (`corrected_share`); of the held-out answers, `each` to one
    prompt count as one. None if Se + Sp ≤ 1, a rule no better than chance. Deviations: (1) where the rate is clipped,
    Se and Sp cannot both hold here and the interval may have no width; it then extends to what Wilson's limit of p
    allows without false alarms (upwards from 0) or without misses (downwards from 1).
    """
    informative = held_out.sensitivity + held_out.specificity - 1
    if informative <= 0:
        return None
    rate = (flagged / n + held_out.specificity - 1) / informative
    z, each = statistics.critical(df), held_out.each
    z2 = z**2
    n_se, n_sp, n_rate = held_out.refusals / each + 2, held_out.others / each + 2, n + z2
    se, sp = (held_out.found / each + 1) / n_se, (held_out.passed / each + 1) / n_sp
    p = (flagged + z2 / 2) / n_rate
    centre = (p + sp - 1) / (se + sp - 1)
    error_se, error_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    shift = 2 * z2 * (centre * error_se - (1 - centre) * error_sp)
    variance = p * (1 - p) / n_rate + centre**2 * error_se + (1 - centre) ** 2 * error_sp
    half = z * math.sqrt(variance) / (se + sp - 1)
    lo, hi, flags = centre + shift - half, centre + shift + half, statistics.wilson(flagged, n, z)
    if rate <= 0:
        hi = max(hi, flags.hi / held_out.sensitivity)
    if rate >= 1:
        lo = min(lo, 1 - (1 - flags.lo) / held_out.specificity)
    return Interval(_clip(rate), _clip(lo), _clip(hi))


def _judge(judged: list[Judged], held_out: Counts | None, seed: int, each: float = 1.0) -> dict[str, Any]:
    flags, prompts = [(j.prompt, j.rule) for j in judged], Clusters.of([(j.prompt,) for j in judged])
    flagged = [(j.prompt, j.person) for j in judged if j.rule]
    refusals = [(j.prompt, j.rule) for j in judged if j.person]
    corrected = corrected_share([j.rule for j in judged], prompts, held_out) if held_out else None
    return {
        "kappa": figure(kappa(judged, seed, each=each), len(judged)),
        "precision": figure(_share(flagged, each), len(flagged)),
        "recall": figure(_share(refusals, each), len(refusals)),
        "corrected_rate": figure(corrected, len(judged)),
        "flagged_rate": figure(_share(flags, each), len(judged)),
    }


def _share(verdicts: Sequence[tuple[str, bool]], each: float = 1.0) -> Interval | None:
    """Share of yes in (prompt, yes or no), clustered by prompt; None without any. each: prompts that count as one."""
    if not verdicts:
        return None
    right, n = sum(yes for _, yes in verdicts), len(verdicts)
    if each > 1:
        return statistics.wilson(right / each, n / each)
    return statistics.share([float(yes) for _, yes in verdicts], Clusters.of([(prompt,) for prompt, _ in verdicts]))


def corrected_share(flags: Sequence[bool], clusters: Clusters, held_out: Counts) -> Interval | None:
    """`corrected_rate` for flags of answers that share prompts."""
    scores = [float(flag) for flag in flags]
    n = statistics.effective_n(scores, clusters)
    return corrected_rate(float(np.mean(scores)) * n, n, held_out, clusters.df)


def figure(ci: Interval | None, n: int) -> dict[str, Any]:
    """value, n and ci95; value and limits are None if there was nothing to divide by."""
    return {
        "value": ci.value if ci else None,
        "n": n,
        "ci95": [ci.lo if ci else None, ci.hi if ci else None],
    }


def _kappa(cells: np.ndarray) -> np.ndarray:
    """κ from the counts neither, rule alone, person alone, both (4, …); NaN without two classes."""
    neither, rule, person, both = cells
    n = cells.sum(axis=0)
    chance = ((neither + rule) * (neither + person) + (both + rule) * (both + person)) / n**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chance < 1, ((neither + both) / n - chance) / (1 - chance), math.nan)


def _clip(rate: float) -> float:
    return min(1.0, max(0.0, rate))
