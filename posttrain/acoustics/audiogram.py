"""Audiograms: hearing thresholds of both ears in dB HL; the standard ones by name, people's from files."""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from posttrain import assets
from posttrain.errors import InputError

Ear = Literal["left", "right"]
RANGE_DB_HL = (-10.0, 120.0)
"""What audiometers measure (IEC 60645-1)."""
PTA_HZ = (500.0, 1000.0, 2000.0, 4000.0)
AUDIOMETRIC_HZ = (250.0, 500.0, 1000.0, 2000.0, 3000.0, 4000.0, 6000.0, 8000.0)
"""Where Clarity's audiograms are measured; `Audiogram.levels` gives any audiogram there."""
CSV_EARS = {"l": "left", "r": "right", "left": "left", "right": "right"}
HZ_COLUMN = re.compile(r"hz(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Audiogram:
    """Hearing thresholds of one listener; InputError lists everything wrong with them, by the listener's name."""

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
        """dB HL at AUDIOMETRIC_HZ, of the better ear unless named: what networks and simulators take. # (8,)"""
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
    card = _bisgaard_card()
    levels = card["thresholds_db_hl"].get(name)
    if levels is None:
        raise InputError(f"audiogram is {name}, expected one of {', '.join(card['thresholds_db_hl'])}, or a file")
    both = tuple(float(level) for level in levels)
    return Audiogram(name, tuple(float(hz) for hz in card["frequencies_hz"]), both, both)


def read(path: str | Path) -> dict[str, Audiogram]:
    """Listeners by name from a file of audiograms; InputError lists everything wrong with it.

    Clarity's listeners.json: {"L0001": {"audiogram_cfs": [250, …], "audiogram_levels_l": […], "audiogram_levels_r":
    […]}}. CSV: a line for each ear with the columns listener, ear (l or r) and hz250, hz500, …; others are not read.
    A frequency may be left empty in both ears.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not there; name a listeners.json or a CSV with columns listener,ear,hz250,hz500,…")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); save it as UTF-8") from error
    problems: list[str] = []
    found = (_read_json if path.suffix.lower() == ".json" else _read_csv)(path, text, problems)
    if not found and not problems:
        problems.append(f"{path} has no listener, expected one or more; add them")
    if problems:
        raise InputError(problems)
    return found


def find(which: str, data_root: str | Path | None = None) -> Audiogram:
    """A standard audiogram (N3), a listener of a file (FILE or FILE:LISTENER), or of DATA_ROOT/clarity (L0200).

    InputError says what there is instead.
    """
    if which == "normal":
        return normal()
    if which in _bisgaard_card()["thresholds_db_hl"]:
        return bisgaard(which)
    if Path(which).is_file():
        return _only(Path(which))
    file, colon, listener = which.rpartition(":")
    if colon and Path(file).is_file():
        return _named(read(file), listener, file)
    if data_root is not None and (known := clarity_listeners(data_root)):
        return _named(known, which, f"{data_root}/clarity")
    standard = ", ".join(_bisgaard_card()["thresholds_db_hl"])
    raise InputError(
        f"audiogram {which} is not there, expected normal, one of {standard}, a file, or FILE:LISTENER; mend the name"
    )


def clarity_listeners(data_root: str | Path) -> dict[str, Audiogram]:
    """Every listener of DATA_ROOT/clarity: audiograms.csv, and metadata/listeners*.json, which come first."""
    folder = Path(data_root) / "clarity"
    found: dict[str, Audiogram] = {}
    for path in (folder / "audiograms.csv", *sorted((folder / "metadata").glob("listeners*.json"))):
        if path.is_file():
            found |= read(path)
    return found


def _bisgaard_card() -> dict[str, Any]:
    return yaml.safe_load(assets.path("data", "bisgaard").read_text(encoding="utf-8"))


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


def _read_json(path: Path, text: str, problems: list[str]) -> dict[str, Audiogram]:
    try:
        content = json.loads(text)
    except ValueError as error:
        problems.append(f"{path} is not JSON ({error}); mend it")
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
        _add(found, path, name, [entry[key] for key in keys], problems)
    return found


def _read_csv(path: Path, text: str, problems: list[str]) -> dict[str, Audiogram]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", skipinitialspace=True)
    columns = [name.strip().lower() for name in reader.fieldnames or []]
    reader.fieldnames = columns
    hz = {float(match[1]): name for name in columns if (match := HZ_COLUMN.fullmatch(name))}
    if not {"listener", "ear"} <= set(columns) or not hz:
        shown = ",".join(columns) or "none"
        problems.append(f"{path}:1: columns are {shown}, expected listener,ear,hz250,hz500,… ; mend the header")
        return {}
    rows: dict[str, dict[str, list[str]]] = {}
    for row in reader:
        name, ear = row["listener"].strip(), CSV_EARS.get(row["ear"].strip().lower())
        where = f"{path}:{reader.line_num}: listener {name or '(none)'}"
        if not name or ear is None:
            problems.append(f"{where}: ear is {row['ear']!r}, expected l or r, and a listener's name; mend the line")
        elif ear in rows.setdefault(name, {}):
            problems.append(f"{where}: a second line for the {ear} ear, expected one; take one out")
        else:
            rows[name][ear] = [row[column].strip() for column in hz.values()]
    found: dict[str, Audiogram] = {}
    for name, ears in rows.items():
        lacking = [ear for ear in ("left", "right") if ear not in ears]
        if lacking:
            problems.append(f"{path}: listener {name} lacks the {lacking[0]} ear; add its line")
            continue
        cells = [c for c in zip(hz, ears["left"], ears["right"], strict=True) if c[1] or c[2]]
        _add(found, path, name, [list(column) for column in zip(*cells, strict=True)] or [[], [], []], problems)
    return found


def _add(
    found: dict[str, Audiogram], path: Path, name: str, columns: Sequence[Sequence[Any]], problems: list[str]
) -> None:
    """Columns: frequencies, left, right."""
    try:
        frequencies, left, right = (tuple(_number(value) for value in column) for column in columns)
        found[name] = Audiogram(name, frequencies, left, right)
    except InputError as error:
        problems += [f"{path}: {problem}" for problem in error.problems]


def _number(value: Any) -> Any:
    """A number where the value is one, the value itself where not: the audiogram names it."""
    if isinstance(value, bool):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _frequency_problems(name: str, frequencies_hz: Sequence[Any]) -> list[str]:
    shown = list(frequencies_hz)
    if not shown:
        return [f"listener {name}: frequencies are none, expected one or more; add 250, 500, … Hz"]
    if not all(_is_number(hz) and hz > 0 for hz in shown):
        return [f"listener {name}: frequencies are {shown}, expected numbers above 0 Hz; mend them"]
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
        " HL; mend it"
        for hz, level in zip(frequencies_hz, levels, strict=True)
        if not _is_number(level) or not low <= level <= high
    ]
