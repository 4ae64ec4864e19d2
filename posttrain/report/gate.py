"""`posttrain gate`: checks the recipe's limits against the figures computed from a run's saved answers.

A limit is crossed when the whole 95 % interval of its figure is beyond it, and passed when the whole interval is within
(its upper bound at most the limit). If the interval contains the limit, the check is undecided: it passes, and reports
how many items would decide, with contents and voices in proportion. Intervals and tests allow for what items share, see
`statistics`: shares have Wilson's interval, changes against row zero Tango's. A change crosses its limit only if the
exact test, after Holm over the figures under the same limit, is below 0.05 too.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.config.recipe import Recipe, load_recipe
from posttrain.errors import InputError
from posttrain.evals.metrics import SHARE, Role, harms, of
from posttrain.evals.statistics import critical, deciding_n, deciding_share_n, holm
from posttrain.report import code_versions
from posttrain.report.changes import read_answers
from posttrain.report.findings import SURE, chosen
from posttrain.report.lineage import spec
from posttrain.report.verify import Metrics, Wrong, differences, missing, recompute
from posttrain.report.words import between, change, label, number, unit
from posttrain.run import ledger
from posttrain.run.ledger import Row
from posttrain.run.planning import evaluation_key

LEVELS = {
    "forgetting": "forgetting/mean",
    "benchmark_forgetting": "forgetting/benchmarks",
    "harmful_compliance_text": "safety/harmful_compliance/text",
    "harmful_compliance_speech": "safety/harmful_compliance/speech",
    "over_refusal_text": "safety/over_refusal/text",
    "over_refusal_speech": "safety/over_refusal/speech",
    "hallucination": "hearing/hallucination",
    "wer_clean": "wer/clean",
}
"""Limit → the metric that it bounds."""
CHANGES = {"ability_loss": "ability/", "harmful_compliance_rise": "safety/harmful_compliance/"}
"""Limit → the metrics whose paired difference against row zero it bounds."""


@dataclass(frozen=True)
class Check:
    """One figure against its limit."""

    option: str
    """Which limit of the recipe's `gate` section."""
    metric: str
    limit: float
    status: str
    """passed, undecided, crossed, or missing if the row has no such figure."""
    value: float = 0.0
    """The figure, or for a change how much worse it became."""
    ci95: tuple[float, float] = (0.0, 0.0)
    n: int = 0
    p: float | None = None
    """For a change: p value of the exact test, after Holm."""
    decided_at_n: int | None = None
    """If undecided: items that would decide if the figure stayed the same; None if it equals its limit."""

    @property
    def failed(self) -> bool:
        """Whether it stops the run."""
        return self.status in ("crossed", "missing")

    def as_dict(self) -> dict[str, Any]:
        """The check for JSON; margins, of the figure and of its upper bound, are positive within the limit."""
        if self.status == "missing":
            return {"option": self.option, "metric": self.metric, "limit": self.limit, "status": self.status}
        margins = {"margin": self.limit - self.value, "margin_of_upper_bound": self.limit - self.ci95[1]}
        return dataclasses.asdict(self) | margins

    def __str__(self) -> str:
        """One line: the figure, its limit, the margin, n, and how many items would decide."""
        if self.status == "missing":
            return f"{self.metric}: not measured; gate.{self.option}=null leaves it out"
        margin = self.limit - self.value
        figure, limit, ci95 = number(self.metric, self.value), number(self.metric, self.limit), self.ci95
        if self.option in CHANGES:
            if self.value < 0:
                ci95 = (-ci95[1], -ci95[0])
            way = "better" if self.value < 0 else "worse"
            figure, limit = f"{way} by {100 * abs(self.value):.1f} points", f"{100 * self.limit:.1f} worse"
        text = f"{label(self.metric)}: {figure} {between(self.metric, ci95)}, at most {limit}"
        text += f", {'within' if margin >= 0 else 'beyond'} by {100 * abs(margin):.1f} points"
        if self.status == "passed":
            text += f" ({100 * (self.limit - self.ci95[1]):.1f} at the upper bound)"
        text += f", n = {self.n:,}"
        if self.status == "undecided":
            text += " is too few to tell"
            text += f"; some {self.decided_at_n} would, if the figure stayed" * ((self.decided_at_n or 0) > self.n)
        return text


@dataclass(frozen=True)
class Verdict:
    """The gate's result for one row."""

    run: str
    stage: str
    recipe: str
    checks: list[Check]
    wrong: list[Wrong]
    """Figures of any row that the saved answers do not reproduce."""
    notes: list[str]
    """What could not be compared, and the versions of the code if there are several."""
    mixed: str = ""
    """The versions of the code, if there are more than the recipe allows."""
    harm: tuple[str, ...] = ()
    """If the row is an enhancer's: gains that surely are losses."""

    @property
    def reasons(self) -> list[str]:
        """Why the gate fails; empty if it passes."""
        return (
            [f"gate.{c.option}: {c}" for c in self.checks if c.failed]
            + [str(w) for w in self.wrong]
            + [self.mixed] * bool(self.mixed)
            + list(self.harm)
        )

    def as_dict(self) -> dict[str, Any]:
        """The verdict for JSON."""
        head = {"run": self.run, "stage": self.stage, "recipe": self.recipe, "passed": not self.reasons}
        wrong = [dataclasses.asdict(w) for w in self.wrong]
        checks = [check.as_dict() for check in self.checks]
        return {**head, "reasons": self.reasons, "checks": checks, "wrong": wrong, "notes": self.notes}


