"""Requests: what the base was asked by itself, said aloud, and its own answers to the same words typed.

A model that answers a spoken request as the base answers the typed one has learned to hear without learning to think
differently (DeSTA 2.5, Lu et al. 2025, arXiv 2507.02768; AudioChatLlama, Fathullah et al. 2024, arXiv 2311.06753).
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from posttrain.corpus.instructions import ANSWER
from posttrain.tasks.compare import words
from posttrain.tasks.family import Ask, Family, HeldOut, Item

TEST_ITEMS, VALID_ITEMS = 150, 60
Written = Mapping[str, Sequence[tuple[str, str]]]
"""Split → requests in normalised words, each with the base's answer."""


@dataclass(frozen=True)
class Requests:
    """The requests of a corpus."""

    written: Written

    def items(self, held: HeldOut) -> Iterator[Item]:
        """`task/request`, clean to 5 dB SNR."""
        count = held.size(TEST_ITEMS, VALID_ITEMS)
        for number, (text, answer) in enumerate(self.written[held.split][:count]):
            yield Item("task/request", number, _ask(text, answer), "any")

    def draw(self, split: str, rng: random.Random) -> Ask:
        """A request of the split."""
        return _ask(*rng.choice(self.written[split]))


def family(written: Written) -> Family:
    """The family of a corpus's requests."""
    requests = Requests(written)
    return Family(requests.items, {"request": requests.draw}, GRADERS)


def agreement(answer: str, gold: str, _: str) -> float:
    """F1 of the words in common, in normalised words (SQuAD's measure, Rajpurkar et al. 2016, arXiv 1606.05250).

    Deviations: 1. normalisation is this project's: articles count.
    """
    said, right = words(answer), words(gold)
    common = sum(min(said.count(word), right.count(word)) for word in {*right})
    return 2 * common / (len(said) + len(right)) if common else float(said == right)


def _ask(text: str, answer: str) -> Ask:
    return Ask(ANSWER, text, answer, "agreement")


GRADERS = {"agreement": agreement}
