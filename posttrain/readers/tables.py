"""Strict reader of CSV and TSV tables from users, which lists everything wrong with a file, line by line.

Every row has as many cells as the header. Cells are separated by commas, in a file named .tsv by tabs. A cell that
contains the separator, a quote or a line break is quoted, and a quote inside it is written twice (RFC 4180). Blank
lines are skipped; comments are not supported. A line ends at LF, CRLF or CR, and at nothing else.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from posttrain.readers import text_files
from posttrain.readers.text_files import LINE_END

LONGEST_CELL = 131_072
"""Characters; a longer cell means that rows ran together."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_QUOTED = re.compile(r'[ \xa0]*"([^"]*(?:""[^"]*)*)"(?!")[ \xa0]*')
_PLAIN = {separator: re.compile(rf'[^"\r\n{re.escape(separator)}]*') for separator in SEPARATORS}
_BLANK = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u200e\u200f\u2060\ufeff"
_NUMBER = re.compile(r"[-+−]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[-+−]?\d+,\d{1,2}", re.ASCII)
_PLACE = re.compile(r"(?::|, line )(\d+)[: ]")
_SHOWN = 60


@dataclass(frozen=True)
class Row:
    """One row below the header."""

    line: int
    """The line on which it begins, counted from 1."""
    cells: dict[str, str]
    """Column name in lower case → cell."""


@dataclass(frozen=True)
class _Record:
    line: int
    last: int
    """The line on which it ends."""
    cells: list[str]
    problem: str | None
    """Why the record is not CSV."""


def read(
    path: Path,
    formats: Sequence[Sequence[str]],
    problems: list[str],
    multiline: bool = False,
    as_written: Collection[str] = (),
) -> list[Row]:
    """The table's valid rows; problems with the file and with other rows are added to `problems`, in line order.

    formats: the required columns, in lower case; of several formats, the first whose first column is present. Other
    columns are read too. multiline: quoted cells may contain line breaks; otherwise a line break means that a quote is
    missing. as_written: columns whose cells keep the white space around them.
    """
    text = text_files.read(path, f"a CSV file with columns {'; or '.join(map(','.join, formats))}", problems)
    if text is None:
        return []
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    found: dict[int, str] = text_files.bad_lines(text, starts := text_files.line_starts(text), lost=not multiline)
    rows: list[Row] = []
    records = _records(text, starts, separator, multiline)
    header_record = next(records, None)
    if header_record is not None:
        header = [stripped(name).lower() for name in header_record.cells]
        written = _line(text, starts, header_record.line)
        what = _separator_problem(header, written, formats, separator)
        what = what or header_record.problem or _header_problem(header, written, formats)
        if what:
            found.setdefault(header_record.line, what)
        else:
            rows = _rows(header, records, separator, found, as_written)
    problems += [f"{path}:{line}: {found[line]}" for line in sorted(found)]
    if not rows and not found:
        columns = ",".join(formats[0])
        problems.append(f"{path} has no rows, expected a header with {columns} and a line below it for each; add them")
    return rows


def in_line_order(problems: Sequence[str]) -> list[str]:
    """Sort the problems of one file by the line that each names; those of the whole file come first."""
    return sorted(problems, key=lambda problem: int(found[1]) if (found := _PLACE.search(problem)) else 0)


def stripped(text: str) -> str:
    """The text without white space around it, non-breaking and zero-width space included."""
    return text.strip(_BLANK)


def number(text: str) -> float | None:
    """The text as a decimal number, with a typographic minus allowed; None if it is not one, or too large for one."""
    value = float(text.replace("−", "-")) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def decimal_comma(text: str) -> float | None:
    """The text as a number with a decimal comma, such as 35,5; None if it is not one."""
    return float(text.replace("−", "-").replace(",", ".")) if _DECIMAL_COMMA.fullmatch(text) else None


def swallowed(cell: str, ends: Collection[str]) -> str | None:
    """The problem with a cell that contains the end of another row: a line that ends in a comma and one of `ends`."""
    inner = LINE_END.split(cell)[:-1]
    if any(line.rstrip().endswith(tuple(f",{end}" for end in ends)) for line in inner):
        return f"the cell {shown(cell)} holds the end of a row; a quote that opens here is not closed on its line"
    return None


