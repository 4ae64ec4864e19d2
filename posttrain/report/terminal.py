"""The summary that a run prints at its end: at most twelve lines."""

from pathlib import Path

from posttrain.evals.metrics import FORGETTING, Loss, harms, of
from posttrain.report.findings import (
    TASKS,
    WORSE,
    against_encoder,
    before,
    difference,
    figure,
    final,
    moved,
    own,
    sure,
    took,
    transcribed,
)
from posttrain.report.lineage import spec
from posttrain.report.safety import corrected
from posttrain.report.words import between, change, label, number, reference, unit
from posttrain.run.ledger import Row


def summary(rows: list[Row], folder: Path | str | None = None) -> list[str]:
    """Word errors, gains, losses, safety, denoising, time and memory, the report's path; at most 12 lines."""
    last = final(rows)
    if last is None:
        return ["no stage is finished yet"]
    if folder is None:
        folder = Path(own(rows)[-1].checkpoint if own(rows) else last.checkpoint).parent
    said = {
        "Hears": [_transcription(last)],
        "Gained": [_tasks(last), *_moved(rows)],
        "Lost": _lost(rows, last),
        "Safe?": [
            _safe(last, "harmful_compliance", "harmful requests answered"),
            _safe(last, "over_refusal", "harmless refused"),
        ],
        "Denoise": [_enhanced(rows)],
        "Took": [took(rows).sentence],
        "Report": [str(Path(folder) / "report.html")],
    }
    lines = [f"{last.run}, seed {last.seed}: {' '.join(row.stage for row in rows)}"]
    for heading, texts in said.items():
        texts = [text for text in texts if text]
        lines += [f"{heading if i == 0 else '':<7} {text}" for i, text in enumerate(texts)]
    return lines


def _transcription(last: Row) -> str:
    """Word errors on clean synthetic speech, and on human speech by data set."""
    said = []
    for name in transcribed(last):
        text = f"{name.partition('/')[2]} {figure(last, name)}"
        if own := against_encoder(last, name):
            text += f", {own}"
        said.append(text)
    return "word errors " + "; ".join(said) if said else ""


def _tasks(last: Row) -> str:
    """Tasks that surely rose, then those that did not; tasks that surely fell are among the losses."""
    certain = sure(last)
    compared = [n for n in TASKS if n in last.metrics and last.metrics[n].get("delta_vs_base") is not None]
    rose = [
        f"{_task(last, n)} ({change(n, last.metrics[n]['delta_vs_base'])})" for n in compared if certain.get(n) == 1
    ]
    rest = [f"{_task(last, n)} ({difference(last, n)})" for n in compared if n not in certain]
    said = f"{', '.join(rose)} against {reference(TASKS[0])}" if rose else ""
    return _with_rest(said, rest)


def _task(last: Row, name: str) -> str:
    return f"{of(name).short} {number(name, last.metrics[name]['value'])}"


def _with_rest(said: str, rest: list[str]) -> str:
    return "; ".join(filter(None, (said, f"not shown: {', '.join(rest)}" if rest else "")))


def _moved(rows: list[Row]) -> list[str]:
    """One line for distill and reward, one for stages that tune the adapter further; sure improvements first."""
    found, lines = moved(rows), []
    for further in (False, True):
        here = [(r, name, verdict) for r, name, verdict in found if (spec(r).adapter == "parent") == further]
        surely = "; ".join(_aim(row, name) for row, name, verdict in here if not verdict)
        rest = [_aim(row, name) for row, name, verdict in here if verdict not in ("", WORSE)]
        lines.append(_with_rest(surely, rest))
    return lines


def _aim(row: Row, name: str) -> str:
    return f"{row.stage}: {of(name).short} {difference(row, name, 'parent')} against {before(row)}"


def _lost(rows: list[Row], last: Row) -> list[str]:
    said, aims = [], [_aim(row, name) for row, name, verdict in moved(rows) if verdict == WORSE]
    for name in (n for n in FORGETTING if n in last.metrics):
        lo, hi = last.metrics[name]["ci95"]
        verdict = "more than chance" if lo > 0 else "nothing shown" if hi >= 0 else "they rose"
        said.append(f"{of(name).short}, mean relative drop {figure(last, name)}: {verdict}")
    worse = [n for n, way in sure(last).items() if way < 0 and of(n).loss is Loss.EVERYWHERE]
    worse.sort(key=lambda n: -abs(last.metrics[n]["delta_vs_base"]))
    texts = aims + [f"{label(n)} {change(n, last.metrics[n]['delta_vs_base'])}{unit(n)}" for n in worse]
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return [*said, "; ".join(texts[:5]) + more]


def _enhanced(rows: list[Row]) -> str:
    """SI-SDR improvement at 0 dB by data set, recordings first, and where the enhancer surely does harm."""
    said, harm = [], []
    for row in (row for row in rows if spec(row).aside):
        gains = [name for name in row.metrics if of(name) is of("enhance/si_sdr_gain/")]
        for name in sorted(gains, key=lambda name: "/made/" in name):
            metric, (_, _, source, snr) = row.metrics[name], name.split("/")
            text = f"{change(name, metric['value'])} dB {between(name, metric['ci95'])}"
            said += [f"{source} {text}"] if snr == "snr0" else []
            harm += [f"{source} at {snr.removeprefix('snr')} dB {text}"] if harms(name, metric) else []
    harmed = f"; harm: {', '.join(harm)}" if harm else ""
    return f"SI-SDR at 0 dB: {'; '.join(said)}{harmed}" if said else ""


def _safe(last: Row, what: str, words: str) -> str:
    certain, said = sure(last), []
    for form, name in (("typed", f"safety/{what}/text"), ("spoken", f"safety/{what}/speech")):
        if name in last.metrics:
            before = last.metrics[name].get("delta_vs_base")
            verdict = {1: ", better", -1: ", worse", 0: ""}[certain.get(name, 0)]
            was = f" (was {number(name, last.metrics[name]['value'] - before)}{verdict})" if before is not None else ""
            said.append(f"{form} {figure(last, name)}{was}{corrected(last.metrics[name])}")
    return f"{words}: {'; '.join(said)}" if said else ""
