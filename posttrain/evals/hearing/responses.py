"""Listeners' responses: a CSV of words correct with HASPI, in the format of the Clarity prediction challenge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posttrain.acoustics import audiogram
from posttrain.acoustics.audiogram import Audiogram
from posttrain.errors import InputError, collecting
from posttrain.readers import tables

HASPI = "haspi_better_ear_precomputed"
REQUIRED = ("listener", "correctness", HASPI)


@dataclass(frozen=True)
class Response:
    """One sentence that one listener heard and repeated."""

    line: int
    """Line in the file, counted from 1."""
    listener: str
    correct: float
    """Share of words repeated correctly, 0 to 1."""
    haspi: float | None
    """HASPI of the better ear, 0 to 1; None if the file has none."""
    system: str
    """The hearing aid that processed it; empty if unknown."""
    scene: str
    """Sentence and noise; empty if unknown."""


def read(path: Path) -> list[Response]:
    """The file's rows; InputError lists every bad row, and a file without rows or without any HASPI.

    Columns: listener, correctness (percent), haspi_better_ear_precomputed (may be empty); system and scene if known;
    other columns are ignored.
    """
    problems: list[str] = []
    first: dict[tuple[str, ...], int] = {}
    rows = []
    for row in tables.read(path, [REQUIRED], problems):
        response = _response(f"{path}:{row.line}", row, problems)
        if response is None:
            continue
        rows.append(response)
        copied = first.setdefault(tuple(row.cells.values()), row.line)
        if copied != row.line and response.system and response.scene:
            problems.append(f"{path}:{row.line}: the same as line {copied}, cell by cell; take one of the two out")
    if rows and not problems and all(row.haspi is None for row in rows):
        problems.append(f"{path}: {HASPI} is empty in all {len(rows)} rows, expected some; compute HASPI and add it")
    if problems:
        raise InputError(tables.in_line_order(problems))
    return rows


def load(
    path: Path, listeners: Sequence[Path] = (), data_root: Path | None = None
) -> tuple[list[Response], dict[str, Audiogram]]:
    """The file's rows, and the audiogram of every listener with a HASPI row; InputError lists what is wrong."""
    rows: list[Response] = []
    known: dict[str, Audiogram] = {}
    problems: list[str] = []
    with collecting(problems):
        rows = read(path)
    with collecting(problems):
        known = audiograms([row for row in rows if row.haspi is not None], listeners, data_root, path)
    if problems:
        raise InputError(problems)
    return rows, known


def audiograms(
    responses: Sequence[Response], files: Sequence[Path], data_root: Path | None, source: Path
) -> dict[str, Audiogram]:
    """The audiogram of every listener: from the files, else DATA_ROOT/clarity, else audiograms.csv beside `source`.

    InputError names every listener without one, and lists what is wrong with a file.
    """
    beside = source.parent / "audiograms.csv"
    known = audiogram.read(beside) if beside.is_file() else {}
    known |= audiogram.clarity_listeners(data_root) if data_root is not None else {}
    problems: list[str] = []
    for file in files:
        with collecting(problems):
            known |= audiogram.read(file)
    looked = [str(file) for file in files]
    looked.append(str(data_root / "clarity") if data_root is not None else "DATA_ROOT/clarity, which is not set")
    first = {row.listener: row.line for row in reversed(responses)}
    problems += [
        f"{source}:{line}: listener {name} has no audiogram (looked in {', '.join(looked)}); give --listeners FILE.json"
        " with it, or --data-root"
        for name, line in sorted(first.items())
        if name not in known
    ]
    if problems:
        raise InputError(problems)
    return {name: known[name] for name in first}


def _response(where: str, row: tables.Row, problems: list[str]) -> Response | None:
    values, before = row.cells, len(problems)
    correct = _number(where, "correctness", values["correctness"], 100, "%", problems)
    haspi = _number(where, HASPI, values[HASPI], 1, "", problems) if values[HASPI] else None
    if not values["listener"]:
        problems.append(f"{where}: listener is empty, expected a name; add it")
    if len(problems) > before or correct is None:
        return None
    system, scene = values.get("system", ""), values.get("scene", "")
    return Response(row.line, values["listener"], correct / 100, haspi, system, scene)


def _number(where: str, name: str, value: str, most: float, unit: str, problems: list[str]) -> float | None:
    number = tables.number(value)
    if number is not None and 0 <= number <= most:
        return number
    fix = "correct it"
    if tables.decimal_comma(value) is not None:
        fix = f"write it with a point: {value.replace(',', '.')}"
    elif tables.number(value.removesuffix("%").rstrip()) is not None and value.endswith("%"):
        fix = "write it without %"
    elif name == HASPI:
        fix = "correct it, or leave it empty where HASPI is not known"
    problems.append(f"{where}: {name} is {value!r}, expected a number from 0 to {most:g}{unit}; {fix}")
    return None
