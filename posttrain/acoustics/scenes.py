"""Scenes: generated noise, rooms, and the only function that mixes speech with noise at an SNR.

numpy only, so that the small processes that speak need not import torch. All waveforms are float32 (S,) at 16 kHz.
Kinds of noise are split like voices: those of TEST_KINDS are never in training; babble uses the split's own speech.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from posttrain.acoustics import SAMPLE_RATE, sounds

TRAIN_KINDS = (
    "white", "pink", "brown", "hum", "fan", "tones", "speech_shaped", "modulated",
    "drawn", "drawn", "drawn", "drawn", "babble", "babble", "babble", "babble",
)  # fmt: skip
"""Repeated kinds are more frequent: random noises (drawn) and babble are hard to distinguish from speech."""
VALID_KINDS = ("engine", "rain", "clatter", "babble")
TEST_KINDS = ("traffic", "wind", "crackle", "cutlery", "chirps", "kitchen_fan", "pulsed", "babble")
SNR_DB = {"snr20": 20.0, "snr15": 15.0, "snr10": 10.0, "snr5": 5.0, "snr0": 0.0}
INAUDIBLE_SNR_DB = -25.0
PADDING_S = (0.0, 2.0)
"""Silence or faint noise on either side of padded speech."""
FAINT_DBFS = (-90.0, -50.0)
GAP_S = (0.3, 0.9)
"""Pause between utterances in a row."""
SEEDS = {"train": 1, "valid": 2, "test": 3, "rl": 4}


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """speech + noise scaled so that active speech power / noise power is `snr_db`; both (S,).

    ValueError if the lengths differ or one is silent, since an SNR would be meaningless.
    """
    if speech.shape != noise.shape:
        raise ValueError(f"noise is {noise.shape}, expected {speech.shape} as the speech; cut or repeat it first")
    signal, disturbance = active_rms(speech), rms(noise)
    if signal == 0 or disturbance == 0:
        raise ValueError(f"level of speech is {signal}, of noise {disturbance}, expected both above 0")
    return speech + noise * np.float32(signal / disturbance * 10 ** (-snr_db / 20))  # (S,)


def rms(waveform: np.ndarray) -> float:
    """Root mean square over all samples."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


