"""A CSV or TSV file with columns path, text and, if wanted, split, speaker, channel; for segments offset_s, duration_s.

Without a column offset_s, duration_s is taken as a remark about the whole file.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.readers import tables

NAMES = ("manifest.csv", "manifest.tsv")


def found(root: Path) -> bool:
    """Whether the folder holds manifest.csv or manifest.tsv."""
    return any((root / name).is_file() for name in NAMES)


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries of the card's manifest; without one, of manifest.csv or manifest.tsv."""
    name = card.get("manifest") or next((n for n in NAMES if (root / n).is_file()), NAMES[0])
    return entries(root / name, card.get("kind", "speech") == "speech", problems)


def entries(path: Path, text: bool, problems: list[str]) -> Iterator[Entry]:
    """Entries of one table; `text`: the column text is required."""
    for row in tables.read(path, [("path", "text") if text else ("path",)], problems):
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


def _number(cells: Mapping[str, str], column: str, wrong: list[str]) -> float | None:
    written = cells.get(column, "")
    value = tables.number(written) if written else None
    if written and (value is None or value < 0):
        wrong.append(f"{column} is {tables.shown(written)}, expected a number of 0 or more; correct it")
        return None
    return value
