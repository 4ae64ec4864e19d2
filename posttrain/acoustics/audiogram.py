"""Audiograms: hearing thresholds of both ears in dB HL; standard ones by name, listeners' from files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from posttrain.acoustics import thresholds
from posttrain.acoustics.thresholds import RANGE_DB_HL
from posttrain.config import assets
from posttrain.errors import InputError
from posttrain.machine.device import say
from posttrain.readers import json_lines, paths, tables, text_files

Ear = Literal["left", "right"]
PTA_HZ = (500.0, 1000.0, 2000.0, 4000.0)
AUDIOMETRIC_HZ = (250.0, 500.0, 1000.0, 2000.0, 3000.0, 4000.0, 6000.0, 8000.0)
"""Frequencies of Clarity's audiograms; `Audiogram.levels` gives any audiogram at these."""
EARS: tuple[Ear, ...] = ("left", "right")
CSV_EARS: dict[str, Ear] = {"l": "left", "r": "right", "left": "left", "right": "right"}
HZ_COLUMN = re.compile(r"(?:hz)?\s*(\d+(?:[.,]\d+)?)\s*(k?)\s*(?:hz)?")
"""Column names: hz250, 250, 250 Hz, 1k, 1 kHz."""
MOST = 1e9
"""Numbers of this size or larger are mistakes."""
NOTES = 6
"""Maximum number of values of one file that are reported one by one if they are not plain numbers."""


@dataclass(frozen=True)
class Audiogram:
    """Hearing thresholds of one listener; InputError lists everything wrong with them, with the listener's name."""

    name: str
    frequencies_hz: tuple[float, ...]
    """Ascending, the same for both ears."""
    left_db_hl: tuple[float, ...]
    right_db_hl: tuple[float, ...]

    def __post_init__(self) -> None:
        problems = _frequency_problems(self.name, self.frequencies_hz)
        for ear, levels in (("left", self.left_db_hl), ("right", self.right_db_hl)):
            problems += _level_problems(self.name, ear, levels, self.frequencies_hz)
        if problems:
            raise InputError(problems)

    def at(self, frequencies_hz: Sequence[float] | np.ndarray, ear: Ear) -> np.ndarray:
        """dB HL at any frequencies: linear in dB over log frequency, flat beyond the ends. # (frequencies,)"""
        levels = self.left_db_hl if ear == "left" else self.right_db_hl
        return np.interp(np.log(np.asarray(frequencies_hz, dtype=float)), np.log(self.frequencies_hz), levels)

    def levels(self, ear: Ear | None = None) -> np.ndarray:
        """dB HL at AUDIOMETRIC_HZ, of the better ear unless `ear` is given: input of networks and simulators. # (8,)"""
        return self.at(AUDIOMETRIC_HZ, ear or self.better_ear)

    def pta_db_hl(self, ear: Ear) -> float:
        """Pure-tone average over .5, 1, 2 and 4 kHz."""
        return float(self.at(PTA_HZ, ear).mean())

    @property
    def better_ear(self) -> Ear:
        """The ear with the lower pure-tone average; the left one where they are equal."""
        return "left" if self.pta_db_hl("left") <= self.pta_db_hl("right") else "right"


def normal() -> Audiogram:
    """0 dB HL everywhere."""
    flat = (0.0,) * len(AUDIOMETRIC_HZ)
    return Audiogram("normal", AUDIOMETRIC_HZ, flat, flat)


def bisgaard(name: str) -> Audiogram:
    """A standard audiogram, N1–N7 or S1–S3, the same in both ears (Bisgaard, Vlaming and Dahlquist 2010)."""
    card = assets.card("bisgaard")
    levels = card["thresholds_db_hl"].get(name)
    if levels is None:
        raise InputError(f"audiogram is {name}, expected one of {', '.join(card['thresholds_db_hl'])}, or a file")
    both = tuple(float(level) for level in levels)
    return Audiogram(name, tuple(float(hz) for hz in card["frequencies_hz"]), both, both)


def read(path: str | Path) -> dict[str, Audiogram]:
    """Listeners by name from a file of audiograms; InputError lists everything wrong with it.

    Clarity's listeners.json: {"L0001": {"audiogram_cfs": [250, …], "audiogram_levels_l": […], "audiogram_levels_r":
    […]}}. CSV: a line for each ear with the columns listener, ear (l or r) and hz250, hz500, …; others are not read.
    Entries for no response and for unmeasured values are read by the rules of `thresholds` and reported on stderr.
    """
    path = Path(path)
    problems: list[str] = []
    notes: list[str] = []
    found = (_read_json if path.suffix.lower() == ".json" else _read_csv)(path, notes, problems)
    if not found and not problems:
        problems.append(f"{path} has no listener, expected one or more; add them")
    if problems:
        raise InputError(tables.in_line_order(problems))
    if notes:
        more = f"; and {len(notes) - NOTES} more" if len(notes) > NOTES else ""
        say(f"{path}: {'; '.join(notes[:NOTES])}{more}")
    return found


