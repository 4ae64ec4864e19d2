"""The words of the tiny world: few, often said, and mostly far from each other in sound."""

from posttrain.corpus.normalise import NUMBER_WORDS

NAMES = (
    "anna peter maria oscar julia victor sophie martin helen david "
    "emma robert nina thomas clara simon laura felix alice bruno"
).split()
FAMILY = "mother father sister brother neighbour doctor".split()
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
CITIES = "paris london berlin madrid vienna oslo".split()
PLACES = "bank school hospital market station library".split()
ROOMS = "kitchen garden office bedroom".split()
PETS = "dog cat horse rabbit parrot turtle".split()
FOODS = "bread soup cheese rice apples fish".split()
DRINKS = "coffee tea milk water juice lemonade".split()
COLOURS = "red blue green yellow black white".split()
GAMES = "piano guitar violin football tennis chess".split()
OPENINGS = "door window".split()
MACHINES = "radio television telephone".split()
OBJECTS = "keys glasses book bag".split()
VEHICLES = "bus train car".split()
WHEN = ["today", "tomorrow", "this morning", "this evening", "now"]
SIDES = "left right".split()

FILLERS = "um well actually".split()
SIMPLE = {
    "purchase": "buy",
    "assist": "help",
    "require": "need",
    "physician": "doctor",
    "vehicle": "car",
    "residence": "house",
    "attempt": "try",
    "beverage": "drink",
    "infant": "baby",
    "spectacles": "glasses",
    "commence": "start",
    "sufficient": "enough",
}
"""Hard word → the simple word that a caption uses."""

NEGATIONS = frozenset("not no never none nothing can't don't isn't won't without".split())
_NAMED = frozenset(NAMES) | frozenset(CITIES) | frozenset(DAYS)


def is_critical(word: str) -> bool:
    """Whether a hearer must not get this word wrong: a number, a name (person, city, day) or a negation."""
    return word in NUMBER_WORDS or word in _NAMED or word in NEGATIONS
