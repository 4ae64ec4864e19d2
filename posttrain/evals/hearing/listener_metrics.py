"""Figures from the lines of `evals.listeners` and `evals.machine_hearing`, each compared with another processing."""

from typing import Any

from posttrain.evals.clusters import Unit
from posttrain.evals.measures import Measure, Ratio
from posttrain.evals.metrics import Group, of
from posttrain.evals.units import share, unit

Line = dict[str, Any]
LISTENER = "listener/"
WITHOUT = {"nalr": "unaided", "enhanced": "unaided", "enhanced_nalr": "nalr"}
"""Processing → the processing that its figures are compared with: the same without one of its steps."""
PROCESSINGS = ("unaided", *WITHOUT)
BAD_CLIPS = "listener/bad_clips"


def of_listeners(name: str) -> bool:
    """Whether a probe or a metric is one of these and not from the stage's own evaluation."""
    return of(name).group in (Group.ENHANCED, Group.LISTENERS)


def measures(probes: dict[str, list[Line]]) -> dict[str, Measure]:
    """Means over clips and word error rates, by voice and content, paired by clip; a clip without a score is bad."""
    found: dict[str, Measure] = {}
    every: list[Line] = []
    for probe, lines in probes.items():
        if of(probe).group is Group.ENHANCED:
            found[probe] = _rate(lines, "errors")
            found[f"encoder_{probe}"] = _rate(lines, "encoder_errors")
        elif of(probe) is of("listener/wer/"):
            found[probe] = _rate(lines, "errors")
        elif of(probe).group is Group.LISTENERS:
            good = [x for x in lines if x["value"] is not None]
            if good:
                found[probe] = Ratio({x["clip"]: (x["value"], 1.0) for x in good}, "clips", units=_units(good))
            every += lines
    return found | ({BAD_CLIPS: share(every, lambda x: x["value"] is None)} if every else {})


def without(name: str) -> str | None:
    """Name of the figure for the same clips with one processing step less; None for other figures."""
    if name.startswith(LISTENER):
        place, _, processing = name.rpartition("/")
        return f"{place}/{WITHOUT[processing]}" if processing in WITHOUT else None
    family, _, condition = name.partition("/")
    return f"{family.removesuffix('_enhanced')}_unenhanced/{condition}" if family.endswith("_enhanced") else None


def _rate(lines: list[Line], errors: str) -> Ratio:
    counted = [x for x in lines if x["words"]]
    return Ratio({x["clip"]: (x[errors], x["words"]) for x in counted}, "words", units=_units(counted))


def _units(lines: list[Line]) -> dict[str, Unit]:
    return {x["clip"]: unit(x) for x in lines}
