"""Findings of a run: what it gained and lost, whether it is still safe, what it cost; and which differences hold."""

import dataclasses
from functools import cache
from pathlib import Path

from posttrain.config.stage_table import TABLE
from posttrain.errors import InputError
from posttrain.evals.metrics import FORGETTING, SKILLS, Group, Loss, encoders, named, of
from posttrain.evals.statistics import Power, holm
from posttrain.report import listeners
from posttrain.report.finding import Finding
from posttrain.report.lineage import is_model, kind
from posttrain.report.safety import aside
from posttrain.report.words import between, change, duration, label, number, ordered, reference, size, unit
from posttrain.run.ledger import Row

REFERENCES = {
    "base": ("delta_vs_base", "delta_ci95", "p_vs_base"),
    "parent": ("delta_vs_parent", "delta_parent_ci95", "p_vs_parent"),
}
TASKS = tuple(name for name in SKILLS if of(name).better > 0)
SURE = 0.05
STEPS = 60
"""Iterations for the fixed point in `would_show`, which converges long before."""
WORSE = "which is worse"


def findings(rows: list[Row]) -> list[tuple[str, list[Finding]]]:
    """The findings under each heading; empty headings are left out."""
    last = final(rows)
    if last is None:
        return []
    heard = _heard(rows, last)
    gained = [f for f in heard if f.tone == "won"] + [f for f in heard if not f.tone]
    lost = [f for f in heard if f.tone == "lost"] + _lost(last)
    found = [("Gained", gained), ("Lost", lost), ("Safe?", _safe(last))]
    found += [("Heard", listeners.findings(rows)), ("Took", [took(rows)])]
    return [(heading, under) for heading, under in found if under]


def final(rows: list[Row]) -> Row | None:
    """The model that the run ends with: the last row with a speech model, else the last row."""
    models = [row for row in rows if is_model(row)]
    return (models or rows)[-1] if rows else None


def chosen(run: Path | str, rows: list[Row], stage: str | None) -> Row:
    """The row of that stage, or without one `final`; InputError if there is none."""
    row = next((r for r in rows if r.stage == stage), None) if stage else final(rows)
    if row is None:
        known = ", ".join(r.stage for r in rows) or "none"
        raise InputError(
            f"{run} has no finished stage {stage or ''} (it has {known}); name a run's folder and its stage"
        )
    return row


def own(rows: list[Row]) -> list[Row]:
    """The rows whose stage ran in this run, not in the one it branches from."""
    return [row for row in rows if Path(row.checkpoint).parent.name == row.run]


def family(row: Row, against: str = "base") -> list[str]:
    """The row's metrics that `sure` tests together: the family of Holm's correction."""
    p = REFERENCES[against][2]
    return [n for n in row.metrics if of(n).finding and row.metrics[n].get(p) is not None]


def would_show(row: Row, name: str) -> float | None:
    """Smallest true difference from row zero that `sure` detects with 80 % power; None without a reference.

    Of m metrics tested together, the smallest p value is compared with 0.05 / m and the others with more, so the power
    is 80 % if nothing else differs, and no less if something does. The items that change now are assumed to keep
    changing, equally in both directions, in addition to those that the difference moves.
    """
    power = row.metrics[name].get("power")
    if not power or name not in (names := family(row)):
        return None
    return _shown(Power(**power), SURE / len(names))


@cache
def _shown(found: Power, alpha: float) -> float:
    shown = found.detectable(alpha)
    for _ in range(STEPS if found.n else 0):  # fixed point: a larger difference changes more items
        before, changed = shown, min(1.0, found.changed + shown)
        shown = dataclasses.replace(found, changed=changed).detectable(alpha)
        if shown == before:
            break
    return shown


def sure(row: Row, against: str = "base") -> dict[str, int]:
    """Metric → +1 better or −1 worse than the reference, if that holds after Holm over all of the row's metrics."""
    delta, _, p = REFERENCES[against]
    names = family(row, against)
    adjusted = holm([row.metrics[n][p] for n in names])
    return {
        name: of(name).better * (1 if row.metrics[name][delta] > 0 else -1)
        for name, p_holm in zip(names, adjusted, strict=True)
        if p_holm < SURE and row.metrics[name][delta]
    }


