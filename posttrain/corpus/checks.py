"""What is wrong with recordings, and what training does about it: one table for training and `posttrain data check`.

Faults of tables, paths, texts and headers are found by `manifest` and `audio`; here are those of what is heard, and of
what several recordings share.
"""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from posttrain.acoustics import SAMPLE_RATE, activity
from posttrain.corpus import audio
from posttrain.corpus.manifest import Row
from posttrain.files import content_hash

Does = Literal["refused", "dropped", "left out", "counted"]
"""What training does: it stops; it stops, or drops the recording with on_bad_audio: drop; it leaves training rows out
that held-out ones repeat; it uses the recording and counts the fault in corpus.json."""
KINDS: dict[str, tuple[Does, str]] = {
    "row": ("refused", "the row, its path or its text cannot be used"),
    "audio": ("dropped", "the audio cannot be used"),
    "speaker in two splits": ("refused", "a model would be tested on voices that it was trained on"),
    "audio in two splits": ("refused", "a model would be tested on recordings that it was trained on"),
    "text in two splits": ("left out", "a model would be tested on sentences that it was trained on"),
    "audio twice": ("counted", "one recording under two names"),
    "nothing heard": ("counted", "there is a text, but no sound beyond faint noise"),
    "quiet": ("counted", "the speech is below {quiet} dBFS"),
    "clipped": ("counted", "over {clipped} % of the samples are at full scale"),
    "text too long": ("counted", "over {most} characters for a second of sound: the text may be another's"),
    "text too short": ("counted", "under {least} characters for a second of sound: the text may be another's"),
    "low rate": ("counted", "below 16 kHz: nothing above half of its rate"),
    "wrong ending": ("counted", "the file's ending is that of another format"),
    "unlisted": ("counted", "an audio file that no row names"),
    "another count": ("counted", "a split has another number of recordings than its authors publish"),
}
QUIET_DBFS = -50.0
FULL_SCALE, CLIPPED_SHARE = 0.99, 1e-3
CHARACTERS_A_SECOND = (3.0, 35.0)
"""Read English has about 15."""
OVERLAP_S = 0.5
"""Segments of one file in two splits may share as much: tables round times and leave some room around words."""
LONG_TEXT = 10
"""Characters from which a text's length tells something."""
ENDINGS = {
    "WAV": {".wav", ".wave"},
    "WAVEX": {".wav", ".wave"},
    "RF64": {".wav", ".rf64"},
    "W64": {".w64"},
    "FLAC": {".flac"},
    "OGG": {".ogg", ".oga", ".opus"},
    "MP3": {".mp3"},
    "AIFF": {".aif", ".aiff", ".aifc"},
    "AU": {".au", ".snd"},
    "CAF": {".caf"},
    "mov": {".m4a", ".mp4", ".3gp", ".mov"},
    "matroska": {".webm", ".mka", ".mkv"},
    "aac": {".aac"},
    "amr": {".amr"},
}


@dataclass(frozen=True)
class Fault:
    """One fault of one row or file."""

    kind: str
    """One of KINDS."""
    what: str
    """The message: file, line, value and fix."""
    row: Row | None = None


@dataclass(frozen=True)
class Sound:
    """What is measured of a recording."""

    duration_s: float
    rate_hz: int
    channels: int
    level_dbfs: float
    """Root mean square of its active parts; -inf if nothing is heard."""
    active_s: float
    clipped: float
    """Share of the samples at full scale."""
    hash: str
    """Of its samples as a corpus holds them."""


def sound(found: audio.Header, waveform: np.ndarray) -> Sound:
    """Measure a recording from its header and its waveform, float32 (S,) at 16 kHz."""
    spans = activity.speech_spans(waveform)
    active = np.concatenate([waveform[first:last] for first, last in spans]) if spans else waveform[:0]
    level = 10 * float(np.log10(np.mean(np.square(active)))) if len(active) else -np.inf
    return Sound(
        found.duration_s,
        found.rate_hz,
        found.channels,
        level,
        len(active) / SAMPLE_RATE,
        float((np.abs(waveform) >= FULL_SCALE).mean()),
        content_hash(audio.int16(waveform).tobytes()),
    )


