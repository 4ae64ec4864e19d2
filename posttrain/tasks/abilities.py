"""Skills that the base model has and can lose: what sums, facts, copying and orders have in common.

A skill's items are unseen as text. For easy sums, facts and easy order questions only the *wording* is held out, so
that the knowledge can be learned; numbers to copy, long sums and lists to reverse are new in content too. Hard items
range from nearly easy to nearly impossible, so a probe's accuracy changes smoothly and does not jump with the seed.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from posttrain.corpus.instructions import ANSWER
from posttrain.corpus.splits import hold_out, may_hold, split_of
from posttrain.errors import InputError
from posttrain.tasks.family import Ask, Family, HeldOut, Item

VALID_ITEMS = 60
"""Validation items per typed skill; a finite bank may have fewer."""
LEVELS = range(5)
"""Levels of a hard skill."""


@dataclass(frozen=True)
class Question:
    """One question to the base model."""

    text: str
    answer: str
    level: int = 0
    """Difficulty; 0 is the easiest of its skill."""
    wrong: str = ""
    """A likely mistake, the rejected answer of preference pairs."""
    content: str = ""
    """Key shared by all wordings; the same in both directions (after Monday, before Tuesday). Empty: the text."""


Bank = dict[str, tuple[Question, ...]]
"""Split → all questions of a finite skill."""


@dataclass(frozen=True)
class Skill:
    """A skill, such as easy sums: the probe `ability/NAME`, and `ability_spoken/NAME` for the same questions spoken."""

    name: str
    draw: Callable[[str, random.Random, int | None], Question]
    """Draws a question of a split; of one level, if that is given."""
    levels: Sequence[int] = (0,)
    """Levels that its items cycle through."""
    task: str = ANSWER

    def ask(self, question: Question) -> Ask:
        """The ask for a question."""
        return Ask(self.task, question.text, question.answer, "exact", question.wrong, question.content)

    def training(self, split: str, rng: random.Random) -> Ask:
        """Draw an ask to train on."""
        return self.ask(self.draw(split, rng, None))


def family(*skills: Skill) -> Family:
    """The family of these skills; each is a kind of training example too."""
    return Family(partial(_items, skills), {skill.name: skill.training for skill in skills})


def _items(skills: Iterable[Skill], held: HeldOut) -> Iterator[Item]:
    """Typed items of each skill; in the test, the first of them also spoken."""
    for skill in skills:
        count = held.config.probe_items if held.test else held.size(valid=VALID_ITEMS)
        for number, question in enumerate(questions(skill, count, held)):
            ask = replace(skill.ask(question), wrong="")
            yield Item(f"ability/{skill.name}", number, ask)
            if held.test and number < held.config.spoken_items:
                yield Item(f"ability_spoken/{skill.name}", number, ask, "clean")


def questions(skill: Skill, count: int, held: HeldOut) -> list[Question]:
    """`count` different questions, unseen as text; a finite bank may have fewer for validation."""
    if held.test:
        return _test_questions(skill, count, held)
    return _valid_questions(skill, count, held.rng)


def bank(contents: Iterable[tuple[list[Question], int]]) -> Bank:
    """The questions by split, from the wordings of each content and how many of them are for the test."""
    made: dict[str, list[Question]] = {"train": [], "valid": [], "test": []}
    for wordings, test in contents:
        splits = hold_out([q.text for q in wordings], test)
        for question in wordings:
            made[splits[question.text]].append(question)
    return {split: tuple(questions) for split, questions in made.items()}


def from_bank(bank: Callable[[], Bank], split: str, rng: random.Random, level: int | None) -> Question:
    """Draw from a bank without levels."""
    return rng.choice(bank()[split])


def until_held(
    make: Callable[[int, random.Random], Question], split: str, rng: random.Random, level: int | None
) -> Question:
    """Make questions until one is of the split, as a text, and its wrong answer may occur there."""
    while True:
        question = make(rng.choice(LEVELS) if level is None else level, rng)
        if split_of(question.text, test=0.25) == split and may_hold(split, question.wrong, test=0.25):
            return question


def chance(text: str, answer: str) -> float:
    """Chance of guessing right among the answers that the question itself offers: 0.5 for "… five or six", else 0.

    A fact has few possible answers too, but the question does not list them: guessing among them takes knowledge.
    """
    before, offered, last = text.rpartition(" or ")
    return 0.5 if offered and answer in (before.split()[-1], last) else 0.0


def _test_questions(skill: Skill, count: int, held: HeldOut) -> list[Question]:
    """Draw `count` different test questions, cycling through the levels; none is in `held.taken`, to which they are
    added.

    InputError if there are too few. A second wording of a content is used only when new contents are hard to find, so
    that the items cover many contents.
    """
    found: list[Question] = []
    met: Counter[str] = Counter()
    rounds = misses = 0
    while len(found) < count:
        question = skill.draw("test", held.rng, skill.levels[len(found) % len(skill.levels)])
        if question.text in held.taken or met[question.content] > rounds:
            misses += 1
            rounds += misses % 2_000 == 0
            if misses > 20_000:
                raise InputError(
                    f"{skill.name} has {len(found)} unseen items, expected {count}; lower corpus.probe_items"
                )
            continue
        met[question.content] += bool(question.content)
        misses = 0
        held.taken.add(question.text)
        found.append(question)
    return found


def _valid_questions(skill: Skill, most: int, rng: random.Random) -> list[Question]:
    """Up to `most` different validation questions, spread evenly over the levels as far as possible."""
    found: dict[str, Question] = {}
    for place, level in enumerate(skill.levels):
        wanted = len(found) + (most + place) // len(skill.levels)
        for _ in range(50 * most):
            if len(found) >= wanted:
                break
            question = skill.draw("valid", rng, level)
            found.setdefault(question.text, question)
    return list(found.values())
