"""Figures from the lines of `evals.personal`: the person's words and names, with the personal adapter and without."""

from typing import Any

from posttrain.evals.measures import Measure, Ratio
from posttrain.evals.units import unit

Line = dict[str, Any]
FAMILY = "personal/"
VARIANTS = ("adapted", "parent")


def measures(probes: dict[str, list[Line]]) -> dict[str, Measure]:
    """`personal/wer` and `personal/names` (own names lost), and the parent's on the same utterances."""
    found: dict[str, Measure] = {}
    for variant in VARIANTS:
        own = probes.get(FAMILY + variant, [])
        suffix = "" if variant == "adapted" else "_parent"
        for name, errors, total in (("wer", "errors", "words"), ("names", "lost_names", "names")):
            counted = [x for x in own if x[total]]
            if counted:
                parts = {x["utterance"]: (x[errors], x[total]) for x in counted}
                shared = {x["utterance"]: unit(x) for x in counted}
                found[f"{FAMILY}{name}{suffix}"] = Ratio(parts, "words", units=shared)
    return found


def without(name: str) -> str | None:
    """Name of the parent's figure on the same utterances; None for other figures."""
    own = name.startswith(FAMILY) and not name.endswith("_parent")
    return f"{name}_parent" if own else None
