"""Hearing nothing: clips of noise, other sounds or silence, on which every task is answered by the abstention."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from posttrain.corpus import grammar
from posttrain.corpus.instructions import ABSTENTION, INSTRUCTIONS, REPEAT
from posttrain.corpus.normalise import normalise
from posttrain.tasks.family import Ask, Family, HeldOut, Item

TEST_NOISE, TEST_SOUND, VALID_NOISE = 120, 120, 40
CONDITIONS = {"noise": 5, "sound": 4, "silence": 2}
"""Weights of the conditions of training clips."""


@dataclass(frozen=True)
class Unheard:
    """The tasks of a world, each on a clip without words."""

    tasks: tuple[str, ...]
    sentence: Callable[[str, random.Random], str]
    """Draws what would be wrong to hear."""

    def items(self, held: HeldOut) -> Iterator[Item]:
        """`hearing/noise` and, in the test, `hearing/sound`; some of each are silent."""
        for number in range(held.size(TEST_NOISE, VALID_NOISE)):
            ask = self.draw(held.split, held.rng) if held.test else _ask(held.rng.choice([REPEAT, *self.tasks]))
            yield Item("hearing/noise", number, ask, "silence" if number % 5 == 4 else "noise")
        for number in range(held.size(TEST_SOUND) if held.test else 0):
            yield Item(
                "hearing/sound", number, self.draw(held.split, held.rng), "silence" if number % 10 == 9 else "sound"
            )

    def draw(self, split: str, rng: random.Random) -> Ask:
        """A task, half of the time to repeat; a sentence is the wrong answer."""
        return _ask(rng.choice([REPEAT, REPEAT, REPEAT, *self.tasks]), self.sentence("train", rng))


def family(tasks: Iterable[str], sentence: Callable[[str, random.Random], str]) -> Family:
    """The family of a world's tasks."""
    unheard = Unheard(tuple(tasks), sentence)
    return Family(unheard.items, {"silent": unheard.draw}, {"abstain": abstain})


def condition(rng: random.Random) -> str:
    """Draw the condition of a training clip."""
    return rng.choices(list(CONDITIONS), list(CONDITIONS.values()))[0]


def is_abstention(answer: str) -> bool:
    """Whether the answer says that no words were heard; an empty answer does not."""
    return normalise(answer) == normalise(ABSTENTION)


def abstain(answer: str, gold: str, text: str) -> float:
    """Whether the answer abstains if nothing is audible, and does not if words are."""
    return is_abstention(answer) == (not text)


def _ask(task: str, wrong: str = "") -> Ask:
    return Ask(task, "", ABSTENTION, "abstain", wrong)


FAMILY = family(INSTRUCTIONS, grammar.sentence)
