"""The report: a pure function of a run's ledger and saved answers → report.html, report.md, report.json."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posttrain import files
from posttrain.errors import InputError
from posttrain.evals.safety.safety import detector_error
from posttrain.report import code_versions, template
from posttrain.report.changes import Changed, Line, changed, marked, read_answers, transitions
from posttrain.report.compare import compare
from posttrain.report.figures import plots
from posttrain.report.findings import REFERENCES, costs, family, findings, sure, would_show
from posttrain.report.listeners import section
from posttrain.report.markdown import page
from posttrain.report.safety import safety_tables
from posttrain.report.tables import cost_table, heat_map, metric_table
from posttrain.report.terminal import summary
from posttrain.report.trajectory import Trajectory, trajectory, trajectory_table
from posttrain.report.verdict import verdict
from posttrain.report.words import label, ordered
from posttrain.run import ledger
from posttrain.run.ledger import Row

__all__ = ["build", "compare", "summary"]

Changes = list[tuple[str, str, list[Changed]]]
ITEMS = (8, 4, 2, 1)
"""Limits on the changed items shown per probe and stage, tried in turn until the page has at most LARGEST bytes."""
LARGEST = 2_900_000


def build(run_folder: Path | str) -> Path:
    """Write report.html, report.md and report.json into the run's folder; returns the path of report.html.

    The files are byte-identical for the same ledger and answers. Raises InputError if the ledger is missing or broken.
    """
    run_folder = Path(run_folder)
    rows = ledger.read(run_folder / "ledger.jsonl")
    if not rows:
        raise InputError(f"{run_folder} has no finished stage (no ledger.jsonl with rows); name a run's folder")
    answers = read_answers(run_folder, rows)
    missing = [row.stage for row in rows if row.stage not in answers]
    way = trajectory(rows, answers)
    for most in ITEMS:
        changes = _changes(rows, answers, most)
        html = _html(rows, changes, way, most, missing, section(rows, run_folder))
        if len(html.encode()) <= LARGEST:
            break
    made = {"html": html, "md": page(rows, changes, way), "json": _json(rows, changes, way, missing)}
    for kind, text in reversed(made.items()):
        files.write_text(run_folder / f"report.{kind}", text)
    return run_folder / "report.html"


def _changes(rows: list[Row], answers: dict[str, list[Line]], most: int) -> Changes:
    """(probe, label, changes from stage to stage) in reading order, without the probes that did not change."""
    by_probe: dict[str, list[Changed]] = {}
    for step in transitions(rows, answers):
        for found in changed(step, most):
            by_probe.setdefault(found.probe, []).append(found)
    order = [name for _, group in ordered(set(by_probe)) for name in group]
    return [(p, label(p), by_probe[p]) for p in order if any(part.changed for part in by_probe[p])]


def _html(
    rows: list[Row],
    changes: Changes,
    way: Trajectory | None,
    most: int,
    missing: list[str],
    listeners: dict[str, Any] | None,
) -> str:
    last = rows[-1]
    return template.render(
        "report.html.j2",
        js=template.asset("report.js"),
        run=last.run,
        facts=_facts(last, rows),
        verdict=verdict(rows),
        findings=findings(rows),
        plots=plots(rows),
        heat=heat_map(rows),
        safety=safety_tables(rows),
        trajectory=trajectory_table(way),
        listeners=listeners,
        rows=rows,
        table=metric_table(rows),
        cost=cost_table(rows),
        changes=changes,
        limit=most,
        missing=missing,
        mixed=code_versions.said(rows),
        versions=code_versions.marks(rows),
        marked=marked,
    )


def _facts(last: Row, rows: list[Row]) -> list[tuple[str, str]]:
    return [
        ("base", last.base),
        ("seed", str(last.seed)),
        ("device", last.device),
        ("begun", rows[0].started[:16].replace("T", " ")),
        ("code", last.code),
        ("data", last.data),
    ]


def _json(rows: list[Row], changes: Changes, way: Trajectory | None, missing: list[str]) -> str:
    total, evaluation, peak = costs(rows)
    content = {
        "run": rows[-1].run,
        "verdict": (found := verdict(rows)) and asdict(found),
        "summary": [{"heading": h, "sentences": [f.sentence for f in found]} for h, found in findings(rows)],
        "stages": [row.stage for row in rows],
        "metrics": {row.stage: row.metrics for row in rows},
        "holds_after_holm": {row.stage: {ref: sure(row, ref) for ref in REFERENCES} for row in rows},
        "would_show": {row.stage: {n: v for n in family(row) if (v := would_show(row, n))} for row in rows},
        "detector": detector_error(),
        "trajectory": way and _trajectory(way),
        "costs": {"wall_s": total, "evaluation_s": evaluation, "peak_rss_mb": peak},
        "changed": [
            {"probe": part.probe, "before": part.before, "after": part.after, "n": part.n, "changed": part.changed}
            | {"lost": part.lost, "won": part.won}
            for _, _, parts in changes
            for part in parts
        ],
        "without_answers": missing,
        "code_versions": code_versions.versions(rows),
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _trajectory(way: Trajectory) -> dict[str, Any]:
    figures = {k: {"value": ci.value, "n": way.n, "ci95": [ci.lo, ci.hi]} for k, ci in way.figures.items()}
    return {"stages": way.stages, "figures": figures, "abilities": {k: asdict(a) for k, a in way.abilities.items()}}
