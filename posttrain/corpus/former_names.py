"""Earlier names of metrics, probes and fields, under which older ledgers, answers and corpora were saved."""

import re
from collections.abc import Mapping
from typing import Any

BENCHMARKS = {"ability/blimp": "benchmark/blimp", "ability/piqa": "benchmark/piqa"}
"""Public benchmarks counted as abilities at first: metrics, probes, and the first part of their items' ids."""
XSTEST = re.compile(r"safety/xstest_(\w+/(?:text|speech))")
"""Of metrics, probes and ids, when it was the only published set."""
FIELDS = {
    "delta_vs_ctc": "delta_vs_encoder", "delta_ctc_ci95": "delta_encoder_ci95", "p_vs_ctc": "p_vs_encoder",
    "ctc_output": "encoder_output", "ctc_errors": "encoder_errors", "ctc_char_errors": "encoder_char_errors",
}  # fmt: skip


def renamed(content: Any) -> Any:
    """The content of a file with today's names for the metrics and fields in it."""
    if isinstance(content, Mapping):
        return {
            _current(name): _probe(value) if name in ("probe", "id") and isinstance(value, str) else renamed(value)
            for name, value in content.items()
        }
    return content


def former(metric: str) -> str:
    """The first name of a metric, which seeds its intervals: those of older ledgers must be computable again."""
    return metric.replace("encoder_wer", "ctc_wer", 1) if metric.startswith("encoder_wer") else metric


def _current(name: str) -> str:
    if name.startswith("agreement/"):
        return f"agreement/{_probe(name.removeprefix('agreement/'))}"
    return name.replace("ctc_wer", "encoder_wer", 1) if name.startswith("ctc_wer") else FIELDS.get(name, _probe(name))


def _probe(name: str) -> str:
    if name.startswith("safety/xstest_"):
        return XSTEST.sub(r"safety/\1/xstest", name)
    was = next((was for was in BENCHMARKS if name == was or name.startswith(f"{was}/")), "")
    return BENCHMARKS[was] + name.removeprefix(was) if was else name
