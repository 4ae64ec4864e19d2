"""A CSV or TSV file with columns path, text and, if wanted, split, speaker, channel; for segments offset_s, duration_s.

A file named .jsonl holds the same as JSON lines: an object a row, whose keys are the columns.
Without a column offset_s, duration_s is taken as a remark about the whole file.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.readers import json_lines, tables

NAMES = ("manifest.csv", "manifest.tsv", "manifest.jsonl")
OTHERWISE = {"offset": "offset_s", "duration": "duration_s", "audio_filepath": "path"}
"""What others call a column in JSON lines → its name here."""
COLUMNS = ("path", "text", "speaker", "split", "channel", "offset_s", "duration_s")


def found(root: Path) -> bool:
    """Whether the folder holds manifest.csv or manifest.tsv."""
    return any((root / name).is_file() for name in NAMES)


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries of the card's manifest; without one, of manifest.csv or manifest.tsv."""
    name = card.get("manifest") or next((n for n in NAMES if (root / n).is_file()), NAMES[0])
    return entries(root / name, card.get("kind", "speech") == "speech", problems)


def entries(path: Path, text: bool, problems: list[str]) -> Iterator[Entry]:
    """Entries of one table; `text`: the column text is required."""
    for row in _rows(path, ("path", "text") if text else ("path",), problems):
        cells = row.cells
        wrong: list[str] = []
        offset_s = _number(cells, "offset_s", wrong) or 0.0
        duration_s = _number(cells, "duration_s", wrong) if "offset_s" in cells else None
        channel = _number(cells, "channel", wrong)
        if channel is not None and not channel.is_integer():
            wrong.append(f"channel is {cells['channel']}, expected 0, 1, …; correct it")
        problems += [f"{path}:{row.line}: {what}" for what in wrong]
        if not wrong:
            yield Entry(
                path,
                row.line,
                cells["path"],
                cells.get("text", ""),
                cells.get("speaker"),
                cells.get("split"),
                offset_s,
                duration_s,
                None if channel is None else int(channel),
                cells,
            )


def _rows(path: Path, columns: tuple[str, ...], problems: list[str]) -> Iterator[tables.Row]:
    """The rows that have all `columns`; what is wrong with others is added to `problems`."""
    if path.suffix.lower() != ".jsonl":
        yield from tables.read(path, [columns], problems)
        return
    known, empty = len(problems), True
    for line, values in json_lines.each(path, f"a file of JSON lines with {', '.join(columns)}", problems):
        empty = False
        wrong = [f"{name} is missing; add it" for name in columns if values.get(name) is None]
        wrong += [
            f"{name} is {tables.shown(str(value))}, expected a text or a number; correct it"
            for name in COLUMNS
            if isinstance(value := values.get(name), bool) or not isinstance(value, str | int | float | None)
        ]
        wrong += [
            f"{other} is given, expected {name}; rename it"
            for other, name in OTHERWISE.items()
            if other in values and name not in values
        ]
        problems += [f"{path}:{line}: {what}" for what in wrong]
        if not wrong:
            cells = {n: tables.stripped(str(v)) for n, v in values.items() if isinstance(v, str | int | float)}
            yield tables.Row(line, cells)
    if empty and len(problems) == known:
        problems.append(f"{path} has no rows, expected an object with {', '.join(columns)} on each line; add them")


def _number(cells: Mapping[str, str], column: str, wrong: list[str]) -> float | None:
    written = cells.get(column, "")
    value = tables.number(written) if written else None
    if written and (value is None or value < 0):
        wrong.append(f"{column} is {tables.shown(written)}, expected a number of 0 or more; correct it")
        return None
    return value
