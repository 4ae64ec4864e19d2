"""Repeating: sentences and digits spoken clean, in noise, with silence around or several in a row, word for word."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from posttrain.corpus import grammar
from posttrain.corpus.instructions import ABSTENTION, REPEAT
from posttrain.tasks import copying
from posttrain.tasks.family import Ask, Family, HeldOut, Item

CONDITIONS = ("clean", "snr10", "snr5", "snr0", "padded")
VALID_SENTENCES = 60
DIGITS_SHARE = 0.1
"""Share of digit strings among the training texts."""
JOINED = {"train": (2, 4), "test": (2, 5)}
"""Fewest and most sentences in a row."""


def items(held: HeldOut) -> Iterator[Item]:
    """Each sentence in every condition, `wer/CONDITION`, and `wer/joined`; in validation clean only."""
    count = held.config.test_sentences if held.test else held.size(valid=VALID_SENTENCES)
    sentences = grammar.different(lambda: grammar.sentence(held.split, held.rng), count, held.taken)
    for number, text in enumerate(sentences):
        for condition in CONDITIONS if held.test else ("clean",):
            wrong = ABSTENTION if condition == "clean" and number % 3 == 0 else ""
            group = f"wer/{number:04d}" if held.test else None
            yield Item(f"wer/{condition}", number, Ask(REPEAT, text, text, "wer", wrong), condition, group)
    for number, several in enumerate(_in_rows(sentences) if held.test else ()):
        yield Item("wer/joined", number, _in_a_row(several), "joined")


def draw(split: str, rng: random.Random) -> Ask:
    """A sentence or, rarely, digits."""
    skill = copying.HARD if rng.random() < DIGITS_SHARE else copying.EASY
    return replace(skill.training(split, rng), grader="wer")


def draw_joined(split: str, rng: random.Random) -> Ask:
    """Several in a row."""
    return _in_a_row([draw(split, rng).text for _ in range(rng.randint(*JOINED["train"]))])


def _in_a_row(sentences: Sequence[str]) -> Ask:
    text = " ".join(sentences)
    return Ask(REPEAT, text, text, "wer", in_a_row=tuple(sentences))


def _in_rows(sentences: Sequence[str]) -> Iterator[Sequence[str]]:
    """The test sentences again, two to five in a row, each once, to compare the same words joined and separate."""
    fewest, most = JOINED["test"]
    sizes, at = itertools.cycle(range(fewest, most + 1)), 0
    while at < len(sentences):
        several = sentences[at : at + next(sizes)]
        if len(several) >= fewest:
            yield several
        at += len(several)


FAMILY = Family(items, {"repeat": draw, "joined": draw_joined}, pair_share=0.15)
