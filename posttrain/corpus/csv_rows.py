"""CSV files that people give: every row with the line it begins on, and what is wrong with the file."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from posttrain.errors import InputError


def text_of(path: Path, columns: str) -> str:
    """The file's text; InputError where it cannot be read as UTF-8. `columns`: what it should have, in words."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; give a CSV file in UTF-8 with columns {columns}") from error


def rows(
    path: Path, text: str, missing: Callable[[Sequence[str]], Sequence[str]], problems: list[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line on which the row begins, counted from 1; cells by column).

    missing: header → the columns that it lacks; where there are some, there are no rows. Problems are added to
    `problems`: missing columns, rows of another length, text that is not CSV from some line on.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        lacking = missing(header)
        if lacking and text.strip():
            problems.append(f"{path}:1: no column {', '.join(lacking)} among {', '.join(header)}; add it to the header")
        if lacking:
            return
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                problems.append(f"{path}:{line}: {len(cells)} cells, expected {len(header)}; quote texts with commas")
            elif cells:
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append(f"{path}:{line}: not CSV from this line on ({error}); mend its quotes")
