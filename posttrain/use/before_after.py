"""Level and spectrogram of a recording that arrives in blocks, and a plot of one before and after it was processed.

Memory does not grow with the recording's length: a plot has at most COLUMNS columns, each the mean of its frames.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE

FRAME = 320
"""Samples of a frame, 20 ms."""
COLUMNS = 1_000
RANGE_DB = 80.0
"""Range of the spectrograms' colours below the loudest bin."""
SILENCE = 1e-12
"""Added to the power of a bin, so that silence has a gain of 0 dB."""
PICTURES = (".png", ".svg")


class Course:
    """Level and, if asked for, spectrogram of one recording; of several channels, the mean of their powers."""

    def __init__(self, samples: int, spectrogram: bool = False):
        """`samples`: about how many there will be, which sets how many frames share a column."""
        self.span = FRAME * max(1, math.ceil(samples / (FRAME * COLUMNS))) if spectrogram else FRAME
        self.spectrogram = spectrogram
        self.powers: list[np.ndarray] = []
        self.columns: list[np.ndarray] = []
        self.waiting: list[np.ndarray] = []
        self.samples = self.held = 0

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass blocks (S_i,) or (C, S_i) on, and measure them."""
        for block in blocks:
            self.waiting.append(np.atleast_2d(block))
            self.samples += block.shape[-1]
            self.held += block.shape[-1]
            if self.held >= self.span:
                sound = np.concatenate(self.waiting, axis=1)  # (C, n)
                self.held %= self.span
                whole = sound.shape[1] - self.held
                self._measure(sound[:, :whole], self.span)
                self.waiting = [sound[:, whole:]]
            yield block
        self._measure_rest()

    @property
    def level_db_spl(self) -> float:
        """Level without pauses, once all blocks have passed."""
        import torch

        from posttrain.acoustics.levels import active_level_of

        return float(active_level_of(torch.from_numpy(np.concatenate(self.powers))))

    def spectra(self) -> np.ndarray:
        """Power of every bin and column; that of a sine's bin is its mean square. # (bins, columns)"""
        return np.stack(self.columns, axis=1)

    def _measure_rest(self) -> None:
        """What is left is less than a column; less than a frame counts only if there is nothing else."""
        if not self.held:
            return
        sound = np.concatenate(self.waiting, axis=1)
        if whole := self.held // FRAME * FRAME:
            self._measure(sound[:, :whole], whole)
        elif not self.powers:
            self._measure(np.pad(sound, ((0, 0), (0, FRAME - self.held))), FRAME)
            self.powers[0] *= FRAME / self.held

    def _measure(self, sound: np.ndarray, span: int) -> None:
        """Powers of all frames, and a column for every `span` samples. # (C, n)"""
        frames = sound.reshape(len(sound), -1, FRAME)  # (C, frames, FRAME)
        self.powers.append(np.square(frames).mean(axis=(0, 2)))
        if self.spectrogram:
            window = np.hanning(FRAME).astype(np.float32)
            power = 2 * np.square(np.abs(np.fft.rfft(frames * window))) / window.sum() ** 2  # (C, frames, bins)
            bins = power.shape[-1]
            self.columns += [*power.mean(axis=0).reshape(-1, span // FRAME, bins).mean(axis=1)]


def gain_db(before: Course, after: Course) -> np.ndarray:
    """By how much the level of each column rose. # (columns,)"""
    one, other = (course.spectra().sum(axis=0) + SILENCE for course in (before, after))
    return 10 * np.log10(other / one)


def draw(path: Path, before: Course, after: Course) -> None:
    """Write both spectrograms, in one scale of dB SPL, and the gain over time; PNG or SVG by the path's ending."""
    from matplotlib.figure import Figure

    from posttrain.acoustics.levels import RMS_ONE_DB_SPL

    shown = [10 * np.log10(course.spectra() + SILENCE) + RMS_ONE_DB_SPL for course in (before, after)]
    loudest, duration_s = max(levels.max() for levels in shown), before.samples / SAMPLE_RATE
    figure = Figure(figsize=(9, 7), layout="constrained")
    *pictures, curve = figure.subplots(3, 1, sharex=True)
    for axes, levels, title in zip(pictures, shown, ("before", "after"), strict=True):
        drawn = axes.imshow(
            levels,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="magma",
            extent=(0, duration_s, 0, SAMPLE_RATE / 2000),
            vmin=loudest - RANGE_DB,
            vmax=loudest,
        )
        axes.set(title=title, ylabel="kHz")
    figure.colorbar(drawn, ax=pictures, label="dB SPL")
    gain = gain_db(before, after)
    times = np.minimum((np.arange(len(gain)) + 0.5) * before.span / SAMPLE_RATE, duration_s)
    curve.plot(times, gain, linewidth=1)
    curve.axhline(0, color="gray", linewidth=0.5)
    curve.set(title="gain", xlabel="s", ylabel="dB", xlim=(0, duration_s))
    with files.beside(path) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=110)
