"""What the base knows and can lose: four families of skill, each with an easy and a hard probe.

A probe's items are unseen as text. For sum, fact and order the *wording* of each content is held out, so that the
knowledge can be learned; numbers to copy, long sums and lists to turn around are new as content too. Hard items have
levels from nearly easy to nearly impossible in equal shares: a probe's accuracy moves smoothly, and no seed jumps.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from posttrain.corpus import vocabulary as v
from posttrain.corpus.facts import EASY_NAMES, HARD_NAMES, RELATIONS, facts
from posttrain.corpus.grammar import sentence
from posttrain.corpus.normalise import number_words
from posttrain.corpus.splits import hold_out, may_hold, split_of
from posttrain.errors import InputError

FAMILIES = ("sum", "fact", "copy", "order")
PROBES = tuple(f"{family}_{level}" for family in FAMILIES for level in ("easy", "hard"))
FINITE = ("fact_easy", "fact_hard", "sum_easy", "order_easy")
"""Probes whose questions can be listed."""


@dataclass(frozen=True)
class Question:
    """One thing asked of the base."""

    text: str
    answer: str
    level: int = 0
    """0 is the easiest of its probe."""
    wrong: str = ""
    """A likely mistake, for preference pairs."""
    content: str = ""
    """What every wording of it shares; a fact asked from either side is one content. Empty: the text itself."""


SUMS = (
    "what is {a} plus {b}",
    "how much is {a} plus {b}",
    "tell me {a} plus {b}",
    "please add {a} and {b}",
    "can you add {a} and {b}",
    "how much are {a} and {b}",
)
LONG_SUMS = (
    "what is {x}",
    "how much is {x}",
    "tell me {x}",
    "please tell me {x}",
    "do you know how much is {x}",
    "can you add {x}",
)
SUM_LARGEST = (4, 5, 7, 9)
"""Largest term of a hard sum, by level from the second on."""
NEXT = (
    "what comes {side} {x}",
    "what is {side} {x}",
    "tell me what comes {side} {x}",
    "do you know what comes {side} {x}",
    "please name what comes {side} {x}",
    "name what is {side} {x}",
)
MORE = ("which is {word} {a} or {b}", "tell me which is {word} {a} or {b}", "what is {word} {a} or {b}")
BACKWARDS = ("say {x} backwards", "please say {x} backwards", "can you say {x} backwards")
FACT_WEIGHTS = (20.0, 8.0, 4.0, 2.0, 1.0)
"""How often the hard facts of each level are met in training, against each other."""
COPY_SHAPES = ((4, 3), (6, 3), (7, 3), (9, 2), (11, 2))
"""Digits to copy and how many different ones, by level."""
PROBED_LEVELS = {"copy_hard": (0, 1, 1, 2, 3)}
"""The levels of which a probe has equal shares, where these are not all: the longest numbers are only practised."""
REVERSE_LENGTHS = (3, 4, 5, 7, 8)
LISTED = v.COLOURS + v.PETS + v.FOODS[:4]


@cache
def bank(probe: str) -> dict[str, tuple[Question, ...]]:
    """Split → every question of one of FINITE."""
    made: dict[str, list[Question]] = {"train": [], "valid": [], "test": []}
    for wordings, test in _contents(probe):
        splits = hold_out([q.text for q in wordings], test)
        for question in wordings:
            made[splits[question.text]].append(question)
    return {split: tuple(questions) for split, questions in made.items()}


def _contents(probe: str) -> Iterator[tuple[list[Question], int]]:
    """Every content of a finite probe as its wordings, and how many of them are held out."""
    rng = random.Random(f"wrong {probe}")
    if probe in ("fact_easy", "fact_hard"):
        names = EASY_NAMES if probe == "fact_easy" else HARD_NAMES
        known = facts()
        for place, (name, relation) in enumerate((n, r) for n in names for r in RELATIONS):
            values, wordings = RELATIONS[relation]
            answer = known[name, relation]
            wrong = rng.choice([value for value in values if value not in (answer, name)])
            level = place % len(FACT_WEIGHTS) if probe == "fact_hard" else 0
            content = f"fact {relation} {name}"
            yield [Question(w.format(name=name), answer, level, wrong, content) for w in wordings], 4
    elif probe == "sum_easy":
        for a in range(1, 11):
            for b in range(1, 11):
                wrong = number_words(a + b + rng.choice([-1, 1, 2]))
                words = {"a": number_words(a), "b": number_words(b)}
                answer, content = number_words(a + b), _sum_content((a, b))
                yield [Question(w.format(**words), answer, 0, wrong, content) for w in SUMS], 3
    elif probe == "order_easy":
        numbers = [number_words(n) for n in range(1, 13)]
        for row, circle in ((v.DAYS, True), (numbers, False)):
            for i, x in enumerate(row):
                for side, j in (("after", i + 1), ("before", i - 1)):
                    if circle or 0 <= j < len(row):
                        answer, wrong = row[j % len(row)], row[(2 * i - j) % len(row)]
                        content = f"next {' '.join(sorted((x, answer)))}"
                        yield [Question(w.format(side=side, x=x), answer, 0, wrong, content) for w in NEXT], 2
        for i, first in enumerate(numbers):
            for j, second in enumerate(numbers):
                for word in ("more", "less") if i != j else ():
                    answer, wrong = (first, second) if (i > j) == (word == "more") else (second, first)
                    content = f"more {' '.join(sorted((first, second)))}"
                    texts = [w.format(word=word, a=first, b=second) for w in MORE]
                    yield [Question(text, answer, 0, wrong, content) for text in texts], 1
    else:
        raise ValueError(f"probe is {probe}, expected one with a finite bank; use draw()")


def draw(probe: str, split: str, rng: random.Random, level: int | None = None) -> Question:
    """A question of that probe and split; of that level where one is named."""
    if probe == "copy_easy":
        text = sentence(split, rng)
        while not may_hold(split, wrong := _slip(text, rng)):  # what loses is trained on too
            pass
        return Question(text, text, 0, wrong)
    if probe in ("copy_hard", "sum_hard", "order_hard"):
        make = {"copy_hard": _digits, "sum_hard": _long_sum, "order_hard": _backwards}[probe]
        while True:
            question = make(rng.randrange(5) if level is None else level, rng)
            if split_of(question.text, test=0.25) == split and may_hold(split, question.wrong, test=0.25):
                return question
    questions = bank(probe)[split]
    if probe == "fact_hard":
        if level is not None:
            questions = tuple(q for q in questions if q.level == level)
        return rng.choices(questions, [FACT_WEIGHTS[q.level] for q in questions])[0]
    return rng.choice(questions)


def chance(text: str, answer: str) -> float:
    """How often a guess among the answers that the question itself offers is right: half for "… five or six", else 0.

    A fact has few possible answers too, but the question does not name them: who guesses among them knows something.
    """
    before, offered, last = text.rpartition(" or ")
    return 0.5 if offered and answer in (before.split()[-1], last) else 0.0


def levels(probe: str) -> int:
    """How many levels a probe's items have, in equal shares."""
    return 5 if probe.endswith("_hard") else 1


