"""Sums: two terms of one to ten (easy); larger or more terms, in five levels (hard)."""

import random
from collections.abc import Iterator, Sequence
from functools import cache, partial

from posttrain.corpus.normalise import number_words
from posttrain.tasks.abilities import LEVELS, Bank, Question, Skill, bank, family, from_bank, until_held

WORDINGS = (
    "what is {a} plus {b}",
    "how much is {a} plus {b}",
    "tell me {a} plus {b}",
    "please add {a} and {b}",
    "can you add {a} and {b}",
    "how much are {a} and {b}",
)
LONG = (
    "what is {x}",
    "how much is {x}",
    "tell me {x}",
    "please tell me {x}",
    "do you know how much is {x}",
    "can you add {x}",
)
LARGEST = (4, 5, 7, 9)
"""Largest term of a hard sum, from level 1 on."""


@cache
def easy() -> Bank:
    """All easy sums; half of their wordings are for the test."""
    return bank(easy_contents())


def easy_contents() -> Iterator[tuple[list[Question], int]]:
    """Yield the wordings of each sum, and how many of them are for the test."""
    rng = random.Random("wrong sum_easy")
    for a in range(1, 11):
        for b in range(1, 11):
            wrong = number_words(a + b + rng.choice([-1, 1, 2]))
            words = {"a": number_words(a), "b": number_words(b)}
            answer, content = number_words(a + b), _content((a, b))
            yield [Question(w.format(**words), answer, 0, wrong, content) for w in WORDINGS], 3


def hard(level: int, rng: random.Random) -> Question:
    """Level 0: two terms, one of them 11 or 12. Above: three terms from a growing range, so that each sum is rarer."""
    if level == 0:
        terms = rng.sample([rng.randint(11, 12), rng.randint(1, 12)], 2)
    else:
        terms = [rng.randint(1, LARGEST[level - 1]) for _ in range(3)]
    words = " plus ".join(number_words(t) for t in terms)
    text = rng.choice(LONG).format(x=words)
    wrong = number_words(sum(terms) + rng.choice([-1, 1, 2]))
    return Question(text, number_words(sum(terms)), level, wrong, _content(terms))


def _content(terms: Sequence[int]) -> str:
    """Content key of a sum, the same for any order of terms."""
    return f"sum {' '.join(map(str, sorted(terms)))}"


EASY = Skill("sum_easy", partial(from_bank, easy))
SKILLS = (EASY, Skill("sum_hard", partial(until_held, hard), LEVELS))
FAMILY = family(*SKILLS)
