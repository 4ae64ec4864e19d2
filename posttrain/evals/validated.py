"""What a row keeps of its validation answers: figures and, for what the base could forget, scores by content."""

from typing import Any

from posttrain.evals.benchmark_metrics import above_chance
from posttrain.evals.compute import compute, measures
from posttrain.evals.measures import Forgetting
from posttrain.evals.metrics import forgotten

Line = dict[str, Any]
KEPT = ("value", "n", "ci95")


def figures(lines: list[Line], base: list[Line], seed: int, bootstrap: int) -> dict[str, Any]:
    """Figures and scores of validation answers, to be kept in a row.

    `metrics`: name → value, n, ci95, under the test's names. `scores`, and `zero` for the base: typed ability or, where
    the base has none, benchmark that counts as forgotten → `right`, `of`, by content, in the same order everywhere;
    `right` of a benchmark is what is right above chance. base: row zero's validation answers, the reference for
    forgetting.
    """
    measured = compute(lines, base=base, seed=seed, bootstrap=bootstrap)
    kept = {name: {k: metric[k] for k in KEPT} for name, metric in measured.items()}
    found = measures(lines, base)
    forgot = found.get(forgotten(found))
    probes = set(forgot.families) if isinstance(forgot, Forgetting) else set()
    return {"metrics": kept, "scores": _by_content(lines, probes), "zero": _by_content(base, probes)}


def _by_content(lines: list[Line], probes: set[str]) -> dict[str, dict[str, list[float]]]:
    contents: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        if line["probe"] in probes:
            contents.setdefault(line["probe"], {}).setdefault(line["content"], []).append(above_chance(line))
    made: dict[str, dict[str, list[float]]] = {}
    for probe, found in sorted(contents.items()):
        ordered = [found[key] for key in sorted(found)]
        made[probe] = {"right": [sum(grades) for grades in ordered], "of": [len(grades) for grades in ordered]}
    return made
