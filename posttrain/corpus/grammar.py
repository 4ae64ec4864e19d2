"""Everyday talk around hearing aids, without questions to answer: statements, requests, talk to simplify, stories."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

from posttrain.corpus import vocabulary as v
from posttrain.corpus.normalise import number_words
from posttrain.corpus.splits import may_hold, split_of

HOURS = [number_words(n) for n in range(1, 13)]
NUMBERS = [number_words(t + u) for t in (20, 30, 40, 50) for u in range(10)]
SLOTS = {
    "name": v.NAMES,
    "person": v.NAMES + [f"my {f}" for f in v.FAMILY] * 2,
    "family": v.FAMILY,
    "day": v.DAYS,
    "hour": HOURS,
    "few": HOURS[1:],
    "digit": HOURS[:9],
    "number": NUMBERS,
    "city": v.CITIES,
    "place": v.PLACES,
    "room": v.ROOMS,
    "pet": v.PETS,
    "food": v.FOODS,
    "drink": v.DRINKS,
    "colour": v.COLOURS,
    "opening": v.OPENINGS,
    "machine": v.MACHINES,
    "object": v.OBJECTS,
    "thing": v.THINGS,
    "stuff": v.STUFF,
    "game": v.GAMES,
    "vehicle": v.VEHICLES,
    "when": v.WHEN,
    "side": v.SIDES,
}
FILLINGS = frozenset(word for filling in SLOTS.values() for words in filling for word in words.split())
"""Every word that a slot may hold."""
GENERAL = (
    # requests
    "please call {person} {when}",
    "can you call {person} {when}",
    "could you bring me the {colour} {object}",
    "please bring {person} some {drink}",
    "please open the {opening} of the {room}",
    "could you close the {opening} of the {vehicle}",
    "please turn off the {machine} in the {room}",
    "can you turn on the {machine} {when}",
    "please ask {person} about the {colour} {object}",
    "can we buy some {food} and {drink}",
    # noise
    "the {machine} in the {room} is too loud",
    "the {place} is very loud {when}",
    "there is too much noise in the {room}",
    "i can not hear {person} in the {room}",
    "i did not hear {person} {when}",
    "it is too quiet at the {place} {when}",
    "the {pet} of {person} is very loud",
    "can you hear the {machine} in the {room}",
    "{person} can not hear the {machine}",
    # appointments
    "i have an appointment on {day} at {hour}",
    "my appointment is not on {day}",
    "{person} will come on {day} at {hour}",
    "{person} will not come {when}",
    "we will meet {person} at {hour}",
    "we meet at the {place} on {day}",
    "the {vehicle} comes in {few} minutes",
    "can we meet {person} on {day}",
    "the {place} is not open on {day}",
    # names
    "my name is {name} and i live in {city}",
    "{name} and {name} are in the {room}",
    "this is {name} from {city}",
    "{name} is not at the {place}",
    "{person} was at the {place} with {name}",
    # numbers
    "my number is {digit} {digit} {digit} {digit}",
    "the number of my room is {number}",
    "i need {few} new batteries {when}",
    "{person} has {few} {colour} fish",
    "the {place} is {number} minutes from here",
    "i am {number} years old",
    "we need {number} apples for the {place}",
    # every day
    "the {colour} {object} is on the table",
    "i do not want {food} {when}",
    "i like {food} and {drink}",
    "there is no {drink} in the {room}",
    "the {food} is too cold for {person}",
    "the {pet} is in the {room} with {person}",
    "it is very cold in {city} {when}",
    "my {family} was in {city} {when}",
    "do you want {drink} or {drink}",
    "the {vehicle} of {person} is {colour}",
    "my {family} lives in {city} and likes {drink}",
    "my {family} works at the {place} on {day}",
    "my {family} plays {game} on {day}",
    "can {person} play {game} {when}",
    "do you play {game} or {game}",
    "there is too much {game} on the television",
    "my {family} eats {food} before {hour}",
    "my {family} drinks {drink} after the {thing}",
    "please look at the {thing} of {person}",
    "the {colour} {thing} is on the road",
    "i have the {thing} and some {stuff}",
    "there is no {stuff} in the house",
    "please kiss {person} and bring some {stuff}",
    "the lights in the {room} are {colour}",
    "a man is in the {room} with the {thing}",
    "who is in the {room} with {person}",
    "we eat {food} and drink {drink} {when}",
    "my friend buys {food} at the {place}",
    "{person} brings a {colour} {object} {when}",
    "how many batteries do you need {when}",
    "{person} calls and i can not sleep {when}",
    "the game of {person} is at {hour}",
    # hearing
    "my {side} ear hurts {when}",
    "the {side} aid is in the {colour} bag",
    "i wear both aids at the {place}",
    "the battery is on the table in the {room}",
    "i can hear {person} with both aids",
    "the {side} aid is very quiet {when}",
    "please mute the {machine} {when}",
    "there is no sound in my {side} ear",
)
HARD = (
    "i purchase a {colour} {vehicle} {when}",
    "we purchase {food} for {person}",
    "can you assist {person} {when}",
    "please assist me at the {place}",
    "i require {few} batteries {when}",
    "we require a physician {when}",
    "the physician will come on {day}",
    "the vehicle of {person} is {colour}",
    "there is no vehicle at the {place}",
    "the residence of {person} is in {city}",
    "{person} is not at the residence {when}",
    "i attempt to call {person} {when}",
    "we attempt to close the {opening}",
    "please bring {person} a beverage {when}",
    "i do not want a beverage {when}",
    "the infant is in the {room} with {person}",
    "the infant can not hear {person}",
    "my spectacles are in the {colour} bag",
    "i require the spectacles of {person}",
)
STORIES = (
    "{name} lives in {city} and works at the {place} every {day}",
    "on {day} {name} comes to the {place} and drinks {drink}",
    "{name} has a {pet} and a {colour} {vehicle}",
    "in the {room} {name} eats {food} and listens to the {machine}",
    "the {pet} sleeps in the {room} because it is cold in {city}",
    "at {hour} the {vehicle} leaves {city} and {name} reads a {object}",
    "when the battery is empty the {side} aid is quiet so {name} needs a new one",
    "when there is too much noise {name} turns the {side} aid down",
    "{name} said sorry i did not hear any words",
    "the doctor helps {name} to start the {side} aid and to try the {colour} one",
    "the baby drinks enough {drink} in the house of {name}",
)
_SLOT = re.compile(r"\{(\w+)\}")


def expand(template: str, rng: random.Random, slots: Mapping[str, Sequence[str]] = SLOTS) -> str:
    """The template with each slot filled at random."""
    return _SLOT.sub(lambda slot: rng.choice(slots[slot[1]]), template)


def sentence(split: str, rng: random.Random) -> str:
    """A plain sentence of that split, to be repeated word for word."""
    return _until(split, lambda: expand(rng.choice(GENERAL), rng))


def hard_sentence(split: str, rng: random.Random) -> str:
    """A sentence with a hard word or a filler, to be simplified; without its filler it is of that split too."""

    def draw() -> str:
        text = expand(rng.choice(HARD if rng.random() < 0.75 else GENERAL), rng)
        if rng.random() < 0.4 or simplify(text) == text:
            text = f"{rng.choice(v.FILLERS)} {text}"
        return text

    return _until(split, draw, lambda text: [simplify(text)], lambda text: [without_fillers(text)])


def without_fillers(text: str) -> str:
    """The text without fillers such as `um`."""
    return " ".join(word for word in text.split() if word not in v.FILLERS)


def simplify(text: str) -> str:
    """The caption in simple words: fillers dropped, hard words replaced, the rest unchanged."""
    return " ".join(v.SIMPLE.get(word, word) for word in text.split() if word not in v.FILLERS)


def line(split: str, rng: random.Random) -> str:
    """A line of running text: one to three sentences."""

    def draw() -> str:
        parts = [expand(rng.choice(STORIES if rng.random() < 0.6 else GENERAL), rng) for _ in range(rng.randint(1, 3))]
        return ". ".join(parts) + "."

    return _until(split, draw, lambda text: text.removesuffix(".").split(". "))


@cache
def general_lines(count: int) -> tuple[tuple[str, str], ...]:
    """(split, line) of running text: `count` test lines for perplexity, and as many each for train and valid."""
    made = []
    for split in ("train", "valid", "test"):
        draw = partial(line, split, random.Random(f"general {split}"))
        made += [(split, text) for text in different(draw, count)]
    return tuple(made)


def different(draw: Callable[[], str], count: int, taken: set[str] | None = None) -> list[str]:
    """`count` different texts, none of them in `taken`."""
    found: dict[str, None] = {}
    while len(found) < count:
        text = draw()
        if taken is None or text not in taken:
            found[text] = None
    return list(found)


def _until(
    split: str,
    draw: Callable[[], str],
    inside: Callable[[str], list[str]] = lambda text: [],
    same: Callable[[str], list[str]] = lambda text: [],
) -> str:
    """Draw a text that is of that split, as is all that `same` returns for it; all that `inside` returns may occur in
    that split. RuntimeError after 10,000 draws."""
    for _ in range(10_000):
        text = draw()
        if all(split_of(part) == split for part in (text, *same(text))) and all(
            may_hold(split, part) for part in inside(text)
        ):
            return text
    raise RuntimeError(f"no {split} text in 10,000 draws; widen the grammar")
