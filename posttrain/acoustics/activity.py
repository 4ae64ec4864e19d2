"""Activity detection: trims the silence or faint noise around speech and cuts long audio at its pauses.

numpy only. Waveforms are float32 (S,) at 16 kHz, spans are (first sample, sample after the last). A span may also hold
music or machine noise; `speech_detector` decides whether it is speech. In doubt, sound is kept: steady noise as loud as
speech is returned whole.

Every frame is compared with the noise floor in each of ten bands (the mean of the quietest frames), so that speech
at 0 dB SNR still stands out in the bands of its formants.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from posttrain.acoustics import SAMPLE_RATE

HOP = 160
FRAME = 400
FFT = 512
BANDS_HZ = np.array([120, 250, 400, 600, 850, 1200, 1650, 2300, 3200, 4600, 7000])
"""Edges of the bands, about equally wide on the mel scale."""
SILENCE_DBFS = -85.0
"""Sound below this is digital silence. 0 dBFS is the power of a constant of 1."""
RANGE_DB = 45.0
"""Sound this far below the loudest 0.1 s is silence too."""
LOUD_FRAMES = 10
"""A recording's loudness is the level that it exceeds for 0.1 s, so that a click does not raise it."""
FLOOR_SHARE = 0.15
"""Share of the frames, the quietest, whose mean is the noise floor."""
ON_DB, OFF_DB = 5.0, 3.0
"""Mean excess over the floor above which activity starts, and below which it ends."""
CLICK_FRAMES = 4
"""Activity shorter than this is a click."""
STEADY_FRAMES, STEADY_DB, STEADY_BELOW_DB = 16, 1.8, 12.0
"""Sound is noise around the speech if its bands vary by less than STEADY_DB over STEADY_FRAMES, STEADY_BELOW_DB below
the loudest 0.1 s."""
FAINT_DBFS = -50.0
"""Steady noise without any activity is dropped below this level and kept above it."""
GAP_S = 0.3
"""Shorter gaps are part of the speech around them."""
SURE_DB = 15.0
MARGIN_S = 0.2
"""Kept on both sides of activity, for soft consonants and the pauses at both ends of training clips."""
LONGEST_S = 6.0
"""Longest window by default."""
SEVERAL_S = 4.0
"""Windows longer than this are cut at their longest pause if they have one: the tiny Llama drops whole sentences from
them. A sentence without a pause stays whole, because cutting inside it costs words."""
DEEP_DB, BRIEF_FRAMES, APART_FRAMES = 30.0, 20, 75
"""In such a window, sound so far below its loudest tenth for 0.2 s, and 0.75 s from either end, is a pause as well."""
PAUSE_S = 1.0
"""A longer pause always separates two windows."""
BUFFER_S = 30.0
"""Length of a long recording that is analysed at once."""


@dataclass(frozen=True)
class _Span:
    """Activity with its margins, in samples."""

    first: int
    last: int
    """The sample after the last."""
    pause: int = 0
    """Length of the pause after it, margins included."""


def speech_spans(waveform: np.ndarray) -> list[tuple[int, int]]:
    """The active parts in order, with MARGIN_S around each.

    Empty for digital silence and for steady noise below FAINT_DBFS. If the noise is less than SURE_DB below the
    loudest sound, nothing is dropped: the spans cover the recording and meet in the middle of its pauses.
    """
    return [(span.first, span.last) for span in _spans(waveform)]


def trim(waveform: np.ndarray) -> np.ndarray:
    """The recording from its first activity to its last, margins included; empty when nothing is active."""
    spans = _spans(waveform)
    return waveform[spans[0].first : spans[-1].last] if spans else waveform[:0]


def windows(waveform: np.ndarray, longest_s: float = LONGEST_S) -> list[tuple[int, int]]:
    """Spans of at most `longest_s` that hold all activity in order, cut at the longest pauses.

    Pauses over PAUSE_S always separate windows, shorter ones only in windows over SEVERAL_S. Speech longer than
    `longest_s` without a pause is cut where it is quietest.
    """
    groups: list[list[_Span]] = []
    pause = 0
    for span in _spans(waveform):
        if not groups or pause > PAUSE_S * SAMPLE_RATE:
            groups.append([])
        groups[-1].append(span)
        pause = span.pause
    if not groups:
        return []
    longest, loudness = int(longest_s * SAMPLE_RATE), _band_levels(waveform).mean(axis=1)
    return [window for group in groups for window in _split(group, longest, loudness)]