def shown(text: str) -> str:
    """A value for a message: quoted, and shortened if it is long."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def _rows(
    header: list[str],
    records: Iterator[_Record],
    separator: str,
    found: dict[int, str],
    as_written: Collection[str],
) -> list[Row]:
    """Rows of the valid records without bad characters; problems are added to `found`."""
    rows = []
    for record in records:
        bad = any(line in found for line in range(record.line, record.last + 1))
        cells = dict(zip(header, record.cells, strict=False))
        cells = {name: cell if name in as_written else stripped(cell) for name, cell in cells.items()}
        what = record.problem or _row_problem(header, record.cells, separator)
        if what:
            found.setdefault(record.line, what)
        elif not bad:
            rows.append(Row(record.line, cells))
    return rows


def _separator_problem(header: list[str], line: str, formats: Sequence[Sequence[str]], separator: str) -> str | None:
    """The problem with a header that has the columns but another separator."""
    if any(set(columns) <= set(header) for columns in formats):
        return None
    for other, name in SEPARATORS.items():
        columns = {stripped(cell).strip('"').strip().lower() for cell in line.split(other)}
        if other != separator and any(set(each) <= columns for each in formats):
            fix = ", or name the file .tsv" if other == "\t" else ""
            fix = ", or name the file .csv" if separator == "\t" else fix
            return f"cells are separated by {name}, expected {SEPARATORS[separator]}; save it with them{fix}"
    return None


def _header_problem(header: list[str], line: str, formats: Sequence[Sequence[str]]) -> str | None:
    wanted = next((columns for columns in formats if columns[0] in header), formats[0])
    lacking = [name for name in wanted if name not in header]
    if lacking and line.lower().startswith("sep="):
        return f"{line!r} is a hint for Excel, not a header; delete this line, and separate cells with commas"
    if lacking and line.startswith("#"):
        return f"{shown(line)} is a comment, expected the header with {','.join(wanted)}; delete this line"
    if lacking:
        there = shown(", ".join(header))[1:-1]
        what = f"no column {', '.join(lacking)} among {there}; expected {','.join(wanted)} in a header on this line"
        others = [name for separator, name in SEPARATORS.items() if separator in line] if len(header) == 1 else []
        return (
            f"{what}; its cells seem to be separated by {others[0]}, expected commas (tabs in a .tsv)"
            if others
            else what
        )
    problems = [
        f"column {place} has no name; name it or take it out" for place, name in enumerate(header, 1) if not name
    ]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    problems += [f"column {name} is there {header.count(name)} times; rename or remove all but one" for name in twice]
    return "; ".join(problems) or None


def _row_problem(header: list[str], cells: Sequence[str], separator: str) -> str | None:
    line = separator.join(cells)
    if len(cells) == len(header):
        long = [name for name, cell in zip(header, cells, strict=True) if len(cell) > LONGEST_CELL]
        if [stripped(cell).lower() for cell in cells] == header:
            return "the header again; delete this line"
        return f"{long[0]} has over {LONGEST_CELL:,} characters; shorten it" if long else None
    for other, name in SEPARATORS.items():
        if len(cells) == 1 and other != separator and len(line.split(other)) == len(header) > 1:
            return (
                f"cells are separated by {name}, expected {SEPARATORS[separator]} as in the header; save it with them"
            )
    what = f"{len(cells)} cells, expected {len(header)} as in the header: {shown(line)}"
    if line.startswith("#"):
        return f"{what}; comments are not read, delete this line"
    if len(cells) < len(header):
        return f"{what}; add what is missing (an empty cell keeps its separator)"
    return f"{what}; put quotes around a cell that holds {SEPARATORS[separator]}"


def _records(text: str, starts: Sequence[int], separator: str, multiline: bool) -> Iterator[_Record]:
    """Yield the records that are not blank. After a bad one, continue on the next line, or stop if cells may contain
    line breaks."""
    place = 0
    while place < len(text):
        line = bisect_right(starts, place)
        cells, end, problem, opened = _record(text, place, starts, separator, multiline)
        if problem:
            yield _Record(opened, opened, cells, problem)
            if multiline or opened >= len(starts):
                return
            place = starts[opened]
            continue
        if any(stripped(cell) for cell in cells):
            yield _Record(line, max(line, bisect_right(starts, end - 1)), cells, None)
        ended = LINE_END.match(text, end)
        place = ended.end() if ended else len(text)


def _record(
    text: str, place: int, starts: Sequence[int], separator: str, multiline: bool
) -> tuple[list[str], int, str | None, int]:
    """Cells from `place` on, where they end, the problem if there is one, and the line on which it begins."""
    cells: list[str] = []
    while True:
        line = bisect_right(starts, place)
        quoted = _QUOTED.match(text, place)
        plain = _PLAIN[separator].match(text, place)
        assert plain is not None  # it matches the empty text
        cells.append(quoted[1].replace('""', '"') if quoted else plain[0])
        end = quoted.end() if quoted else plain.end()
        last = bisect_right(starts, max(end - 1, place))
        after = text[end : end + 1]
        problem = None
        if quoted and after not in ("", separator, "\r", "\n"):
            problem = "text follows a closing quote" if last == line else _not_closed(line, last)
            if last == line and after in SEPARATORS:
                problem = f"cells are separated by {SEPARATORS[after]}, expected {SEPARATORS[separator]}"
        elif after == '"':
            problem = "the quote that opens here is never closed" if not stripped(plain[0]) else "a quote inside a cell"
        elif quoted and last > line and not multiline:
            problem = _not_closed(line, last)
        if problem:
            fix = "close it; inside a quoted cell write each quote twice"
            start = "not CSV from this line on: " if multiline else ""
            return cells, end, f"{start}{problem}: {shown(_line(text, starts, line))}; {fix}", line
        if after != separator:
            return cells, end, None, line
        place = end + 1


def _not_closed(line: int, last: int) -> str:
    return f"the quote that opens here is not closed on its line (the next quote is on line {last})"


def _line(text: str, starts: Sequence[int], number: int) -> str:
    end = starts[number] if number < len(starts) else len(text)
    return text[starts[number - 1] : end].rstrip("\r\n")
