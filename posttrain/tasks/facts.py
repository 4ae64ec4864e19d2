"""Facts: sixteen about each person, in eight wordings; half of the people are rare in training (hard)."""

import random
from collections.abc import Iterator, Sequence
from functools import cache, partial

from posttrain.corpus import vocabulary as v
from posttrain.corpus.grammar import HOURS
from posttrain.tasks.abilities import LEVELS, Bank, Question, Skill, bank, family, from_bank


def _asked(noun: str, clause: str, *own: str) -> tuple[str, ...]:
    """Three wordings of its own, and the five that nearly every relation has."""
    common = f"tell me {clause}", f"do you know {clause}", f"name the {noun}", f"what is the {noun}"
    return (*own, *common, f"please say {clause}")


RELATIONS: dict[str, tuple[Sequence[str], tuple[str, ...]]] = {
    "live": (
        v.CITIES,
        _asked(
            "city of {name}",
            "where {name} lives",
            "where does {name} live",
            "in which city does {name} live",
            "which city does {name} live in",
        ),
    ),
    "work": (
        v.PLACES,
        _asked(
            "work of {name}",
            "where {name} works",
            "where does {name} work",
            "at which place does {name} work",
            "which place is the work of {name}",
        ),
    ),
    "pet": (
        v.PETS,
        _asked(
            "pet of {name}",
            "which pet {name} has",
            "which pet does {name} have",
            "what pet does {name} have",
            "which pet is with {name}",
        ),
    ),
    "eat": (
        v.FOODS,
        _asked(
            "food of {name}",
            "what {name} eats",
            "what does {name} eat",
            "which food does {name} eat",
            "which food is for {name}",
        ),
    ),
    "drink": (
        v.DRINKS,
        _asked(
            "drink of {name}",
            "what {name} drinks",
            "what does {name} drink",
            "which drink does {name} like",
            "which drink is for {name}",
        ),
    ),
    "colour": (
        v.COLOURS,
        _asked(
            "colour of {name}",
            "which colour {name} likes",
            "which colour is the car of {name}",
            "what colour does {name} like",
            "which colour is for {name}",
        ),
    ),
    "play": (
        v.GAMES,
        _asked(
            "game of {name}",
            "what {name} plays",
            "what does {name} play",
            "which game does {name} play",
            "which game is for {name}",
        ),
    ),
    "visit": (
        v.DAYS,
        _asked(
            "day of {name}",
            "which day {name} comes",
            "on which day does {name} come",
            "what day does {name} come",
            "which day is for {name}",
        ),
    ),
    "friend": (
        v.NAMES,
        (
            "who is the friend of {name}",
            "which friend does {name} have",
            "which friend is with {name}",
            "tell me which friend {name} has",
            "do you know who is the friend of {name}",
            "name the friend of {name}",
            "what is the name of the friend of {name}",
            "please say which friend {name} has",
        ),
    ),
    "sleep": (
        HOURS,
        _asked(
            "hour of {name}",
            "at which hour {name} sleeps",
            "at which hour does {name} sleep",
            "what hour does {name} sleep",
            "which hour is for {name}",
        ),
    ),
    "fish": (
        HOURS,
        _asked(
            "number of fish of {name}",
            "how many fish {name} has",
            "how many fish does {name} have",
            "which number of fish does {name} have",
            "how many fish are with {name}",
        ),
    ),
    "buy": (
        v.THINGS,
        _asked(
            "thing of {name}",
            "what {name} buys",
            "what does {name} buy",
            "which thing does {name} buy",
            "which thing is for {name}",
        ),
    ),
    "bring": (
        v.OBJECTS + v.MACHINES,
        (
            "what does {name} bring",
            "what is it {name} will bring",
            "what is in the car of {name}",
            "tell me what {name} brings",
            "do you know what {name} brings",
            "name what {name} will bring",
            "can you say what {name} brings",
            "please say what {name} brings",
        ),
    ),
    "car": (
        v.PLACES,
        _asked(
            "place of the car of {name}",
            "where the car of {name} is",
            "where is the car of {name}",
            "at which place is the car of {name}",
            "which place is the car of {name} at",
        ),
    ),
    "from": (
        v.CITIES,
        (
            "which city is {name} from",
            "from which city is {name}",
            "where is {name} from",
            "tell me which city {name} is from",
            "do you know which city {name} is from",
            "name the city {name} is from",
            "what is the city {name} is from",
            "please say where {name} is from",
        ),
    ),
    "call": (
        v.DAYS,
        _asked(
            "day {name} calls",
            "on which day {name} calls",
            "on which day does {name} call",
            "what day does {name} call",
            "which day will {name} call",
        ),
    ),
}
"""Relation → its possible values and the wordings of the question."""
EASY_NAMES, HARD_NAMES = v.NAMES[:10], v.NAMES[10:]
"""People whose facts are frequent in training, and people whose facts are rare."""
WEIGHTS = (20.0, 8.0, 4.0, 2.0, 1.0)
"""Relative frequency of hard facts in training, by level."""


@cache
def facts() -> dict[tuple[str, str], str]:
    """(name, relation) → value: the same for every seed. Nobody is their own friend."""
    rng = random.Random("facts")
    return {
        (name, relation): rng.choice([value for value in values if value != name])
        for name in v.NAMES
        for relation, (values, _) in RELATIONS.items()
    }


@cache
def easy() -> Bank:
    """All questions about the people met often; half of the wordings are for the test."""
    return bank(contents("fact_easy", EASY_NAMES, levels=1))


@cache
def hard() -> Bank:
    """All questions about the people met rarely."""
    return bank(contents("fact_hard", HARD_NAMES, levels=len(WEIGHTS)))


def contents(skill: str, names: Sequence[str], levels: int) -> Iterator[tuple[list[Question], int]]:
    """Yield the wordings of each fact about these people, and how many of them are for the test."""
    rng = random.Random(f"wrong {skill}")
    known = facts()
    for place, (name, relation) in enumerate((n, r) for n in names for r in RELATIONS):
        values, wordings = RELATIONS[relation]
        answer = known[name, relation]
        wrong = rng.choice([value for value in values if value not in (answer, name)])
        content = f"fact {relation} {name}"
        yield [Question(w.format(name=name), answer, place % levels, wrong, content) for w in wordings], 4


def _draw_hard(split: str, rng: random.Random, level: int | None) -> Question:
    questions = [q for q in hard()[split] if level in (None, q.level)]
    return rng.choices(questions, [WEIGHTS[q.level] for q in questions])[0]


EASY = Skill("fact_easy", partial(from_bank, easy))
SKILLS = (EASY, Skill("fact_hard", _draw_hard, LEVELS))
FAMILY = family(*SKILLS)
