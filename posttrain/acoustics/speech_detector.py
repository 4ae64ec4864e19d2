"""Detects whether a clip contains speech, from its sound alone; music, tones, alarms, hum and noise are not speech.

numpy only. 25 measurements capture what only speech combines: it is voiced at times, the pitch moves, energy is spread
over partials, the spectrum changes its shape several times a second, sounds rise as fast as they fall. Each is compared
with its range in speech (piecewise linear, a generalised additive model), and the sum is a logit.
`posttrain/corpus/speech_detector_fit.py` fitted the weights on synthetic training voices and sounds and chose the rest
on validation ones; `speech_detector.json` holds both.

Babble counts as speech. Whether anyone speaks to the microphone is for the models to decide.
"""

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.activity import SILENCE_DBFS

SHORT_S = 0.8
"""Shorter clips have their own threshold, because a single word gives little evidence."""
JUDGED_S = 1.5
"""Total length of short windows, in seconds, that is enough to tell speech from beeps."""
WEIGHTS = Path(__file__).with_suffix(".json")
FRAME, HOP, FFT = 512, 160, 1024
BANDS_HZ = np.array(
    [100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400,
     7700]
)  # fmt: skip
"""Edges of critical bands."""
LOW, HIGH = slice(1, 8), slice(14, 20)
"""Bands of vowels and of fricatives."""
ACTIVE_DB = 30.0
"""Frames within this of the loudest 0.1 s are measured."""
VOICED = 0.6
"""Autocorrelation at the pitch period above which a frame is voiced."""
PITCH_HZ = (65, 420)
COMB, COMB_BINS = 0.35, 16
"""Strength above which a comb is clear; the spectrum is flattened over twice this many bins (500 Hz)."""
QUANTILES = (0.02, 0.1, 0.9, 0.98)
"""Quantiles of a measurement in speech; beyond each, the slope of its term changes."""
EPSILON = 1e-12
_WINDOW = np.hanning(FRAME).astype(np.float32)
_HZ = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)


def has_speech(waveform: np.ndarray) -> bool:
    """Whether the clip (S,) at 16 kHz sounds like speech. False for digital silence."""
    return speech_logit(waveform) > _weights()["threshold_short" if is_short(waveform) else "threshold"]


