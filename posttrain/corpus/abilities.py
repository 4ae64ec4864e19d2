"""Skills that the base model has and can lose: four families, each with an easy and a hard probe.

A probe's items are unseen as text. For easy sums, facts and easy order questions only the *wording* is held out, so
that the knowledge can be learned; numbers to copy, long sums and lists to reverse are new in content too. Hard items
range from nearly easy to nearly impossible, so a probe's accuracy changes smoothly and does not jump with the seed.
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
"""Probes with a finite list of questions."""


@dataclass(frozen=True)
class Question:
    """One question to the base model."""

    text: str
    answer: str
    level: int = 0
    """Difficulty; 0 is the easiest of its probe."""
    wrong: str = ""
    """A likely mistake, the rejected answer of preference pairs."""
    content: str = ""
    """Key shared by all wordings; the same in both directions (after Monday, before Tuesday). Empty: the text."""


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
"""Largest term of a hard sum, from level 1 on."""
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
"""Relative frequency of hard facts in training, by level."""
COPY_SHAPES = ((4, 3), (6, 3), (7, 3), (9, 2), (11, 2))
"""Number of digits to copy and of different digits, by level."""
PROBED_LEVELS = {"copy_hard": (0, 1, 1, 2, 3)}
"""Levels that a probe's items cycle through, if not all: the longest numbers occur only in training."""
REVERSE_LENGTHS = (3, 4, 5, 7, 8)
LISTED = v.COLOURS + v.PETS + v.FOODS[:4]


@cache
def bank(probe: str) -> dict[str, tuple[Question, ...]]:
    """All questions of one of FINITE, by split."""
    made: dict[str, list[Question]] = {"train": [], "valid": [], "test": []}
    for wordings, test in _contents(probe):
        splits = hold_out([q.text for q in wordings], test)
        for question in wordings:
            made[splits[question.text]].append(question)
    return {split: tuple(questions) for split, questions in made.items()}


def _contents(probe: str) -> Iterator[tuple[list[Question], int]]:
    """Yield the wordings of each content of a finite probe, and how many of them are for the test."""
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
    """Draw a question of a probe and split; of one level if `level` is given."""
    if probe == "copy_easy":
        text = sentence(split, rng)
        while not may_hold(split, wrong := _slip(text, rng)):  # the rejected answer is trained on too
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
    """Chance of guessing right among the answers that the question itself offers: 0.5 for "… five or six", else 0.

    A fact has few possible answers too, but the question does not list them: guessing among them takes knowledge.
    """
    before, offered, last = text.rpartition(" or ")
    return 0.5 if offered and answer in (before.split()[-1], last) else 0.0


def levels(probe: str) -> int:
    """Number of levels of a probe."""
    return 5 if probe.endswith("_hard") else 1


def items(probe: str, count: int, rng: random.Random, taken: set[str]) -> list[Question]:
    """Draw `count` different test questions, cycling through the levels; none is in `taken`, to which they are added.

    InputError if there are too few. A second wording of a content is used only when new contents are hard to find, so
    that the items cover many contents.
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
    """Up to `most` different validation questions, spread evenly over the probed levels as far as possible."""
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
    """A number read digit by digit, with few different digits, so that the last word does not determine the next."""
    length, different = COPY_SHAPES[level]
    pool = rng.sample(range(1, 10), different)
    text = " ".join(number_words(rng.choice(pool)) for _ in range(length))
    return Question(text, text, level, _slip(text, rng))


def _long_sum(level: int, rng: random.Random) -> Question:
    """Level 0: two terms, one of them 11 or 12. Above: three terms from a growing range, so that each sum is rarer."""
    if level == 0:
        terms = rng.sample([rng.randint(11, 12), rng.randint(1, 12)], 2)
    else:
        terms = [rng.randint(1, SUM_LARGEST[level - 1]) for _ in range(3)]
    words = " plus ".join(number_words(t) for t in terms)
    text = rng.choice(LONG_SUMS).format(x=words)
    wrong = number_words(sum(terms) + rng.choice([-1, 1, 2]))
    return Question(text, number_words(sum(terms)), level, wrong, _sum_content(terms))


def _sum_content(terms: Sequence[int]) -> str:
    """Content key of a sum, the same for any order of terms."""
    return f"sum {' '.join(map(str, sorted(terms)))}"


def _backwards(level: int, rng: random.Random) -> Question:
    """A list of words to be said in reverse order."""
    words = rng.sample(LISTED, REVERSE_LENGTHS[level])
    text = rng.choice(BACKWARDS).format(x=" ".join(words))
    return Question(text, " ".join(reversed(words)), level, " ".join(words), f"backwards {' '.join(words)}")


def _slip(text: str, rng: random.Random) -> str:
    """The text with one word replaced, as if misheard."""
    words = text.split()
    place = rng.randrange(len(words))
    others = [w for w in LISTED + v.NAMES + [number_words(n) for n in range(1, 10)] if w != words[place]]
    return " ".join([*words[:place], rng.choice(others), *words[place + 1 :]])