def of_sound(row: Row, heard: Sound) -> Iterator[Fault]:
    """Faults of one recording that training counts; row.text is empty where no speech is expected."""
    least, most = CHARACTERS_A_SECOND
    characters = len(row.text) / heard.active_s if heard.active_s else 0.0
    long = len(row.text) >= LONG_TEXT
    found = {
        "nothing heard": bool(row.text) and not heard.active_s,
        "quiet": bool(row.text) and -np.inf < heard.level_dbfs < QUIET_DBFS,
        "clipped": heard.clipped > CLIPPED_SHARE,
        "text too long": long and characters > most,
        "text too short": long and 0 < characters < least,
        "low rate": heard.rate_hz < SAMPLE_RATE,
    }
    values = {
        "quiet": f"speech at {heard.level_dbfs:.0f} dBFS; record it louder, or take the row out",
        "nothing heard": "no sound beyond faint noise; check the recording, or take the row out",
        "clipped": f"{100 * heard.clipped:.1f} % of the samples are at full scale; record it softer",
        "text too long": f"{characters:.0f} characters a second: {row.text[:40]!r}; check the text",
        "text too short": f"{characters:.1f} characters a second: {row.text[:40]!r}; check the text",
        "low rate": f"{heard.rate_hz} Hz; use a recording of 16 kHz or more if there is one",
    }
    yield from (Fault(kind, row.problem(f"{row.name}: {values[kind]}"), row) for kind, true in found.items() if true)


def of_ending(row: Row, format: str) -> Iterator[Fault]:
    """A file whose ending is that of another format."""
    ending = Path(row.name).suffix.lower() if row.inside is None else ""
    if ending and ending not in ENDINGS.get(format, {ending}):
        yield Fault("wrong ending", row.problem(f"{row.name} is {format}; name it so"), row)


def shared(rows: Iterable[tuple[Row, str | None]], hashes: Mapping[int, str], closed: bool = False) -> Iterator[Fault]:
    """Faults of what rows of two splits share, and recordings that are there twice.

    rows: each with its split. hashes: id(row) → hash of its samples. closed: texts may recur, as single digits do.
    """
    by: dict[str, dict[str, dict[str | None, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row, split in rows:
        keys = {"speaker": row.speaker or "", "text": "" if closed else row.text, "audio": hashes.get(id(row), "")}
        for what, key in keys.items():
            if not key:
                continue
            other = by[what][key].get(split)
            if other is not None and what == "audio":
                yield Fault("audio twice", row.problem(f"{row.name} has the samples of {_place(other)}; keep one"), row)
            by[what][key].setdefault(split, row)
    for what, found in by.items():
        for key, of_split in found.items():
            if len(of_split) > 1:
                places = ", ".join(f"{split} ({_place(row)})" for split, row in of_split.items())
                shown = f"{what} {key!r}" if what != "audio" else "the same audio"
                last = list(of_split.values())[-1]
                yield Fault(f"{what} in two splits", f"{last.manifest}: {shown} is in {places}; keep one", last)


def overlapping(rows: Iterable[tuple[Row, str | None]]) -> Iterator[Fault]:
    """Faults of segments of one file that are in two splits and share more than OVERLAP_S of sound."""
    for (row, split), (other, its) in overlaps(rows):
        what = f"{row.name} from {row.offset_s:g} s is in {split}, and a part of it in {its} ({_place(other)}, from"
        what = f"{what} {other.offset_s:g} s); keep one of the two, or cut them apart"
        yield Fault("audio in two splits", row.problem(what), row)


Placed = tuple[Row, str | None]
"""A row and its split."""


def overlaps(rows: Iterable[Placed]) -> Iterator[tuple[Placed, Placed]]:
    """Pairs of segments of one file, the later one first, that are in two splits and share more than OVERLAP_S."""
    rows = list(rows)
    if all(row.segment[:3] == audio.ALL for row, _ in rows) or len({split for _, split in rows}) < 2:
        return
    files = {row.path: os.path.realpath(row.path) for row, _ in rows}
    of_file: dict[tuple[str, int | None], list[Placed]] = defaultdict(list)
    for row, split in rows:
        of_file[files[row.path], row.inside].append((row, split))
    for segments in of_file.values():
        earlier: list[Placed] = []
        for row, split in sorted(segments, key=lambda each: each[0].offset_s):
            earlier = [other for other in earlier if _end_s(other[0]) - row.offset_s > OVERLAP_S]
            for other, its in earlier:
                same = row.channel is None or other.channel is None or row.channel == other.channel
                if same and split != its and _end_s(row) - row.offset_s > OVERLAP_S:
                    yield (row, split), (other, its)
            earlier.append((row, split))


def _end_s(row: Row) -> float:
    return math.inf if row.duration_s is None else row.offset_s + row.duration_s


def meaning(kind: str) -> str:
    """What a kind of fault means, in words."""
    least, most = CHARACTERS_A_SECOND
    return KINDS[kind][1].format(
        quiet=f"{QUIET_DBFS:.0f}", clipped=f"{100 * CLIPPED_SHARE:g}", least=f"{least:g}", most=f"{most:g}"
    )


def _place(row: Row) -> str:
    return f"{row.manifest.name}:{row.line}"