def find(which: str, data_root: str | Path | None = None) -> Audiogram:
    """Find normal, a standard audiogram (N3), or a listener of FILE, FILE:LISTENER or DATA_ROOT/clarity (L0200).

    InputError lists what is available.
    """
    if which == "normal":
        return normal()
    if which in assets.card("bisgaard")["thresholds_db_hl"]:
        return bisgaard(which)
    if paths.is_file(Path(which)):
        return _only(Path(which))
    file, colon, listener = which.rpartition(":")
    if colon and paths.is_file(Path(file)):
        return _named(read(file), listener, file)
    if data_root is not None and (known := clarity_listeners(data_root)):
        return _named(known, which, f"{data_root}/clarity")
    standard = ", ".join(assets.card("bisgaard")["thresholds_db_hl"])
    raise InputError(
        f"audiogram {which} not found, expected normal, one of {standard}, a file, or FILE:LISTENER; correct the name"
    )


def clarity_listeners(data_root: str | Path) -> dict[str, Audiogram]:
    """Every listener of DATA_ROOT/clarity: audiograms.csv, and metadata/listeners*.json, which have precedence."""
    folder = Path(data_root) / "clarity"
    found: dict[str, Audiogram] = {}
    for path in (folder / "audiograms.csv", *sorted((folder / "metadata").glob("listeners*.json"))):
        if path.is_file():
            found |= read(path)
    return found


def _only(path: Path) -> Audiogram:
    listeners = read(path)
    if len(listeners) > 1:
        raise InputError(
            f"{path} has {len(listeners)} listeners, expected one; name {path}:{min(listeners)} or another"
        )
    return next(iter(listeners.values()))


def _named(listeners: dict[str, Audiogram], name: str, where: str) -> Audiogram:
    if name not in listeners:
        known = ", ".join(sorted(listeners)[:8]) + (" …" if len(listeners) > 8 else "")
        raise InputError(f"{where} has no listener {name}; name one of {known}")
    return listeners[name]


def _read_json(path: Path, notes: list[str], problems: list[str]) -> dict[str, Audiogram]:
    text = text_files.read(path, "a listeners.json", problems)
    if text is None:
        return {}
    if bad := text_files.bad_lines(text, text_files.line_starts(text)):
        problems += [f"{path}:{line}: {what}" for line, what in bad.items()]
        return {}
    try:
        content = json_lines.parse(text)
    except ValueError as error:
        problems.append(f"{path} is not JSON: {error}; correct it")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path} holds a {type(content).__name__}, expected listeners by name: {{…}}")
        return {}
    found: dict[str, Audiogram] = {}
    for name, entry in content.items():
        keys = ("audiogram_cfs", "audiogram_levels_l", "audiogram_levels_r")
        missing = [key for key in keys if not isinstance(entry, dict) or not isinstance(entry.get(key), list)]
        if missing:
            problems.append(f"{path}: listener {name} lacks {', '.join(missing)}; add a list of numbers for each")
            continue
        frequencies = [tables.number(hz) if isinstance(hz, str) else hz for hz in entry[keys[0]]]
        ears = {ear: (f"{path}", entry[key]) for ear, key in zip(EARS, keys[1:], strict=True)}
        _add(found, name, frequencies, ears, notes, problems)
    return found


def _read_csv(path: Path, notes: list[str], problems: list[str]) -> dict[str, Audiogram]:
    lines = tables.read(path, [("listener", "ear")], problems)
    columns = list(lines[0].cells) if lines else []
    hz: dict[float, str] = {}
    for column in columns:
        if match := HZ_COLUMN.fullmatch(column):
            frequency = float(match[1].replace(",", ".")) * (1000 if match[2] else 1)
            if frequency in hz:
                problems.append(f"{path}:1: columns {hz[frequency]} and {column} are one frequency; take one out")
            hz.setdefault(frequency, column)
    if lines and not hz:
        problems.append(f"{path}:1: no column of a frequency, expected listener,ear,hz250,hz500,…; add them")
        return {}
    rows: dict[str, dict[Ear, tuple[str, Sequence[Any]]]] = {}
    for line in lines:
        name, ear = line.cells["listener"], CSV_EARS.get(line.cells["ear"].lower())
        where = f"{path}:{line.line}: listener {name or '(none)'}"
        if not name or ear is None:
            problems.append(
                f"{where}: ear is {line.cells['ear']!r}, expected l or r, and a listener's name; correct the line"
            )
        elif ear in rows.setdefault(name, {}):
            problems.append(f"{where}: a second line for the {ear} ear, expected one; take one out")
        else:
            rows[name][ear] = (f"{path}:{line.line}", [line.cells[hz[frequency]] for frequency in sorted(hz)])
    found: dict[str, Audiogram] = {}
    for name, ears in rows.items():
        lacking = [ear for ear in EARS if ear not in ears]
        if lacking:
            problems.append(f"{next(iter(ears.values()))[0]}: listener {name} lacks the {lacking[0]} ear; add its line")
            continue
        _add(found, name, sorted(hz), ears, notes, problems)
    return found