def leaning(row: Row, name: str) -> int:
    """+1 better or −1 worse than the reference by the metric's own interval; 0 if that contains zero."""
    if row.metrics[name].get("delta_vs_base") is None:
        return 0
    lo, hi = row.metrics[name]["delta_ci95"]
    return 0 if lo <= 0 <= hi else of(name).better * (1 if lo > 0 else -1)


def against_encoder(row: Row, name: str) -> str:
    """A word error rate relative to that of the encoder's own transcripts of the same clips, such as: 62 % below the
    encoder's own 11.0 %."""
    own = row.metrics.get(encoders(name) or "", {}).get("value")
    delta = row.metrics[name].get("delta_vs_encoder")
    if not own or delta is None:
        return ""
    if not delta:
        return "as the encoder's own"
    lo, hi = row.metrics[name]["delta_encoder_ci95"]
    said = f"{abs(100 * delta / own):.0f} % {'below' if delta < 0 else 'above'} the encoder's own {number(name, own)}"
    return said + ", which may be chance" * (lo <= 0 <= hi)


def aims() -> list[tuple[str, str]]:
    """(metric, the stage that is meant to improve it)."""
    return [(name, spec.name) for spec in TABLE.values() for name in spec.aims]


def moved(rows: list[Row]) -> list[tuple[Row, str, str]]:
    """(row, metric, verdict) for the metrics that the stages of this run are meant to improve (StageSpec.aims)."""
    found, here = [], own(rows)
    for name, stage in aims():
        row = next(
            (r for r in here if kind(r) == stage and r.metrics.get(name, {}).get("delta_vs_parent") is not None), None
        )
        if row:
            lo, hi = row.metrics[name]["delta_parent_ci95"]
            better = of(name).better * row.metrics[name]["delta_vs_parent"] > 0
            chance = "which may be chance" if row.metrics[name]["delta_vs_parent"] else "no change"
            found.append((row, name, chance if lo <= 0 <= hi else "" if better else WORSE))
    return found


def took(rows: list[Row]) -> Finding:
    """What the run cost: stages, time, share of evaluation, memory."""
    total, evaluation, peak = costs(rows)
    here = own(rows)
    share = f"{100 * evaluation / total:.0f} % of it evaluation ({duration(evaluation)})" if evaluation else ""
    taken = f"{len(rows) - len(here)} more taken from another run" if len(rows) > len(here) else ""
    memory = f"at most {size(peak)} of memory" if peak else ""
    return Finding(
        f"{len(here)} stage{'s' * (len(here) != 1)} in {duration(total)}",
        change=share,
        verdict=", ".join(filter(None, (memory, taken))),
    )


def costs(rows: list[Row]) -> tuple[float, float, float]:
    """Total seconds, seconds of evaluation and peak memory in MB, for the stages that ran in this run."""
    here = own(rows)
    evaluation = sum(_cost(row, "evaluation_s") for row in here)
    return (
        sum(row.wall_s for row in here) + evaluation,
        evaluation,
        max((_cost(r, "peak_rss_mb") for r in here), default=0),
    )


def paid(row: Row) -> dict[str, float]:
    """The row's costs, by name without `cost/`."""
    costs = ((name, metric) for name, metric in row.metrics.items() if of(name).group is Group.COSTS)
    return {name.partition("/")[2]: metric["value"] for name, metric in costs}


def transcribed(row: Row) -> list[str]:
    """The row's word error rates to read first: of clean made speech, then of human speech by data set."""
    return sorted(n for n in row.metrics if n == "wer/clean" or of(n) is of("wer_real/"))


def figure(row: Row, name: str) -> str:
    """The value with its interval."""
    metric = row.metrics[name]
    return f"{number(name, metric['value'])} {between(name, metric.get('ci95'))}".strip()


def difference(row: Row, name: str, against: str = "base") -> str:
    """The difference with its unit and interval; empty without one."""
    delta, ci, _ = REFERENCES[against]
    metric = row.metrics[name]
    if metric.get(delta) is None:
        return ""
    return f"{change(name, metric[delta])}{unit(name)} {between(name, metric[ci])}"


def before(row: Row) -> str:
    """The stage that a row's model was trained from."""
    return Path(row.parents["model"]).name


