"""The report's part on listeners: a table per noise level, and what enhancement did for people and for the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.evals.hearing.listener_metrics import LISTENER, PROCESSINGS
from posttrain.evals.metrics import TABLE, Group, Role, of
from posttrain.report import words
from posttrain.report.finding import Finding
from posttrain.report.words import between, change, number, unit
from posttrain.run.ledger import Row

PAGES = "listeners"
"""Folder of a run with a page for each listener."""
WITHOUT = ("delta_vs_without", "delta_without_ci95")
MEASURES = tuple(metric for metric in TABLE if metric.group is Group.LISTENERS and metric.name.endswith("/"))
AIM = "wer_enhanced/snr0"


@dataclass(frozen=True)
class Cell:
    """One figure as text; the difference is against the same figure without the processing's last step."""

    name: str
    value: str
    interval: str
    change: str
    tone: str
    """won or lost if the difference's interval excludes zero, else empty."""


@dataclass(frozen=True)
class Table:
    """Every listener and processing at one level, for speech of one source."""

    title: str
    columns: list[str]
    lines: list[tuple[str, str, list[Cell | None]]]
    """(listener, processing, one cell per column)."""


def measured(rows: list[Row]) -> Row | None:
    """The last row with figures of listeners; None if there is none."""
    return next((row for row in reversed(rows) if any(of(n).group is Group.LISTENERS for n in row.metrics)), None)


def section(rows: list[Row], run_folder: Path) -> dict[str, Any] | None:
    """Tables, the settings of the measurement, and the listeners' pages that exist; None without figures."""
    row = measured(rows)
    if row is None:
        return None
    names = sorted({cell[2] for cell in _cells(row)}, key=_order(row))
    pages = [(who, f"{PAGES}/{who}.html") for who in names if (run_folder / PAGES / f"{who}.html").is_file()]
    asked = row.config.get("listeners") or {}
    found = {"tables": tables(row), "bad": row.metrics.get("listener/bad_clips"), "pages": pages}
    return found | {"model": asked.get("model"), "denoise": asked.get("denoise", 1.0)}


def tables(row: Row) -> list[Table]:
    """One table per source and level."""
    return [_table(row, source, level) for source, level in _places(row)]


def findings(rows: list[Row]) -> list[Finding]:
    """What the enhancer changed: for each listener against NAL-R alone, and in the model's word errors at 0 dB."""
    row = measured(rows)
    if row is None:
        return []
    found = []
    for source, level in _places(row):
        for who in sorted({cell[2] for cell in _cells(row)}, key=_order(row)):
            for measure in (metric for metric in MEASURES if metric.role is Role.HEADLINE):
                found += _finding(row, f"{measure.name}{source}/{who}/{level}/enhanced_nalr", "NAL-R alone")
    learned = (row.config.get("options") or {}).get("machine_weight")
    without = "the enhancer and the encoder that learned with it" if learned else "the enhancer"
    return found + _finding(row, AIM, f"the same Llama without {without}")


def _finding(row: Row, name: str, against: str) -> list[Finding]:
    metric = row.metrics.get(name)
    if metric is None or metric.get("delta_vs_without") is None:
        return []
    figure = f"{number(name, metric['value'])} {between(name, metric['ci95'])}"
    said = f"{_difference(name, metric)} against {against}, n = {metric['n']}"
    return [Finding(words.label(name), figure, said, tone=_tone(name, metric))]


def _table(row: Row, source: str, level: str) -> Table:
    cells = [cell for cell in _cells(row) if cell[1] == source and cell[3] == level]
    kinds = [measure for measure in MEASURES if measure.name in {f"{LISTENER}{cell[0]}/" for cell in cells}]
    lines: list[tuple[str, str, list[Cell | None]]] = []
    for who in sorted({cell[2] for cell in cells}, key=_order(row)):
        for processing in PROCESSINGS:
            names = [f"{kind.name}{source}/{who}/{level}/{processing}" for kind in kinds]
            lines.append((who, words.PROCESSINGS[processing], [_cell(row, name) for name in names]))
    counts = [sorted({metric["n"] for n, metric in row.metrics.items() if of(n) is kind}) for kind in kinds]
    columns = [f"{kind.short}, n = {'–'.join(map(str, n))}" for kind, n in zip(kinds, counts, strict=True)]
    return Table(f"{level.removeprefix('snr')} dB, {source} speech", columns, lines)


def _cell(row: Row, name: str) -> Cell | None:
    metric = row.metrics.get(name)
    if metric is None:
        return None
    value, interval = number(name, metric["value"]), between(name, metric["ci95"])
    return Cell(name, value, interval, _difference(name, metric), _tone(name, metric))


def _difference(name: str, metric: dict[str, Any]) -> str:
    delta, ci = (metric.get(key) for key in WITHOUT)
    return f"{change(name, delta)}{unit(name)} {between(name, ci)}" if delta is not None else ""


def _tone(name: str, metric: dict[str, Any]) -> str:
    lo, hi = metric.get(WITHOUT[1]) or (0, 0)
    return "" if lo <= 0 <= hi else "won" if of(name).better * lo > 0 else "lost"


def _cells(row: Row) -> list[tuple[str, ...]]:
    """(measure, source, listener, level, processing) of each figure."""
    return [tuple(name.split("/")[1:]) for name in row.metrics if of(name) in MEASURES]


def _places(row: Row) -> list[tuple[str, str]]:
    """(source, level) of every table."""
    return sorted({(cell[1], cell[3]) for cell in _cells(row)})


def _order(row: Row) -> Any:
    """Sort key: listeners in the order requested, then the rest by name."""
    asked = list((row.config.get("listeners") or {}).get("listeners", []))
    return lambda who: (asked.index(who) if who in asked else len(asked), who)
