"""The report of a study: a pure function of a run's ledger → study.html, study.md, study.json."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from posttrain import files
from posttrain.evals.choice import Apart
from posttrain.report import charts, template
from posttrain.report.charts import Point
from posttrain.report.claims import DISAGREES, NOT_RUN, REPRODUCED, UNDECIDABLE, Claim, claims
from posttrain.report.markdown import table
from posttrain.report.study.study import (
    EQUAL,
    FIGURES,
    TEST,
    VALID,
    Arm,
    arms,
    changed,
    choice,
    command,
    differences,
    figures,
    forgot,
    front,
)
from posttrain.report.words import between, change, count, duration, number
from posttrain.run import ledger

TONES = {REPRODUCED: "won", DISAGREES: "lost"}
MARKS = {REPRODUCED: "✓", NOT_RUN: "–", UNDECIDABLE: "–"}
KINDS = ("html", "md", "json")
ABOUT = (
    "Mean over seeds of the adapter with its 95 % t interval, which says what another seed would change; after ± half "
    "of the 95 % interval that the items leave, which says what other items would. The seeds vary sft alone: base, "
    "encoder, align and distill were trained once, and all arms had the same corpus, tasks and number of steps. All of "
    "these figures are the test's; no arm is chosen by them. The advised arm was chosen on validation items, and only "
    "its difference to the first arm is claimed."
)


def build(run_folder: Path | str) -> Path:
    """Write study.html, study.md and study.json into the run's folder; returns the path of the page.

    Raises InputError if the ledger has no arms to compare.
    """
    run_folder = Path(run_folder)
    made = arms(ledger.read(run_folder / "ledger.jsonl"))
    said = claims(made)
    for kind, text in zip(KINDS, (_html(made, said), _markdown(made, said), _json(made, said)), strict=True):
        files.write_text(run_folder / f"study.{kind}", text)
    return run_folder / "study.html"


def told(run_folder: Path) -> list[str]:
    """The main results for a terminal: the panel, the recommendation, the path of the page."""
    made = arms(ledger.read(run_folder / "ledger.jsonl"))
    lines = [f"{_mark(claim)} {claim.said}: {claim.verdict}; {claim.figures}" for claim in claims(made)]
    return [*lines, *advice(made), str(run_folder / "study.html")]


def advice(made: Sequence[Arm]) -> list[str]:
    """Advice for the recipe at hand, how sure it is, and the command."""
    first, found = made[0], choice(made)
    if found.missing:
        return [f"No arm is chosen: {found.missing}."]
    assert found.nearest is not None and found.difference is not None and found.gain is not None
    best, holm = found.nearest, " after Holm" * (found.compared > 1)
    apart = f"{_points(found.difference)} points, p = {found.p:.2g}{holm}"
    gain = f"{change('', found.gain.value)} points {between('', found.gain.ci95)}"
    if found.arm is first:
        return [
            f"Stay with {first.name}: on validation items no arm surely forgets less at as good a target and with as "
            f"safe answers (arms compared with it: {found.compared}{', Holm' * bool(holm)}). "
            f"The nearest is {best.name}: {apart}; in hearing tasks {gain}."
        ]
    tested = differences(made, TEST)[[arm.name for arm in made[1:]].index(best.name)]
    sure = (
        "surely forgets less" if tested.sign < 0 else "perhaps forgets less" if tested.value < 0 else "forgets no less"
    )
    on_test = best.against(first, "gain")
    gained = f"; in hearing tasks {change('', on_test.value)} points {between('', on_test.ci95)}" if on_test else ""
    return [
        f"Try {best.name}. It was chosen on validation items, where it surely forgets less than {first.name} "
        f"({apart}) and gains as much in hearing tasks to within {100 * EQUAL:.0f} point ({gain}). On the test, which "
        f"had no part in the choice, it {sure}: {_points(tested)} points over {tested.seeds} seeds and {_items(best)} "
        f"items, one comparison{gained}.",
        command(best, first),
    ]


def _points(found: Apart) -> str:
    return f"{change('', found.value)} {between('', found.ci95)}"


def _items(arm: Arm) -> str:
    return f"{next(iter(arm.rows.values())).metrics[forgot([arm])]['n']:,}"


def figure_table(made: Sequence[Arm]) -> list[list[str]]:
    """Header, and one line per arm: options changed, seeds, parameters tuned, every figure, time of one training."""
    shown = figures(made)
    head = ["arm", "changed", "seeds", "tuned", *shown.values(), "a training takes"]
    lines = []
    for arm in made:
        said = ", ".join(f"{k} {v}" for k, v in changed(arm, made[0]).items()) or "–"
        walls = [row.wall_s for row in arm.rows.values()]
        cells = [cell(arm, figure) for figure in shown]
        lines.append([arm.name, said, str(len(arm.rows)), count(arm.tuned), *cells, duration(sum(walls) / len(walls))])
    return [head, *lines]


def cell(arm: Arm, figure: str) -> str:
    """Mean, interval over seeds, ± half the interval over items, as text."""
    mean, half = arm.mean(figure), arm.items_half(figure)
    if mean is None:
        return "–"
    value = change("", mean.value) if figure == "gain" else number(figure, mean.value)
    items = "" if half is None else f"± {between(figure, (half, half)).strip('[]').partition(',')[0]}"
    return " ".join(filter(None, (value, between(figure, mean.ci95), items)))


def plot(made: Sequence[Arm]) -> Markup:
    """Gain in points against forgetting in percent, with whiskers over seeds; the path is the Pareto front."""
    points: dict[str, Point] = {}
    widths, figure = [], forgot(made)
    for arm in made:
        gain, lost = arm.mean("gain"), arm.mean(figure)
        if gain is None or lost is None:
            continue
        y, (lo, hi) = 100 * gain.value, (100 * v for v in gain.ci95 or (gain.value, gain.value))
        title = f"{arm.name}: gained {cell(arm, 'gain')} points, forgot {cell(arm, figure)}"
        points[arm.name] = Point(100 * lost.value, y, lo, hi, arm.name, title)
        low, high = lost.ci95 or (lost.value, lost.value)
        widths.append((100 * low, 100 * high))
    trail = [points[arm.name] for arm in front(made)]
    return charts.scatter(
        "Target gain against forgetting",
        list(points.values()),
        FIGURES[figure],
        "gained in hearing tasks, points",
        widths,
        trail,
    )


def _html(made: Sequence[Arm], said: Sequence[Claim]) -> str:
    row = next(iter(made[-1].rows.values()))
    return template.render(
        "study.html.j2",
        run=row.run,
        start=made[0].start.stage,
        advice=advice(made),
        panel=[(c, _mark(c), TONES.get(c.verdict, "")) for c in said],
        plot=plot(made),
        front=", ".join(arm.name for arm in front(made)),
        table=figure_table(made),
        about=ABOUT,
        facts=[("device", row.device), ("code", row.code), ("data", row.data), ("base", row.base)],
    )


def _markdown(made: Sequence[Arm], said: Sequence[Claim]) -> str:
    first, *rest = advice(made)
    panel = [["", "finding", "source", "verdict", "figures"]]
    panel += [[_mark(c), c.said, c.source, c.verdict, c.figures] for c in said]
    parts = [f"# {next(iter(made[-1].rows.values())).run}", first, *(f"```sh\n{line}\n```" for line in rest)]
    arms_table = table(figure_table(made), raw=True, side="---")
    parts += ["## Reproduced in shape", table(panel, raw=True, side="---"), "## Arms", ABOUT, arms_table]
    parts.append(f"Pareto front of gain against forgetting: {', '.join(arm.name for arm in front(made))}.")
    return "\n\n".join(parts) + "\n"


def _json(made: Sequence[Arm], said: Sequence[Claim]) -> str:
    content = {
        "arms": {arm.name: _as_dict(arm, made[0]) for arm in made},
        "front": [arm.name for arm in front(made)],
        "choice": _choice(made),
        "recommended": None if choice(made).missing else choice(made).arm.name,
        "advice": advice(made),
        "claims": [dataclasses.asdict(claim) for claim in said],
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _choice(made: Sequence[Arm]) -> dict[str, Any]:
    """The figures behind the choice: differences from the first arm on validation, and the chosen arm's on the test."""
    found, names = choice(made), [arm.name for arm in made[1:]]
    if found.missing:
        return {"arm": None, "missing": found.missing}
    on = {split: dict(zip(names, differences(made, split), strict=True)) for split in (VALID, TEST)}
    said: dict[str, Any] = {"arm": found.arm.name, "compared": found.compared, "p_holm_of_nearest": found.p}
    said |= {"nearest": found.nearest.name if found.nearest else None}
    said |= {"validation": {name: _difference(one) for name, one in on[VALID].items()}}
    return said | ({"test": _difference(on[TEST][found.arm.name])} if found.arm.name in on[TEST] else {})


def _difference(found: Apart) -> dict[str, Any]:
    return {"value": found.value, "ci95": list(found.ci95), "n": found.seeds, "p_lower": found.p_lower}


def _as_dict(arm: Arm, first: Arm) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for figure in figures([arm]):
        mean, apart = arm.mean(figure), arm.against(first, figure)
        if mean:
            made[figure] = dataclasses.asdict(mean) | {"items_half": arm.items_half(figure)}
            made[figure] |= {"against_first": dataclasses.asdict(apart)} if apart and arm is not first else {}
            made[figure]["by_seed"] = arm.values(figure)
    return {"changed": changed(arm, first), "seeds": sorted(arm.rows), "tuned": arm.tuned, "figures": made}


def _mark(claim: Claim) -> str:
    return MARKS.get(claim.verdict, "✗")