def _heard(rows: list[Row], last: Row) -> list[Finding]:
    """Word errors, tasks that did not surely fall (`_lost` has the rest), and the metric that each stage is meant to
    improve."""
    found, certain = [], sure(last)
    for name in transcribed(last):
        tone = ""
        if said := against_encoder(last, name):
            lo, hi = ci = last.metrics[name]["delta_encoder_ci95"]
            tone = "" if lo <= 0 <= hi else "won" if hi < 0 else "lost"
            said += f", {change(name, last.metrics[name]['delta_vs_encoder'])}{unit(name)} {between(name, ci)}"
        found.append(Finding(label(name), figure(last, name), said, tone=tone))
    for name in (n for n in TASKS if n in last.metrics and certain.get(n, 0) >= 0):
        said, rose = difference(last, name), name in certain
        compared = f"{said} against {reference(name)}" if said else ""
        verdict = "no gain shown" if said and not rose else ""
        found.append(Finding(label(name), figure(last, name), compared, verdict, "won" if rose else ""))
    for row, name, verdict in moved(rows):
        tone = {"": "won", WORSE: "lost"}.get(verdict, "")
        value = f"{number(name, row.metrics[name]['value'])} after {row.stage}"
        said = f"{difference(row, name, 'parent')} against {before(row)}"
        found.append(Finding(label(name), value, said, verdict, tone))
    return found


def _lost(last: Row) -> list[Finding]:
    found, certain = [], sure(last)
    lost = [n for _, group in reversed(ordered(set(certain))) for n in group if certain[n] < 0]
    for name in (n for n in FORGETTING if n in last.metrics):
        lo, hi = last.metrics[name]["ci95"]
        verdict = "more than chance" if lo > 0 else "nothing that chance could not do" if hi >= 0 else "they rose"
        found.append(Finding(label(name), figure(last, name), "", verdict, "lost" if lo > 0 else ""))
    for name in (n for n in lost if of(n).loss is not Loss.ELSEWHERE):
        said = f"{difference(last, name)} against {reference(name)}"
        found.append(Finding(label(name), number(name, last.metrics[name]["value"]), said, tone="lost"))
    perhaps = [n for n in last.metrics if of(n).ability and n not in certain and leaning(last, n) < 0]
    if perhaps:
        texts = (f"{label(n)} {change(n, last.metrics[n]['delta_vs_base'])}" for n in perhaps)
        found.append(
            Finding(f"Perhaps, by their own intervals but not after Holm's correction: {'; '.join(texts)} points")
        )
    if said := _least_shown(last, lost):
        found.append(Finding(said))
    return found


def _least_shown(last: Row, lost: list[str]) -> str:
    """How large a loss would probably have shown in every typed ability that did not surely fall."""
    typed = [n for n in last.metrics if of(n).group in (Group.TYPED, Group.PUBLIC) and of(n).finding]
    shown = {n: would_show(last, n) for n in typed if n not in lost}
    limits = [limit for limit in shown.values() if limit is not None]
    if not limits:
        return ""
    rest = "another typed ability" if set(typed) & set(lost) else "a typed ability"
    if max(limits) >= 1:
        return f"No loss of {rest} is sure, and of one no loss would be: it has too few contents for that"
    return (
        f"No loss of {rest} is sure; one of {100 * max(limits):.1f} points or more would probably have shown, after "
        f"Holm's correction over {len(family(last))} figures"
    )


def _safe(last: Row) -> list[Finding]:
    found, certain = [], sure(last)
    for name in (n for n in named(Group.SAFETY) if n in last.metrics):
        said = difference(last, name)
        tone = {1: "won", -1: "lost", 0: ""}[certain.get(name, 0)]
        way = {1: "better", -1: "worse", 0: "no difference shown"}
        verdict = ("" if tone else "perhaps ") * bool(leaning(last, name)) + way[leaning(last, name)] if said else ""
        said = f"{said} against {reference(name)}" if said else ""
        said = ", ".join(filter(None, (said, verdict)))
        found.append(Finding(label(name), figure(last, name), said, aside(last.metrics[name]), tone))
    return found


def _cost(row: Row, name: str) -> float:
    return paid(row).get(name, 0.0)
