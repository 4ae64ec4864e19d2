"""Predict the words that a listener repeats from HASPI and an audiogram, with coefficients fitted to people.

logit P(word) = intercept + a · logit(HASPI) + b · audibility + ease(hearing aid) + ease(scene)

a, b ≥ 0. Eases are regularised towards 0, and that of a scene outside the fit is 0. An aid outside the fit uses another
set of coefficients, fitted without aids, because HASPI does not mean the same within an aid as across aids. So a clip
of our own is predicted from HASPI and the audiogram alone. A plain logistic in HASPI, fitted to the same rows, is
reported for comparison. How strongly each part is regularised, or whether it is left out, is chosen by leaving one
listener out; figures come from leaving one out around that choice, so no listener contributes to the model that
predicts them.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize
from scipy.special import expit, logit

from posttrain import files
from posttrain.acoustics.audibility import unaided
from posttrain.acoustics.audiogram import Audiogram
from posttrain.errors import InputError
from posttrain.evals import statistics
from posttrain.evals.clusters import Clusters
from posttrain.evals.hearing.responses import Response
from posttrain.readers import json_lines

SHIPPED = Path(__file__).with_name("words_correct.json")
HASPI_ENDS = (0.01, 0.99)
"""The range that HASPI is clipped to before its logit."""
BOOTSTRAP = 2_000
CHOICES: dict[str, tuple[float | None, ...]] = {
    "audibility": (None, 1e-5, 1e-4, 1e-3),
    "system": (None, 1e-4, 1e-3),
    "scene": (None, 1e-4, 2e-4),
}
"""Penalties on squared coefficients, added to the mean squared error; None leaves the part out."""


@dataclass(frozen=True)
class Penalties:
    """How strongly parts of the model are regularised towards 0; None leaves a part out."""

    audibility: float | None = None
    system: float | None = None
    scene: float | None = None


@dataclass(frozen=True)
class Rows:
    """Responses with HASPI as arrays, all (rows,)."""

    haspi: np.ndarray
    audibility: np.ndarray
    correct: np.ndarray
    listener: np.ndarray
    system: np.ndarray
    scene: np.ndarray

    @classmethod
    def of(cls, responses: Sequence[Response], audiograms: dict[str, Audiogram]) -> "Rows":
        """Rows of the `responses` that have HASPI."""
        kept = [row for row in responses if row.haspi is not None]
        heard = {name: unaided(audiogram) for name, audiogram in audiograms.items()}
        return cls(
            np.array([row.haspi for row in kept], dtype=float),
            np.array([heard[row.listener] for row in kept]),
            np.array([row.correct for row in kept]),
            *(np.array([getattr(row, name) for row in kept]) for name in ("listener", "system", "scene")),
        )

    def where(self, mask: np.ndarray) -> "Rows":
        """The rows that a mask selects."""
        return Rows(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Logistic:
    """One set of coefficients."""

    intercept: float
    haspi: float
    audibility: float
    systems: dict[str, float]
    scenes: dict[str, float]

    def shares(self, rows: Rows) -> np.ndarray:
        """Predicted shares of words correct. # (rows,)"""
        ease = np.array([self.systems.get(name, 0.0) for name in rows.system])
        ease = ease + np.array([self.scenes.get(name, 0.0) for name in rows.scene])
        return expit(self.intercept + self.haspi * _logit(rows.haspi) + self.audibility * rows.audibility + ease)


@dataclass(frozen=True)
class WordsCorrect:
    """Fitted coefficients, and the listeners they were fitted to."""

    known_aid: Logistic
    any_aid: Logistic
    haspi_only: tuple[float, float]
    """Intercept and slope of the plain logistic in HASPI itself."""
    penalties: Penalties
    listeners: tuple[str, ...]
    rows: int

    def predict(self, haspi: float, audiogram: Audiogram) -> float:
        """Share of words that a listener with this audiogram repeats, for a clip of our own."""
        clip = np.array([haspi]), np.array([unaided(audiogram)])
        return float(self.any_aid.shares(Rows(*clip, *(np.array([""]) for _ in range(4))))[0])

    def shares(self, rows: Rows) -> np.ndarray:
        """Predicted shares; rows with an unknown aid use the coefficients without aids. # (rows,)"""
        known = np.array([name in self.known_aid.systems for name in rows.system], dtype=bool)
        return np.where(known, self.known_aid.shares(rows), self.any_aid.shares(rows))

    def plain_shares(self, rows: Rows) -> np.ndarray:
        """Shares predicted by the plain logistic. # (rows,)"""
        return expit(self.haspi_only[0] + self.haspi_only[1] * rows.haspi)


