"""Spoken questions: sums, facts and orders, clean to 5 dB SNR."""

import random
from collections.abc import Iterator
from dataclasses import replace

from posttrain.tasks import facts, orders, sums
from posttrain.tasks.abilities import questions
from posttrain.tasks.family import Ask, Family, HeldOut, Item, in_turn

PROBED = (sums.EASY, facts.EASY, orders.EASY)
"""The skills that its items ask in turn."""
TEST_ITEMS, VALID_ITEMS = 150, 60
SHARES = {
    "sum_easy": 0.19,
    "sum_hard": 0.13,
    "fact_easy": 0.28,
    "fact_hard": 0.09,
    "order_easy": 0.18,
    "order_hard": 0.13,
}
"""Skills of the training clips."""
_SKILLS = {skill.name: skill for skill in (*sums.SKILLS, *facts.SKILLS, *orders.SKILLS)}


def items(held: HeldOut) -> Iterator[Item]:
    """`task/spoken_qa`, the skills in turn; every second test item has a pair."""
    count, turns = held.size(TEST_ITEMS, VALID_ITEMS), len(PROBED)
    banks = [
        [skill.ask(q) for q in questions(skill, len(range(i, count, turns)) if held.test else count, held)]
        for i, skill in enumerate(PROBED)
    ]
    for number, ask in enumerate(in_turn(banks)[:count]):
        yield Item("task/spoken_qa", number, ask if number % 2 else replace(ask, wrong=""), "any")


def draw(split: str, rng: random.Random) -> Ask:
    """A question of one of the skills."""
    name = rng.choices(list(SHARES), list(SHARES.values()))[0]
    return _SKILLS[name].training(split, rng)


FAMILY = Family(items, {"answer": draw}, pair_share=0.5)
