"""All task families, in the order in which their items are made: a new family is a file and an entry here."""

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
