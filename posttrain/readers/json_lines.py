"""Strict reader of JSON and JSON lines from users; problems are reported by line.

A line ends at LF, CRLF or CR and at nothing else: U+2028 and the like are ordinary characters of a JSON string. A byte
order mark and blank lines are skipped.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from posttrain.readers import text_lines

LARGEST_DOCUMENT = 1 << 26
"""Bytes of a file that is read whole to see whether it is one JSON document."""


def parse(text: str) -> Any:
    """The JSON value of a text.

    ValueError also for what Python's parser accepts (duplicate keys, NaN and infinities, half a surrogate pair, a NUL)
    and for nesting too deep to read.
    """
    try:
        value = _DECODER.decode(text)
        if "\\" in text or not text.isascii():
            _check_strings(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def each(path: Path, wanted: str, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of every valid line; problems with the file and other lines are added to `problems`, last.

    `wanted` describes the expected file, for messages. A name that ends in .gz is unpacked.
    """
    wrong: list[str] = []
    for number, line, bad in text_lines.read(path, wanted, problems, lost=False):
        what, value = bad, dict[str, Any]()
        try:
            value = parse(line) if bad is None else value
        except ValueError as error:
            what = f"{error}; correct or remove it"
        if what is None and not isinstance(value, dict):
            what = f"it is a {type(value).__name__}; write {{…}} on each line"
        if what is None:
            yield number, value
        else:
            wrong.append(f"{path}, line {number} is not a JSON object: {what}")
    if len(wrong) > 1 and _is_one_document(path):
        wrong = [f"{path} is one JSON document over several lines; write one object a line (jq -c '.[]' does it)"]
    problems += wrong


def values(path: Path) -> list[Any]:
    """The values of a JSON-lines file that the project itself wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _is_one_document(path: Path) -> bool:
    try:
        if path.stat().st_size > LARGEST_DOCUMENT:
            return False
        json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"the key {', '.join(map(repr, twice))} is there more than once; keep one")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number; write null, or take it out")


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is too large a number")
    return value


def _check_strings(value: Any) -> None:
    inside: Iterable[Any] = ()
    if isinstance(value, dict):
        inside = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        inside = value
    elif isinstance(value, str) and "\0" in value:
        raise ValueError(f"{value[:40]!r} holds a NUL character; take it out")
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"{value[:40]!r} holds half a surrogate pair; write the whole character")
    for each in inside:
        _check_strings(each)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
