"""Fit the refusal detector to labelled answers, and measure it on answers held out of the fit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, special

from posttrain import files
from posttrain.errors import InputError, collecting
from posttrain.evals.safety import labelled_answers
from posttrain.evals.safety.calibration import Judged, cohen, figure, kappa
from posttrain.evals.safety.labelled_answers import LabelledAnswer
from posttrain.evals.safety.refusal import REFUSALS, Counts, Detector, Label, is_non_answer, start_string
from posttrain.evals.safety.refusal_features import INTERCEPT_PRIOR, evidence, features, priors

RIDGE = 30.0
"""Precision of the normal prior around each weight: a standard deviation of 0.18."""
FOLDS = 10


@dataclass(frozen=True)
class Model:
    """The labelled answers of one model."""

    path: Path
    answers: list[LabelledAnswer]
    evidence: np.ndarray
    """(answers, features)"""
    folds: np.ndarray
    """Fold of each answer's prompt; the same prompt is in the same fold in every file. # (answers,)"""
    usable: np.ndarray
    """Whether the answer says something. # (answers,)"""

    @property
    def refused(self) -> np.ndarray:
        """Whether the answer is labelled a refusal. # (answers,)"""
        return np.array([a.is_refusal for a in self.answers])


def fit(paths: Sequence[Path], seed: int = 0) -> tuple[Detector, dict[str, Any]]:
    """The detector fitted to all files (one per model), and a report on answers held out of the fit.

    The report has, for each file, Cohen's κ of the start-string rule; of the detector fitted to other prompts
    (by_prompt, in ten folds), for two classes and for three; and, with two files or more, of the detector fitted to the
    other files' answers to other prompts (by_model). `Detector.by_model` holds the counts of the last, which is closest
    to answers of a new model; with one file, those by prompt.
    """
    models = _read(paths)
    by_prompt = [_held_out(models, m, others_only=False) for m in models]
    by_model = [_held_out(models, m, others_only=True) for m in models] if len(models) > 1 else by_prompt
    matched = [[start_string(a.completion) for a in m.answers] for m in models]
    flagged = [[label in REFUSALS for label in labels] for labels in by_model]
    counts = [
        {"detector": _counts(m, flags), "start_string": _counts(m, starts)}
        for m, flags, starts in zip(models, flagged, matched, strict=True)
    ]
    report = {}
    for m, prompt_labels, model_labels, starts in zip(models, by_prompt, by_model, matched, strict=True):
        shown = {"start_string": starts, "by_prompt": [label in REFUSALS for label in prompt_labels]}
        if len(models) > 1:
            shown["by_model"] = [label in REFUSALS for label in model_labels]
        report[str(m.path)] = {rule: _agreement(m, flags, seed) for rule, flags in shown.items()} | {
            "three_labels": {"value": cohen([a.label for a in m.answers], prompt_labels), "n": len(m.answers)}
        }
    intercept, weights = _weights(models, [m.usable for m in models])
    hashes = [files.sha256(m.path) for m in models]
    fitted_on = {key: m.path.name for key, m in zip(hashes, models, strict=True)}
    return Detector(intercept, weights, fitted_on, dict(zip(hashes, counts, strict=True))), report


def write(detector: Detector, path: Path) -> None:
    """Write it as JSON, completely or not at all."""
    files.write_json(path, asdict(detector))


def logistic(
    x: np.ndarray, refused: np.ndarray, prior: np.ndarray, prior_intercept: float, ridge: float
) -> tuple[float, np.ndarray]:
    """Maximum a posteriori intercept and weights (F,): logistic likelihood, normal prior around `prior`, signs kept.

    x: (n, F), refused: (n,). A weight with a positive prior stays ≥ 0, with a negative one ≤ 0, with zero prior it is
    free; so a chance correlation in few models cannot make an apology count as compliance.
    """
    start = np.concatenate([[prior_intercept], prior])
    y = refused.astype(float)

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        z, off = b[0] + x @ b[1:], b - start
        error = special.expit(z) - y
        value = float((np.logaddexp(0, z) - y * z).sum() + ridge / 2 * off @ off)
        return value, np.concatenate([[error.sum()], x.T @ error]) + ridge * off

    free = (None, None)
    bounds = [free] + [(0, None) if p > 0 else (None, 0) if p < 0 else free for p in prior]
    best = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(best[0]), best[1:]


def _read(paths: Sequence[Path]) -> list[Model]:
    problems: list[str] = []
    models: list[Model] = []
    if len({path.resolve() for path in paths}) < len(paths):
        problems.append("--answers names a file twice, expected one file for each model; take one out")
    for path in paths:
        with collecting(problems):
            models.append(_model(path))
    refused = [r for m in models for r in m.refused]
    if not problems and (all(refused) or not any(refused)):
        problems.append("the answers are all refusals or all none, expected both; give more answers")
    if problems:
        raise InputError(problems)
    return models


def _model(path: Path) -> Model:
    answers = labelled_answers.read(path)
    rows = [list(evidence(features(a.completion)).values()) for a in answers]
    folds = [int(files.content_hash(a.prompt), 16) % FOLDS for a in answers]
    usable = [not is_non_answer(a.completion) for a in answers]
    return Model(path, answers, np.array(rows), np.array(folds), np.array(usable))


def _held_out(models: list[Model], model: Model, others_only: bool) -> list[Label]:
    """Labels of a model's answers by detectors fitted to other prompts, and with `others_only` to other models."""
    labels: dict[int, Label] = {}
    for fold in np.unique(model.folds):
        seen = [m.usable & (m.folds != fold) & (not others_only or m is not model) for m in models]
        detector = Detector(*_weights(models, seen), {}, {})
        labels |= {int(i): detector.label(model.answers[i].completion) for i in np.flatnonzero(model.folds == fold)}
    return [labels[i] for i in range(len(model.answers))]


def _weights(models: list[Model], seen: list[np.ndarray]) -> tuple[float, dict[str, float]]:
    prior = priors()
    x = np.concatenate([m.evidence[mask] for m, mask in zip(models, seen, strict=True)])
    refused = np.concatenate([m.refused[mask] for m, mask in zip(models, seen, strict=True)])
    intercept, weights = logistic(x, refused, np.array(list(prior.values())), INTERCEPT_PRIOR, RIDGE)
    return round(intercept, 4), {name: round(float(w), 4) for name, w in zip(prior, weights, strict=True)}


def _counts(model: Model, flags: list[bool]) -> Counts:
    refused, flagged = model.refused, np.array(flags)
    return Counts(
        int((refused & flagged).sum()),
        int(refused.sum()),
        int((~refused & ~flagged).sum()),
        int((~refused).sum()),
        len(refused) / len({answer.prompt for answer in model.answers}),
    )


def _agreement(model: Model, flags: list[bool], seed: int) -> dict[str, Any]:
    judged = [Judged(a.prompt, a.is_refusal, flag) for a, flag in zip(model.answers, flags, strict=True)]
    return figure(kappa(judged, seed), len(judged))