def active_rms(speech: np.ndarray) -> float:
    """Root mean square over 20 ms frames within 35 dB of the loudest: pauses do not count as speech."""
    frames = speech[: len(speech) // 320 * 320].reshape(-1, 320)
    if not len(frames):
        return rms(speech)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return float(np.sqrt(power[power > power.max() * 10**-3.5].mean())) if power.max() > 0 else 0.0


def compose(
    speech: np.ndarray,
    condition: str,
    split: str,
    rng: np.random.Generator,
    talkers: Sequence[np.ndarray] = (),
    rooms: Sequence[np.ndarray] = (),
    padded: bool = False,
) -> tuple[np.ndarray, str | None]:
    """Compose a clip as int16 (S,); returns it and the kind of noise or sound in it.

    `condition`: clean, snr…, or one without speech: noise, sound (music, tones, alarms) or silence. `talkers`: other
    speech of the split, for babble. The speech is in one of `rooms`, if there are any. The level of the clip varies by
    12 dB. `padded`: up to two seconds without speech on either side, in the clip's noise if it has one.
    """
    talkers = [talker for talker in talkers if len(talker)]
    if condition in ("noise", "sound", "silence"):
        return _nothing_said(condition, split, rng, talkers)
    pause = [int(rng.uniform(0.08, 0.25) * SAMPLE_RATE) for _ in range(2)]
    if len(rooms):
        speech = reverberate(speech, rooms[int(rng.integers(len(rooms)))])
    around = [int(rng.uniform(*PADDING_S) * SAMPLE_RATE) if padded else 0 for _ in range(2)]
    noisy = condition != "clean"
    speech = np.pad(speech, [p + a for p, a in zip(pause, around, strict=True)] if noisy else pause)
    speech = speech * np.float32(10 ** (rng.uniform(-34, -22) / 20) / active_rms(speech))
    kind = None
    if noisy:
        kind = str(rng.choice(KINDS[split]))
        speech = mix(speech, noise(kind, len(speech), rng, talkers), SNR_DB[condition])
    floor = rng.standard_normal(len(speech), dtype=np.float32) * np.float32(10 ** (-72 / 20))
    scene = speech + floor
    if padded and not noisy:
        before, after = (_faint(samples, split, rng, talkers) for samples in around)
        scene = np.concatenate([before, scene, after])
    return _int16(scene), kind


def in_a_row(utterances: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Utterances (S_i,) one after the other with pauses of GAP_S between them; (S,)."""
    parts = [utterances[0]]
    for utterance in utterances[1:]:
        parts += [np.zeros(int(rng.uniform(*GAP_S) * SAMPLE_RATE), np.float32), utterance]
    return np.concatenate(parts)


def _nothing_said(
    condition: str, split: str, rng: np.random.Generator, talkers: Sequence[np.ndarray]
) -> tuple[np.ndarray, str | None]:
    """Noise, another sound, or silence, one to three seconds long, in a tenth of cases up to twelve."""
    seconds = rng.uniform(1.0, 3.0) if rng.random() < 0.9 else rng.uniform(3.0, 12.0)
    samples = int(seconds * SAMPLE_RATE)
    if condition == "silence":
        return _int16(_faint(samples, split, rng, talkers, (-90.0, -60.0))), None
    kind = str(rng.choice(KINDS[split] if condition == "noise" else sounds.KINDS[split]))
    if condition == "sound":
        scene = sounds.sound(kind, samples, rng)
    else:
        scene = noise(kind, samples, rng, talkers)
        if talkers and rng.random() < 0.25:
            masked = _fit(talkers[int(rng.integers(len(talkers)))], samples)
            scene = mix(masked, scene, INAUDIBLE_SNR_DB)
    scene = scene * np.float32(10 ** (rng.uniform(-38, -20) / 20) / rms(scene))
    return _int16(scene), kind


def _faint(
    samples: int,
    split: str,
    rng: np.random.Generator,
    talkers: Sequence[np.ndarray],
    dbfs: tuple[float, float] = FAINT_DBFS,
) -> np.ndarray:
    """A faint background as before speech: zeros, hiss, hum or a noise of the split; float32 (S,)."""
    if rng.random() < 0.25 or not samples:
        return np.zeros(samples, np.float32)
    kind = str(rng.choice(["white", "hum", *KINDS[split]]))
    kind = "white" if kind == "babble" else kind  # faint babble would be speech
    return noise(kind, samples, rng, talkers) * np.float32(10 ** (rng.uniform(*dbfs) / 20))


def noise(kind: str, samples: int, rng: np.random.Generator, talkers: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Noise of a kind, float32 (S,) with RMS 1; without `talkers`, babble becomes modulated speech-shaped noise."""
    if kind == "babble" and not talkers:
        kind = "modulated"
    made = _MAKERS[kind](samples, rng, talkers) if kind == "babble" else _MAKERS[kind](samples, rng)
    level = rms(made)
    if level == 0:
        made, level = rng.standard_normal(samples), 1.0
    return (made / level).astype(np.float32)  # (S,)


def rooms(split: str, count: int) -> list[np.ndarray]:
    """`count` impulse responses of simulated shoebox rooms (image sources, RT60 0.15–0.55 s), direct sound at 0."""
    import pyroomacoustics

    rng = np.random.default_rng([SEEDS[split], count])
    responses: list[np.ndarray] = []
    while len(responses) < count:
        size = rng.uniform([3, 3, 2.4], [8, 7, 3.2])
        rt60 = rng.uniform(0.15, 0.55)
        try:
            absorption, _ = pyroomacoustics.inverse_sabine(rt60, size)
        except ValueError:  # no material absorbs enough for such a large room: draw another
            continue
        room = pyroomacoustics.ShoeBox(
            size, fs=SAMPLE_RATE, materials=pyroomacoustics.Material(absorption), max_order=6
        )
        room.add_source(rng.uniform(0.5, size - 0.5))
        room.add_microphone(rng.uniform(0.5, size - 0.5))
        room.compute_rir()
        response = np.asarray(room.rir[0][0], np.float32)[: int(0.5 * SAMPLE_RATE)]
        direct = int(np.argmax(np.abs(response) > 0.5 * np.abs(response).max()))
        responses.append(response[direct:] / np.abs(response).max())
    return responses


def reverberate(speech: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Speech (S,) in a room, cut 0.15 s after its end: (S + 2400,)."""
    tail = int(0.15 * SAMPLE_RATE)
    size = 1 << (len(speech) + len(response)).bit_length()
    wet = np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(response, size), size)
    return wet[: len(speech) + tail].astype(np.float32)  # (S + tail,)


def _int16(waveform: np.ndarray) -> np.ndarray:
    peak = np.abs(waveform).max() if len(waveform) else 0.0
    if peak > 0.98:
        waveform = waveform * (0.98 / peak)
    return np.round(waveform * 32_767).astype(np.int16)


def _fit(waveform: np.ndarray, samples: int, offset: int = 0) -> np.ndarray:
    return np.take(waveform, np.arange(offset, offset + samples), mode="wrap")


def _spectrum(
    samples: int, rng: np.random.Generator, shape: tuple[np.ndarray, np.ndarray] | None, slope_db: float = 0.0
) -> np.ndarray:
    """Noise whose amplitude falls `slope_db` per octave, times `shape` over the rfft bins of a power-of-two length."""
    size = 1 << max(samples - 1, 1).bit_length()
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    gain = np.maximum(hz, 30.0) ** (slope_db / 6.0206)
    if shape is not None:
        gain = gain * np.interp(hz, *shape)
    phases = rng.standard_normal((2, len(hz)), dtype=np.float32)
    return np.fft.irfft((phases[0] + 1j * phases[1]) * gain, size)[:samples]


def _slow(samples: int, rng: np.random.Generator, rate_hz: float) -> np.ndarray:
    """A smooth random curve in 0–1 that changes about `rate_hz` times a second."""
    knots = max(int(samples / SAMPLE_RATE * rate_hz) + 2, 2)
    return np.interp(np.linspace(0, knots - 1, samples), np.arange(knots), rng.random(knots))


def _hum(samples: int, rng: np.random.Generator, base_hz: float, partials: int, wander: float = 0.002) -> np.ndarray:
    time = np.cumsum(1 + wander * (_slow(samples, rng, 3) - 0.5)) / SAMPLE_RATE
    weights = rng.random(partials) / np.arange(1, partials + 1) ** 0.7
    return sum(
        w * np.sin(2 * np.pi * base_hz * (k + 1) * time + rng.random() * 6.28) for k, w in enumerate(weights)
    ) + 0.05 * rng.standard_normal(samples)


def _hits(
    samples: int, rng: np.random.Generator, per_second: float, decay_s: tuple[float, float], hz: tuple[float, float]
) -> np.ndarray:
    """Short decaying sounds at random times: noise bursts, or ringing between two frequencies when `hz` is given."""
    out = 0.02 * rng.standard_normal(samples)
    for _ in range(max(1, rng.poisson(per_second * samples / SAMPLE_RATE))):
        start = int(rng.integers(samples))
        decay = rng.uniform(*decay_s)
        length = min(int(5 * decay * SAMPLE_RATE) + 8, samples - start)
        time = np.arange(length) / SAMPLE_RATE
        if hz[1]:
            body = sum(np.sin(2 * np.pi * rng.uniform(*hz) * time + rng.random() * 6.28) for _ in range(3))
        else:
            body = rng.standard_normal(length)
        out[start : start + length] += rng.uniform(0.2, 1.0) * body * np.exp(-time / decay)
    return out


_SPEECH_SHAPE = (
    np.array([0, 80, 150, 500, 1000, 2000, 4000, 8000.0]),
    10 ** (np.array([-40, -15, 0, 0, -8, -15, -22, -32]) / 20),
)


def _tones(samples: int, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(samples) / SAMPLE_RATE
    out = 0.03 * rng.standard_normal(samples)
    for _ in range(rng.integers(1, 4)):
        gate = (np.sin(2 * np.pi * rng.uniform(0.5, 4) * time + rng.random() * 6) > rng.uniform(-0.8, 0.5)).astype(
            float
        )
        out = out + gate * np.sin(2 * np.pi * rng.uniform(200, 3500) * time)
    return out


def _chirps(samples: int, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(samples) / SAMPLE_RATE
    low, span, rate = rng.uniform(400, 1500), rng.uniform(300, 2500), rng.uniform(0.5, 3)
    hz = low + span * (0.5 + 0.5 * np.sin(2 * np.pi * rate * time))
    return np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE) * (
        0.3 + _slow(samples, rng, 4)
    ) + 0.05 * rng.standard_normal(samples)


def _babble(samples: int, rng: np.random.Generator, talkers: Sequence[np.ndarray]) -> np.ndarray:
    out = np.zeros(samples)
    for _ in range(rng.integers(4, 9)):
        talker = talkers[int(rng.integers(len(talkers)))]
        out += _fit(talker / (active_rms(talker) + 1e-9), samples, int(rng.integers(len(talker)))) * rng.uniform(
            0.6, 1.2
        )
    return out + 0.01 * rng.standard_normal(samples)


def _drawn(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A random noise: spectrum, rhythm, and whether it hums and rattles are all drawn."""
    hz = np.geomspace(60, 7500, 8)
    out = _level(_spectrum(samples, rng, (hz, 10 ** (rng.uniform(-36, 0, 8) / 20)), rng.uniform(-4, 0)))
    if rng.random() < 0.4:
        hum = _hum(samples, rng, rng.uniform(60, 900), int(rng.integers(1, 16)), 10 ** rng.uniform(-3, 0))
        out = out * rng.uniform(0.1, 1) + _level(hum)
    if rng.random() < 0.6:
        out = out * (rng.uniform(0, 0.3) + _slow(samples, rng, 10 ** rng.uniform(-0.3, 1.2))) ** rng.uniform(0.5, 3)
    if rng.random() < 0.3:
        time = np.arange(samples) / SAMPLE_RATE
        out = out * (rng.uniform(0, 0.5) + (np.sin(2 * np.pi * rng.uniform(0.5, 10) * time) > rng.uniform(-0.8, 0.8)))
    if rng.random() < 0.3:
        ringing = (300, rng.uniform(1000, 7000)) if rng.random() < 0.5 else (0, 0)
        shortest = 10 ** rng.uniform(-3.3, -1)
        hits = _hits(samples, rng, 10 ** rng.uniform(0.3, 1.7), (shortest, 3 * shortest), ringing)
        out = out * rng.uniform(0.05, 1) + _level(hits)
    return out


def _texture(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A noise whose bands rise and fall each at a pace of its own, and partly together, as water and machines do."""
    bands = int(rng.integers(4, 13))
    edges = np.geomspace(60, 8000, bands + 1)
    together, depth, pace = rng.random(), rng.uniform(0.2, 3.0), 10 ** rng.uniform(-0.3, 1.5)
    shared, out = _slow(samples, rng, pace), np.zeros(samples)
    for low, high in itertools.pairwise(edges):
        curve = together * shared + (1 - together) * _slow(samples, rng, pace * 10 ** rng.uniform(-0.5, 0.5))
        out += _spectrum(samples, rng, _band(low, high)) * np.exp(2 * depth * curve) * 10 ** (rng.uniform(-30, 0) / 20)
    return out


def _level(waveform: np.ndarray) -> np.ndarray:
    return waveform / (rms(waveform) + 1e-9)


def _band(low_hz: float, high_hz: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([0, low_hz * 0.7, low_hz, high_hz, high_hz * 1.4, 9000]), np.array([0.01, 0.02, 1, 1, 0.02, 0.01])


_MAKERS: dict[str, Callable[..., np.ndarray]] = {
    "white": lambda s, r: r.standard_normal(s),
    "pink": lambda s, r: _spectrum(s, r, None, -3),
    "brown": lambda s, r: _spectrum(s, r, None, -6),
    "hum": lambda s, r: _hum(s, r, 50 * r.integers(1, 3), 12),
    "fan": lambda s, r: (
        _spectrum(s, r, _SPEECH_SHAPE, r.uniform(-3, 0)) * (0.8 + 0.2 * _slow(s, r, 8))
        + 0.1 * _hum(s, r, r.uniform(60, 180), 6)
    ),
    "engine": lambda s, r: _hum(s, r, r.uniform(25, 80), 30, 0.1) + 0.5 * _spectrum(s, r, None, -5) / 100,
    "rain": lambda s, r: _spectrum(s, r, _band(400, 6000)) / 30 + _hits(s, r, 60, (0.001, 0.004), (0, 0)),
    "clatter": lambda s, r: _hits(s, r, 5, (0.02, 0.15), (700, 3500)) + 0.05 * r.standard_normal(s),
    "tones": _tones,
    "speech_shaped": lambda s, r: _spectrum(s, r, _SPEECH_SHAPE),
    "modulated": lambda s, r: _spectrum(s, r, _SPEECH_SHAPE) * _slow(s, r, r.uniform(4, 12)) ** 2,
    "babble": _babble,
    "drawn": _drawn,
    "texture": _texture,
    "traffic": lambda s, r: _spectrum(s, r, None, -4.5) * (0.3 + _slow(s, r, 0.8)) ** 1.5,
    "wind": lambda s, r: (
        _spectrum(s, r, (np.array([0, 60, 300, 900, 8000]), np.array([0.3, 1, 1, 0.1, 0.01])), -2)
        * (0.2 + _slow(s, r, 2.5)) ** 2
    ),
    "crackle": lambda s, r: _spectrum(s, r, None, -4) / 300 + _hits(s, r, 18, (0.0005, 0.006), (0, 0)),
    "cutlery": lambda s, r: _hits(s, r, 4, (0.03, 0.25), (1800, 6500)) + 0.03 * r.standard_normal(s),
    "chirps": _chirps,
    "kitchen_fan": lambda s, r: _spectrum(s, r, _band(150, 2500), -1.5) / 20 + 0.4 * _hum(s, r, r.uniform(190, 260), 5),
    "pulsed": lambda s, r: (
        r.standard_normal(s) * (0.15 + (np.sin(2 * np.pi * r.uniform(2, 7) * np.arange(s) / SAMPLE_RATE) > 0))
    ),
}
KINDS = {"train": TRAIN_KINDS, "rl": TRAIN_KINDS, "valid": VALID_KINDS, "test": TEST_KINDS}
