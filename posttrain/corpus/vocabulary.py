"""The tiny world's vocabulary: few words, frequently used, most of them acoustically distinct."""

from posttrain.corpus.normalise import NUMBER_WORDS

_words = str.split

NAMES = _words(
    "anna peter maria oscar julia victor sophie martin helen david "
    "emma robert nina thomas clara simon laura felix alice bruno"
)
FAMILY = _words("mother father sister brother neighbour doctor boss")
DAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
CITIES = _words("paris london berlin madrid vienna oslo")
PLACES = _words("bank school hospital market station library")
ROOMS = _words("kitchen garden office bedroom")
PETS = _words("dog cat horse rabbit parrot turtle")
FOODS = _words("bread soup cheese rice salad fish")
DRINKS = _words("coffee tea milk water juice lemonade")
COLOURS = _words("red blue green yellow black white")
GAMES = _words("piano guitar violin football tennis chess")
OPENINGS = _words("door window")
MACHINES = _words("radio television telephone")
OBJECTS = _words("book bag key coat")
VEHICLES = _words("bus train car")
THINGS = _words("photo film ball candle balloon drum egg show")
STUFF = _words("wood sugar ice time money")
LISTED = COLOURS + PETS + FOODS[:4]
"""Words that lists are made of."""
WHEN = ["today", "tomorrow", "this morning", "this evening", "now"]
SIDES = _words("left right")

FILLERS = _words("um well actually")
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
}
"""Hard word → the simple word that a caption uses."""

NEGATIONS = frozenset(_words("not no never none nothing can't don't isn't won't without"))
_NAMED = frozenset(NAMES) | frozenset(CITIES) | frozenset(DAYS)


def is_critical(word: str) -> bool:
    """Whether a listener must not misunderstand this word: a number, a name (person, city, day) or a negation."""
    return word in NUMBER_WORDS or word in _NAMED or word in NEGATIONS
