"""Simple captions: spoken sentences with hard words or fillers, in simple words."""

import random
from collections.abc import Iterator

from posttrain.corpus import grammar
from posttrain.corpus.instructions import SIMPLIFY
from posttrain.tasks.family import Ask, Family, HeldOut, Item

TEST_ITEMS, VALID_ITEMS = 120, 60


def items(held: HeldOut) -> Iterator[Item]:
    """`task/simple_caption`, clean to 5 dB SNR."""
    count = held.size(TEST_ITEMS, VALID_ITEMS)
    texts = grammar.different(lambda: grammar.hard_sentence(held.split, held.rng), count, held.taken)
    for number, text in enumerate(texts):
        yield Item("task/simple_caption", number, _ask(text), "any")


def draw(split: str, rng: random.Random) -> Ask:
    """A sentence to put in simple words."""
    return _ask(grammar.hard_sentence(split, rng))


def _ask(text: str) -> Ask:
    simple = grammar.simplify(text)
    return Ask(SIMPLIFY, text, simple, "exact", content=simple)


FAMILY = Family(items, {"simplify": draw})
