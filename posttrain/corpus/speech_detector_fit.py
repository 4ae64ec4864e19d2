"""Fits the speech detector: `python -m posttrain.corpus.speech_detector_fit` rewrites speech_detector.json.

Synthetic voices and sounds of the training split give the weights. Those of the validation split choose the thresholds,
for short and for longer clips, and one of PENALTIES, by the sum of two error rates: the share of speech at 5 dB SNR or
better that is missed, and the share of other sounds that is taken for speech. The test split's rates are only printed.
"""

import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import soxr
from scipy.optimize import minimize

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE, activity, scenes, sounds
from posttrain.acoustics.speech_detector import QUANTILES, WEIGHTS, is_short, logits, measurements, terms
from posttrain.corpus import speech
from posttrain.corpus.vocabulary import COLOURS, DAYS, FOODS, NAMES

WORDS = (
    *NAMES, *DAYS, *COLOURS, *FOODS,
    *"turn the left one up please it is too loud in here what seven plus four at six stop my appointment i do not want"
    " noise switch restaurant how many days week hello where can you help me with battery yes no".split(),
)  # fmt: skip
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Variance of the weights' normal prior: the L2 penalty is the sum of their squares over twice this."""
SNR_DB = (None, None, 20.0, 15.0, 10.0, 5.0, 5.0, 0.0)


def clips(split: str, spoken: int, other: int, seed: int) -> Iterator[tuple[np.ndarray, str, float | None]]:
    """(waveform (S,), kind, SNR in dB) of clips with speech (kind `speech`, SNR None when clean) and without."""
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    espeak, voices = speech.Espeak(), speech.voices(split)
    noises = [kind for kind in dict.fromkeys(scenes.KINDS[split]) if kind != "babble"]
    rooms = scenes.rooms(split, 6)

    def say(words: int) -> np.ndarray:
        text = " ".join(draw.choices(WORDS, k=words))
        return espeak.say(text, draw.choice(voices), draw.randint(90, 190), draw.randint(15, 85), draw.randint(30, 70))

    talkers = [say(6) for _ in range(24)]
    for number in range(spoken):
        said, snr_db = say(draw.choice((1, 1, 1, 2, 3, 4, 5, 6, 8))), draw.choice(SNR_DB)
        if draw.random() < 0.25:
            said = scenes.reverberate(said, draw.choice(rooms))
        longest_pause_s = (0.0, 0.05, 0.25, 1.5 if snr_db is not None else 0.25)[number % 4]
        said = np.pad(said, [int(draw.uniform(0, longest_pause_s) * SAMPLE_RATE) for _ in range(2)])
        if snr_db is not None:
            kind = draw.choice([*noises, "babble"])
            said = scenes.mix(said, scenes.noise(kind, len(said), rng, talkers), snr_db)
        said = said * np.float32(10 ** (draw.uniform(-34, -22) / 20) / scenes.active_rms(said))
        said = said + (rng.standard_normal(len(said)) * 10**-3.6).astype(np.float32)
        yield recorded(said, draw), "speech", snr_db
    for number in range(other):
        samples = int(draw.uniform(0.3, 4) * SAMPLE_RATE)
        kind = draw.choice(noises if number % 2 else sounds.KINDS[split])
        made = scenes.noise(kind, samples, rng, talkers) if number % 2 else sounds.sound(kind, samples, rng)
        yield recorded(made * np.float32(10 ** (draw.uniform(-38, -15) / 20)), draw), kind, None


def recorded(waveform: np.ndarray, draw: random.Random) -> np.ndarray:
    """Simulate another microphone: brighter or duller, a quarter of them with telephone bandwidth. # (S,) → (S,)"""
    tilt = draw.uniform(-0.5, 0.7)
    waveform = np.concatenate([waveform[:1], waveform[1:] - np.float32(tilt) * waveform[:-1]])
    if draw.random() < 0.25:
        waveform = soxr.resample(soxr.resample(waveform, SAMPLE_RATE, 8_000), 8_000, SAMPLE_RATE)
    return waveform.astype(np.float32)


@dataclass(frozen=True)
class Measured:
    """Measurements of N trimmed clips."""

    values: np.ndarray  # (N, 25)
    speaks: np.ndarray  # (N,) which are speech
    counts: np.ndarray  # (N,) which are speech at 5 dB SNR or better
    short: np.ndarray  # (N,) which are shorter than SHORT_S