def _add(
    found: dict[str, Audiogram],
    name: str,
    frequencies_hz: Sequence[Any],
    ears: Mapping[Ear, tuple[str, Sequence[Any]]],
    notes: list[str],
    problems: list[str],
) -> None:
    """Add the listener with these values per ear, each with its place in the file; else add to `problems`."""
    first = ears["left"][0]
    wrong = [f"{first}: {problem}" for problem in _frequency_problems(name, frequencies_hz)]
    read_as: dict[Ear, list[float | None]] = {}
    for ear in EARS if not wrong else ():
        read_as[ear] = _levels(name, ear, *ears[ear], frequencies_hz, notes, wrong)
    if wrong:
        problems += wrong
        return
    pairs = list(zip(frequencies_hz, read_as["left"], read_as["right"], strict=True))
    kept = tuple(float(hz) for hz, *levels in pairs if levels != [None, None])
    if not kept:
        wrong.append(f"{first}: listener {name}: no threshold was measured; write {thresholds.RULES}")
    full: dict[Ear, tuple[float, ...]] = {}
    for ear in EARS:
        own = [level for hz, level in zip(frequencies_hz, read_as[ear], strict=True) if float(hz) in kept]
        told: list[str] = []
        gaps: list[str] = []
        full[ear] = thresholds.filled(own, kept, told, gaps)
        wrong += [f"{ears[ear][0]}: listener {name}, {ear} ear, {gap}" for gap in gaps]
        notes += [f"listener {name}, {ear} ear, {note}" for note in told]
    problems += wrong
    if not wrong:
        found[name] = Audiogram(name, kept, full["left"], full["right"])


def _levels(
    name: str,
    ear: Ear,
    where: str,
    values: Sequence[Any],
    frequencies_hz: Sequence[Any],
    notes: list[str],
    problems: list[str],
) -> list[float | None]:
    """One ear's thresholds, parsed, None where nothing was measured."""
    said = f"listener {name}, {ear} ear"
    if len(values) != len(frequencies_hz):
        count = f"{len(values)} thresholds, expected {len(frequencies_hz)}, one a frequency"
        problems.append(f"{where}: {said}: {count}; write null where one was not measured")
        return []
    levels: list[float | None] = []
    for hz, value in zip(frequencies_hz, values, strict=True):
        try:
            found = thresholds.threshold(value)
        except ValueError as error:
            problems.append(f"{where}: {said}, {hz:g} Hz: {error}")
            continue
        levels.append(found.db_hl)
        notes += [f"{said}, {hz:g} Hz: {found.note}"] if found.note else []
    return levels


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST


def _frequency_problems(name: str, frequencies_hz: Sequence[Any]) -> list[str]:
    shown = list(frequencies_hz)
    if not shown:
        return [f"listener {name}: frequencies are none, expected one or more; add 250, 500, … Hz"]
    if not all(_is_number(hz) and hz > 0 for hz in shown):
        return [f"listener {name}: frequencies are {shown}, expected numbers above 0 Hz; correct them"]
    if any(later <= earlier for earlier, later in pairwise(shown)):
        return [f"listener {name}: frequencies are {shown}, expected ascending, each once; sort them"]
    return []


def _level_problems(name: str, ear: str, levels: Sequence[Any], frequencies_hz: Sequence[Any]) -> list[str]:
    if len(levels) != len(frequencies_hz):
        want = len(frequencies_hz)
        return [
            f"listener {name}, {ear} ear: {len(levels)} thresholds, expected {want}, one a frequency; add what lacks"
        ]
    low, high = RANGE_DB_HL
    return [
        f"listener {name}, {ear} ear, {hz} Hz: threshold is {level!r}, expected a number from {low:g} to {high:g} dB"
        " HL; correct it"
        for hz, level in zip(frequencies_hz, levels, strict=True)
        if not _is_number(level) or not low <= level <= high
    ]
