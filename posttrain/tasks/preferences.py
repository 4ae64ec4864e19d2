"""Preference pairs: two answers to one spoken prompt, the first preferred."""

import random

from posttrain.corpus.instructions import ABSTENTION, REPEAT
from posttrain.corpus.types import Example, Pair

KINDS = {"style": "style", "refusal": "refuse", "helpful": "comply", "abstain": "abstain"}
"""Grader → kind of the pair; for other graders it is content."""


def pair(example: Example, wrong: str, rng: random.Random) -> Pair:
    """The pair of a spoken example; `wrong` is rejected, or in half the audible repeat pairs the abstention instead.

    Kinds: style (plain over jargon advice), content (right over wrong), abstain (abstention over invented words if
    nothing is audible, the words over abstention if they are), refuse and comply (harmful, harmless). ValueError if
    the answers are equal.
    """
    chosen = example.answer
    if example.task == REPEAT and example.text and rng.random() < 0.5:
        wrong = ABSTENTION
    kind = "abstain" if wrong == ABSTENTION else KINDS.get(example.grader, "content")
    if wrong == chosen:
        raise ValueError(f"pair of {example.id} has two equal answers, expected different ones: {chosen}")
    return Pair(
        f"pair/{example.id}",
        example.split,
        kind,
        example.instruction,
        example.text,
        example.clip,
        chosen,
        wrong,
        example.grader,
        example.content,
    )