def load(path: Path = SHIPPED) -> WordsCorrect:
    """Load coefficients that `posttrain hearing fit` wrote; InputError if the file holds none."""
    try:
        content = json_lines.parse(path.read_text(encoding="utf-8-sig"))
        return WordsCorrect(
            Logistic(**content["known_aid"]),
            Logistic(**content["any_aid"]),
            tuple(content["haspi_only"]),
            Penalties(**content["penalties"]),
            tuple(content["listeners"]),
            content["rows"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} holds no coefficients ({type(error).__name__}: {error}); write them with posttrain hearing fit"
        ) from error


def save(model: WordsCorrect, path: Path) -> None:
    """Save as JSON, to four significant digits."""
    files.write_json(path, files.rounded(asdict(model)))


def validate(
    responses: Sequence[Response], audiograms: dict[str, Audiogram], model: WordsCorrect, seed: int = 0
) -> dict[str, Any]:
    """How well the model predicts people: RMSE in percentage points and correlation, also for the plain logistic."""
    rows = Rows.of(responses, audiograms)
    return _figures(rows, model.shares(rows), model.plain_shares(rows), seed) | {
        "dropped": len(responses) - len(rows.haspi),
        "also_fitted_on": sorted(set(rows.listener.tolist()) & set(model.listeners)),
    }


def fit(rows: Rows, penalties: Penalties) -> WordsCorrect:
    """Both sets of coefficients and the plain logistic."""
    return WordsCorrect(
        _fit(rows, penalties),
        _fit(rows, replace(penalties, system=None)),
        _fit_haspi_only(rows),
        penalties,
        tuple(sorted(set(rows.listener.tolist()))),
        len(rows.haspi),
    )


def choose(rows: Rows, options: Iterable[Penalties]) -> Penalties:
    """The penalties that best predict listeners left out of the fit."""

    def error(penalties: Penalties) -> float:
        parts = [(rows.where(rows.listener != name), rows.where(rows.listener == name)) for name in _names(rows)]
        return sum(float(((_fit(seen, penalties).shares(new) - new.correct) ** 2).sum()) for seen, new in parts)

    return min(options, key=error)


def grid(parts: Iterable[str] = tuple(CHOICES)) -> list[Penalties]:
    """Every choice of penalties for a model with these parts in addition to HASPI."""
    return [
        Penalties(*values) for values in itertools.product(*(CHOICES[p] if p in parts else (None,) for p in CHOICES))
    ]


def assess(rows: Rows, seed: int = 0, progress: Callable[[str], None] = lambda _: None) -> dict[str, dict[str, Any]]:
    """Figures on listeners left out, for models with fewer and all parts, and for all parts if the aid is new too.

    Penalties are chosen in every fold, on the rows that its model is fitted to, never on the rows it predicts.
    InputError with fewer than three listeners.
    """
    if len(_names(rows)) < 3:
        raise InputError(
            f"responses with HASPI are of {len(_names(rows))} listeners, expected 3 or more: one is left out, and one"
            " more for the choice of penalties; add listeners"
        )
    found = {}
    for parts in (("audibility",), ("system", "scene"), tuple(CHOICES)):
        name = " + ".join(("haspi", *parts))
        progress(name)
        folds = [(rows.listener == who, rows.listener != who) for who in _names(rows)]
        found[name] = _left_out(rows, folds, lambda seen, parts=parts: choose(seen, grid(parts)), seed)  # type: ignore[misc]
    aids = sorted(set(rows.system.tolist()))
    if len(aids) > 1:
        progress("aids left out")
        new = [(rows.listener == who, rows.system == aid) for who in _names(rows) for aid in aids]
        folds = [(listener & aid, ~listener & ~aid) for listener, aid in new if (listener & aid).any()]
        parts = ("audibility", "scene")  # the parts of a model without aids, which predicts a new aid
        found["all, of an aid left out"] = _left_out(rows, folds, lambda seen: choose(seen, grid(parts)), seed)
    return found


def _left_out(
    rows: Rows,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    penalties: Callable[[Rows], Penalties],
    seed: int,
) -> dict[str, Any]:
    """Figures of predictions; a fold is a mask of rows to predict and one of rows to fit."""
    predicted, plain = np.zeros(len(rows.haspi)), np.zeros(len(rows.haspi))
    for new, seen in folds:
        model = fit(rows.where(seen), penalties(rows.where(seen)))
        predicted[new], plain[new] = model.shares(rows.where(new)), model.plain_shares(rows.where(new))
    return _figures(rows, predicted, plain, seed)