def spoken(windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The windows with speech. Short ones are judged together: alone, a beep could pass for a word."""
    waiting: list[np.ndarray] = []
    before: list[np.ndarray] = []
    for part in windows:
        if len(part) >= SHORT_S * SAMPLE_RATE:
            yield from _judged(waiting, before)
            waiting, before = [], []
            if has_speech(part):
                yield part
            continue
        waiting.append(part)
        if sum(map(len, waiting)) >= JUDGED_S * SAMPLE_RATE:
            yield from _judged(waiting, [])
            waiting, before = [], waiting
    yield from _judged(waiting, before)


def _judged(short: list[np.ndarray], before: list[np.ndarray]) -> list[np.ndarray]:
    """The short windows with speech: all or none if they and those `before` are long enough to tell."""
    together = [*before, *short]
    if sum(map(len, together)) >= JUDGED_S * SAMPLE_RATE:
        return short if has_speech(np.concatenate(together)) else []
    return [part for part in short if has_speech(part)]


def is_short(waveform: np.ndarray) -> bool:
    """Whether the clip (S,) at 16 kHz is shorter than SHORT_S."""
    return len(waveform) < SHORT_S * SAMPLE_RATE


def speech_logit(waveform: np.ndarray) -> float:
    """Logit of speech: higher is more like speech; −inf for digital silence."""
    if not len(waveform) or 10 * np.log10(np.var(waveform, dtype=np.float64) + EPSILON) < SILENCE_DBFS:
        return -np.inf
    return float(logits(measurements(waveform)[None], _weights())[0])


def logits(measured: np.ndarray, weights: dict[str, Any]) -> np.ndarray:
    """Logits (N,) of measurements (N, 25)."""
    return np.asarray(terms(measured, weights) @ np.array(weights["coefficients"]) + weights["bias"])


def terms(measured: np.ndarray, weights: dict[str, Any]) -> np.ndarray:
    """Measurements (N, 25) as the terms of the model (N, 125): standardised, and how far each is beyond QUANTILES."""
    mean, std, quantiles = (np.array(weights[name]) for name in ("mean", "std", "quantiles"))
    beyond = [
        np.clip((knot - measured if share < 0.5 else measured - knot) / std, 0, 4)
        for share, knot in zip(QUANTILES, quantiles, strict=True)
    ]
    return np.hstack([np.clip((measured - mean) / std, -6, 6), *beyond])


def measurements(waveform: np.ndarray) -> np.ndarray:
    """The model's inputs, independent of the level. # (25,)"""
    spectrum = _spectrum(waveform)  # (F, bins)
    edges = np.searchsorted(_HZ, BANDS_HZ)
    bands = np.add.reduceat(spectrum, edges, axis=1)[:, :-1] + EPSILON  # (F, bands)
    total = bands.sum(axis=1)  # (F,)
    loud = np.sort(total)[-max(3, min(10, len(total) // 10)) :].min()
    active = total > loud * 10 ** (-ACTIVE_DB / 10)
    levels = 10 * np.log10(bands + loud * 1e-5)
    return np.array(
        [
            *_voicing(spectrum, active),
            *_harmonics(spectrum, active),
            *_spread(spectrum, bands, active),
            *_change(levels, total, bands, loud, active),
            *_modulation(levels),
            *_rise_and_fall(10 * np.log10(bands + loud * 1e-4)),
        ]
    )


@lru_cache(maxsize=1)
def _weights() -> dict[str, Any]:
    return dict(json.loads(WEIGHTS.read_text(encoding="utf-8")))


def _spectrum(waveform: np.ndarray) -> np.ndarray:
    samples = np.asarray(waveform - np.mean(waveform, dtype=np.float64), np.float32)
    samples = np.pad(samples, (0, max(0, FRAME + 4 * HOP - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    return np.abs(np.fft.rfft(frames * _WINDOW, FFT)) ** 2


def _voicing(spectrum: np.ndarray, active: np.ndarray) -> list[float]:
    """Share of voiced frames, two measures of how the pitch moves, longest voiced stretch, mean and spread of voicing,
    share of the strongest bins in voiced frames."""
    voice = np.where((_HZ < 80) | (_HZ > 4000), 0, spectrum)
    correlation = np.fft.irfft(voice)[:, : FFT // 2]
    window = np.fft.irfft(np.abs(np.fft.rfft(_WINDOW, FFT)) ** 2)[: FFT // 2]
    correlation = correlation / (correlation[:, :1] + EPSILON) / np.maximum(window / window[0], 0.05)
    first, last = SAMPLE_RATE // PITCH_HZ[1], SAMPLE_RATE // PITCH_HZ[0]
    row, lag = np.arange(len(correlation)), correlation[:, first:last].argmax(axis=1) + first
    strength = correlation[row, lag]
    before, at, after = (correlation[row, np.clip(lag + step, 1, FFT // 2 - 1)] for step in (-1, 0, 1))
    curve = before - 2 * at + after
    shift = np.divide(0.5 * (before - after), curve, out=np.zeros_like(curve), where=np.abs(curve) > 1e-6)
    pitch = np.log2(SAMPLE_RATE / (lag + np.clip(shift, -1, 1)))
    voiced = active & (strength > VOICED)
    steps = np.abs(np.diff(pitch))[voiced[1:] & voiced[:-1]]
    steps = steps[steps < 0.2]
    moves = [float(np.log10(f(steps) + 1e-4)) if len(steps) > 3 else -4.0 for f in (np.median, np.mean)]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced.astype(int), [0]])))
    runs = edges[1::2] - edges[::2]
    concentration = float(np.median(_concentration(spectrum)[voiced])) if voiced.sum() > 3 else 1.0
    longest = float(np.log(runs.max() + 1)) if len(runs) else 0.0
    heard = strength[active]
    return [voiced.sum() / active.sum(), *moves, longest, float(heard.mean()), float(heard.std()), concentration]


def _harmonics(spectrum: np.ndarray, active: np.ndarray) -> list[float]:
    """Strength of the comb of harmonics in the flattened spectrum: mean, 0.9 quantile, and share of clear combs.

    A single moving tone and low-pass noise are periodic too, but have no comb.
    """
    inside = (_HZ >= 100) & (_HZ <= 4000)
    amplitude = np.sqrt(spectrum[:, inside])
    sums = np.cumsum(np.pad(amplitude, ((0, 0), (COMB_BINS + 1, COMB_BINS)), mode="reflect"), axis=1)
    around = (sums[:, 2 * COMB_BINS + 1 :] - sums[:, : -2 * COMB_BINS - 1]) / (2 * COMB_BINS + 1)
    flat = np.minimum(amplitude / (around + EPSILON), 3)
    flat = flat - flat.mean(axis=1, keepdims=True)
    first, last = SAMPLE_RATE // PITCH_HZ[1], SAMPLE_RATE // PITCH_HZ[0]
    spread = np.sqrt(np.square(flat).mean(axis=1)) + EPSILON
    full = np.zeros_like(spectrum)
    full[:, inside] = flat
    comb = np.fft.irfft(full)[:, first:last].max(axis=1) * FFT / 2 / inside.sum() / spread
    heard = comb[active]
    return [float(heard.mean()), float(np.quantile(heard, 0.9)), float((heard > COMB).mean())]


def _concentration(spectrum: np.ndarray) -> np.ndarray:
    """Share of a frame's energy in its six strongest bins. # (F,)"""
    part = spectrum[:, (_HZ >= 80) & (_HZ <= 7700)]
    return np.partition(part, -6, axis=1)[:, -6:].sum(axis=1) / (part.sum(axis=1) + EPSILON)


def _spread(spectrum: np.ndarray, bands: np.ndarray, active: np.ndarray) -> list[float]:
    """Concentration and flatness of active frames."""
    flatness = np.exp(np.log(bands).mean(axis=1)) / bands.mean(axis=1)
    return [float(np.median(_concentration(spectrum)[active])), float(np.log(np.median(flatness[active]) + 1e-4))]


def _change(levels: np.ndarray, total: np.ndarray, bands: np.ndarray, loud: float, active: np.ndarray) -> list[float]:
    """How much the level, the shape of the spectrum and the balance of high and low bands change."""
    shape = levels - levels.mean(axis=1, keepdims=True)
    balance = 10 * np.log10((bands[:, HIGH].sum(axis=1) + loud * 1e-4) / (bands[:, LOW].sum(axis=1) + loud * 1e-4))
    found = [
        float(np.log10(total + loud * 1e-4)[active].std()),
        float(shape[active].std(axis=0).mean()),
        float(balance[active].std()),
    ]
    for lag in (2, 8, 20):
        both = active[lag:] & active[:-lag]
        found.append(float(np.abs(shape[lag:] - shape[:-lag]).mean(axis=1)[both].mean()) if both.any() else 0.0)
    return found


def _modulation(levels: np.ndarray) -> list[float]:
    """Shares of slow, syllabic and fast modulation, its depth, and how similarly the bands are modulated."""
    centred = levels - levels.mean(axis=0)
    depth = centred.std(axis=0)
    varied = centred[:, depth > 1e-6]
    alike = 1.0
    if varied.shape[1] > 3:
        alike = float(np.corrcoef(varied.T)[np.triu_indices(varied.shape[1], 3)].mean())
    size = max(256, len(centred))
    power = np.abs(np.fft.rfft(centred * np.hanning(len(centred))[:, None], size, axis=0)) ** 2
    hz = np.fft.rfftfreq(size, HOP / SAMPLE_RATE)
    whole = power[hz > 0.3].sum() + EPSILON
    shares = [float(power[(hz >= low) & (hz < high)].sum() / whole) for low, high in ((0.3, 2), (2, 8), (8, 16))]
    return [*shares, float(depth.mean()), alike]


def _rise_and_fall(levels: np.ndarray) -> list[float]:
    """How much faster sounds rise than fall, as those of struck objects do, and the skewness of the slopes."""
    slopes = levels[3:] - levels[:-3]
    rise, fall = float(np.quantile(slopes, 0.98)), -float(np.quantile(slopes, 0.02))
    skew = float(((slopes - slopes.mean()) ** 3).mean() / (slopes.std() ** 3 + 1e-9))
    return [float(np.log((max(rise, 0) + 1) / (max(fall, 0) + 1))), skew]
