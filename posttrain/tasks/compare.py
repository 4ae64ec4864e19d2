"""Comparisons of an answer with the right one, as sequences of normalised words: what several graders share."""

from functools import cache

import jiwer

from posttrain.corpus.normalise import normalise


def words(text: str) -> list[str]:
    """Normalised words."""
    return normalise(text).split()


def exact(answer: str, gold: str, _: str = "") -> float:
    """Whether the words are the same; numbers in digits count as words."""
    return words(answer) == words(gold)


def wer(answer: str, gold: str, _: str = "") -> float:
    """1 − min(1, WER)."""
    right, said = normalise(gold), normalise(answer)
    return 1 - min(1.0, jiwer.wer(right, said)) if right else float(not said)


def fit(said: set[str], expected: str) -> float:
    """Share of the expected words that the answer has."""
    wanted = _distinct(expected)
    return len(said & wanted) / len(wanted) if wanted else 0.0


@cache
def _distinct(text: str) -> frozenset[str]:
    return frozenset(words(text))
