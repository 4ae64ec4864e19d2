"""Orders: what comes next or is more (easy); lists of words said backwards, in five levels of length (hard)."""

import random
from collections.abc import Iterator
from functools import cache, partial

from posttrain.corpus import vocabulary as v
from posttrain.corpus.normalise import number_words
from posttrain.tasks.abilities import LEVELS, Bank, Question, Skill, bank, family, from_bank, until_held

NEXT = (
    "what comes {side} {x}",
    "what is {side} {x}",
    "tell me what comes {side} {x}",
    "do you know what comes {side} {x}",
    "please name what comes {side} {x}",
    "name what is {side} {x}",
)
MORE = ("which is {word} {a} or {b}", "tell me which is {word} {a} or {b}", "what is {word} {a} or {b}")
BACKWARDS = ("say {x} backwards", "please say {x} backwards", "can you say {x} backwards")
LENGTHS = (3, 4, 5, 7, 8)
"""Number of words to reverse, by level."""


@cache
def easy() -> Bank:
    """All easy order questions; a third of their wordings are for the test."""
    return bank(easy_contents())


def easy_contents() -> Iterator[tuple[list[Question], int]]:
    """Yield the wordings of each question, and how many of them are for the test."""
    numbers = [number_words(n) for n in range(1, 13)]
    for row, circle in ((v.DAYS, True), (numbers, False)):
        for i, x in enumerate(row):
            for side, j in (("after", i + 1), ("before", i - 1)):
                if circle or 0 <= j < len(row):
                    answer, wrong = row[j % len(row)], row[(2 * i - j) % len(row)]
                    content = f"next {' '.join(sorted((x, answer)))}"
                    yield [Question(w.format(side=side, x=x), answer, 0, wrong, content) for w in NEXT], 2
    for i, first in enumerate(numbers):
        for j, second in enumerate(numbers):
            for word in ("more", "less") if i != j else ():
                answer, wrong = (first, second) if (i > j) == (word == "more") else (second, first)
                content = f"more {' '.join(sorted((first, second)))}"
                texts = [w.format(word=word, a=first, b=second) for w in MORE]
                yield [Question(text, answer, 0, wrong, content) for text in texts], 1


def hard(level: int, rng: random.Random) -> Question:
    """A list of words to be said in reverse order."""
    words = rng.sample(v.LISTED, LENGTHS[level])
    text = rng.choice(BACKWARDS).format(x=" ".join(words))
    return Question(text, " ".join(reversed(words)), level, " ".join(words), f"backwards {' '.join(words)}")


EASY = Skill("order_easy", partial(from_bank, easy))
SKILLS = (EASY, Skill("order_hard", partial(until_held, hard), LEVELS))
FAMILY = family(*SKILLS)
