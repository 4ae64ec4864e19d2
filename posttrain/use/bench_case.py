"""Two pieces of code that do a similar job, timed in turns.

A figure is the median of RUNS; the minimum and maximum bound the true median with more than 95 % confidence
(1 − 2 · 0.5ⁿ).
"""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

RUNS = 7
PACKAGES = ("torch", "torchaudio", "transformers", "numpy", "scipy", "pyclarity", "pyroomacoustics")
Work = Callable[[], Any]
Spread = tuple[float, float, float]
"""Median, minimum, maximum."""


@dataclass(frozen=True)
class Case:
    """One piece of our code to time, and a peer that does a similar job."""

    name: str
    work: Work
    peer_name: str
    peer: Work
    unit: str
    """What the time is for, such as a second of sound."""
    amount: float
    """How many of them each processes."""


@dataclass(frozen=True)
class Timing:
    """Processor seconds for one unit: ours, the peer's, and their ratio run by run."""

    case: Case
    ours: Spread
    peers: Spread
    ratio: Spread

    @property
    def line(self) -> str:
        """A row of the table."""
        figures = f"{_figure(self.ours):>28} {_figure(self.peers):>28} {_figure(self.ratio):>24}"
        return f"  {self.case.name:<56} {figures}  {self.case.peer_name}, for a {self.case.unit}"

    @property
    def entry(self) -> dict[str, Any]:
        """For bench.json; spreads are [least, greatest] of `runs`."""
        (ours, *own), (peer, *others), (ratio, *ratios) = self.ours, self.peers, self.ratio
        return {
            "name": self.case.name, "peer_name": self.case.peer_name, "unit": self.case.unit, "n": self.case.amount,
            "runs": RUNS, "ours": ours, "peer": peer, "ratio": ratio,
            "spread": {"ours": own, "peer": others, "ratio": ratios},
        }  # fmt: skip


def timed(case: Case, runs: int = RUNS) -> Timing:
    """Time the case and its peer alternately, after one warm-up run of each."""
    ours, peers = [], []
    case.work(), case.peer()
    for _ in range(runs):
        ours.append(_seconds(case.work) / case.amount)
        peers.append(_seconds(case.peer) / case.amount)
    ratios = [own / other for own, other in zip(ours, peers, strict=True)]
    return Timing(case, _spread(ours), _spread(peers), _spread(ratios))


def _seconds(work: Work) -> float:
    clock = time.process_time()
    work()
    return time.process_time() - clock


def _spread(values: list[float]) -> Spread:
    return median(values), min(values), max(values)


def _figure(values: Spread) -> str:
    return f"{values[0]:.3g} [{values[1]:.3g}, {values[2]:.3g}]"


def machine() -> list[str]:
    """Processor and versions."""
    model = platform.processor() or platform.machine()
    path = Path("/proc/cpuinfo")
    if path.is_file():
        names = [
            line.partition(":")[2].strip()
            for line in path.read_text(encoding="utf-8").splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [f"{model}, {platform.system()}, Python {platform.python_version()}", packages]
