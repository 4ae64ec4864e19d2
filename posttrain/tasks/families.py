"""The task families of the tiny world, in the order in which their items are made: a new one is a file and an entry.

`worlds.py` has those of the general world.
"""

from posttrain.tasks import (
    advice,
    captions,
    commands,
    copying,
    facts,
    hearing,
    orders,
    questions,
    repeating,
    safety,
    sums,
)

FAMILIES = (
    sums.FAMILY,
    facts.FAMILY,
    copying.FAMILY,
    orders.FAMILY,
    repeating.FAMILY,
    questions.FAMILY,
    commands.FAMILY,
    captions.FAMILY,
    advice.FAMILY,
    hearing.FAMILY,
    safety.FAMILY,
)
DRAWS = {kind: draw for family in FAMILIES for kind, draw in family.draws.items()}
"""Kind of training example → how to draw one."""