def measure(split: str, spoken: int, other: int, seed: int) -> Measured:
    """Draw and measure clips of a split."""
    rows, speaks, counts, short = [], [], [], []
    for waveform, kind, snr_db in clips(split, spoken, other, seed):
        trimmed = activity.trim(waveform)
        heard = trimmed if len(trimmed) else waveform
        rows.append(measurements(heard))
        speaks.append(kind == "speech")
        counts.append(kind == "speech" and (snr_db is None or snr_db >= 5))
        short.append(is_short(heard))
    return Measured(np.array(rows), np.array(speaks), np.array(counts), np.array(short))


def fit(train: Measured, penalty: float) -> dict[str, Any]:
    """Weights of the model, without thresholds; logistic regression with an L2 penalty."""
    usual = train.values[train.counts]
    weights: dict[str, Any] = {
        "mean": usual.mean(axis=0).tolist(),
        "std": usual.std(axis=0).tolist(),
        "quantiles": [np.quantile(usual, share, axis=0).tolist() for share in QUANTILES],
    }
    features = terms(train.values, weights)
    sign = np.where(train.speaks, 1.0, -1.0)
    cost = np.where(train.speaks, 1.0, 1.5)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (features @ parameters[:-1] + parameters[-1])
        slope = -cost * sign / (1 + np.exp(np.clip(margin, -50, 50)))
        gradient = np.append(features.T @ slope + parameters[:-1] / penalty, slope.sum())
        squares = np.square(parameters[:-1]).sum() / (2 * penalty)
        return float((cost * np.logaddexp(0, -margin)).sum() + squares), gradient

    found = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 5_000}).x
    return weights | {"coefficients": found[:-1].round(5).tolist(), "bias": round(float(found[-1]), 5)}


def with_thresholds(weights: dict[str, Any], valid: Measured) -> dict[str, Any]:
    """Add the threshold for each length at which the sum of both error rates is smallest (Youden 1950)."""
    found = logits(valid.values, weights)
    longer, short = (
        _threshold(found[valid.counts & (valid.short == short)], found[~valid.speaks & (valid.short == short)])
        for short in (False, True)
    )
    return weights | {"threshold": longer, "threshold_short": short}


def _threshold(speech: np.ndarray, other: np.ndarray) -> float:
    """The best threshold, halfway to the next logit so that no clip lies on it."""
    places = np.unique(np.concatenate([speech, other]))
    sums = [(speech <= place).mean() + (other > place).mean() for place in places[:-1]]
    best = int(np.argmin(sums))
    return round(float(places[best : best + 2].mean()), 5)


def error_rates(weights: dict[str, Any], measured: Measured) -> tuple[float, float]:
    """Share of speech at 5 dB SNR or better that is missed, and share of other sounds taken for speech."""
    threshold = np.where(measured.short, weights["threshold_short"], weights["threshold"])
    heard = logits(measured.values, weights) > threshold
    return float(1 - heard[measured.counts].mean()), float(heard[~measured.speaks].mean())


def main() -> None:
    """Fit, choose, print the error rates of every split, and write the weights."""
    jobs = [("train", 900, 1_100, seed) for seed in (1, 4, 6, 7)]
    jobs += [("valid", 800, 800, 2), ("valid", 800, 800, 5), ("test", 500, 800, 3)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(measure, *zip(*jobs, strict=True)))
    splits = {
        split: Measured(*(np.concatenate([getattr(m, field.name) for m in parts]) for field in fields(Measured)))
        for split in ("train", "valid", "test")
        if (parts := [m for m, job in zip(found, jobs, strict=True) if job[0] == split])
    }
    tried = [with_thresholds(fit(splits["train"], penalty), splits["valid"]) for penalty in PENALTIES]
    sums = [sum(error_rates(weights, splits["valid"])) for weights in tried]
    for penalty, both in zip(PENALTIES, sums, strict=True):
        print(f"penalty {penalty:g}: {both:.4f} is the sum of the validation's error rates")
    weights = tried[int(np.argmin(sums))]
    for split, measured in splits.items():
        for length, of_length in (("short", measured.short), ("longer", ~measured.short)):
            part = Measured(*(getattr(measured, field.name)[of_length] for field in fields(Measured)))
            missed, mistaken = error_rates(weights, part)
            print(
                f"{split}, {length}: {missed:.4f} of {part.counts.sum()} clips of speech missed, "
                f"{mistaken:.4f} of {(~part.speaks).sum()} other sounds taken for speech"
            )
    files.write_text(WEIGHTS, json.dumps(weights) + "\n")


if __name__ == "__main__":
    main()