def items(probe: str, count: int, rng: random.Random, taken: set[str]) -> list[Question]:
    """`count` different test questions, levels in turn, none in `taken` (to which they are added).

    A second wording of one content is taken only when others are hard to find, so that the items are of many contents.
    """
    found: list[Question] = []
    probed = PROBED_LEVELS.get(probe, range(levels(probe)))
    met: Counter[str] = Counter()
    rounds = misses = 0
    while len(found) < count:
        question = draw(probe, "test", rng, probed[len(found) % len(probed)])
        if question.text in taken or met[question.content] > rounds:
            misses += 1
            rounds += misses % 2_000 == 0
            if misses > 20_000:
                raise InputError(f"{probe} has {len(found)} unseen items, expected {count}; lower corpus.probe_items")
            continue
        met[question.content] += bool(question.content)
        misses = 0
        taken.add(question.text)
        found.append(question)
    return found


def valid_items(probe: str, most: int, rng: random.Random) -> list[Question]:
    """Up to `most` different validation questions, of each level as many as of another where there are as many."""
    probed = PROBED_LEVELS.get(probe, range(levels(probe)))
    found: dict[str, Question] = {}
    for place, level in enumerate(probed):
        wanted = len(found) + (most + place) // len(probed)
        for _ in range(50 * most):
            if len(found) >= wanted:
                break
            question = draw(probe, "valid", rng, level)
            found.setdefault(question.text, question)
    return list(found.values())


def _digits(level: int, rng: random.Random) -> Question:
    """A number read out digit by digit, of few digits: looking for the last word does not say what comes next."""
    length, different = COPY_SHAPES[level]
    pool = rng.sample(range(1, 10), different)
    text = " ".join(number_words(rng.choice(pool)) for _ in range(length))
    return Question(text, text, level, _slip(text, rng))


def _long_sum(level: int, rng: random.Random) -> Question:
    """Two terms of which one is eleven or twelve, then three terms from a growing range: the larger, the rarer each."""
    if level == 0:
        terms = rng.sample([rng.randint(11, 12), rng.randint(1, 12)], 2)
    else:
        terms = [rng.randint(1, SUM_LARGEST[level - 1]) for _ in range(3)]
    words = " plus ".join(number_words(t) for t in terms)
    text = rng.choice(LONG_SUMS).format(x=words)
    wrong = number_words(sum(terms) + rng.choice([-1, 1, 2]))
    return Question(text, number_words(sum(terms)), level, wrong, _sum_content(terms))


def _sum_content(terms: Sequence[int]) -> str:
    """The same for terms in any order."""
    return f"sum {' '.join(map(str, sorted(terms)))}"


def _backwards(level: int, rng: random.Random) -> Question:
    """A list of words to be said from its end."""
    words = rng.sample(LISTED, REVERSE_LENGTHS[level])
    text = rng.choice(BACKWARDS).format(x=" ".join(words))
    return Question(text, " ".join(reversed(words)), level, " ".join(words), f"backwards {' '.join(words)}")


def _slip(text: str, rng: random.Random) -> str:
    """The text with one word misheard."""
    words = text.split()
    place = rng.randrange(len(words))
    others = [w for w in LISTED + v.NAMES + [number_words(n) for n in range(1, 10)] if w != words[place]]
    return " ".join([*words[:place], rng.choice(others), *words[place + 1 :]])