def stream_windows(blocks: Iterable[np.ndarray], longest_s: float = LONGEST_S) -> Iterator[tuple[int, np.ndarray]]:
    """`windows` of a recording that arrives in blocks: (first sample, waveform) of each window, in bounded memory.

    For a recording of up to BUFFER_S they are those of `windows`. The sizes of the blocks do not matter.
    """
    size = max(int(BUFFER_S * SAMPLE_RATE), int(3 * longest_s * SAMPLE_RATE))
    buffer, start = np.zeros(0, np.float32), 0
    for block in blocks:
        while len(block):
            taken = min(len(block), size - len(buffer))
            buffer, block = np.concatenate([buffer, block[:taken]]), block[taken:]
            if len(buffer) == size:
                found = windows(buffer, longest_s)
                done = found[:-1] if found and found[-1][1] > size - int(GAP_S * SAMPLE_RATE) else found
                yield from ((start + first, buffer[first:last]) for first, last in done)
                rest = _rest(found, done, size, int(longest_s * SAMPLE_RATE))
                buffer, start = buffer[rest:], start + rest
    yield from ((start + first, buffer[first:last]) for first, last in windows(buffer, longest_s))


def _rest(found: list[tuple[int, int]], done: list[tuple[int, int]], size: int, longest: int) -> int:
    """Where the next buffer starts: at the incomplete window, else a second back for the floor and margins."""
    if len(done) < len(found):
        return max(found[-1][0], size - longest)
    return max(done[-1][1] if done else 0, size - SAMPLE_RATE)


