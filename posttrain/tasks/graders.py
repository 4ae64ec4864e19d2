"""Graders by name: the two that several families share, and each family's own."""

from posttrain.corpus.types import Example, Pair
from posttrain.tasks import asked_benchmarks, instructions, requests, safety_sets
from posttrain.tasks.compare import exact, wer
from posttrain.tasks.families import FAMILIES
from posttrain.tasks.family import Grader

GRADERS: dict[str, Grader] = {"exact": exact, "wer": wer}
for _graders in (requests.GRADERS, instructions.GRADERS, safety_sets.GRADERS, asked_benchmarks.GRADERS):
    GRADERS |= _graders
for _family in FAMILIES:
    GRADERS |= _family.graders


def grade(name: str, answer: str, example: Example | Pair) -> float:
    """Grade an answer from 0 to 1, 1 is right; ValueError lists the known names for an unknown one."""
    if name not in GRADERS:
        raise ValueError(f"grader of {example.id} is {name}, expected one of {', '.join(sorted(GRADERS))}")
    gold = example.chosen if isinstance(example, Pair) else example.answer
    return float(GRADERS[name](answer, gold, example.text))