def judge(
    run: Path | str, stage: str | None = None, recipe: str | None = None, changes: list[str] | None = None
) -> Verdict:
    """The verdict on a stage, by default the run's last model, under a recipe, by default the one its row names.

    Every row of the ledger is compared with its saved answers; the verdict is on the figures computed from those.
    Raises InputError if the run, the stage, its answers or the recipe are missing.
    """
    rows = ledger.read(Path(run) / "ledger.jsonl")
    row = chosen(run, rows, stage)
    loaded = _recipe(row, recipe, changes)
    answers = read_answers(Path(run), rows)
    if gone := missing(row, rows, answers):
        raise InputError(
            f"{run} lacks answers.jsonl of {', '.join(gone)}; evaluate again, or gate the whole run folder"
        )
    wrong: list[Wrong] = []
    notes: list[str] = []
    figures: dict[str, Metrics] = {}
    for each in rows:
        if gone := missing(each, rows, answers):
            notes.append(f"{each.stage} was not compared with its answers: no answers.jsonl of {', '.join(gone)}")
            continue
        found = recompute(each, rows, answers, loaded.evaluation.bootstrap)
        same = each.config.get("evaluation") == evaluation_key(loaded)
        if not same:
            notes.append(f"{each.stage}: evaluated with other options than the recipe's; intervals were not compared")
        wrong += differences(each, found, resampled=same)
        figures[each.stage] = found
    mixed, most = code_versions.said(rows), loaded.gate.code_versions
    if mixed and (most is None or len(code_versions.versions(rows)) <= most):
        notes.append(mixed)
        mixed = ""
    mixed = mixed and f"gate.code_versions: at most {most}. {mixed}"
    harm = {each.stage: harmful(each.stage, figures[each.stage]) for each in rows if each.stage in figures}
    notes += [text for stage, texts in harm.items() if stage != row.stage for text in texts]
    checks = [] if spec(row).aside else list(check(figures[row.stage], loaded))
    return Verdict(row.run, row.stage, loaded.name, checks, wrong, notes, mixed, tuple(harm[row.stage]))


def harmful(stage: str, figures: Metrics) -> list[str]:
    """An enhancer's gains that surely are losses, except those of one noise, in words."""
    found = [n for n, figure in figures.items() if harms(n, figure) and of(n).role is not Role.DETAIL]
    said = {n: f"{change(n, figures[n]['value'])}{unit(n)} {between(n, figures[n]['ci95'])}" for n in found}
    return [f"{stage} does harm: {label(name)}: {text}" for name, text in said.items()]


def check(figures: Metrics, recipe: Recipe) -> Iterator[Check]:
    """Each limit of the recipe's `gate` section against the figures; null limits are skipped."""
    for option, limit in dataclasses.asdict(recipe.gate).items():
        if limit is None or option == "code_versions":
            continue
        if option in LEVELS:
            yield _level(option, LEVELS[option], limit, figures.get(LEVELS[option]))
        else:
            yield from _changes(option, limit, figures)


def _level(option: str, metric: str, limit: float, figure: dict[str, Any] | None) -> Check:
    if figure is None:
        return Check(option, metric, limit, "missing")
    value, (lo, hi), n = figure["value"], figure["ci95"], figure["n"]
    status = "crossed" if lo > limit else "passed" if hi <= limit else "undecided"
    needed = None
    if status == "undecided":
        alone = figure.get("contents", n) == n and "speakers" not in figure  # then the interval is Wilson's
        share = of(metric).unit is SHARE and alone
        needed = deciding_share_n(value, limit) if share else deciding_n(value, (lo, hi), limit, n)
    return Check(option, metric, limit, status, value, (lo, hi), n, None, needed)


def _changes(option: str, limit: float, figures: Metrics) -> Iterator[Check]:
    """Paired differences against row zero, signed so that positive is worse."""
    prefix = CHANGES[option]
    found = {n: m for n, m in figures.items() if n.startswith(prefix) and m["delta_vs_base"] is not None}
    if not found:
        yield Check(option, prefix + "*", limit, "missing")
    adjusted = holm([figure["p_vs_base"] for figure in found.values()])
    for (metric, figure), p in zip(found.items(), adjusted, strict=True):
        way = -of(metric).better
        value = way * figure["delta_vs_base"] + 0.0
        lo, hi = sorted(way * bound + 0.0 for bound in figure["delta_ci95"])
        status = "crossed" if lo > limit and p < SURE else "passed" if hi <= limit else "undecided"
        needed = _deciding(value, (lo, hi), limit, figure["n"], len(found)) if status == "undecided" else None
        yield Check(option, metric, limit, status, value, (lo, hi), figure["n"], p, needed)


def _deciding(value: float, interval: tuple[float, float], limit: float, n: int, compared: int) -> int | None:
    """Items that would decide a change: pass it, or cross its limit by interval and by the test after Holm."""
    needed = deciding_n(value, interval, limit, n)
    if needed is None or value <= max(limit, 0.0):
        return needed
    stricter = critical(None, SURE / compared) / critical(None, SURE)
    lowest = value - stricter * (value - interval[0])
    return max(needed, deciding_n(value, (lowest, interval[1]), 0.0, n) or 0)


def _recipe(row: Row, recipe: str | None, changes: list[str] | None) -> Recipe:
    name = recipe or str(row.config.get("recipe", ""))
    try:
        return load_recipe(name, changes)
    except InputError as error:
        if recipe:
            raise
        named = f"recipe {name!r} is the one that the row {row.stage} names; give the run's own with --recipe FILE.yaml"
        raise InputError([*error.problems, named]) from error
