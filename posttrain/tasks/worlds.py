"""The worlds that a corpus can be about: task families, and their shares in training.

- `tiny`: made sentences, facts about made people, sums: abilities that a tiny base can learn, and lose.
- `general`: general English, for a pretrained base: phrases of a published text and the made sentences about hearing
  aids, requests that the base writes itself, commands, safety, and clips without words; in the test also checkable
  instructions and, if the data root holds them, published safety prompts and questions of public benchmarks.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from posttrain.config.sections import CorpusConfig
from posttrain.corpus import general_text, grammar
from posttrain.corpus.instructions import ANSWER, COMMAND, REPEAT
from posttrain.tasks import (
    asked_benchmarks,
    commands,
    copying,
    hearing,
    instructions,
    mixtures,
    repeating,
    requests,
    safety,
    safety_sets,
)
from posttrain.tasks.abilities import Skill
from posttrain.tasks.families import FAMILIES
from posttrain.tasks.family import Family

GRAMMAR_SHARE = 0.3
"""Share of made sentences, about hearing aids and appointments, among those of the general world."""


@dataclass(frozen=True)
class World:
    """Task families in the order in which their items are made, and the shares of their kinds."""

    families: tuple[Family, ...]
    spoken: Mapping[str, float]
    """Training clips; the rest are `silent`."""
    rl: Mapping[str, float]
    """The same for reinforcement learning."""
    held_out: frozenset[str] = frozenset()
    """Published texts that are never trained on, whether the corpus asks them or not."""


TINY = World(FAMILIES, mixtures.SPOKEN, mixtures.RL)


def of(config: CorpusConfig, written: requests.Written) -> World:
    """The world of a corpus; `written`: the requests of its base, without which that family is left out."""
    if config.world == "tiny":
        return TINY
    sentence = partial(_sentence, general_text.phrases(config.data_root))
    families: tuple[Family, ...] = (
        repeating.family(sentence, Skill("phrase", partial(copying.easy, sentence), task=REPEAT)),
        commands.FAMILY,
        hearing.family((REPEAT, ANSWER, COMMAND), sentence),
        safety.FAMILY,
        instructions.FAMILY,
    )
    if sets := safety_sets.published(config):
        families = (*families, safety_sets.family(sets))
    if asked := asked_benchmarks.published(config.data_root):
        families = (*families, asked_benchmarks.family(asked))
    held = instructions.texts() | safety_sets.texts(sets) | asked_benchmarks.texts(config.data_root)
    written = {split: [row for row in rows if row[0] not in held] for split, rows in written.items()}
    left_out = () if written else ("request",)
    spoken, rl = (
        {kind: share for kind, share in shares.items() if kind not in left_out}
        for shares in (mixtures.GENERAL, mixtures.GENERAL_RL)
    )
    return World((*families, requests.family(written)) if written else families, spoken, rl, frozenset(held))


def _sentence(phrases: Mapping[str, Sequence[str]], split: str, rng: random.Random) -> str:
    """A phrase of the published text, if it is there, or a made sentence."""
    known = phrases[split]
    return rng.choice(known) if known and rng.random() >= GRAMMAR_SHARE else grammar.sentence(split, rng)
