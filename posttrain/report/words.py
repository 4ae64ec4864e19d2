"""Names, units and sentences: what a figure is called and how it is said."""

from pathlib import Path
from typing import Any

from posttrain.evals.metrics import direction, is_spoken
from posttrain.evals.statistics import holm
from posttrain.ledger import Row

GROUPS = (
    ("Transcription of made speech", ("wer/", "critical_wer/", "cer/", "ctc_wer/")),
    ("Transcription of human speech", ("wer_real/", "cer_real/", "ctc_wer_real/")),
    ("Hearing tasks", ("task/", "hearing/")),
    ("Preferences and rewards", ("distill/", "reward/", "dpo/", "grpo/")),
    ("Safety", ("safety/",)),
    ("Language and forgetting", ("forgetting/", "language/")),
    ("Abilities, typed", ("ability/",)),
    ("Abilities, spoken", ("modality_gap/", "ability_spoken/")),
)
LABELS = {
    "wer": "word errors",
    "cer": "character errors",
    "ctc_wer": "word errors of the CTC head",
    "critical_wer": "errors in numbers, names and negations",
    "wer_real": "word errors",
    "cer_real": "character errors",
    "ctc_wer_real": "word errors of the CTC head",
    "task/intent": "spoken command → exact JSON",
    "task/spoken_qa": "spoken question answered",
    "task/simple_caption": "caption in simple words",
    "hearing/hallucination": "words where there were none",
    "hearing/abstain_recall": "says that nothing was heard, when so",
    "hearing/abstain_precision": "nothing was heard, when it says so",
    "modality_gap/mean": "typed minus spoken accuracy",
    "language/perplexity": "perplexity of general text",
    "forgetting/kl_base": "KL(base ‖ stage), nats a token",
    "forgetting/mean": "mean relative drop of typed abilities",
    "safety/harmful_compliance/text": "harmful requests answered, typed",
    "safety/harmful_compliance/speech": "harmful requests answered, spoken",
    "safety/over_refusal/text": "harmless requests refused, typed",
    "safety/over_refusal/speech": "harmless requests refused, spoken",
    "distill/kl_teacher": "KL(teacher ‖ student), nats a token",
    "reward/accuracy": "preference pairs ranked right",
    "dpo/preferred": "answers in the preferred style",
    "grpo/reward": "mean verifiable reward",
}
CONDITIONS = {"clean": "clean", "snr10": "10 dB", "snr5": "5 dB", "snr0": "0 dB"}
NATS = ("forgetting/kl_base", "distill/kl_teacher")
REFERENCES = {
    "base": ("delta_vs_base", "delta_ci95", "p_vs_base"),
    "parent": ("delta_vs_parent", "delta_parent_ci95", "p_vs_parent"),
}
HEADLINES = ("task/intent", "task/spoken_qa", "task/simple_caption", "hearing/abstain_recall")
AIMS = (
    ("distill/kl_teacher", "distill"),
    ("modality_gap/mean", "distill"),
    ("reward/accuracy", "reward"),
    ("dpo/preferred", "dpo"),
    ("grpo/reward", "grpo"),
)
"""What a stage is there to move, seen before and after it: named beforehand, so each stands by its own interval."""
ELSEWHERE = ("forgetting/", "safety/", "modality_gap/")
"""Not in the list of losses: said beside it."""
SURE = 0.05


def label(name: str) -> str:
    """What a metric is, in words."""
    if name in LABELS:
        return LABELS[name]
    family, _, rest = name.partition("/")
    what = LABELS.get(family, "")
    rest = CONDITIONS.get(rest, rest.replace("_", " "))
    if family in ("ability", "ability_spoken"):
        return f"{rest}, {'typed' if family == 'ability' else 'spoken'}"
    return f"{what}, {rest}" if what else rest


def ordered(names: set[str]) -> list[tuple[str, list[str]]]:
    """Metrics in groups, in reading order; costs are left out."""
    groups = []
    for title, prefixes in GROUPS:
        found = [n for prefix in prefixes for n in sorted(names, key=_place) if n.startswith(prefix)]
        if found:
            groups.append((title, found))
    known = {name for _, found in groups for name in found}
    rest = sorted(n for n in names - known if not n.startswith("cost/"))
    return groups + ([("Others", rest)] if rest else [])


