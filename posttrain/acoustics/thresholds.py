"""Reads hearing thresholds as clinics write them: numbers, no response, not tested; fills gaps from neighbours.

The rules, which `RULES` states for messages:

1. A number is dB HL; a decimal comma and the unit dB or dB HL are allowed.
2. No response at the audiometer's limit (`>110`, `>=110`, `110+`, `110 NR`) is that limit plus one step of 5 dB, at
   most 120 dB HL. `NR` without the limit is 120 dB HL, the top of what audiometers measure.
3. `<0` is 0: the tone was heard at the lowest level that was tested.
4. An empty cell, `null`, a dash, `NT`, `DNT`, `CNT` or `NA` means not measured. A frequency that neither ear has is
   left out. A value that one ear lacks is interpolated, linear in dB over log frequency as everywhere else, between
   thresholds at most one octave away on each side; beyond the ear's lowest or highest threshold it equals that one,
   which may be at most one octave away.

Rules 2 to 4 are conventions of this project; each value that they give is reported.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posttrain.readers import tables

RANGE_DB_HL = (-10.0, 120.0)
"""Range of audiometers (IEC 60645-1)."""
STEP_DB = 5.0
"""Step of clinical audiometry (ISO 8253-1)."""
OCTAVE = 2.0
RULES = "a number of dB HL, NR or >110 for no response, or nothing where it was not measured"
NOT_MEASURED = frozenset(
    {"", "-", "–", "—", "−", "--", "nt", "dnt", "cnt", "na", "n/a", "n.a.", "nan", "none", "null"}
    | {"not tested", "did not test", "could not test", "not measured", "untested"}
)
NO_RESPONSE = r"(?:nr|n\.r\.|no response)"
_LIMIT = re.compile(rf"(?:>=?|≥|↓)\s*(\S+)|(\S+?)\s*(?:\+|↓|{NO_RESPONSE})|{NO_RESPONSE}\s*(?:at|@|>=?|≥)?\s*(\S+)")
_HEARD = re.compile(r"(?:<=?|≤)\s*(\S+)")
_UNIT = re.compile(r"(?<=\d)\s*db(\s*hl)?(?=\s*(nr|\+)?$)")


@dataclass(frozen=True)
class Threshold:
    """A parsed cell."""

    db_hl: float | None
    """None if it was not measured."""
    note: str = ""
    """How it was read, if it is not a plain number."""


def threshold(value: Any) -> Threshold:
    """Parse a table cell or a JSON value as a threshold; ValueError says what to write instead."""
    if value is None:
        return Threshold(None)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"threshold is {value!r}, expected {RULES}")
    if not isinstance(value, str):
        return Threshold(_checked(_float(value), value))
    text = _UNIT.sub("", re.sub(r"[()\s]+", " ", tables.stripped(value).lower()).strip())
    if text in NOT_MEASURED:
        return Threshold(None)
    if (plain := _number(text)) is not None:
        return Threshold(_checked(plain, value))
    high = RANGE_DB_HL[1]
    if re.fullmatch(NO_RESPONSE, text):
        return Threshold(high, f"{value}, no response, read as {high:g}")
    limit = _LIMIT.fullmatch(text)
    if limit and (at := _number(next(filter(None, limit.groups())))) is not None:
        level = min(_checked(at, value) + STEP_DB, high)
        return Threshold(level, f"{value}, no response, read as {level:g}")
    heard = _HEARD.fullmatch(text)
    if heard and (at := _number(heard[1])) is not None:
        return Threshold(level := _checked(at, value), f"{value} read as {level:g}")
    raise ValueError(f"threshold is {value!r}, expected {RULES}")


def filled(
    levels: Sequence[float | None], frequencies_hz: Sequence[float], notes: list[str], problems: list[str]
) -> tuple[float, ...]:
    """One ear's thresholds with gaps filled (rule 4); a gap too far from a measured one is added to `problems`."""
    known = {hz: level for hz, level in zip(frequencies_hz, levels, strict=True) if level is not None}
    if not known and frequencies_hz:
        problems.append("no threshold was measured; give both ears")
        return ()
    made = []
    for hz in frequencies_hz:
        below, above = (
            max((f for f in known if f <= hz), default=None),
            min((f for f in known if f >= hz), default=None),
        )
        if any(side is not None and max(side / hz, hz / side) > OCTAVE for side in (below, above)):
            problems.append(f"{hz:g} Hz: not measured, nor within an octave of it on both sides; write {RULES}")
            continue
        made.append(float(np.interp(math.log(hz), np.log(list(known)), list(known.values()))))
        if hz not in known:
            notes.append(f"{hz:g} Hz: not measured, taken from its neighbours as {made[-1]:g}")
    return tuple(made)


def _number(text: str) -> float | None:
    found = tables.number(text)
    return tables.decimal_comma(text) if found is None else found


def _float(value: float) -> float:
    """The number; infinite where it is too large for a float."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _checked(level: float, written: Any) -> float:
    low, high = RANGE_DB_HL
    if low <= level <= high:  # false for NaN
        return level
    hint = {666: "; 666 stands for no response in NHANES: write NR", 888: "; 888 stands for not measured in NHANES"}
    fix = hint.get(int(level), "; correct it, or write NR for no response") if math.isfinite(level) else "; correct it"
    raise ValueError(f"threshold is {written!r}, expected a number from {low:g} to {high:g} dB HL{fix}")
