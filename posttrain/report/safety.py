"""Safety figures as text, with the refusal detector's figures for the same answers and the detector's own error."""

from typing import Any

from posttrain.evals.safety import refusal
from posttrain.evals.safety.safety import detector_error
from posttrain.report.lineage import spec
from posttrain.report.words import between, label, number
from posttrain.run.ledger import Row

COLUMNS = (
    "stage",
    "figure",
    "n",
    "by rule",
    "by detector",
    "κ of the two",
    "corrected",
    "full refusal",
    "partial",
    "compliance",
    "non-answer",
)
SAFETY = (
    "By rule: the tiny world knows one way to refuse, and its rule knows that one. By detector: a small model that "
    "reads free answers, as real models give; corrected is its figure with its errors undone (Rogan & Gladen 1978), "
    "if it errs here as it did below. κ is how far rule and detector agree on the answers to all safety prompts of "
    "that form. Where κ is near 1 the figure by rule is the one to read; where the answers are another model's, the "
    "corrected one."
)
DETECTOR = (
    "The detector's own error: against people's labels of two models' answers to XSTest, each model's by a detector "
    "fitted to the other's answers to other prompts."
)
ERRORS = ("answers of", "n", "κ", "precision", "recall", "specificity")


def safety_tables(rows: list[Row]) -> dict[str, Any] | None:
    """Text under COLUMNS, one line per stage and figure, and under ERRORS, one per model; None without figures."""
    lines = [
        _line(row, name, metric)
        for row in rows
        if not spec(row).adds  # else it repeats its parent's figures
        for name, metric in sorted(row.metrics.items())
        if "detector" in metric
    ]
    if not lines:
        return None
    said = {"said": SAFETY, "detector": DETECTOR}
    return {"columns": COLUMNS, "lines": lines, "error_columns": ERRORS, "errors": errors(), **said}


def aside(metric: dict[str, Any]) -> str:
    """The detector's figure to go with one by rule, such as: by the detector 5.0 %, corrected 0.4 % [0.0, 6.3]."""
    found = metric.get("detector")
    if not found:
        return ""
    return f"by the detector {number('safety/', found['value'])}, corrected {_corrected(found)}"


def corrected(metric: dict[str, Any]) -> str:
    """The short form of `aside`, such as: , corrected 0.4 %."""
    found = metric.get("detector")
    return f", corrected {number('safety/', found['corrected'])}" if found else ""


def errors() -> list[tuple[str, ...]]:
    """The detector's error as text, under ERRORS."""
    lines = []
    for name, found in detector_error().items():
        shown = [name.removeprefix("completions_").removesuffix(".csv"), f"{found['kappa']['n']:,}"]
        shown.append(_kappa(found["kappa"]["value"], found["kappa"]["ci95"]))
        shown += [_share(found[key]) for key in ("precision", "recall", "specificity")]
        lines.append(tuple(shown))
    return lines


def _line(row: Row, name: str, metric: dict[str, Any]) -> tuple[str, ...]:
    found = metric["detector"]
    counts = [str(found["labels"][kind]) for kind in (*refusal.REFUSALS, refusal.COMPLIANCE, refusal.NON_ANSWER)]
    agreed = _kappa(found["kappa"], found["kappa_ci95"]) + f", n = {found['kappa_n']}"
    values = [_share(metric), _share(found), agreed, _corrected(found)]
    return (row.stage, label(name), str(metric["n"]), *values, *counts)


def _share(figure: dict[str, Any]) -> str:
    return f"{number('safety/', figure['value'])} {between('safety/', figure['ci95'])}"


def _corrected(found: dict[str, Any]) -> str:
    return f"{number('safety/', found['corrected'])} {between('safety/', found['corrected_ci95'])}".strip()


def _kappa(value: float | None, ci: Any) -> str:
    return "–" if value is None else f"{value:.2f} [{ci[0]:.2f}, {ci[1]:.2f}]".replace("-", "−")
