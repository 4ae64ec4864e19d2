"""Fits the speech detector: `python -m posttrain.corpus.speech_detector_fit` writes speech_detector.json again.

Made voices and sounds of the training split give the weights. At the threshold, 1 % of the speech at 5 dB SNR or better
by training and validation voices is missed. The test split's error rates are printed and used for nothing.
"""

import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import soxr
from scipy.optimize import minimize

from posttrain.acoustics import activity, scenes, sounds
from posttrain.acoustics.speech_detector import QUANTILES, WEIGHTS, measurements, terms
from posttrain.corpus import speech
from posttrain.corpus.vocabulary import COLOURS, DAYS, FOODS, NAMES

WORDS = (
    *NAMES, *DAYS, *COLOURS, *FOODS,
    *"turn the left one up please it is too loud in here what seven plus four at six stop my appointment i do not want"
    " noise switch restaurant how many days week hello where can you help me with battery yes no".split(),
)  # fmt: skip
MISSED = 0.01
PENALTY = 1.0
"""Of the squared weights."""
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
        said = np.pad(said, [int(draw.uniform(0, longest_pause_s) * scenes.SAMPLE_RATE) for _ in range(2)])
        if snr_db is not None:
            kind = draw.choice([*noises, "babble"])
            said = scenes.mix(said, scenes.noise(kind, len(said), rng, talkers), snr_db)
        said = said * np.float32(10 ** (draw.uniform(-34, -22) / 20) / scenes.active_rms(said))
        said = said + (rng.standard_normal(len(said)) * 10**-3.6).astype(np.float32)
        yield recorded(said, draw), "speech", snr_db
    for number in range(other):
        samples = int(draw.uniform(0.3, 4) * scenes.SAMPLE_RATE)
        kind = draw.choice(noises if number % 2 else sounds.KINDS[split])
        made = scenes.noise(kind, samples, rng, talkers) if number % 2 else sounds.sound(kind, samples, rng)
        yield recorded(made * np.float32(10 ** (draw.uniform(-38, -15) / 20)), draw), kind, None


def recorded(waveform: np.ndarray, draw: random.Random) -> np.ndarray:
    """As another microphone would have it: brighter or duller, and a quarter through a telephone's band. # (S,)"""
    tilt = draw.uniform(-0.5, 0.7)
    waveform = np.concatenate([waveform[:1], waveform[1:] - np.float32(tilt) * waveform[:-1]])
    if draw.random() < 0.25:
        waveform = soxr.resample(soxr.resample(waveform, 16_000, 8_000), 8_000, 16_000)
    return waveform.astype(np.float32)


def measure(split: str, spoken: int, other: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measurements (N, 25) of trimmed clips, which of them are speech, and which of them count as missed. # (N,)"""
    rows, speaks, counts = [], [], []
    for waveform, kind, snr_db in clips(split, spoken, other, seed):
        trimmed = activity.trim(waveform)
        rows.append(measurements(trimmed if len(trimmed) else waveform))
        speaks.append(kind == "speech")
        counts.append(kind == "speech" and (snr_db is None or snr_db >= 5))
    return np.array(rows), np.array(speaks), np.array(counts)


def fit(measured: np.ndarray, speaks: np.ndarray, counts: np.ndarray) -> dict[str, object]:
    """Weights of the model, without a threshold; logistic regression with an L2 penalty."""
    usual = measured[counts]
    weights: dict[str, object] = {
        "mean": usual.mean(axis=0).tolist(),
        "std": usual.std(axis=0).tolist(),
        "quantiles": [np.quantile(usual, share, axis=0).tolist() for share in QUANTILES],
    }
    features = terms(measured, weights)
    sign = np.where(speaks, 1.0, -1.0)
    cost = np.where(speaks, 1.0, 1.5)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (features @ parameters[:-1] + parameters[-1])
        slope = -cost * sign / (1 + np.exp(np.clip(margin, -50, 50)))
        gradient = np.append(features.T @ slope + parameters[:-1] / PENALTY, slope.sum())
        penalty = np.square(parameters[:-1]).sum() / (2 * PENALTY)
        return float((cost * np.logaddexp(0, -margin)).sum() + penalty), gradient

    found = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 5_000}).x
    return weights | {"coefficients": found[:-1].round(5).tolist(), "bias": round(float(found[-1]), 5)}


def main() -> None:
    """Fit, choose the threshold, print the error rates of every split, and write the weights."""
    jobs = [("train", 700, 1_300, 1), ("train", 700, 1_300, 4), ("valid", 500, 600, 2), ("test", 500, 1_000, 3)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(measure, *zip(*jobs, strict=True)))
    splits = {job[0]: result for job, result in zip(jobs, found, strict=True)}
    measured, speech, counts = (np.concatenate(both) for both in zip(*found[:2], strict=True))
    splits["train"] = (measured, speech, counts)
    weights = fit(*splits["train"])

    def logits(measured: np.ndarray) -> np.ndarray:
        return terms(measured, weights) @ np.array(weights["coefficients"]) + float(str(weights["bias"]))

    speech_logits = [logits(measured)[counts] for measured, _, counts in (splits["train"], splits["valid"])]
    weights["threshold"] = round(float(np.quantile(np.concatenate(speech_logits), MISSED)), 5)
    for split, (measured, speaks, counts) in splits.items():
        heard = logits(measured) > weights["threshold"]
        missed, taken = 1 - heard[counts].mean(), heard[~speaks].mean()
        print(f"{split}: {missed:.4f} of speech missed, {taken:.4f} of other sounds taken for speech")
    WEIGHTS.write_text(json.dumps(weights) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