def _band_levels(waveform: np.ndarray) -> np.ndarray:
    """Level in dBFS per frame and band, at least one frame. # (F, bands)"""
    waveform = waveform - np.mean(waveform, dtype=np.float64) if len(waveform) else np.zeros(1)
    waveform = np.asarray(waveform, np.float32)
    frames = max(1, -(-len(waveform) // HOP))
    padded = np.pad(waveform, (FRAME // 2, FRAME + frames * HOP - len(waveform)))
    shape = np.hanning(FRAME).astype(np.float32)
    edges = np.searchsorted(np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE), BANDS_HZ)
    power = np.empty((frames, len(edges) - 1))
    for first in range(0, frames, 2_000):
        count = min(2_000, frames - first)
        cut = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[first * HOP :: HOP][:count]
        spectrum = np.abs(np.fft.rfft(cut * shape, FFT)) ** 2  # (F, bins)
        power[first : first + count] = np.add.reduceat(spectrum, edges, axis=1)[:, :-1]
    return 10 * np.log10(2 * power / (FFT * np.square(shape).sum()) + 1e-14)


def _spans(waveform: np.ndarray) -> list[_Span]:
    levels = _band_levels(waveform)
    totals = _db(_power(levels).sum(axis=1))  # (F,)
    loud_frames = max(1, min(LOUD_FRAMES, len(totals) // 10))
    loud = float(np.partition(totals, -loud_frames)[-loud_frames])
    if loud < SILENCE_DBFS:
        return []
    active, floor = _activity(levels, loud)
    if not active.any():
        return [_Span(0, len(waveform))] if loud > FAINT_DBFS else []
    return _around(active, len(waveform), loud - floor > SURE_DB)


def _activity(levels: np.ndarray, loud: float) -> tuple[np.ndarray, float]:
    """Which frames are active, (F,) bool, and the level of the noise floor in dBFS."""
    guard = max(SILENCE_DBFS, loud - RANGE_DB) - 10 * np.log10(levels.shape[1])
    power = _smooth(_power(levels) + _power(guard), 5)  # (F, bands)
    quiet = np.argsort(power.sum(axis=1))[: max(3, int(FLOOR_SHARE * len(power)))]
    floor = power[quiet].mean(axis=0)  # (bands,)
    excess = np.maximum(_db(power / floor), 0).mean(axis=1)  # (F,)
    excess[_steady(_db(power)) & (_db(power.sum(axis=1)) < loud - STEADY_BELOW_DB)] = 0
    return _without_clicks(_hysteresis(excess > ON_DB, excess > OFF_DB)), float(_db(floor.sum()))


def _steady(levels: np.ndarray) -> np.ndarray:
    """Frames that begin or end STEADY_FRAMES frames whose bands hardly change: noise, not speech. # (F,)"""
    if len(levels) < STEADY_FRAMES:
        return np.zeros(len(levels), bool)
    stretches = np.lib.stride_tricks.sliding_window_view(levels, STEADY_FRAMES, axis=0)  # (F − n + 1, bands, n)
    steady = stretches.std(axis=-1).mean(axis=1) < STEADY_DB
    kept = np.zeros(len(levels), bool)
    kept[: len(steady)] |= steady
    kept[STEADY_FRAMES - 1 :] |= steady
    return kept


def _hysteresis(on: np.ndarray, going: np.ndarray) -> np.ndarray:
    """Runs of `going` that contain a frame of `on`."""
    kept = np.zeros(len(on), bool)
    for first, last in _runs(going):
        kept[first:last] = on[first:last].any()
    return kept


def _without_clicks(active: np.ndarray) -> np.ndarray:
    kept = active.copy()
    for first, last in _runs(active):
        kept[first:last] = last - first >= CLICK_FRAMES
    return kept


def _around(active: np.ndarray, samples: int, sure: bool) -> list[_Span]:
    """Spans around runs of active frames; unless `sure` that the pauses are empty, these are kept too."""
    gap, margin = (int(seconds * SAMPLE_RATE) for seconds in (max(GAP_S, 2 * MARGIN_S), MARGIN_S))
    joined: list[list[int]] = []
    for first, last in _runs(active):
        if joined and first * HOP - joined[-1][1] <= gap:
            joined[-1][1] = last * HOP
        else:
            joined.append([first * HOP, last * HOP])
    spans = []
    for before, (first, last), after in zip([None, *joined[:-1]], joined, [*joined[1:], None], strict=True):
        low = (first + before[1]) // 2 if before else 0
        high = (last + after[0]) // 2 if after else samples
        if sure:
            low, high = max(low, first - margin), min(high, last + margin)
        spans.append(_Span(low, high, after[0] - last if after else 0))
    return spans


def _split(group: list[_Span], longest: int, loudness: np.ndarray) -> list[tuple[int, int]]:
    """One group of spans as windows of at most `longest` samples, split at its longest pauses."""
    first, last = group[0].first, group[-1].last
    if last - first <= min(longest, int(SEVERAL_S * SAMPLE_RATE)):
        return [(first, last)]
    if len(group) == 1:
        cut = _brief_pause(first, last, loudness)
        if cut is None:
            if last - first <= longest:
                return [(first, last)]
            cut = _quietest(first, last, longest, loudness)
        return _split([_Span(first, cut)], longest, loudness) + _split([_Span(cut, last)], longest, loudness)
    middle = (first + last) / 2
    at = max(range(len(group) - 1), key=lambda i: (group[i].pause, -abs(group[i].last - middle)))
    return _split(group[: at + 1], longest, loudness) + _split(group[at + 1 :], longest, loudness)


def _brief_pause(first: int, last: int, loudness: np.ndarray) -> int | None:
    """The middle of the deepest pause inside a window; None if it has none."""
    levels = _smooth(loudness[first // HOP : last // HOP], BRIEF_FRAMES)
    inner = levels[APART_FRAMES:-APART_FRAMES]
    if not len(inner) or inner.min() > np.quantile(levels, 0.9) - DEEP_DB:
        return None
    return first + (APART_FRAMES + int(np.argmin(inner))) * HOP


def _quietest(first: int, last: int, longest: int, loudness: np.ndarray) -> int:
    """The quietest sample before `last` in the second half of a window of `longest` samples from `first`."""
    low, high = first + longest // 2, min(first + longest, last - SAMPLE_RATE // 4)
    frames = loudness[low // HOP : max(high // HOP, low // HOP + 1)]
    return (low // HOP + int(np.argmin(_smooth(frames, 15)))) * HOP


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(first, one past the last) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Moving mean over `width` frames, shorter at the ends."""
    sums = np.cumsum(np.concatenate([np.zeros((1, *values.shape[1:])), values]), axis=0)
    at = np.arange(len(values))
    first, last = np.maximum(at - width // 2, 0), np.minimum(at + width // 2 + 1, len(values))
    counts = (last - first).reshape(-1, *[1] * (values.ndim - 1))
    return (sums[last] - sums[first]) / counts


def _power(level_db: np.ndarray | float) -> np.ndarray:
    return np.asarray(10.0 ** (np.asarray(level_db) / 10))


def _db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power)
