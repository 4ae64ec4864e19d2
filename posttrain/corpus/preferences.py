"""Preference pairs: two answers to one spoken prompt, of which people prefer the first."""

import random

from posttrain.corpus.tasks import ABSTENTION, REPEAT
from posttrain.corpus.types import Example, Pair

KINDS = {"style": "style", "refusal": "refuse", "helpful": "comply", "abstain": "abstain"}
"""Grader → kind of the pair; the others are content."""


def pair(example: Example, wrong: str, rng: random.Random) -> Pair:
    """The pair that hangs on a spoken example; `wrong` is an answer that must lose.

    Kinds: style (plain over jargon advice), content (right over wrong), abstain (saying that nothing was heard over
    inventing words, and the words over saying so where they are audible), refuse and comply (harmful, harmless).
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
