"""Generates sounds that are neither speech nor noise, at random: music, tones, alarms, broken hum.

They are used alone, in clips without speech; `scenes.noise` generates what is mixed with speech. Kinds are split like
voices: those of the test are not in training. numpy only. Waveforms are float32 (S,) at 16 kHz with RMS 1.
"""

from collections.abc import Callable

import numpy as np

from posttrain.acoustics import SAMPLE_RATE

KINDS = {
    "train": ("chord", "melody", "tone", "beeps", "broken_hum", "drums", "sweep"),
    "valid": ("music_box", "two_tone_alarm", "buzz"),
    "test": ("organ", "piano", "ringtone", "siren", "bells", "mains_buzz", "dial_tone"),
}
KINDS["rl"] = KINDS["train"]
_MAJOR = np.array([0, 2, 4, 5, 7, 9, 11, 12])
_MINOR = np.array([0, 2, 3, 5, 7, 8, 10, 12])
Envelope = Callable[[int], np.ndarray]


def sound(kind: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A sound of that kind, float32 (S,), RMS 1. KeyError for an unknown kind."""
    made = _MAKERS[kind](samples, rng)
    made = made + 10 ** rng.uniform(-4, -2) * rng.standard_normal(samples)  # every recording has a noise floor
    return (made / np.sqrt(np.mean(np.square(made)))).astype(np.float32)


def _note(hz: float, samples: int, weights: np.ndarray, stretch: float = 0.0, vibrato: float = 0.0) -> np.ndarray:
    """Partials of `hz` with these weights (K,); `stretch` moves them off the harmonics, as in bells."""
    time = np.arange(samples) / SAMPLE_RATE
    bend = vibrato * np.sin(2 * np.pi * 5.5 * time) / (2 * np.pi * 5.5)
    out = np.zeros(samples)
    for k, weight in enumerate(weights, 1):
        partial_hz = hz * k * (1 + stretch * (k - 1))
        if partial_hz < 7_500:
            out += weight * np.sin(2 * np.pi * partial_hz * (time + bend))
    return out


def _weights(rng: np.random.Generator, count: int, fall: float) -> np.ndarray:
    return rng.random(count) / np.arange(1, count + 1) ** fall


def _scale_hz(rng: np.random.Generator) -> np.ndarray:
    scale = _MAJOR if rng.random() < 0.5 else _MINOR
    return rng.uniform(150, 450) * 2 ** (scale / 12)


def _sequence(
    samples: int,
    rng: np.random.Generator,
    note_s: tuple[float, float],
    note: Callable[[float, int], np.ndarray],
    envelope: Envelope,
    rest: float = 0.15,
) -> np.ndarray:
    """Notes of one scale, one after the other, some of them left out."""
    out, hz, at = np.zeros(samples), _scale_hz(rng), 0
    while at < samples:
        length = int(rng.uniform(*note_s) * SAMPLE_RATE)
        if rng.random() > rest:
            played = note(float(rng.choice(hz)), length) * envelope(length)
            out[at : at + length] += played[: samples - at]
        at += length
    return out


def _decaying(length: int, seconds: float = 0.3) -> np.ndarray:
    return np.exp(-np.arange(length) / (seconds * SAMPLE_RATE))


def _held(length: int) -> np.ndarray:
    ramp = min(400, length // 2)
    return np.clip(np.minimum(np.arange(length), np.arange(length)[::-1]) / max(ramp, 1), 0, 1)


def _chord(
    samples: int, rng: np.random.Generator, partials: int = 6, fall: float = 1.2, vibrato: float = 0.0
) -> np.ndarray:
    """Three notes held together; a new chord every one to three seconds."""
    out, hz, at = np.zeros(samples), _scale_hz(rng), 0
    while at < samples:
        length = min(int(rng.uniform(1, 3) * SAMPLE_RATE), samples - at)
        root = int(rng.integers(3))
        for step in (root, root + 2, root + 4):
            out[at : at + length] += _note(hz[step], length, _weights(rng, partials, fall), 0.0, vibrato) * _held(
                length
            )
        at += length
    return out


def _gated(samples: int, rng: np.random.Generator, on_s: tuple[float, float], off_s: tuple[float, float]) -> np.ndarray:
    """A curve of ones and zeros with short ramps, on and off for random times."""
    gate, at, on = np.zeros(samples), 0, rng.random() < 0.7
    while at < samples:
        length = int(rng.uniform(*(on_s if on else off_s)) * SAMPLE_RATE)
        if on:
            gate[at : at + length] = _held(length)[: samples - at]
        at, on = at + length, not on
    return gate


def _sine(samples: int, hz: float | np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * np.cumsum(np.full(samples, 1.0) * hz) / SAMPLE_RATE)


def _beeps(samples: int, rng: np.random.Generator) -> np.ndarray:
    length = rng.uniform(0.05, 0.4)
    gate = _gated(samples, rng, (length, length), (length, rng.uniform(1, 3) * length))
    return gate * _note(rng.uniform(400, 3_000), samples, _weights(rng, 3, 1.5))


def _alternating(samples: int, rng: np.random.Generator, rate_hz: tuple[float, float], ratio: float) -> np.ndarray:
    """Two alternating tones."""
    time = np.arange(samples) / SAMPLE_RATE
    first = rng.uniform(500, 1_400)
    return _sine(samples, np.where(np.sin(2 * np.pi * rng.uniform(*rate_hz) * time) > 0, first, first * ratio))


def _hum(samples: int, rng: np.random.Generator, base_hz: float, partials: int) -> np.ndarray:
    return _note(base_hz, samples, _weights(rng, partials, 0.7))


def _drums(samples: int, rng: np.random.Generator) -> np.ndarray:
    out, beat_s = np.zeros(samples), rng.uniform(0.18, 0.4)
    for number in range(int(samples / SAMPLE_RATE / beat_s) + 1):
        at = int(number * beat_s * SAMPLE_RATE)
        length = min(int(0.2 * SAMPLE_RATE), samples - at)
        if length > 0 and rng.random() < 0.8:
            low = _sine(length, 60 + 60 * _decaying(length, 0.03)) if number % 2 == 0 else rng.standard_normal(length)
            out[at : at + length] += low * _decaying(length, 0.05)
    return out


def _sweep(samples: int, rng: np.random.Generator) -> np.ndarray:
    low, high = np.sort(rng.uniform(np.log(100), np.log(5_000), 2))
    place = np.abs((np.arange(samples) / SAMPLE_RATE / rng.uniform(0.7, 4)) % 2 - 1)
    return _sine(samples, np.exp(low + (high - low) * place))


def _siren(samples: int, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(samples) / SAMPLE_RATE
    hz = rng.uniform(500, 800) * (1.4 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.2, 1.2) * time))
    return _sine(samples, hz) + 0.4 * _sine(samples, 2 * hz)


_MAKERS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "chord": lambda s, r: _chord(s, r, vibrato=r.choice([0.0, 0.01])),
    "melody": lambda s, r: _sequence(s, r, (0.12, 0.5), lambda hz, n: _note(hz, n, _weights(r, 5, 1)), _held),
    "tone": lambda s, r: _note(np.exp(r.uniform(np.log(80), np.log(4_000))), s, _weights(r, int(r.integers(1, 4)), 2)),
    "beeps": _beeps,
    "broken_hum": lambda s, r: (
        _hum(s, r, 50.0 * r.integers(1, 3), 14) * _gated(s, r, (0.1, 1.0), (0.05, 0.6)) + 0.02 * r.standard_normal(s)
    ),
    "drums": _drums,
    "sweep": _sweep,
    "music_box": lambda s, r: _sequence(
        s, r, (0.15, 0.4), lambda hz, n: _note(4 * hz, n, _weights(r, 2, 1)), _decaying
    ),
    "two_tone_alarm": lambda s, r: _alternating(s, r, (0.8, 2.5), r.uniform(1.15, 1.5)),
    "buzz": lambda s, r: _hum(s, r, r.uniform(80, 140), 40) * _gated(s, r, (0.2, 2.0), (0.05, 0.3)),
    "organ": lambda s, r: _chord(s, r, partials=12, fall=0.6),
    "piano": lambda s, r: _sequence(
        s, r, (0.1, 0.6), lambda hz, n: _note(hz, n, _weights(r, 9, 1.3), 0.0008), lambda n: _decaying(n, 0.5), 0.05
    ),
    "ringtone": lambda s, r: _alternating(s, r, (8, 16), r.uniform(1.2, 1.3)) * _gated(s, r, (0.4, 1.2), (0.2, 1.0)),
    "siren": _siren,
    "bells": lambda s, r: _sequence(
        s, r, (0.4, 1.2), lambda hz, n: _note(2 * hz, n, _weights(r, 6, 0.8), 0.19), lambda n: _decaying(n, 0.8), 0.1
    ),
    "mains_buzz": lambda s, r: (
        np.sign(_sine(s, 50.0)) * (1 + 0.3 * _sine(s, 100.0)) * _gated(s, r, (0.5, 4), (0.02, 0.2))
    ),
    "dial_tone": lambda s, r: _sine(s, r.uniform(330, 460)) + _sine(s, r.uniform(420, 500)),
}
