"""Two finished runs side by side, paired on the items that both answered."""

from pathlib import Path
from typing import Any

from posttrain.errors import InputError
from posttrain.evals.compute import measures
from posttrain.evals.statistics import holm
from posttrain.report.changes import Line, read_answers
from posttrain.report.findings import SURE, chosen
from posttrain.report.lineage import is_model, spec
from posttrain.report.words import between, change, number, ordered
from posttrain.run import ledger
from posttrain.run.ledger import Row


def compare(
    run_a: Path | str, run_b: Path | str, stage: str | None = None, seed: int = 0, bootstrap: int = 1000
) -> dict[str, Any]:
    """b − a for every metric that both have, at the given stage, else at the last stage that both runs ran themselves.

    A branch has the same results as its parent in the stages that it took over. Runs that share no stage are compared
    by their last models.

    Returns {"a", "b", "metrics": {name: {"a", "b", "n", "delta", "ci95", "p", "holm"}}, "table": lines of text}.
    Raises InputError if a run, the stage or its saved answers are missing, or the two share no item.
    """
    stage = stage or _shared(Path(run_a), Path(run_b))
    (row_a, answers_a, base_a), (row_b, answers_b, base_b) = (_pick(Path(run), stage) for run in (run_a, run_b))
    a, b = measures(answers_a, base_a), measures(answers_b, base_b)
    found: dict[str, dict[str, Any]] = {}
    for name in (n for n in b if n in a):
        difference = b[name].difference(a[name], seed, bootstrap)  # type: ignore[arg-type]
        if difference is None:
            continue
        value_a, value_b = (m.interval(seed, 2).value for m in (a[name], b[name]))
        found[name] = {
            "a": value_a,
            "b": value_b,
            "n": min(a[name].n, b[name].n),
            "delta": difference.value + 0.0,
            "ci95": [difference.lo, difference.hi],
            "p": difference.p,
        }
    if not found:
        raise InputError(f"{run_a} and {run_b} share no item; compare runs on the same corpus (same seed and sizes)")
    for name, adjusted in zip(found, holm([m["p"] for m in found.values()]), strict=True):
        found[name]["holm"] = adjusted
    names = {"a": f"{Path(run_a).name}/{row_a.stage}", "b": f"{Path(run_b).name}/{row_b.stage}"}
    return {**names, "metrics": found, "table": _table(names, found)}


def _shared(run_a: Path, run_b: Path) -> str | None:
    """The last stage that both ran themselves, if possible one that produces a speech model; None if there is none."""
    before, after = (ledger.read(run / "ledger.jsonl") for run in (run_a, run_b))
    made = {row.stage: row.checkpoint for row in before}
    both = [row for row in after if row.stage in made and row.checkpoint != made[row.stage]]
    models = [row for row in both if is_model(row)]
    return (models or both)[-1].stage if both else None


def _pick(run: Path, stage: str | None) -> tuple[Row, list[Line], list[Line]]:
    """The row to compare, its answers, and row zero's answers."""
    rows = ledger.read(run / "ledger.jsonl")
    row = chosen(run, rows, stage)
    zero = [r for r in rows if spec(r).leaves in ("llama", "encoder")]
    answers = read_answers(run, [*zero, row])
    if row.stage not in answers:
        raise InputError(f"{row.checkpoint}/answers.jsonl not found; evaluate {row.stage} of {run} again")
    return row, answers[row.stage], [line for r in zero for line in answers.get(r.stage, [])]


def _table(names: dict[str, str], found: dict[str, dict[str, Any]]) -> list[str]:
    """Lines of text; * marks a difference that holds after Holm's correction."""
    width = max(map(len, found))
    lines = [f"{'':<{width}}  {names['a']:>14}  {names['b']:>14}  difference [95 %]"]
    for name in (n for _, group in ordered(set(found)) for n in group):
        m = found[name]
        star = " *" if m["holm"] < SURE and m["delta"] else ""
        values = f"{number(name, m['a']):>14}  {number(name, m['b']):>14}"
        delta = f"{change(name, m['delta'])} {between(name, m['ci95'])}"
        lines.append(f"{name:<{width}}  {values}  {delta}{star}")
    if names["a"].rpartition("/")[2] != names["b"].rpartition("/")[2]:
        lines.append("these are different stages; --stage names one that both runs have")
    return [*lines, "* holds after Holm's correction over all of these"]
