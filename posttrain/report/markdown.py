"""The report as Markdown: the words, the figures and the counts of changed answers; no model's text but its metrics."""

import re
from collections.abc import Iterable, Sequence

from posttrain.ledger import Row
from posttrain.report.changes import Changed
from posttrain.report.findings import findings
from posttrain.report.listeners import measured, tables
from posttrain.report.safety import safety_tables
from posttrain.report.tables import Cell, cost_table, metric_table
from posttrain.report.trajectory import Trajectory, trajectory_table


def page(rows: list[Row], changes: list[tuple[str, str, list[Changed]]], way: Trajectory | None) -> str:
    """Summary, stages × metrics with differences, trajectory, costs, and for every probe what changed."""
    last = rows[-1]
    parts = [f"# {_plain(last.run)}", f"seed {last.seed}, {_plain(last.device)}, code {_plain(last.code)}"]
    for heading, found in findings(rows):
        parts += [f"## {heading}", "\n".join(f"- {_plain(finding.sentence)}" for finding in found)]
    parts.append(
        "Value [95 % interval], difference against row zero (typed) or the cascade (spoken); "
        "**bold** where it holds after Holm's correction."
    )
    for title, lines in metric_table(rows):
        table = [["metric", *(row.stage for row in rows)]]
        for name, _, _, cells in lines:
            table.append([name, *(_cell(cell) for cell in cells)])
        parts += [f"## {title}", _table(table, raw=True)]
    if judged := safety_tables(rows):
        beside = _table([judged["columns"], *judged["lines"]])
        error = _table([judged["error_columns"], *judged["errors"]])
        parts += ["## Safety, and how far its figures can be trusted", judged["said"], beside]
        parts += [judged["detector"], error]
    if kept := trajectory_table(way):
        named = _table([["figure", "value", "95 % interval", "is"], *kept["figures"]])
        matrix = _table([kept["columns"], *(cells for cells, _ in kept["lines"])])
        parts += ["## Trajectory", f"Typed abilities from base to last model, n = {kept['n']:,} items.", named, matrix]
    for title, table in _listeners(rows):
        parts += [f"## Listeners, {_plain(title)}", _table(table)]
    cost = cost_table(rows)
    parts += ["## What it took", cost["total"] + ".", _table([cost["columns"], *cost["lines"]])]
    if changes:
        counted = [["probe", "from", "to", "items", "changed", "worse", "better"]]
        for probe, _, of_probe in changes:
            for part in of_probe:
                if part.changed:
                    figures = (part.n, part.changed, part.lost, part.won)
                    counted.append([probe, part.before, part.after, *map(str, figures)])
        examples = ["## Examples"]
        for probe, _, of_probe in changes:
            part = of_probe[0]
            if part.shown:
                rows_of = [[c.asked, c.gold, c.before, c.after] for c in part.shown[:2]]
                examples += [
                    f"### {_plain(probe)}",
                    _table([["asked", "right", part.before, part.after], *rows_of], side="---"),
                ]
        parts += ["## Answers that changed", _table(counted), *examples]
    return "\n\n".join(parts) + "\n"


def _listeners(rows: list[Row]) -> Iterable[tuple[str, list[list[str]]]]:
    """Title and lines of each table of listeners."""
    row = measured(rows)
    for found in tables(row) if row else []:
        lines = [
            [f"{who}, {processing}", *(f"{c.value} {c.interval} {c.change}".strip() if c else "" for c in cells)]
            for who, processing, cells in found.lines
        ]
        yield found.title, [["listener", *found.columns], *lines]


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    text = f"{cell.value} {cell.interval}".strip()
    if "base" in cell.deltas:
        delta, interval, verdict = cell.deltas["base"]
        text += f"<br>**{delta}** {interval}" if verdict else f"<br>{delta} {interval}"
    return text


def _table(lines: Iterable[Sequence[str]], raw: bool = False, side: str = "---:") -> str:
    """A Markdown table; texts are escaped unless they are our own."""
    head, *body = [[text if raw and i else _plain(text) for text in line] for i, line in enumerate(lines)]
    made = [head, ["---", *[side] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in made)


def _plain(text: str) -> str:
    """Text that Markdown and HTML take literally, on one line."""
    text = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]{}|#~!])", r"\\\1", text)
