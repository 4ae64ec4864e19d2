"""The report's tables: stages × metrics, the heat map, the costs; as plain data for the templates."""

from dataclasses import dataclass
from typing import Any

from posttrain.evals.compute import OF_BASE
from posttrain.evals.metrics import Group, Role, harms, of
from posttrain.report.findings import REFERENCES, costs, own, paid, sure, would_show
from posttrain.report.lineage import is_model, spec
from posttrain.report.words import between, change, count, duration, label, number, ordered, size, unit
from posttrain.run.ledger import Row

COST_COLUMNS = (
    "stage",
    "wall time",
    "evaluation",
    "peak memory",
    "linear layers, of bfloat16",
    "trained parameters",
    "training tokens",
    "tokens/s",
    "real-time factor",
)


@dataclass(frozen=True)
class Cell:
    """One figure of one stage, as text."""

    value: str
    interval: str
    deltas: dict[str, tuple[str, str, str]]
    """Reference → difference, its interval, verdict (won or lost if it holds after Holm, else empty)."""
    repeated: str
    """Whose figure it repeats: the parent's, as in the reward row, or the base's; empty if it is the stage's own."""
    harm: bool = False
    """Whether an enhancer's output is surely worse than its input."""


def metric_table(rows: list[Row]) -> list[tuple[str, list[tuple[str, str, str, list[Cell | None]]]]]:
    """Groups of (metric, label, sample and difference that it would show, one cell per stage), without listeners'."""
    certain = {(row.stage, ref): sure(row, ref) for row in rows for ref in REFERENCES}
    names = {name for row in rows for name in row.metrics if of(name).group is not Group.LISTENERS}
    return [
        (title, [(n, label(n), _sample(n, rows), [_cell(n, row, certain) for row in rows]) for n in group])
        for title, group in ordered(names)
    ]


def heat_map(rows: list[Row]) -> dict[str, Any] | None:
    """Change of every ability against its reference: typed ones against row zero, spoken ones against the cascade."""
    later = [row for row in rows if is_model(row)]
    if not later:
        return None
    blocks = []
    for title, spoken, origin, leaves in (
        ("typed, against row zero", False, "base", "llama"),
        ("spoken, against the cascade", True, "ctc", "encoder"),
    ):
        zero = next((row for row in rows if spec(row).leaves == leaves), None)
        names = sorted({n for row in later for n in row.metrics if of(n).ability and of(n).spoken is spoken})
        lines = [(label(n).rpartition(",")[0], _value(zero, n), [_heat(row, n) for row in later]) for n in names]
        if lines:
            blocks.append((title, origin, lines))
    return {"stages": [row.stage for row in later], "blocks": blocks} if blocks else None


def cost_table(rows: list[Row]) -> dict[str, Any]:
    """Rows of text under COST_COLUMNS, and the totals."""
    lines = []
    for row in rows:
        cost = paid(row)
        tokens = cost.get("train_tokens", 0)
        rate = tokens / row.wall_s if tokens and row.wall_s else 0
        lines.append(
            (
                row.stage if row in own(rows) else f"{row.stage} (from another run)",
                duration(row.wall_s),
                duration(cost["evaluation_s"]) if "evaluation_s" in cost else "–",
                size(cost["peak_rss_mb"]) if "peak_rss_mb" in cost else "–",
                _linear(cost),
                count(cost["trainable_params"]) if cost.get("trainable_params") else "–",
                count(tokens) if tokens else "–",
                count(rate) if rate else "–",
                f"{cost['rtf']:.3f}" if "rtf" in cost else "–",
            )
        )
    total, evaluation, peak = costs(rows)
    share = f"{100 * evaluation / total:.0f} % of it evaluation" if total else "nothing measured"
    return {
        "columns": COST_COLUMNS,
        "lines": lines,
        "total": f"{duration(total)}, {share} ({duration(evaluation)}); at most {size(peak)} of memory",
    }


def _linear(cost: dict[str, float]) -> str:
    """Memory of the Llama's linear layers, and its share of what they would take in bfloat16."""
    if "linear_mb" not in cost:
        return "–"
    return f"{size(cost['linear_mb'])}, {100 * cost['linear_share_of_bfloat16']:.0f} %"


def _cell(name: str, row: Row, certain: dict[tuple[str, str], dict[str, int]]) -> Cell | None:
    metric = row.metrics.get(name)
    if metric is None:
        return None
    deltas = {}
    for reference, (delta, ci, _) in REFERENCES.items():
        same = of(name).role is Role.YARDSTICK and not metric.get(delta)
        if metric.get(delta) is not None and not same:
            verdict = {1: "won", -1: "lost"}.get(certain[row.stage, reference].get(name, 0), "")
            deltas[reference] = (change(name, metric[delta]), between(name, metric.get(ci)), verdict)
    repeated = "the base" if metric.get(OF_BASE) else ""
    if (adds := spec(row).adds) and not name.startswith(adds):
        repeated = "the parent"
    return Cell(number(name, metric["value"]), between(name, metric.get("ci95")), deltas, repeated, harms(name, metric))


def _sample(name: str, rows: list[Row]) -> str:
    """Number of items, contents and voices, the value by guessing, and the smallest difference they show; from the last
    row that has it."""
    last = next(row for row in reversed(rows) if name in row.metrics)
    metric, shown = last.metrics[name], would_show(last, name)
    parts = [f"n = {metric['n']:,}"] if "n" in metric else []
    parts += [f"{metric['contents']:,} contents"] if metric.get("contents", metric.get("n")) != metric.get("n") else []
    parts += [f"{metric['speakers']} voices"] if "speakers" in metric else []
    if (chance := metric.get("chance", of(name).chance)) is not None:
        parts.append(f"{number(name, chance)} by guessing")
    if shown and shown >= 1 and unit(name) == " points":
        parts.append("too few contents to show any difference")
    elif shown:
        parts.append(f"{change(name, shown).removeprefix('+')}{unit(name)} would show")
    return ", ".join(parts)


def _heat(row: Row, name: str) -> dict[str, Any] | None:
    """Text and colour of one square: full colour from 20 points on, fainter if it may be chance."""
    metric = row.metrics.get(name)
    if metric is None or metric.get("delta_vs_base") is None:
        return None
    delta, (lo, hi) = metric["delta_vs_base"], metric["delta_ci95"]
    text = change(name, delta)
    return {
        "text": text,
        "style": ("won" if delta * of(name).better > 0 else "lost") if delta else "",
        "strength": round(min(abs(delta) / 0.2, 1) * 75 + (8 if delta else 0)),
        "chance": lo <= 0 <= hi,
        "title": f"{row.stage}, {label(name)}: {number(name, metric['value'])}, {text} {between(name, (lo, hi))}",
    }


def _value(row: Row | None, name: str) -> str:
    return number(name, row.metrics[name]["value"]) if row and name in row.metrics else "–"
