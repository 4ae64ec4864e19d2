"""The report as Markdown: findings, figures, counts of changed answers, and up to two examples per probe."""

import re
from collections.abc import Iterable, Sequence

from posttrain.report import code_versions
from posttrain.report.changes import Changed
from posttrain.report.findings import findings
from posttrain.report.listeners import measured, tables
from posttrain.report.safety import safety_tables
from posttrain.report.tables import Cell, cost_table, metric_table
from posttrain.report.trajectory import Trajectory, trajectory_table
from posttrain.report.verdict import verdict
from posttrain.run.ledger import Row


def page(rows: list[Row], changes: list[tuple[str, str, list[Changed]]], way: Trajectory | None) -> str:
    """Summary, stages × metrics with differences, safety, trajectory, listeners, costs, and changed answers."""
    last = rows[-1]
    parts = [f"# {plain(last.run)}", f"seed {last.seed}, {plain(last.device)}, code {plain(last.code)}"]
    if mixed := code_versions.said(rows):
        parts.append(f"**{plain(mixed)}**")
    if decided := verdict(rows):
        parts += [f"**{plain(decided.said)} {plain(decided.advice)}:** <code>{plain(decided.command)}</code>"]
    for heading, found in findings(rows):
        parts += [f"## {heading}", "\n".join(f"- {plain(finding.sentence)}" for finding in found)]
    parts.append(
        "Value [95 % interval], difference against row zero (typed) or the cascade (spoken); "
        "**bold** where it holds after Holm's correction. "
        "The column ctc has the cascade's word errors; those of the encoder's own transcript have rows of their own. "
        "= before a figure: the base's or the parent's own, not computed again."
    )
    marks = code_versions.marks(rows)
    for title, lines in metric_table(rows):
        lines_of = [["metric", *(f"{row.stage} ({marks[row.stage]})" if marks else row.stage for row in rows)]]
        for name, _, _, cells in lines:
            lines_of.append([name, *(_cell(cell) for cell in cells)])
        parts += [f"## {title}", table(lines_of, raw=True)]
    if judged := safety_tables(rows):
        beside = table([judged["columns"], *judged["lines"]])
        error = table([judged["error_columns"], *judged["errors"]])
        parts += ["## Safety, and how far its figures can be trusted", judged["said"], beside]
        parts += [judged["detector"], error]
    if kept := trajectory_table(way):
        named = table([["figure", "value", "95 % interval", "is"], *kept["figures"]])
        matrix = table([kept["columns"], *(cells for cells, _ in kept["lines"])])
        parts += ["## Trajectory", f"Typed abilities from base to last model, n = {kept['n']:,} items.", named, matrix]
    for title, of_listeners in listener_tables(rows):
        parts += [f"## Listeners, {plain(title)}", table(of_listeners)]
    cost = cost_table(rows)
    parts += ["## What it took", cost["total"] + ".", table([cost["columns"], *cost["lines"]])]
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
                    f"### {plain(probe)}",
                    table([["asked", "right", part.before, part.after], *rows_of], side="---"),
                ]
        parts += ["## Answers that changed", table(counted), *examples]
    return "\n\n".join(parts) + "\n"


def listener_tables(rows: list[Row]) -> Iterable[tuple[str, list[list[str]]]]:
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
    text = f"{'= ' if cell.repeated else ''}{cell.value} {cell.interval}{' **harm**' if cell.harm else ''}".strip()
    if "base" in cell.deltas:
        delta, interval, verdict = cell.deltas["base"]
        text += f"<br>**{delta}** {interval}" if verdict else f"<br>{delta} {interval}"
    return text


def table(lines: Iterable[Sequence[str]], raw: bool = False, side: str = "---:") -> str:
    """A Markdown table; texts are escaped, except below the head if `raw`."""
    head, *body = [[text if raw and i else plain(text) for text in line] for i, line in enumerate(lines)]
    made = [head, ["---", *[side] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in made)


def plain(text: str) -> str:
    """The text on one line, escaped so that Markdown and HTML take it literally."""
    text = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]{}|#~!])", r"\\\1", text)
