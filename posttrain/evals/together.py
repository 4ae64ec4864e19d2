"""Chooses, on validation clips, the weights with which word head and Llama decide together (model/together.py)."""

from collections.abc import Sequence

from posttrain.evals.errors import edit_errors
from posttrain.model.together import Candidate, Weights

CTC = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
LENGTH = (-1.0, 0.0, 1.0, 2.0, 3.0)
"""Weights that are tried."""


def choose(scored: Sequence[Sequence[Candidate]], texts: Sequence[str]) -> tuple[Weights, int]:
    """The weights with the fewest word errors over these clips' candidates and texts, and how many errors.

    Of weights with equally many, the first in the order of CTC and LENGTH.
    """
    errors = [
        [edit_errors(text, candidate.text)["errors"] for candidate in own]
        for text, own in zip(texts, scored, strict=True)
    ]

    def total(weights: Weights) -> int:
        scores = ([candidate.score(weights) for candidate in own] for own in scored)
        return sum(found[own.index(max(own))] for found, own in zip(errors, scores, strict=True))

    every = [Weights(ctc, length) for ctc in CTC for length in LENGTH]
    won = min(every, key=total)
    return won, total(won)
