"""The verdict on top of a report, in two sentences: gained and lost, and what to try next with the exact command."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from posttrain.evals.metrics import FORGETTING, SKILLS, Group, of
from posttrain.report.findings import TASKS, against_encoder, figure, final, sure
from posttrain.report.lineage import lineage, spec
from posttrain.report.words import change, label, unit
from posttrain.run.ledger import Row


@dataclass(frozen=True)
class Verdict:
    """What a team needs to decide on the next step."""

    said: str
    """First sentence: what was gained, what was lost, and how sure that is."""
    advice: str
    """Second sentence: what to try next, and why."""
    command: str
    """The command for the second sentence."""


@dataclass(frozen=True)
class Remedy:
    """An option of sft, its name in words, and the value to try if the run did not use it."""

    option: str
    name: str
    value: Any


SAFETY_ROWS = Remedy("safety_share", "3 % safety rows (arXiv 2309.07875)", 0.03)
REMEDIES = (
    Remedy("replay_share", "replay of 5 % of what the base learned from", 0.05),
    Remedy("kl_weight", "a KL tie to the base", 1.0),
)
"""In the order in which they are tried."""
SLOWER = "half the learning rate of sft, which forgets less and gains less"


def verdict(rows: list[Row]) -> Verdict | None:
    """The verdict on the run's last model; None if it has no figures of hearing tasks."""
    last = final(rows)
    if last is None or not (last.metrics.keys() & set(SKILLS)):
        return None
    why, tried = _next(last, rows)
    said = f"{last.stage} {_gained(last)}; {_lost(last)}."
    if tried is None:
        return Verdict(said, f"{why}; hold it to its limits", f"make gate RUN={quote(last.run)}")
    name, changes, suffix = tried
    return Verdict(said, f"{why}, try next {name}", _command(last, changes, suffix))


def _gained(last: Row) -> str:
    """Clean word errors and the first task; picking the task that gained most would select on the figure reported."""
    parts = []
    if "wer/clean" in last.metrics:
        own = against_encoder(last, "wer/clean")
        parts.append(f"hears clean speech with {figure(last, 'wer/clean')} word errors" + (f", {own}" if own else ""))
    tasks = [n for n in TASKS if n in last.metrics]
    if tasks:
        parts.append(f"has {figure(last, tasks[0])} right in “{label(tasks[0])}”")
    return ", and ".join(parts)


def _lost(last: Row) -> str:
    """Typed abilities, public benchmarks and safety, each with how sure it is."""
    parts = []
    for name in (n for n in FORGETTING if n in last.metrics):
        lo, hi = last.metrics[name]["ci95"]
        what, worst = of(name).short, _worst(last, name)
        amount = f"{figure(last, name)} of its {what} (n = {last.metrics[name]['n']:,})"
        if lo > 0:
            parts.append(f"it surely forgot {amount}" + (f", most of all {worst}" if worst else ""))
        else:
            parts.append(f"no forgetting is shown, {amount}" if hi >= 0 else f"{what} surely rose, {amount}")
    certain = sure(last)
    safety = [n for n in last.metrics if of(n).group is Group.SAFETY]
    for name in sorted(set(safety) & set(certain)):
        side = "worse" if certain[name] < 0 else "better"
        parts.append(f"{label(name)} are surely {side}, {figure(last, name)}")
    if safety and not set(safety) & set(certain):
        parts.append("no change in safety is sure")
    return ", and ".join(parts) or "what it lost was not measured"


def _worst(last: Row, forgotten: str) -> str:
    """The typed ability or benchmark that fell most among those that surely fell."""
    group = Group.TYPED if forgotten == FORGETTING[0] else Group.PUBLIC
    fallen = [n for n, way in sure(last).items() if way < 0 and of(n).group is group]
    if not fallen:
        return ""
    name = min(fallen, key=lambda n: last.metrics[n]["delta_vs_base"])
    return f"{label(name)} {change(name, last.metrics[name]['delta_vs_base'])}{unit(name)}"


def _next(last: Row, rows: list[Row]) -> tuple[str, tuple[str, str, str] | None]:
    """The reason, and (remedy in words, changes to make, suffix of the run's name) or None if there is none to try."""
    made = [row.config for row in lineage(last, rows) if spec(row).arm]
    options: dict[str, Any] = made[-1].get("options", {}) if made else {}
    certain = sure(last)
    complies = any(certain.get(f"safety/harmful_compliance/{form}", 0) < 0 for form in ("text", "speech"))
    if complies and _untried(SAFETY_ROWS, options):
        return "Against harmful requests answered", _as_change(SAFETY_ROWS)
    if any(last.metrics[name]["ci95"][0] > 0 for name in FORGETTING if name in last.metrics):
        for remedy in REMEDIES:
            if _untried(remedy, options):
                return "Against forgetting", _as_change(remedy)
        if rate := options.get("learning_rate"):
            return "Against forgetting", (SLOWER, f"sft.learning_rate={rate / 2:g}", "slower")
        return "No remedy against forgetting is left untried here", None
    if worse := [label(name) for name, way in certain.items() if way < 0 and of(name).group is not Group.LANGUAGE]:
        return f"Surely worse: {', '.join(worse)}; no option is known to help against that", None
    return "Nothing that was lost is sure", None


def _untried(remedy: Remedy, options: dict[str, Any]) -> bool:
    return remedy.option in options and not options[remedy.option]


def _as_change(remedy: Remedy) -> tuple[str, str, str]:
    return remedy.name, f"sft.{remedy.option}={remedy.value:g}", remedy.option.partition("_")[0]


def _command(last: Row, changes: str, suffix: str) -> str:
    run, recipe = Path(last.checkpoint).parent, str(last.config.get("recipe", "tiny"))
    named = "" if recipe == "tiny" else f"RECIPE={quote(recipe)} "
    return f"make pipeline {named}FROM={quote(str(run))} RUN={quote(f'{run.name}_{suffix}')} SET={quote(changes)}"
