"""Repeating: sentences and digits spoken clean, in noise, with silence around or several in a row, word for word.

Each world has its own sentences.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from posttrain.corpus import grammar
from posttrain.corpus.instructions import ABSTENTION, REPEAT
from posttrain.tasks import copying
from posttrain.tasks.abilities import Skill
from posttrain.tasks.family import Ask, Family, HeldOut, Item

CONDITIONS = ("clean", "snr10", "snr5", "snr0", "padded")
VALID_SENTENCES = 60
DIGITS_SHARE = 0.1
"""Share of digit strings among the training texts."""
JOINED = {"train": (2, 4), "test": (2, 5)}
"""Fewest and most sentences in a row."""


@dataclass(frozen=True)
class Sentences:
    """Where the sentences of a world come from."""

    held_out: Callable[[str, random.Random], str]
    """Draws a sentence of a split to evaluate on."""
    training: Skill
    """Draws one to train on, and how it may be misheard."""

    def items(self, held: HeldOut) -> Iterator[Item]:
        """Each sentence in every condition, `wer/CONDITION`, and `wer/joined`; in validation clean only."""
        count = held.config.test_sentences if held.test else held.size(valid=VALID_SENTENCES)
        sentences = grammar.different(lambda: self.held_out(held.split, held.rng), count, held.taken)
        for number, text in enumerate(sentences):
            for condition in CONDITIONS if held.test else ("clean",):
                wrong = ABSTENTION if condition == "clean" and number % 3 == 0 else ""
                group = f"wer/{number:04d}" if held.test else None
                yield Item(f"wer/{condition}", number, Ask(REPEAT, text, text, "wer", wrong), condition, group)
        for number, several in enumerate(_in_rows(sentences) if held.test else ()):
            yield Item("wer/joined", number, _in_a_row(several), "joined")

    def draw(self, split: str, rng: random.Random) -> Ask:
        """A sentence or, rarely, digits."""
        skill = copying.HARD if rng.random() < DIGITS_SHARE else self.training
        return replace(skill.training(split, rng), grader="wer")

    def draw_joined(self, split: str, rng: random.Random) -> Ask:
        """Several in a row."""
        return _in_a_row([self.draw(split, rng).text for _ in range(rng.randint(*JOINED["train"]))])


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


def family(held_out: Callable[[str, random.Random], str], training: Skill) -> Family:
    """The family of a world's sentences."""
    sentences = Sentences(held_out, training)
    return Family(sentences.items, {"repeat": sentences.draw, "joined": sentences.draw_joined}, pair_share=0.15)


FAMILY = family(grammar.sentence, copying.EASY)