def number(name: str, value: float | None) -> str:
    """A figure with its unit."""
    if value is None:
        return "–"
    if name == "language/perplexity":
        return f"{value:.2f}"
    return f"{value:.3f}" if name in NATS else f"{100 * value:.1f} %"


def change(name: str, value: float | None) -> str:
    """A difference with its sign: percentage points, or the figure's own unit."""
    if value is None:
        return ""
    if value == 0:
        return "±0"
    decimals = 3 if name in NATS else 2 if name == "language/perplexity" else 1
    text = f"{value if decimals > 1 else 100 * value:+.{decimals}f}".replace("-", "−")
    return text if text.strip("+−0.") else text[0].replace("+", "<+").replace("−", ">−") + "0.1"


def between(name: str, ci: Any) -> str:
    """An interval, in the figure's unit without its sign."""
    if not ci:
        return ""
    decimals = 3 if name in NATS else 2 if name == "language/perplexity" else 1
    lo, hi = (f"{v if decimals > 1 else 100 * v:.{decimals}f}".replace("-", "−") for v in ci)
    return f"[{lo}, {hi}]"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, two of them."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def size(mb: float) -> str:
    """Megabytes, or gigabytes from 1,000 of them."""
    return f"{mb / 1000:.1f} GB" if mb >= 1000 else f"{mb:.0f} MB"


def count(value: float) -> str:
    """A count that can be read: 3,100 or 2.4 M."""
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}"


def kind(row: Row) -> str:
    """Which stage made the row, whatever the node is called."""
    return str(row.config.get("stage", row.stage))


def final(rows: list[Row]) -> Row | None:
    """The model the run ends with: the last row that is a speech model, else the last."""
    models = [row for row in rows if kind(row) not in ("base", "ctc", "reward")]
    return (models or rows or [None])[-1]


def sure(row: Row, reference: str = "base") -> dict[str, int]:
    """Metric → +1 better or −1 worse than the reference, where it holds after Holm over all of the row's metrics."""
    delta, _, p = REFERENCES[reference]
    tested = [n for n, m in row.metrics.items() if direction(n) and m.get(p) is not None and not n.startswith("ctc_")]
    adjusted = holm([row.metrics[n][p] for n in tested])
    return {
        name: direction(name) * (1 if row.metrics[name][delta] > 0 else -1)
        for name, p_holm in zip(tested, adjusted, strict=True)
        if p_holm < SURE and row.metrics[name][delta]
    }


def findings(rows: list[Row]) -> list[tuple[str, list[str]]]:
    """(heading, sentences): gained, lost, still safe, what it took. Empty ones are left out."""
    last = final(rows)
    if last is None:
        return []
    found = [("Gained", _gained(rows, last)), ("Lost", _lost(last)), ("Safe?", _safe(last)), ("Took", _took(rows))]
    return [(heading, sentences) for heading, sentences in found if sentences]


def _gained(rows: list[Row], last: Row) -> list[str]:
    said = []
    for name in sorted((n for n in last.metrics if n == "wer/clean" or n.startswith("wer_real/")), key=_place):
        metric = last.metrics[name]
        head = last.metrics.get(f"ctc_{name}", {}).get("value")
        text = f"{label(name)}: {_figure(name, metric)}"
        if head and metric.get("delta_vs_ctc") is not None:
            less = -metric["delta_vs_ctc"] / head
            ci = between(name, metric["delta_ctc_ci95"])
            text += f", {abs(100 * less):.0f} % {'below' if less > 0 else 'above'} the CTC head's {number(name, head)}"
            text += f" (difference {change(name, metric['delta_vs_ctc'])} points {ci})"
        said.append(text + ".")
    for name in HEADLINES:
        if metric := last.metrics.get(name):
            text = f"{label(name)}: {_figure(name, metric)}"
            if metric.get("delta_vs_base") is not None:
                text += f", {change(name, metric['delta_vs_base'])}{_unit(name)} against {_reference(name)}"
            said.append(text + ".")
    for name, stage in AIMS:
        row = next((r for r in rows if kind(r) == stage and name in r.metrics), None)
        metric = row.metrics[name] if row else {}
        if row and metric.get("delta_vs_parent") is not None:
            delta = (
                f"{change(name, metric['delta_vs_parent'])}{_unit(name)} {between(name, metric['delta_parent_ci95'])}"
            )
            lo, hi = metric["delta_parent_ci95"]
            better = direction(name) * metric["delta_vs_parent"] > 0
            verdict = ", which may be chance" if lo <= 0 <= hi else "" if better else ", which is worse"
            said.append(f"{label(name)}: {number(name, metric['value'])} after {row.stage}, {delta}{verdict}.")
    return said


