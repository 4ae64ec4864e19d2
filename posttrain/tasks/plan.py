"""Plans the texts of a corpus: the families' held-out items, and training examples in their mixture; no audio.

Held-out items depend only on the corpus's sizes, so that runs with different seeds are evaluated on the same items.
"""

import random
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from posttrain.config.sections import CorpusConfig
from posttrain.corpus import grammar
from posttrain.corpus.instructions import REPEAT
from posttrain.corpus.plan import Plan, SpokenText, check_disjoint
from posttrain.corpus.types import Example, Pair
from posttrain.tasks import hearing, mixtures, rows, worlds
from posttrain.tasks.family import Ask, Family, HeldOut, Item, example
from posttrain.tasks.preferences import pair
from posttrain.tasks.requests import Written

HELD_OUT_LINES = 240
"""Lines of running text in each split; in the test at full size."""


def plan(
    config: CorpusConfig,
    seed: int,
    written: Written = MappingProxyType({}),
    taught: rows.Taught = MappingProxyType({}),
) -> Plan:
    """Draw the whole plan; `written`: the requests that the base wrote, if `config` wants some; `taught`: its answers
    to the prompts of files, if it wants these.

    Raises InputError if a test text is also in training or validation data, or a file's rows cannot be used.
    """
    world = worlds.of(config, written)
    builder = _Builder(world.families)
    held = HeldOut("test", config, random.Random("test"))
    items = builder.held_out(held)
    rng = random.Random(f"train {seed}")
    builder.train("train", config.train_clips, world.spoken, rng)
    builder.train("valid", config.valid_clips, world.spoken, rng)
    builder.train("rl", config.rl_clips, world.rl, random.Random(f"rl {seed}"))
    valid_items = builder.held_out(HeldOut("valid", config, random.Random("validation items")))
    made = Plan(_lines(held.size(HELD_OUT_LINES)), builder.spoken, items, builder.pairs, valid_items)
    made = rows.added(made, config, seed, taught, world.held_out)
    check_disjoint(made)
    return made


def _lines(test: int) -> list[tuple[str, str]]:
    """(split, line) of running text, `test` of them in the test."""
    lines = grammar.general_lines(HELD_OUT_LINES)
    return list(lines[: len(lines) - HELD_OUT_LINES + test])


class _Builder:
    """Collects clips in order, with the examples and pairs on them."""

    def __init__(self, families: tuple[Family, ...]) -> None:
        self.families = families
        self.spoken: list[SpokenText] = []
        self.pairs: list[Pair] = []

    def held_out(self, held: HeldOut) -> list[Example]:
        """Add the clips of all families' spoken items, and return the typed items."""
        typed = []
        for item in (item for family in self.families for item in family.items(held)):
            prefix = "" if held.test else f"{held.split}/"
            made = example(f"{prefix}{item.probe}/{item.number:04d}", held.split, item.ask, item.probe)
            if item.condition is None:
                typed.append(made)
            else:
                self._held_out_clip(held.split, item, made)
        return typed

    def train(self, split: str, count: int, shares: Mapping[str, float], rng: random.Random) -> None:
        """Add `count` clips of a mixture, each with its own task, a repeat task besides, and perhaps a pair (never for
        rl, which takes texts of the training split)."""
        for family, ask in mixtures.spoken("train" if split == "rl" else split, count, rng, shares, self.families):
            own = example(f"{self._next_id(split)}/{ask.task}", split, ask)
            examples = [own]
            if ask.text and ask.task != REPEAT:
                repeated = Ask(REPEAT, ask.text, ask.text, "wer", content=ask.content)
                examples.append(example(f"{self._next_id(split)}/repeat", split, repeated))
            condition = None if ask.text else hearing.condition(rng)
            clip = self._clip(split, ask, condition, examples)
            if ask.wrong and split != "rl" and rng.random() < family.pair_share:
                chosen = replace(own, clip=clip, answer=ask.preferred or ask.answer)
                self.pairs.append(pair(chosen, ask.wrong, rng))

    def _held_out_clip(self, split: str, item: Item, made: Example) -> None:
        """Add a clip with one item; in the test also a pair, if the ask has a wrong answer."""
        clip = self._clip(split, item.ask, item.condition, [made], item.group)
        if item.ask.wrong and split == "test":
            self.pairs.append(pair(replace(made, clip=clip), item.ask.wrong, random.Random(made.id)))

    def _clip(
        self, split: str, ask: Ask, condition: str | None, examples: list[Example], group: str | None = None
    ) -> str:
        """Add a clip, whose id the examples get; returns the id."""
        clip = self._next_id(split)
        placed = tuple(replace(each, clip=clip) for each in examples)
        self.spoken.append(SpokenText(clip, ask.text, split, condition, group, placed, ask.in_a_row))
        return clip

    def _next_id(self, split: str) -> str:
        return f"{split}/{len(self.spoken):06d}"
