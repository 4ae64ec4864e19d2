"""Figures of public benchmarks: how many items are right, and how much of what the base did above chance was lost."""

from typing import Any

from posttrain.corpus.choices import PROBE
from posttrain.evals.clusters import Unit
from posttrain.evals.measures import Forgetting, Measure, Share
from posttrain.evals.units import key, units
from posttrain.tasks.asked_benchmarks import SPOKEN, TYPED

Line = dict[str, Any]
NORMED = "benchmark_norm/"
FORGETTING = "forgetting/benchmarks"


def measures(probes: dict[str, list[Line]], base: list[Line] | None) -> dict[str, Measure]:
    """`benchmark/TASK` (acc), `benchmark_norm/TASK` (acc_norm), the same asked in the chat, `benchmark_chat/TASK` and
    `benchmark_spoken/TASK`, and with row zero's answers forgetting/benchmarks."""
    found: dict[str, Measure] = {}
    for probe, lines in probes.items():
        if probe.startswith((PROBE, TYPED, SPOKEN)):
            found[probe] = _share(lines, "score")
            if normed := [line for line in lines if "normed" in line]:
                found[NORMED + probe.removeprefix(PROBE)] = _share(normed, "normed")
    return found | _forgetting(probes, base)


def chance(line: Line) -> float:
    """Chance of a guess among the item's endings; 0 for a single ending, which greedy decoding has to give."""
    endings = line.get("endings", len(line.get("nats", ())))
    return 1 / endings if endings > 1 else 0.0


def above_chance(line: Line) -> float:
    """The item's score above that of a guess: its mean over items is 0 for a model that guesses."""
    return float(line["score"]) - chance(line)


def _share(lines: list[Line], score: str) -> Share:
    guess = sum(map(chance, lines)) / len(lines)
    return Share({key(line): float(line[score]) for line in lines}, units(lines), guess)


def _forgetting(probes: dict[str, list[Line]], base: list[Line] | None) -> dict[str, Measure]:
    """Mean relative drop above chance, over the benchmarks that row zero surely did above chance.

    A benchmark on which row zero did no better than by guessing is shown, but what it never knew it cannot forget.
    """
    zero = {key(line): line for line in base or [] if line["probe"].startswith(PROBE)}
    families: dict[str, dict[str, tuple[float, float]]] = {}
    shared: dict[str, Unit] = {}
    for probe, lines in probes.items():
        both = [line for line in lines if key(line) in zero] if probe.startswith(PROBE) else []
        if both and _known([zero[key(line)] for line in both]):
            families[probe] = {key(line): (above_chance(zero[key(line)]), above_chance(line)) for line in both}
            shared |= units(both)
    return {FORGETTING: Forgetting(families, shared)} if families else {}


def _known(lines: list[Line]) -> bool:
    """Whether these answers are surely better than guesses."""
    found = _share(lines, "score")
    return found.interval(0, 1).lo > (found.chance or 0.0)
