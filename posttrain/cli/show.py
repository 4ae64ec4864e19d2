"""What the commands print on stdout: JSON, or a table for people."""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from posttrain.corpus.types import SPLITS
from posttrain.machine.streams import CONTROL, is_unicode, visible

if TYPE_CHECKING:
    from posttrain.report.gate import Verdict
    from posttrain.run.outline import Outline
    from posttrain.run.preflight import Finding
    from posttrain.run.runner import Step
    from posttrain.use.transcribe import Result

HALVES = re.compile("[\ud800-\udfff]")
"""Halves of surrogate pairs: bytes in a file's name that are not text."""


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what libraries print to stderr; stdout is for the result."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def hide_loading() -> None:
    """Hide progress bars for small files, which load in milliseconds; call it only if nothing is downloaded."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def print_json(value: Any) -> None:
    """Print only the result on stdout, as ASCII if that is not Unicode. Raises ValueError on NaN, which is not JSON."""
    text = json.dumps(value, ensure_ascii=not is_unicode(sys.stdout), indent=1, allow_nan=False, default=str)
    for unsafe in (CONTROL, HALVES):
        text = unsafe.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    print(text)


def line(text: str) -> None:
    """Print lines for people on stdout; control characters in them are shown, not executed."""
    print(visible(text))


def plan(steps: "list[Step]", memory: dict[str, float]) -> None:
    """Print one line per step; `memory`: stage → GiB."""
    width = max(len(step.name) for step in steps)
    for step in steps:
        known = step.action == "run" and step.name in memory
        needs = f", needs about {memory[step.name]:.1f} GiB of memory" if known else ""
        line(f"{step.name:<{width}}  {step.action:<8}  {step.folder}  ({step.why}{needs})")


def outline(about: "Outline") -> None:
    """Print what a run is about, one line per part."""
    missing = [name for name in about.benchmarks if name not in about.found]
    clips = about.clips
    parts = {
        "world": about.world,
        "sources": ", ".join(about.sources) or "none: synthetic speech alone",
        "tasks": f"{_shares(about.tasks)}; for grpo {_shares(about.rl_tasks)}",
        "suites": ", ".join(f"{name} {count or ''}".rstrip() for name, count in about.suites.items()),
        "benchmarks": ", ".join(f"{name} {about.benchmarks[name] or '(hub)'}" for name in about.found)
        + ("; " if about.found and missing else "")
        + (f"without {', '.join(missing)}, which the data root does not hold" if missing else ""),
        "rows": f"{clips['train']:,} synthetic clips to train on, {clips['rl']:,} for grpo, "
        + f"{clips['valid']:,} to validate on"
        + (f"; {about.written:,} requests written by the base" if about.written else "")
        + "".join(f"; {name}: {_rows(counts)}" for name, counts in about.rows.items()),
    }
    for name, said in parts.items():
        line(f"{name:<10}  {said}")


def _rows(counts: Mapping[str, int]) -> str:
    """How many rows of a file each split has, and why others are left out."""
    used = [f"{counts.get(split, 0):,} {split}" for split in ("train", "valid", "test")]
    return ", ".join([*used, *(f"{count:,} {why}" for why, count in counts.items() if why not in SPLITS)])


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {100 * share:.3g} %" for kind, share in shares.items())


def metrics(found: dict[str, dict[str, Any]]) -> None:
    """Print one line per metric."""
    width = max((len(name) for name in found), default=0)
    for name, metric in found.items():
        line(f"{name:<{width}}  {_figure(metric)}")


def transcripts(result: "Result") -> None:
    """Print each recording's answer and CTC transcript, then the error rates if texts were given."""
    for heard in result.lines:
        line(f"{heard['path']}: {heard.get('answer', heard.get('hypothesis')) or '(no words)'}")
        line(f"  encoder: {heard['encoder_hypothesis'] or '(no words)'}")
        if heard["cut"]:
            line("  cut off at the limit of tokens")
    metrics({name: score for name, score in result.scores.items() if isinstance(score, dict)})


def counts(found: dict[str, Any]) -> None:
    """Print what a corpus contains, one line per kind."""
    for name, value in found.items():
        if isinstance(value, dict):
            listed = ", ".join(f"{key} {number}" for key, number in sorted(value.items()))
            line(f"{name}: {sum(value.values())}" + (f" ({listed})" if listed else ""))
        else:
            line(f"{name}: {value}")


def findings(found: "list[Finding]") -> None:
    """Print one line per check."""
    for finding in found:
        line(f"{'✓' if finding.ok else '✗'} {finding}")


def verdict(found: "Verdict") -> None:
    """Print one line per limit, what is wrong with the ledger, and the verdict last."""
    for check in found.checks:
        mark = {"passed": "✓", "undecided": "?"}.get(check.status, "✗")
        line(f"{mark} {check.status:<9}  {check}")
    for wrong in found.wrong:
        line(f"✗ {wrong}")
    if found.mixed:
        line(f"✗ {found.mixed}")
    for note in found.notes:
        line(f"! {note}")
    unsure = sum(check.status == "undecided" for check in found.checks)
    said = f"fails for {len(found.reasons)} reason{'s' * (len(found.reasons) > 1)}" if found.reasons else "passes"
    line(f"{found.run}, {found.stage}, by recipe {found.recipe}: {said}" + f"; {unsure} undecided" * bool(unsure))


def _figure(metric: dict[str, Any]) -> str:
    value = metric.get("value")
    shown = "–" if value is None else f"{value:.4g}"
    ci = metric.get("ci95")
    interval = f"  [{ci[0]:.4g}, {ci[1]:.4g}]" if ci and None not in ci else ""
    n = f"  n = {metric['n']}" if "n" in metric else ""
    delta, between, difference = metric.get("delta_vs_without"), metric.get("delta_without_ci95"), ""
    if delta is not None and between and None not in between:
        difference = f"  difference {delta:+.3g} [{between[0]:.3g}, {between[1]:.3g}]"
    return f"{shown:>9}{interval}{n}{difference}"


def enhanced(result: dict[str, Any]) -> None:
    """Print what was used, and the result."""
    parts = result["latency_parts_ms"]
    squeezed = "" if result["compression"] == "none" else f", {result['compression']} compression"
    fitted = f"{result['audiogram']}, {result['ear']} ear{squeezed}"
    gain = fitted if parts["fitting"] else "no audiogram: normal hearing, no gain"
    line(f"{result['in']} → {result['out']}, by {result['checkpoint']}, {gain}")
    for made in result.get("files", []):
        line(f"{made['in']} → {made['out']}" + (f": {_levels(made)}" if "levels" in made else ""))
    if "levels" in result:
        line(f"level      {_levels(result)}")
    line(f"latency    {result['latency_ms']:.1f} ms: enhancer {parts['enhancer']:.1f}, fitting {parts['fitting']:.1f}")
    if "rtf" in result:
        how = "streamed" if result["stream"] else "at once"
        line(f"took       {result['rtf']:.3f} s for a second of sound, {how}")
    if "plot" in result:
        line(f"plot       {result['plot']}")


def _levels(made: dict[str, Any]) -> str:
    return f"{made['levels']['in_db_spl']:.1f} dB SPL in, {made['levels']['out_db_spl']:.1f} dB SPL out"
