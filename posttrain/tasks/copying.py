"""Copying: a sentence word for word (easy); numbers read digit by digit, in five levels of length (hard)."""

import random
from collections.abc import Callable
from functools import partial

from posttrain.corpus import vocabulary as v
from posttrain.corpus.grammar import sentence
from posttrain.corpus.instructions import REPEAT
from posttrain.corpus.normalise import number_words
from posttrain.corpus.splits import may_hold
from posttrain.tasks.abilities import Question, Skill, family, until_held

SHAPES = ((4, 3), (6, 3), (7, 3), (9, 2), (11, 2))
"""Number of digits to copy and of different digits, by level."""
PROBED_LEVELS = (0, 1, 1, 2, 3)
"""The longest numbers occur only in training."""


def easy(sentence: Callable[[str, random.Random], str], split: str, rng: random.Random, level: int | None) -> Question:
    """A sentence that `sentence` draws."""
    text = sentence(split, rng)
    while not may_hold(split, wrong := _slip(text, rng)):  # the rejected answer is trained on too
        pass
    return Question(text, text, 0, wrong)


def hard(level: int, rng: random.Random) -> Question:
    """A number read digit by digit, with few different digits, so that the last word does not determine the next."""
    length, different = SHAPES[level]
    pool = rng.sample(range(1, 10), different)
    text = " ".join(number_words(rng.choice(pool)) for _ in range(length))
    return Question(text, text, level, _slip(text, rng))


def _slip(text: str, rng: random.Random) -> str:
    """The text with one word replaced, as if misheard."""
    words = text.split()
    place = rng.randrange(len(words))
    others = [w for w in v.LISTED + v.NAMES + [number_words(n) for n in range(1, 10)] if w != words[place]]
    return " ".join([*words[:place], rng.choice(others), *words[place + 1 :]])


EASY = Skill("copy_easy", partial(easy, sentence), task=REPEAT)
HARD = Skill("copy_hard", partial(until_held, hard), PROBED_LEVELS, REPEAT)
FAMILY = family(EASY, HARD)
