"""The `audiofolder` of Hugging Face datasets: metadata.csv or metadata.jsonl with file_name and a text, in the folder
or in one folder a split."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import LOOKED_AT, Files, folders, is_audio, listing
from posttrain.readers import json_lines, tables

TABLES = ("metadata.csv", "metadata.jsonl")
TEXTS = ("text", "transcription", "sentence", "transcript", "normalized_text")
SPEAKERS = ("speaker_id", "speaker", "client_id")
SPLIT = re.compile(r"train(ing)?|dev|valid(ation)?|val|test(ing)?|eval(uation)?", re.IGNORECASE)
"""Names of folders that are splits."""


def found(root: Path) -> bool:
    """Whether a table of metadata is in the folder, in one in it, or in one in its data/."""
    return bool(_tables(root, LOOKED_AT))


def _tables(root: Path, most: int | None = None) -> list[Path]:
    places = [root, *folders(root, most), *folders(root / "data", most)]
    return [folder / name for folder in places for name in TABLES if (folder / name).is_file()]


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries of every table. The card may name the columns: `columns: {text: …, speaker: …}`."""
    files, wanted = Files(root), card.get("kind", "speech") == "speech"
    for table in _tables(root):
        inside = table.parent.relative_to(root).as_posix()
        before, listed = "" if inside == "." else f"{inside}/", set()
        for line, cells in _rows(table, problems):
            written = cells.pop("file_name", "")
            text, speaker = column(cells, card, "text", TEXTS), column(cells, card, "speaker", SPEAKERS)
            if text is None and wanted:
                there = tables.shown(", ".join(sorted(cells)))
                problems.append(
                    f"{table}:{line}: no column {', '.join(TEXTS)} among {there}; add one, or name it on the card:"
                    " `columns: {text: …}`"
                )
                break
            listed.add(written)
            name = before + written if written and written[0] != "/" else written
            split = next((part for part in Path(name).parts[:-1] if SPLIT.fullmatch(part)), None) or cells.get("split")
            if split is None and inside not in (".", "data"):
                split = table.parent.name
            yield Entry(table, line, name, text or "", speaker, split, values=cells, there=files.there(name))
        places = sorted({"", *(name.rpartition("/")[0] for name in listed)})
        unlisted = (
            f"{place}/{name}".lstrip("/")
            for place in (places if card.get("unlisted") != "ignore" else ())
            for name in sorted(filter(is_audio, listing(table.parent / place)))
        )
        problems += [
            f"{table.parent / name} is not in {table.name}; add it, or let the card say `unlisted: ignore`"
            for name in unlisted
            if name not in listed
        ]


def column(cells: Mapping[str, str], card: Mapping[str, Any], name: str, usual: tuple[str, ...]) -> str | None:
    """The cell of the column that the card names for it, or of the first usual one; None without such a column."""
    named = card.get("columns", {}).get(name)
    return next((cells[each] for each in ((named,) if named else usual) if each in cells), None)


def _rows(table: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    if table.suffix == ".csv":
        for row in tables.read(table, [("file_name",)], problems):
            yield row.line, row.cells
        return
    for line, values in json_lines.each(table, "an object with file_name and a text on each line", problems):
        if not isinstance(values.get("file_name"), str):
            problems.append(f"{table}:{line}: file_name is {values.get('file_name')!r}, expected a path; correct it")
            continue
        yield line, {key: "" if value is None else str(value) for key, value in values.items()}
