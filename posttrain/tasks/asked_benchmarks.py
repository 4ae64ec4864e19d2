"""Public benchmarks asked in the chat, typed and spoken: an item's question, and its endings as answers to choose from.

Where the data root holds the file of a card that is `asked_aloud`. The model chooses the answer with the highest
log-probability. Deviations from lm-evaluation-harness, by whose rules `benchmark/TASK` scores the same items: 1. the
question is asked in the chat, as every question here, and the end of an answer counts; 2. only questions that can be
read aloud, a part of them; 3. spoken in normalised words.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from posttrain.corpus import choices
from posttrain.corpus.aloud import aloud
from posttrain.corpus.choices import PROBE, Choice
from posttrain.corpus.instructions import FOLLOW
from posttrain.corpus.normalise import normalise
from posttrain.tasks.family import Ask, Family, HeldOut, Item, spread

TYPED, SPOKEN = "benchmark_chat/", "benchmark_spoken/"
"""Before a benchmark's name: its probes and metrics."""
SPLITS = ("test", "valid")
TEST_ITEMS = 150
"""Of each benchmark at full size, typed and spoken."""
MOST_WORDS = 24
"""Of a question."""


def published(data_root: str | None) -> dict[str, list[Ask]]:
    """Benchmark → its test items whose question can be read aloud; InputError if a file is not the card's."""
    return {name: list(_asks(choices.of_card(name, file))) for name, file in found(data_root).items()}


def found(data_root: str | Path | None) -> dict[str, Path]:
    """Benchmark → its file below the data root, for those that are asked."""
    places = {name: choices.file_of(name, data_root) for name in choices.cards() if choices.asked_aloud(name)}
    return {name: file for name, file in places.items() if file}


def texts(data_root: str | Path | None) -> set[str]:
    """All questions of these benchmarks, also those that are not asked here, as published and in normalised words."""
    items = [choices.of_card(name, file, None, split) for name, file in found(data_root).items() for split in SPLITS]
    return {text for of_split in items for item in of_split for text in (item.content, normalise(item.content))}


def family(asked: dict[str, list[Ask]]) -> Family:
    """The family of these items; the test's only."""

    def items(held: HeldOut) -> Iterator[Item]:
        """`benchmark_chat/TASK`, typed, and `benchmark_spoken/TASK`."""
        for name, asks in asked.items() if held.test else ():
            for number, ask in enumerate(spread(asks, held.size(TEST_ITEMS))):
                yield Item(TYPED + name, number, ask)
                yield Item(SPOKEN + name, number, replace(ask, text=aloud(ask.text, MOST_WORDS)), "clean")

    return Family(items)


def _asks(items: list[Choice]) -> Iterator[Ask]:
    for item in items:
        if aloud(item.content, MOST_WORDS):
            endings = tuple(ending.strip() for ending in item.endings)
            content = f"{item.probe.removeprefix(PROBE)} {item.content}"
            yield Ask(FOLLOW, item.content, endings[item.right], "chosen", content=content, endings=endings)


def chosen(answer: str, gold: str, _: str) -> float:
    """Whether it is the right one of the answers to choose from."""
    return answer == gold


GRADERS = {"chosen": chosen}
