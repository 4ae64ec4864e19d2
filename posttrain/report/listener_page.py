"""A page for one listener: audiogram, gain, spectrograms and playable clips, all in one HTML file."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from scipy import signal

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.audiogram import Audiogram, Ear
from posttrain.acoustics.fitting import nal_r_at
from posttrain.acoustics.hearing_loss import HearingLoss
from posttrain.acoustics.levels import RMS_ONE_DB_SPL
from posttrain.acoustics.thresholds import RANGE_DB_HL
from posttrain.evals.hearing.listeners import Heard
from posttrain.report import charts, template, words
from posttrain.report.charts import Point, Series
from posttrain.report.figures import Plot
from posttrain.report.listeners import PAGES, tables
from posttrain.run.ledger import Row

SHOWN = 2
"""Clips on a page."""
PEAK = 0.9
THIRD_OCTAVES_HZ = tuple(1000 * 2 ** (k / 3) for k in range(-9, 9))
FRAME, HOP = 256, 160
RANGE_DB_SPL = (-10.0, 70.0)
"""Range of the spectrograms' colours: the level of a bin of 62 Hz."""


def write(run_folder: Path, row: Row, places: Sequence[Heard], texts: dict[str, str]) -> Path:
    """Write the page of one listener from `places`, which are at one ear and level; returns its path.

    The first clips are shown. `texts`: clip → its transcript.
    """
    listener, ear = places[0].listener, places[0].ear
    html = template.render(
        "listener.html.j2",
        run=row.run,
        name=listener.name,
        ear=ear,
        pta={side: listener.pta_db_hl(side) for side in ("left", "right")},
        plots=[audiogram_plot(listener), _gain(listener, ear, places)],
        tables=[(part, [line for line in part.lines if line[0] == listener.name]) for part in tables(row)],
        clips=[_clip(place, texts[place.mixture.id]) for place in places[:SHOWN]],
    )
    path = run_folder / PAGES / f"{listener.name}.html"
    path.parent.mkdir(exist_ok=True)
    return files.write_text(path, html)


def audiogram_plot(listener: Audiogram) -> Plot:
    """The thresholds of both ears."""
    ears: tuple[tuple[Ear, tuple[float, ...], str], ...] = (
        ("left", listener.left_db_hl, ""),
        ("right", listener.right_db_hl, "head"),
    )
    series = [
        Series(
            f"{side} ear",
            [
                Point(hz, level, title=f"{side}, {hz:g} Hz: {level:g} dB HL")
                for hz, level in zip(listener.frequencies_hz, levels, strict=True)
            ],
            style,
        )
        for side, levels, style in ears
    ]
    svg = charts.over_frequency("Audiogram", series, *RANGE_DB_HL, "dB HL", down=True)
    said = "Hearing thresholds; the lower, the worse."
    return "Audiogram", said, svg, [(s.style, 100.0, s.name) for s in series]


def _gain(listener: Audiogram, ear: Ear, places: Sequence[Heard]) -> Plot:
    """The gain that the fitting prescribes, and the enhancer's gain in each third of an octave of these clips."""
    prescribed = nal_r_at(listener, np.array(THIRD_OCTAVES_HZ), ear)
    taken = enhancer_gain(places)
    series = [
        Series("NAL-R", _points(prescribed, "NAL-R"), ""),
        Series("enhancer", _points(taken, "enhancer"), "head"),
    ]
    lo, hi = min(-5.0, float(taken.min())), max(5.0, float(prescribed.max()))
    svg = charts.over_frequency("Gain", series, lo, hi, "dB")
    said = f"NAL-R's prescription, and the enhancer's gain: power out against power in over {len(places)} noisy clips."
    return "Gain", said, svg, [(s.style, 100.0, s.name) for s in series]


def enhancer_gain(places: Sequence[Heard]) -> np.ndarray:
    """Gain in dB in each of THIRD_OCTAVES_HZ: power of all enhanced clips over that of the unaided ones. # (bands,)"""

    def bands(processing: str) -> np.ndarray:
        total = np.zeros(len(THIRD_OCTAVES_HZ))
        for place in places:
            waveform = place.waveforms[processing]
            hz, density = signal.welch(waveform, SAMPLE_RATE, nperseg=min(2048, len(waveform)))
            for number, centre in enumerate(THIRD_OCTAVES_HZ):
                inside = (hz >= centre * 2 ** (-1 / 6)) & (hz < centre * 2 ** (1 / 6))
                total[number] += density[inside].sum()
        return total

    return 10 * np.log10((bands("enhanced") + 1e-12) / (bands("unaided") + 1e-12))


def _points(gains: np.ndarray, name: str) -> list[Point]:
    pairs = zip(THIRD_OCTAVES_HZ, gains.tolist(), strict=True)
    return [Point(hz, gain, title=f"{name}, {hz:.0f} Hz: {gain:+.1f} dB") for hz, gain in pairs]


def _clip(place: Heard, text: str) -> dict[str, Any]:
    """For every processing: spectrogram at the ear, clip at the ear and clip as the listener hears it, on one scale."""
    sounds = {"speech alone": place.clean}
    sounds |= {words.PROCESSINGS[name]: waveform for name, waveform in place.waveforms.items()}
    thresholds = torch.from_numpy(place.listener.levels(place.ear)).float()
    stacked = torch.from_numpy(np.stack(list(sounds.values())))
    with torch.no_grad():
        heard = HearingLoss()(stacked, thresholds.expand(len(stacked), -1)).numpy()
    scale = PEAK / max(float(np.abs(stacked.numpy()).max()), float(np.abs(heard).max()))
    parts = [
        {"name": name, "picture": _picture(at_ear), "at_ear": sound(scale * at_ear), "heard": sound(scale * left)}
        for (name, at_ear), left in zip(sounds.items(), heard, strict=True)
    ]
    about = {"text": text, "speaker": place.mixture.speaker, "noise": place.mixture.noise}
    return about | {"snr_db": place.mixture.snr_db, "parts": parts}


def spectrogram(waveform: np.ndarray) -> np.ndarray:
    """Level of every bin and frame in dB SPL, exact for a sine there; bins go up from 0 to 8 kHz. # (bins, frames)"""
    _, _, spectra = signal.stft(waveform, SAMPLE_RATE, "hann", FRAME, FRAME - HOP)  # (bins, frames)
    return 20 * np.log10(np.abs(spectra) * np.sqrt(2) + 1e-9) + RMS_ONE_DB_SPL


def _picture(waveform: np.ndarray) -> str:
    """The waveform's spectrogram as a PNG in a data URI; colours span RANGE_DB_SPL."""
    from matplotlib import image

    file = io.BytesIO()
    lo, hi = RANGE_DB_SPL
    image.imsave(file, spectrogram(waveform), vmin=lo, vmax=hi, cmap="magma", origin="lower", format="png")
    return _data("image/png", file.getvalue())


def sound(waveform: np.ndarray) -> str:
    """The waveform as 16-bit FLAC in a data URI."""
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return _data("audio/flac", file.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
