"""Facts: sixteen about each person, in eight wordings; half of the people are rare in training (hard)."""

import random
from collections.abc import Iterator, Sequence
from functools import cache, partial

from posttrain.corpus import vocabulary as v
from posttrain.corpus.grammar import HOURS
from posttrain.tasks.abilities import LEVELS, Bank, Question, Skill, bank, family, from_bank

RELATIONS = {
    "live": (
        v.CITIES,
        (
            "where does {name} live",
            "in which city does {name} live",
            "which city does {name} live in",
            "tell me where {name} lives",
            "do you know where {name} lives",
            "name the city of {name}",
            "what is the city of {name}",
            "please say where {name} lives",
        ),
    ),
    "work": (
        v.PLACES,
        (
            "where does {name} work",
            "at which place does {name} work",
            "which place is the work of {name}",
            "tell me where {name} works",
            "do you know where {name} works",
            "name the work of {name}",
            "what is the work of {name}",
            "please say where {name} works",
        ),
    ),
    "pet": (
        v.PETS,
        (
            "which pet does {name} have",
            "what pet does {name} have",
            "which pet is with {name}",
            "tell me which pet {name} has",
            "do you know which pet {name} has",
            "name the pet of {name}",
            "what is the pet of {name}",
            "please say which pet {name} has",
        ),
    ),
    "eat": (
        v.FOODS,
        (
            "what does {name} eat",
            "which food does {name} eat",
            "which food is for {name}",
            "tell me what {name} eats",
            "do you know what {name} eats",
            "name the food of {name}",
            "what is the food of {name}",
            "please say what {name} eats",
        ),
    ),
    "drink": (
        v.DRINKS,
        (
            "what does {name} drink",
            "which drink does {name} like",
            "which drink is for {name}",
            "tell me what {name} drinks",
            "do you know what {name} drinks",
            "name the drink of {name}",
            "what is the drink of {name}",
            "please say what {name} drinks",
        ),
    ),
    "colour": (
        v.COLOURS,
        (
            "which colour is the car of {name}",
            "what colour does {name} like",
            "which colour is for {name}",
            "tell me which colour {name} likes",
            "do you know which colour {name} likes",
            "name the colour of {name}",
            "what is the colour of {name}",
            "please say which colour {name} likes",
        ),
    ),
    "play": (
        v.GAMES,
        (
            "what does {name} play",
            "which game does {name} play",
            "which game is for {name}",
            "tell me what {name} plays",
            "do you know what {name} plays",
            "name the game of {name}",
            "what is the game of {name}",
            "please say what {name} plays",
        ),
    ),
    "visit": (
        v.DAYS,
        (
            "on which day does {name} come",
            "what day does {name} come",
            "which day is for {name}",
            "tell me which day {name} comes",
            "do you know which day {name} comes",
            "name the day of {name}",
            "what is the day of {name}",
            "please say which day {name} comes",
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
        (
            "at which hour does {name} sleep",
            "what hour does {name} sleep",
            "which hour is for {name}",
            "tell me at which hour {name} sleeps",
            "do you know at which hour {name} sleeps",
            "name the hour of {name}",
            "what is the hour of {name}",
            "please say at which hour {name} sleeps",
        ),
    ),
    "fish": (
        HOURS,
        (
            "how many fish does {name} have",
            "which number of fish does {name} have",
            "how many fish are with {name}",
            "tell me how many fish {name} has",
            "do you know how many fish {name} has",
            "name the number of fish of {name}",
            "what is the number of fish of {name}",
            "please say how many fish {name} has",
        ),
    ),
    "buy": (
        v.THINGS,
        (
            "what does {name} buy",
            "which thing does {name} buy",
            "which thing is for {name}",
            "tell me what {name} buys",
            "do you know what {name} buys",
            "name the thing of {name}",
            "what is the thing of {name}",
            "please say what {name} buys",
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
        (
            "where is the car of {name}",
            "at which place is the car of {name}",
            "which place is the car of {name} at",
            "tell me where the car of {name} is",
            "do you know where the car of {name} is",
            "name the place of the car of {name}",
            "what is the place of the car of {name}",
            "please say where the car of {name} is",
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
        (
            "on which day does {name} call",
            "what day does {name} call",
            "which day will {name} call",
            "tell me on which day {name} calls",
            "do you know on which day {name} calls",
            "name the day {name} calls",
            "what is the day {name} calls",
            "please say on which day {name} calls",
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