def _names(rows: Rows) -> list[str]:
    return sorted(set(rows.listener.tolist()))


def _fit(rows: Rows, penalties: Penalties) -> Logistic:
    """Least squares on the share of words correct, with ridge penalties on the logit scale."""
    systems, system = np.unique(rows.system, return_inverse=True)
    scenes, scene = np.unique(rows.scene, return_inverse=True)
    x, centre = _logit(rows.haspi), float(rows.audibility.mean())
    audible = rows.audibility - centre
    ridge = [p or 0.0 for p in (penalties.audibility, penalties.system, penalties.scene)]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        (a, b, c), by_system, by_scene = w[:3], w[3 : 3 + len(systems)], w[3 + len(systems) :]
        p = expit(a + b * x + c * audible + by_system[system] + by_scene[scene])
        miss = p - rows.correct
        slope = 2 * miss * p * (1 - p) / len(p)
        value = np.mean(miss**2) + ridge[0] * c**2 + ridge[1] * (by_system**2).sum() + ridge[2] * (by_scene**2).sum()
        gradient = [
            np.array([slope.sum(), slope @ x, slope @ audible + 2 * ridge[0] * c]),
            np.bincount(system, slope, len(systems)) + 2 * ridge[1] * by_system,
            np.bincount(scene, slope, len(scenes)) + 2 * ridge[2] * by_scene,
        ]
        return float(value), np.concatenate(gradient)

    none, free = (0.0, 0.0), (None, None)
    bounds = [free, (0.0, None), none if penalties.audibility is None else (0.0, None)]
    bounds += [none if penalties.system is None or not name else free for name in systems]
    bounds += [none if penalties.scene is None or not name else free for name in scenes]
    start = np.concatenate([[0.0, 1.0], np.zeros(len(bounds) - 2)])
    w = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000}).x
    by_system = dict(zip(systems.tolist(), w[3 : 3 + len(systems)].tolist(), strict=True))
    by_scene = dict(zip(scenes.tolist(), w[3 + len(systems) :].tolist(), strict=True))
    return Logistic(
        float(w[0] - w[2] * centre),
        float(w[1]),
        float(w[2]),
        {} if penalties.system is None else {name: value for name, value in by_system.items() if name},
        {} if penalties.scene is None else {name: value for name, value in by_scene.items() if name},
    )


def _fit_haspi_only(rows: Rows) -> tuple[float, float]:
    """Intercept and slope of correct = expit(a + b · HASPI), least squares, b ≥ 0."""

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        p = expit(w[0] + w[1] * rows.haspi)
        slope = 2 * (p - rows.correct) * p * (1 - p) / len(p)
        return float(np.mean((p - rows.correct) ** 2)), np.array([slope.sum(), slope @ rows.haspi])

    bounds = [(None, None), (0.0, None)]
    a, b = optimize.minimize(loss, np.array([0.0, 1.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(a), float(b)


def _logit(haspi: Any) -> Any:
    return logit(np.clip(haspi, *HASPI_ENDS))


def _figures(rows: Rows, predicted: np.ndarray, plain: np.ndarray, seed: int) -> dict[str, Any]:
    """RMSE in percentage points with intervals over listeners and scenes, and the two models' paired difference."""
    ones = [1.0] * len(predicted)
    shared = Clusters.of(
        [(scene or f"row {i}", who) for i, (scene, who) in enumerate(zip(rows.scene, rows.listener, strict=True))]
    )
    squares, plain_squares = (((100 * (p - rows.correct)) ** 2).tolist() for p in (predicted, plain))
    of = [
        statistics.ratio_of_sums(values, ones, shared, seed, BOOTSTRAP, np.sqrt) for values in (squares, plain_squares)
    ]
    difference = statistics.ratio_difference((squares, ones), (plain_squares, ones), shared, seed, BOOTSTRAP, np.sqrt)
    return {
        "rmse": of[0].value,
        "pearson": _pearson(predicted, rows.correct),
        "rmse_haspi_only": of[1].value,
        "pearson_haspi_only": _pearson(plain, rows.correct),
        "n": len(predicted),
        "listeners": len(_names(rows)),
        "ci95": {"rmse": [of[0].lo, of[0].hi], "rmse_haspi_only": [of[1].lo, of[1].hi]},
        "difference": {"value": difference.value, "ci95": [difference.lo, difference.hi], "p": difference.p},
    }


def _pearson(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson correlation; None if one of the two does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and a.std() > 0 and b.std() > 0 else None
