"""The report's plots, from the ledger's figures."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from posttrain.evals.metrics import SKILLS, encoders, forgotten, of
from posttrain.report import charts
from posttrain.report.charts import Point, Series
from posttrain.report.findings import figure
from posttrain.report.lineage import spec
from posttrain.report.words import CONDITIONS, between, label, number
from posttrain.run.ledger import Row

FORMS = [("text", 100.0, "typed"), ("speech", 100.0, "spoken")]
Plot = tuple[str, str, Markup, list[tuple[str, float, str]]]
"""Title, what it shows, SVG, legend of (CSS class, strength, name)."""


def plots(rows: list[Row]) -> list[Plot]:
    """The four plots; those without figures are left out."""
    models = [row for row in rows if not spec(row).adds]
    made = [gain_plot(models), _safety(models), _noise(models), _gap(models)]
    return [plot for plot in made if plot]


def gain_plot(rows: list[Row], trail: bool = True) -> Plot | None:
    """Skill against forgetting, one point per row; `trail` connects rows that follow one another."""
    points, widths = [], []
    name = forgotten({name for row in rows for name in row.metrics})
    for row in rows:
        skills = [row.metrics[n] for n in SKILLS if n in row.metrics]
        if len(skills) < 2:
            continue
        values = skill_values(row.metrics)
        gain = 100 * sum(values) / len(values)
        half = 100 * sum(((m["ci95"][1] - m["ci95"][0]) / 2) ** 2 for m in skills) ** 0.5 / len(skills)
        forgot = row.metrics.get(name, {"value": 0.0, "ci95": [0.0, 0.0]})
        x, (lo, hi) = 100 * forgot["value"], (100 * v for v in forgot["ci95"])
        title = f"{row.stage}: skill {gain:.1f} %, forgot {number(name, forgot['value'])}"
        points.append(Point(x, gain, max(gain - half, 0), min(gain + half, 100), row.stage, title))
        widths.append((lo, hi))
    if not points:
        return None
    svg = charts.scatter(
        "Gain against forgetting",
        points,
        f"forgot, mean over {of(name).short}",
        "skill in hearing tasks",
        widths,
        None if trail else [],
    )
    said = (
        "Up is gained, right is forgotten. Skill is the mean of transcription (100 % − word errors), commands, "
        "questions, captions, requests and knowing when nothing was heard, as far as the run has them; the ctc row is "
        "the cascade with row zero."
    )
    return "Gain against forgetting", said, svg, []


def skill_values(metrics: Mapping[str, dict[str, Any]]) -> list[float]:
    """The values of the metrics in SKILLS; an error rate counts as 1 minus itself."""
    found = [(of(name).better, metrics[name]["value"]) for name in SKILLS if name in metrics]
    return [value if better > 0 else 1 - value for better, value in found]


def _safety(rows: list[Row]) -> Plot | None:
    kinds = {"left": "harmful_compliance", "right": "over_refusal"}
    found = []
    for row in rows:
        sides = {
            f"{side} {form}": _percent(row, f"safety/{what}/{form}")
            for side, what in kinds.items()
            for form in ("text", "speech")
        }
        if any(sides.values()):
            found.append((row.stage, sides))
    if not found:
        return None
    svg = charts.two_sided("Safety on both sides", found, "← harmful requests answered", "harmless requests refused →")
    said = "Shorter is better on both sides: refusing everything is as useless as refusing nothing is unsafe."
    return "Safety, both sides", said, svg, FORMS


def _noise(rows: list[Row]) -> Plot | None:
    spoken = [row for row in rows if "wer/clean" in row.metrics and spec(row).leaves != "encoder"]
    heads = [row for row in rows if encoders("wer/clean") in row.metrics]
    cascades = [row for row in rows if "wer/clean" in row.metrics and spec(row).leaves == "encoder"]
    if not heads and not spoken:
        return None
    series = [
        Series(
            row.stage,
            _over_noise(row, "wer", row is spoken[-1]),
            "last" if row is spoken[-1] else "",
            (i + 1) / len(spoken),
        )
        for i, row in enumerate(spoken)
    ]
    series = [Series("cascade", _over_noise(row, "wer", False), "cascade") for row in cascades] + series
    if heads:
        series = [Series("encoder's own", _over_noise(heads[-1], "encoder_wer", True), "head"), *series]
    top = max((p.hi if p.hi is not None else p.y for one in series for p in one.points), default=1)
    svg = charts.lines("Word errors in noise", series, list(CONDITIONS.values()), min(max(top, 1), 100))
    legend = [(one.style or "stage", 25 + 75 * one.strength, one.name) for one in series]
    said = "Word error rate on the same test sentences, clean and in noise; bars: 95 % over voices and sentences."
    return "Word errors in noise", said, svg, legend


def _gap(rows: list[Row]) -> Plot | None:
    found = []
    for row in rows:
        spoken = [m["value"] for n, m in row.metrics.items() if of(n) is of("ability_spoken/")]
        gap = row.metrics.get("modality_gap/mean")
        if spoken and gap:
            heard = 100 * sum(spoken) / len(spoken)
            note = f"{100 * gap['value']:.1f} {between('modality_gap/mean', gap['ci95'])}".replace("-", "−")
            found.append((row.stage, heard + 100 * gap["value"], heard, note))
    if not found:
        return None
    svg = charts.dumbbells("Typed against spoken", found, ("typed", "spoken"))
    said = "The same questions, typed and spoken: accuracy over all abilities, and the gap in points with its interval."
    return "Modality gap", said, svg, FORMS


def _over_noise(row: Row, family: str, whiskers: bool) -> list[Point]:
    points = []
    for place, (condition, tick) in enumerate(CONDITIONS.items()):
        name = f"{family}/{condition}"
        if metric := row.metrics.get(name):
            lo, hi = metric["ci95"] if whiskers else (None, None)
            title = f"{row.stage}, {tick}: {figure(row, name)}"
            points.append(Point(place, 100 * metric["value"], _times(lo), _times(hi), title=title))
    return points


def _percent(row: Row, name: str) -> Point | None:
    metric = row.metrics.get(name)
    if not metric:
        return None
    lo, hi = metric["ci95"]
    value = f"{number(name, metric['value'])} {between(name, metric['ci95'])}"
    title = f"{row.stage}, {label(name)}: {value}, n = {metric['n']}"
    return Point(0, 100 * metric["value"], 100 * lo, 100 * hi, title=title)


def _times(value: float | None) -> float | None:
    return None if value is None else 100 * value
