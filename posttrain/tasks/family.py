"""The shape of a task family, and what it makes: asks to train on, and items held out for evaluation."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest

from posttrain.config.sections import CorpusConfig
from posttrain.corpus.instructions import instruction
from posttrain.corpus.splits import fraction
from posttrain.corpus.types import Example

TEST_SENTENCES = 150
"""corpus.test_sentences at full size."""
Grader = Callable[[str, str, str], float]
"""Grades (answer, right answer, text) from 0 to 1, 1 is right."""


@dataclass(frozen=True)
class Ask:
    """A task on some words and its right answer."""

    task: str
    text: str
    """The words, typed or spoken; empty when nothing is audible."""
    answer: str
    grader: str
    wrong: str = ""
    """Rejected answer of the ask's preference pair; empty for no pair."""
    content: str = ""
    """Key shared by all wordings; if empty, the text is the key."""
    in_a_row: tuple[str, ...] = ()
    """The sentences of `text`, if it is several, spoken with pauses between them."""
    preferred: str = ""
    """Preferred answer of the pair, if it is another than `answer`."""
    endings: tuple[str, ...] = ()
    """Answers to choose from; empty if the answer is free."""


@dataclass(frozen=True)
class Item:
    """An ask held out for evaluation."""

    probe: str
    """The metric it counts for."""
    number: int
    """Its number within the probe."""
    ask: Ask
    condition: str | None = None
    """None if typed; the condition in which it is spoken; any: clean to 5 dB SNR."""
    group: str | None = None
    """Consecutive items of one group are one utterance by one voice in several conditions."""


@dataclass(frozen=True)
class HeldOut:
    """A held-out split whose items are drawn; the families take turns with its random numbers."""

    split: str
    """test or valid."""
    config: CorpusConfig
    rng: random.Random
    taken: set[str] = field(default_factory=set)
    """Texts of earlier items that no other item may have."""

    @property
    def test(self) -> bool:
        """Whether this is the test split."""
        return self.split == "test"

    def size(self, test: int = 0, valid: int = 0) -> int:
        """Number of items, from that at full size: in proportion to the corpus's test sentences, at least four."""
        scale = min(1.0, self.config.test_sentences / TEST_SENTENCES)
        return max(4, round((test if self.test else valid) * scale))


Draw = Callable[[str, random.Random], Ask]
"""Draws an ask of a split."""


@dataclass(frozen=True)
class Family:
    """A task family: one file of `posttrain/tasks`."""

    items: Callable[[HeldOut], Iterator[Item]]
    """Its items of a held-out split, the same for every seed."""
    draws: Mapping[str, Draw] = field(default_factory=dict)
    """Kinds of training examples; their shares are in `mixtures`."""
    graders: Mapping[str, Grader] = field(default_factory=dict)
    """Graders of its own, by name."""
    pair_share: float = 1.0
    """Share of its training clips with a wrong answer that get a preference pair."""


def example(id_: str, split: str, ask: Ask, probe: str | None = None) -> Example:
    """The ask as a typed example; an item of `probe` if that is given."""
    asked = instruction(ask.task)
    return Example(id_, split, ask.task, asked, ask.text, None, ask.answer, ask.grader, probe, ask.content, ask.endings)


def spread(asks: Iterable[Ask], count: int) -> list[Ask]:
    """`count` of the asks in a fixed order, covering as many contents as possible: a second wording of a content comes
    only after every content has its first."""
    by_content: dict[str, list[Ask]] = {}
    for ask in sorted(asks, key=lambda ask: fraction("order " + ask.text)):
        by_content.setdefault(ask.content, []).append(ask)
    return in_turn(by_content.values())[:count]


def in_turn(lists: Iterable[Iterable[Ask]]) -> list[Ask]:
    """The first of each list, then the second of each, and so on."""
    return [ask for one_each in zip_longest(*lists) for ask in one_each if ask]
