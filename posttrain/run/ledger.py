"""The ledger: one JSON line per evaluated stage, validated, written atomically.

A torn last line is dropped; other crash damage is repaired from the stages' own metrics.json.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain import files
from posttrain.corpus import former_names
from posttrain.errors import InputError
from posttrain.machine import lock
from posttrain.machine.device import say


@dataclass(frozen=True)
class Row:
    """One evaluated stage: its checkpoint, options and figures."""

    run: str
    """Name of the run's folder."""
    stage: str
    """Name of the node, such as sft or base@nf4."""
    checkpoint: str
    """Its folder, relative to the project."""
    parents: dict[str, str]
    """Role → checkpoint."""
    config: dict[str, Any]
    """Options the stage ran with."""
    code: str
    """Version of the code."""
    base: str
    """Where the language model comes from."""
    data: str
    """Fingerprint of the corpus."""
    seed: int
    """Seed of everything random."""
    device: str
    """cpu or cuda."""
    started: str
    """Start time in ISO 8601, with time zone."""
    wall_s: float
    """Seconds of training; encoding of frames and evaluation are not in it."""
    train_metrics: dict[str, Any]
    """What the stage reported about its training."""
    metrics: dict[str, dict[str, Any]]
    """Name → value, n, ci95, delta_vs_base, …; cost/* has value alone."""

    def __post_init__(self) -> None:
        problems = [*_wrong_types(self), *_not_finite(self.train_metrics, "train_metrics")]
        if not problems:
            problems = [p for name, metric in self.metrics.items() for p in _wrong_metric(name, metric)]
        if problems:
            raise ValueError("; ".join(problems))

    def as_dict(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return dataclasses.asdict(self)


def read(path: Path | str) -> list[Row]:
    """The rows, in order; none if there is no ledger. A last line cut off by a kill is left out.

    If the file is empty or a line is broken, missing rows are taken from the metrics.json of the stages beside it, and
    a message says so. Raises InputError that names the file and line of anything that is not a row and cannot be
    replaced this way.
    """
    path = Path(path)
    if not path.is_file():
        return []
    state = _state(path)
    if not state.lost:
        return state.rows
    rebuilt = _from_stages(path.parent, state.rows)
    if state.broken and not rebuilt:
        raise InputError(state.broken)
    if rebuilt:
        names = ", ".join(row.stage for row in rebuilt)
        say(f"! {state.lost}: {names} taken from the stages' metrics.json; the run's command writes the ledger again")
    return state.joined(rebuilt)


def repair(path: Path | str) -> None:
    """Rewrite a ledger that a crash emptied or broke, from its remaining rows and the stages' own metrics.json.

    Only for the command that holds the run's lock and will then put the rows it knows of.
    """
    path = Path(path)
    if not path.is_file() or not (state := _state(path)).lost:
        return
    rebuilt = _from_stages(path.parent, state.rows)
    names = ", ".join(row.stage for row in rebuilt) or "no row"
    say(f"! {state.lost}: written again, with {names} from the stages' metrics.json")
    rows = state.joined(rebuilt)
    path.unlink()
    if rows:
        files.write_bytes(path, b"".join(map(_line, rows)))


def put(path: Path | str, row: Row | Mapping[str, Any]) -> bool:
    """Add the row, or replace the row of the same stage in place; False if it was there already, unchanged.

    Whenever the machine stops, either the old ledger or the new one is on disk, whole.
    """
    new = row if isinstance(row, Row) else as_row(row)

    def change(rows: list[Row]) -> list[Row]:
        if all(old.stage != new.stage for old in rows):
            return [*rows, new]
        return [new if old.stage == new.stage else old for old in rows]

    return _change(Path(path), change)


def drop(path: Path | str, stages: Collection[str]) -> None:
    """Remove the rows of these stages, which are about to run again."""
    path = Path(path)
    if path.is_file():
        _change(path, lambda rows: [row for row in rows if row.stage not in stages])


def arrange(path: Path | str, stages: list[str]) -> None:
    """Sort the rows into the order of `stages`; rows of other stages follow."""
    place = {stage: number for number, stage in enumerate(stages)}
    _change(Path(path), lambda rows: sorted(rows, key=lambda row: place.get(row.stage, len(place))))


def _change(path: Path, change: Callable[[list[Row]], list[Row]]) -> bool:
    """Write the rows that `change` returns; False, with nothing written, if they are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock.waiting(path.parent):
        content = path.read_bytes() if path.is_file() else b""
        rows = [_parse(line, path, number) for number, line in enumerate(_whole_lines(content), 1)]
        new = b"".join(_line(row) for row in change(rows))
        if new == content:
            return False
        if new:
            files.write_bytes(path, new)
        else:
            path.unlink(missing_ok=True)  # an empty ledger would look like crash damage
    return True


@dataclass(frozen=True)
class _State:
    """A ledger as it is on disk."""

    rows: list[Row]
    """Rows of its good lines."""
    broken: list[str]
    """What is wrong with each other line, except a torn last one."""
    first: int
    """Number of rows before the first lost line."""
    lost: str
    """What a crash did to the file; empty if it is whole."""

    def joined(self, rebuilt: list[Row]) -> list[Row]:
        """The rows, with `rebuilt` inserted where the first was lost."""
        return [*self.rows[: self.first], *rebuilt, *self.rows[self.first :]]


def _state(path: Path) -> _State:
    content = path.read_bytes()
    lines = _whole_lines(content)
    rows: list[Row] = []
    broken: list[str] = []
    first = None
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_parse(line, path, number))
        except InputError as error:
            first = len(rows) if first is None else first
            broken += error.problems
    lost = ""
    if not content.strip(b"\0 \r\n\t"):
        lost = f"{path} is empty"
    elif broken:
        lost = broken[0].rpartition("; ")[0]
    elif content.count(b"\n") + 1 > len(lines) and not content.endswith(b"\n"):
        lost = f"{path}: the last line is cut off"
    return _State(rows, broken, len(rows) if first is None else first, lost)


def _from_stages(run: Path, known: list[Row]) -> list[Row]:
    """Rows of the run's own stages that the ledger lacks, in the order in which the stages started."""
    found = []
    for path in sorted(run.glob("*/metrics.json")):
        try:
            row = as_row(files.read_json(path))
        except (ValueError, TypeError):
            continue
        if row.stage == path.parent.name and all(row.stage != other.stage for other in known):
            found.append(dataclasses.replace(row, run=run.name))
    return sorted(found, key=lambda row: row.started)


def _line(row: Row) -> bytes:
    return json.dumps(row.as_dict(), allow_nan=False, ensure_ascii=False).encode() + b"\n"


def _whole_lines(content: bytes) -> list[bytes]:
    """The lines without a torn last one; a last row that lacks only its line end is kept."""
    *lines, last = content.split(b"\n")
    try:
        json.loads(last)
    except ValueError:
        return lines
    return [*lines, last]


def _parse(line: bytes, path: Path, number: int) -> Row:
    try:
        return as_row(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}, line {number} is not a ledger row: {error}; remove that line, or restore the file, and run again"
        ) from error