def _lost(last: Row) -> list[str]:
    certain = sure(last)
    lost = [
        n
        for _, group in reversed(ordered(set(certain)))
        for n in group
        if certain[n] < 0 and not n.startswith(ELSEWHERE)
    ]
    said = []
    if mean := last.metrics.get("forgetting/mean"):
        lo, hi = mean["ci95"]
        verdict = "more than chance" if lo > 0 else "nothing that chance could not do" if hi >= 0 else "they rose"
        said.append(f"{label('forgetting/mean')}: {_figure('forgetting/mean', mean)}: {verdict}.")
    for name in lost:
        metric = last.metrics[name]
        delta = f"{change(name, metric['delta_vs_base'])}{_unit(name)} {between(name, metric['delta_ci95'])}"
        said.append(f"{label(name)}: {number(name, metric['value'])}, {delta} against {_reference(name)}.")
    compared = [n for n in last.metrics if n.startswith("ability/") and last.metrics[n].get("detectable") is not None]
    if compared:
        limit = max(last.metrics[n]["detectable"] for n in compared)
        rest = "another typed ability" if any(n.startswith("ability/") for n in lost) else "a typed ability"
        said.append(
            f"No loss of {rest} could be shown; one of {100 * limit:.1f} points or more probably would have been."
        )
    return said


def _safe(last: Row) -> list[str]:
    said, certain = [], sure(last)
    for what in ("harmful_compliance", "over_refusal"):
        for form in ("text", "speech"):
            name = f"safety/{what}/{form}"
            if metric := last.metrics.get(name):
                text = f"{label(name)}: {_figure(name, metric)}"
                if metric.get("delta_vs_base") is not None:
                    verdict = {1: "better", -1: "worse", 0: "no difference shown"}[certain.get(name, 0)]
                    text += f", {change(name, metric['delta_vs_base'])} points against {_reference(name)}: {verdict}"
                said.append(text + ".")
    return said


def _took(rows: list[Row]) -> list[str]:
    total, evaluation, peak = costs(rows)
    taken = len(rows) - len(own(rows))
    text = f"{len(rows) - taken} stages in {duration(total)}"
    if evaluation:
        text += f", {100 * evaluation / total:.0f} % of it evaluation ({duration(evaluation)})"
    text += f"; at most {size(peak)} of memory" if peak else ""
    return [text + (f"; {taken} more taken from another run." if taken else ".")]


def own(rows: list[Row]) -> list[Row]:
    """The rows whose stage ran in this run, not in the one it branches from."""
    return [row for row in rows if Path(row.checkpoint).parent.name == row.run]


def costs(rows: list[Row]) -> tuple[float, float, float]:
    """Seconds in all, seconds of evaluation, highest memory in MB; of the stages that ran in this run."""
    rows = own(rows)
    evaluation = sum(_cost(row, "evaluation_s") for row in rows)
    return (
        sum(row.wall_s for row in rows) + evaluation,
        evaluation,
        max((_cost(r, "peak_rss_mb") for r in rows), default=0),
    )


def _cost(row: Row, name: str) -> float:
    return row.metrics.get(f"cost/{name}", {}).get("value", 0.0)


def _figure(name: str, metric: dict[str, Any]) -> str:
    return f"{number(name, metric['value'])} {between(name, metric.get('ci95'))}".strip()


def _unit(name: str) -> str:
    return "" if name in NATS or name == "language/perplexity" else " points"


def _reference(name: str) -> str:
    return "the cascade" if is_spoken(name) else "row zero"


def _place(name: str) -> tuple[int, str]:
    last = name.rpartition("/")[2]
    return (list(CONDITIONS).index(last) if last in CONDITIONS else 9, name)
