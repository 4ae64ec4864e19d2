"""Rows of files in a corpus: instructions as examples to train on, preferences as pairs, typed or spoken.

A row is in the split that its prompt's words determine, as all requests here are, or its speaker's if the prompt is
recorded, so that no seed moves it. Training takes a share of the rows, drawn by the seed. A row is left out where its
prompt or answer says a text that is held out.

Held-out rows measure what can be graded: of preferences, whether the chosen answer ranks above the rejected one
(`reward/accuracy/NAME`); of spoken instructions whose answers are the base's own, agreement with these
(`task/request/NAME`). A free answer to an instruction agrees with the file's in few words even if it is good, so other
held-out instructions only count in the validation loss.
"""

import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from posttrain.config.sections import CorpusConfig
from posttrain.corpus import grammar, row_files
from posttrain.corpus.instructions import ANSWER, FOLLOW, REPEAT, instruction
from posttrain.corpus.normalise import normalise
from posttrain.corpus.plan import HELD_OUT, Plan, SpokenText, says, without
from posttrain.corpus.row_files import Row
from posttrain.corpus.splits import fraction
from posttrain.corpus.types import Example, Pair
from posttrain.tasks.family import Ask, HeldOut, example

TEST_ROWS, VALID_ROWS = 150, 60
"""Rows of each kind at full size."""
MOST_WORDS = 25
"""Words of a prompt that is spoken; that takes some ten seconds."""
PAIR = "preference/"
"""Before a file's name: the kind of its pairs."""
NO_ANSWER = "not answered by the base in one line"
Taught = Mapping[str, str]
"""Prompt → the base's own answer to it, typed."""


@dataclass(frozen=True)
class Chosen:
    """The rows that a corpus takes from its files."""

    instructions: Mapping[str, Sequence[Row]]
    """By split."""
    preferences: Mapping[str, Sequence[Row]]
    """By split."""
    left_out: Mapping[str, Counter[str]]
    """File → why rows of it cannot be used → how many."""

    def counts(self) -> dict[str, dict[str, int]]:
        """File → how many rows of each split are taken, and why how many cannot be."""
        found: dict[str, Counter[str]] = {name: Counter() for name in self.left_out}
        for kind in (self.instructions, self.preferences):
            for split, rows in kind.items():
                for row in rows:
                    found[row.source][split] += 1
        return {name: {**counts, **self.left_out[name]} for name, counts in found.items()}


def choose(config: CorpusConfig, seed: int) -> Chosen:
    """The rows of the files that `config` names, as many as it wants; InputError lists what is wrong with them.

    Of instructions, the test has only those that it can grade.
    """
    known = row_files.read(config)
    instructions = _by_split(known.instructions, config, seed)
    graded = config.answers == "teacher"
    instructions["test"] = [row for row in instructions["test"] if graded and _spoken(row, config)]
    preferences = _by_split(known.preferences, config, seed)
    sizes = {split: HeldOut(split, config, random.Random()).size(TEST_ROWS, VALID_ROWS) for split in ("test", "valid")}
    for rows in (instructions, preferences):
        rows |= {split: rows[split][:size] for split, size in sizes.items()}
    return Chosen(instructions, preferences, known.left_out)


def to_answer(config: CorpusConfig, seed: int) -> list[str]:
    """The prompts to which a teacher's answers are wanted, as they are typed; none if the files' own are."""
    if config.answers == "own":
        return []
    rows = (row for rows in choose(config, seed).instructions.values() for row in rows)
    return list(dict.fromkeys(_text(row, config) for row in rows))


def added(
    plan: Plan,
    config: CorpusConfig,
    seed: int,
    taught: Taught = MappingProxyType({}),
    held_out: Collection[str] = (),
) -> Plan:
    """The plan with the rows of the files; its own clips that say one of their held-out prompts are taken out.

    `taught`: the base's answers, if `config` wants these; rows without one are left out. `held_out`: further texts that
    no row may say.
    """
    if not (config.instructions or config.preferences):
        return plan
    chosen = choose(config, seed)
    builder = _Builder(config, taught, len(plan.spoken), {name: Counter(c) for name, c in chosen.left_out.items()})
    tests = _held_out(plan, ("test",)) | set(held_out)
    tests |= builder.add(chosen, "test", tests)
    held = tests | _held_out(plan, ("valid",))
    held |= builder.add(chosen, "valid", tests)
    builder.add(chosen, "train", held)
    plan = without(plan, builder.held_out)
    return replace(
        plan,
        spoken=plan.spoken + builder.spoken,
        typed=builder.typed,
        pairs=plan.pairs + builder.pairs,
        left_out=builder.left_out,
    )


