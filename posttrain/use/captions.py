"""Captions from words and their times: cues of at most two short lines, as SubRip (SRT), WebVTT and JSON.

Two lines of 42 characters and seven seconds at most are usual limits of subtitles (as in Netflix's Timed Text Style
Guide). A cue also ends where nobody speaks for a while.
"""

import html
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from posttrain import files

LINE, LINES = 42, 2
"""Characters of a line, and lines of a cue, at most; a longer word has a line of its own."""
LONGEST_S, SHORTEST_S = 7.0, 1.0
"""A cue is shown as long at most and, if the next one allows it, at least."""
PAUSE_S = 0.8
"""Silence that ends a cue."""


@dataclass(frozen=True)
class Word:
    """One word and when it is said, in seconds from the file's start."""

    text: str
    start_s: float
    end_s: float
    aligned: bool = True
    """Whether the times are from an alignment, not shared out by letters."""


@dataclass(frozen=True)
class Cue:
    """What is shown at once."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


def cues(words: Sequence[Word]) -> list[Cue]:
    """The words in cues, in order; no two are shown at once."""
    groups: list[list[Word]] = []
    for word in words:
        if not groups or not _fits([*groups[-1], word]):
            groups.append([])
        groups[-1].append(word)
    made = []
    for group, after in zip_longest(groups, groups[1:]):
        start, end = group[0].start_s, max(group[-1].end_s, group[0].start_s + SHORTEST_S)
        end = min(end, after[0].start_s) if after else end
        made.append(Cue(round(start, 3), round(max(end, start + 0.001), 3), tuple(_lines(group))))
    return made


def srt(shown: Sequence[Cue]) -> str:
    """SubRip: numbered cues with commas in their times."""
    return "\n".join(
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n" + "".join(f"{x}\n" for x in cue.lines)
        for number, cue in enumerate(shown, 1)
    )


def vtt(shown: Sequence[Cue]) -> str:
    """WebVTT; what its markup would take for its own (&, <, >) is escaped."""
    return "WEBVTT\n" + "".join(
        f"\n{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n"
        + "".join(f"{html.escape(line, quote=False)}\n" for line in cue.lines)
        for cue in shown
    )


def write(place: Path, words: Sequence[Word]) -> None:
    """PLACE.srt, PLACE.vtt, and PLACE.words.json with the words and the cues; those that are there are replaced."""
    shown = cues(words)
    place.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(place.with_name(f"{place.name}.srt"), srt(shown))
    files.write_text(place.with_name(f"{place.name}.vtt"), vtt(shown))
    found: dict[str, Any] = {"words": [asdict(word) for word in words], "cues": [asdict(cue) for cue in shown]}
    files.write_json(place.with_name(f"{place.name}.words.json"), found)


def _fits(words: Sequence[Word]) -> bool:
    """Whether the words may be in one cue."""
    paused = len(words) > 1 and words[-1].start_s - words[-2].end_s > PAUSE_S
    long = words[-1].end_s - words[0].start_s > LONGEST_S
    return len(words) == 1 or not (paused or long or len(_lines(words)) > LINES)


def _lines(words: Sequence[Word]) -> list[str]:
    said = " ".join(word.text for word in words)
    return textwrap.wrap(said, LINE, break_long_words=False, break_on_hyphens=False)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