def as_row(fields: Any) -> Row:
    """The row with these fields, metrics under today's names; ValueError if a field is missing, unknown or wrong."""
    if not isinstance(fields, Mapping):
        raise ValueError(f"a row is {type(fields).__name__}, expected an object")
    wanted = [field.name for field in dataclasses.fields(Row)]
    missing, unknown = [n for n in wanted if n not in fields], [n for n in fields if n not in wanted]
    if missing or unknown:
        raise ValueError(f"fields missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}")
    figures = {name: former_names.renamed(fields[name]) for name in ("train_metrics", "metrics")}
    return Row(**{name: fields[name] for name in wanted} | figures)


def _wrong_types(row: Row) -> Iterator[str]:
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        want: Any = getattr(field.type, "__origin__", field.type)
        if want is float:
            want = (int, float)
        if not isinstance(value, want) or isinstance(value, bool):
            yield f"{field.name} is {value!r:.80}, expected {getattr(want, '__name__', 'a number')}"
    for name in ("run", "stage", "checkpoint"):
        value = getattr(row, name)
        last = str(value).rpartition("/")[2] if name == "checkpoint" else str(value)
        if last == ".." or "/" in last or "\\" in last or not last.isprintable():
            yield f"{name} is {value!r:.80}, expected the name of a folder"  # they become paths
    if isinstance(row.wall_s, int | float) and not (math.isfinite(row.wall_s) and row.wall_s >= 0):
        yield f"wall_s is {row.wall_s}, expected seconds"


def _wrong_metric(name: str, metric: Any) -> Iterator[str]:
    if not isinstance(metric, Mapping) or not _is_number(metric.get("value")):
        yield f"metrics.{name} is {metric!r:.80}, expected an object with a finite value"
        return
    yield from _not_finite(metric, f"metrics.{name}")
    if "n" in metric and (not isinstance(metric["n"], int) or metric["n"] < 0):
        yield f"metrics.{name}.n is {metric['n']!r}, expected a count"
    for key in (k for k in metric if "ci95" in k and metric[k] is not None):
        ci = metric[key]
        if not (isinstance(ci, list | tuple) and len(ci) == 2 and all(map(_is_number, ci)) and ci[0] <= ci[1]):
            yield f"metrics.{name}.{key} is {ci!r}, expected [lo, hi]"


def _not_finite(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value}, expected a finite number"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{where}.{index}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