def _by_split(rows: Sequence[Row], config: CorpusConfig, seed: int) -> dict[str, list[Row]]:
    """Held-out rows in an order that their words determine, and the training rows that the seed draws."""
    splits: dict[str, list[Row]] = {"train": [], "valid": [], "test": []}
    for row in rows:
        splits[row.split].append(row)
    for split in ("test", "valid"):
        splits[split].sort(key=lambda row: fraction(f"order {row.content}"))
    wanted = round(config.train_clips * config.file_share / (1 - config.file_share))
    train = splits["train"]
    return splits | {"train": random.Random(f"rows {seed}").sample(train, min(wanted, len(train)))}


def _spoken(row: Row, config: CorpusConfig) -> str:
    """The words of a prompt that is spoken; empty if it is typed."""
    if row.recording:
        return row.words
    return row.words if config.speak_prompts and len(row.words.split()) <= MOST_WORDS else ""


def _text(row: Row, config: CorpusConfig) -> str:
    """The prompt in words if it is spoken, else as it is written."""
    return _spoken(row, config) or row.prompt


def _held_out(plan: Plan, splits: Sequence[str]) -> set[str]:
    """What is held out in the plan's splits, also without fillers and in normalised words."""
    texts = {said.text for said in plan.spoken if said.split in splits}
    texts |= {line for split, line in plan.general if split in splits}
    texts |= {item.text for item in (*plan.items, *plan.valid_items) if item.split in splits}
    texts |= {grammar.without_fillers(text) for text in texts}
    return (texts | set(map(normalise, texts))) - {""}


class _Builder:
    """Collects clips, typed examples and pairs of rows."""

    def __init__(self, config: CorpusConfig, taught: Taught, clips: int, left_out: dict[str, Counter[str]]) -> None:
        self.config = config
        self.taught = taught
        self.clips = clips
        self.left_out = left_out
        self.spoken: list[SpokenText] = []
        self.typed: list[Example] = []
        self.pairs: list[Pair] = []
        self.held_out: set[str] = set()

    def add(self, chosen: Chosen, split: str, held: set[str]) -> set[str]:
        """Add the rows of a split that say nothing in `held`; returns their prompts."""
        prompts: set[str] = set()
        found: list[tuple[Example | Pair, Row]] = [*self._examples(chosen, split), *self._pairs(chosen, split)]
        for made, row in found:
            if says(made, held):
                self.left_out[row.source][HELD_OUT] += 1
                continue
            self._place(made, row)
            prompts |= {made.text, row.prompt, normalise(row.prompt)} - {""}
        self.held_out |= set() if split == "train" else prompts
        return prompts

    def _examples(self, chosen: Chosen, split: str) -> Iterator[tuple[Example, Row]]:
        own = self.config.answers == "own"
        for row in chosen.instructions[split]:
            text = _text(row, self.config)
            answer = row.answer if own else self.taught.get(text)
            if answer is None:
                self.left_out[row.source][NO_ANSWER] += 1
                continue
            ask = Ask(FOLLOW if own else ANSWER, text, answer, "agreement", content=row.content)
            probe = f"task/request/{row.source.partition('/')[2]}" if split == "test" else None
            yield example(f"{split}/{row.source}/{row.number:06d}", split, ask, probe), row

    def _pairs(self, chosen: Chosen, split: str) -> Iterator[tuple[Pair, Row]]:
        for row in chosen.preferences[split]:
            id_, kind = f"pair/{split}/{row.source}/{row.number:06d}", PAIR + row.source.partition("/")[2]
            asked = (instruction(FOLLOW), _text(row, self.config), None)
            yield Pair(id_, split, kind, *asked, row.answer, row.rejected, "agreement", row.content), row

    def _place(self, made: Example | Pair, row: Row) -> None:
        """Add an example or a pair, with a clip of its own if its prompt is spoken: to be repeated too, in training."""
        spoken = _spoken(row, self.config)
        clip = f"{made.split}/{self.clips + len(self.spoken):06d}" if spoken else None
        placed = replace(made, clip=clip)
        on_clip = [placed] if isinstance(placed, Example) else []
        if isinstance(placed, Pair):
            self.pairs.append(placed)
        if clip is None:
            self.typed += on_clip
            return
        if made.split != "test":
            repeated = Ask(REPEAT, made.text, made.text, "wer", content=made.content)
            on_clip.append(replace(example(f"{made.id}/repeat", made.split, repeated), clip=clip))
        condition = "any" if made.split == "test" else None
        said = SpokenText(clip, made.text, made.split, condition, None, tuple(on_clip))
        if row.recording:
            said = replace(said, recording=row.recording, source=row.source.replace("/", "_"))
        self.spoken.append(said)
