"""Mixtures: how much of each kind of example a stage trains on. A kind is one of a family's `draws`."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from posttrain.tasks.families import FAMILIES
from posttrain.tasks.family import Ask, Family

BASE = {
    "text": 0.055,
    "status": 0.045,
    "copy": 0.2125,
    "salad": 0.075,
    "copy_hard": 0.0375,
    "sum_easy": 0.075,
    "sum_hard": 0.1,
    "fact_easy": 0.14,
    "fact_hard": 0.03,
    "order_easy": 0.065,
    "order_hard": 0.085,
    "safety": 0.045,
    "help": 0.035,
}
"""The base model's typed rows; `text`, `copy` and `salad` are no family's but drawn by `base_rows`."""
COPIED = {
    "repeat": 0.57,
    "joined": 0.03,
    "answer": 0.12,
    "command": 0.08,
    "simplify": 0.1,
    "help": 0.05,
    "safety": 0.05,
}
"""Kinds whose words a `copy` row has."""
SPOKEN = {
    "repeat": 0.375,
    "joined": 0.05,
    "answer": 0.15,
    "command": 0.12,
    "simplify": 0.065,
    "help": 0.06,
    "safety": 0.05,
}
"""Training clips; the rest are `silent`."""
RL = {"repeat": 0.2, "answer": 0.2, "command": 0.14, "simplify": 0.14, "help": 0.1, "safety": 0.14}
"""The same for reinforcement learning, which takes kinds in turn and must not run out of one: otherwise it would learn
to refuse without examples of what not to refuse."""

GENERAL = {"repeat": 0.45, "joined": 0.08, "request": 0.2, "command": 0.1, "safety": 0.07}
GENERAL_RL = {"repeat": 0.3, "request": 0.2, "command": 0.2, "safety": 0.2}
"""The same in a corpus of general English; without requests, there are more `silent` clips."""


def spoken(
    split: str, count: int, rng: random.Random, shares: Mapping[str, float], families: Sequence[Family] = FAMILIES
) -> Iterator[tuple[Family, Ask]]:
    """Draw `count` asks with their families, kinds in their shares; the rest are `silent`."""
    of = {kind: family for family in families for kind in family.draws}
    for kind in in_shares({**shares, "silent": 1 - sum(shares.values())}, count, rng):
        yield of[kind], of[kind].draws[kind](split, rng)


def in_shares(shares: Mapping[str, float], count: int, rng: random.Random) -> list[str]:
    """`count` kinds in their shares (rounded, each at least one), shuffled."""
    wanted = Counter({kind: max(1, round(share * count)) for kind, share in shares.items()})
    most = wanted.most_common(1)[0][0]
    wanted[most] = max(0, wanted[most] + count - wanted.total())
    kinds = list(wanted.elements())
    rng.shuffle(kinds)
    return kinds[:count]
