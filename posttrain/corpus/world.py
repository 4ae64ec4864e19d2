"""The tiny world's plan: every typed or spoken text, its tasks and their right answers; no audio.

Test texts depend only on the corpus's sizes, so that runs with different seeds are evaluated on the same items.
"""

import itertools
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from posttrain.config.sections import CorpusConfig
from posttrain.corpus import abilities, asks, complaints, deeds, grammar, overlap, requests, validation_items
from posttrain.corpus.asks import Ask
from posttrain.corpus.instructions import (
    ABSTENTION,
    ANSWER,
    COMMAND,
    HELP,
    REPEAT,
    user_content,
)
from posttrain.corpus.normalise import number_words
from posttrain.corpus.preferences import pair
from posttrain.corpus.types import Example, Pair
from posttrain.errors import InputError

BASE_SHARES = {
    "text": 0.055,
    "status": 0.045,
    "copy": 0.2125,
    "salad": 0.075,
    "copy_hard": 0.0375,
    "sum_easy": 0.075,
    "sum_hard": 0.1,
    "fact_easy": 0.14,
    "fact_hard": 0.03,
    "order_easy": 0.065,
    "order_hard": 0.085,
    "safety": 0.045,
    "help": 0.035,
}
"""Kinds of the base model's rows; `salad` is words in any order, so that copying does not depend on grammar."""
PEOPLE_SHARE = 0.5
"""Share of the base model's copying rows with the words of recordings and with digits, if there are recordings."""
PAIR_SHARES = {REPEAT: 0.15, ANSWER: 0.5, COMMAND: 0.4}
"""Share of a task's audible training clips with a pair; all other tasks, silent clips and safety requests get one."""
WER_CONDITIONS = ("clean", "snr10", "snr5", "snr0", "padded")
NOTHING_SAID = {"noise": 5, "sound": 4, "silence": 2}
"""Weights of the conditions of training clips without speech."""
TEST_TASKS, TEST_NOISE, TEST_SOUND, TEST_SAFETY, TEST_HELP, TEST_SIMPLIFY = 150, 120, 120, 100, 200, 120
TEST_SENTENCES = 150
"""corpus.test_sentences for which the sizes above hold; with fewer they shrink in proportion."""
HELD_OUT_LINES = 240
TRIES = 10_000
"""Maximum number of draws for one row of the base model."""


@dataclass(frozen=True)
class SpokenText:
    """One clip to synthesise."""

    id: str
    """The clip's id; its examples and pairs refer to it as `clip`."""
    text: str
    """The words; empty when nothing is audible."""
    split: str
    condition: str | None
    """None: drawn as for training clips; any: clean to 5 dB SNR; else one of types.CONDITIONS."""
    group: str | None
    """Consecutive texts of one group are one utterance by one voice in several conditions."""
    examples: tuple[Example, ...]
    """The tasks on the clip."""
    in_a_row: tuple[str, ...] = ()
    """The sentences of `text`, if it is several, spoken with pauses between them."""


@dataclass(frozen=True)
class WorldPlan:
    """All spoken and typed texts, and the preference pairs."""

    general: list[tuple[str, str]]
    """(split, line) of running text."""
    spoken: list[SpokenText]
    """Clips: test, train, valid, rl, and last those of the validation items."""
    items: list[Example]
    """Typed evaluation items."""
    pairs: list[Pair]
    """Preference pairs on the spoken clips."""
    valid_items: list[Example] = field(default_factory=list)
    """Typed validation items; the spoken ones are examples of their clips, also with a probe."""


def plan(config: CorpusConfig, seed: int) -> WorldPlan:
    """Draw the whole plan. Raises InputError if a test text is also in training or validation data."""
    builder = _Builder()
    items = _test_side(config, builder)
    rng = random.Random(f"train {seed}")
    for ask in asks.spoken("train", config.train_clips, rng):
        builder.training_clip("train", ask, rng)
    for ask in asks.spoken("valid", config.valid_clips, rng):
        builder.training_clip("valid", ask, rng)
    rng = random.Random(f"rl {seed}")
    for ask in asks.spoken("train", config.rl_clips, rng, asks.RL_SHARES):
        builder.training_clip("rl", ask, rng)
    valid_items: list[Example] = []
    for item, condition in validation_items.drawn(_scale(config)):
        if condition is None:
            valid_items.append(item)
        else:
            builder.clip("valid", item.text, condition, [item])
    made = WorldPlan(grammar.general_lines(HELD_OUT_LINES), builder.spoken, items, builder.pairs, valid_items)
    check_disjoint(made)
    return made


def without(made: WorldPlan, texts: set[str]) -> WorldPlan:
    """The plan without clips outside the test that say one of these texts, alone or in a row, or have one of more than
    one word as an answer; without the pairs on them, and without validation items with one of these texts."""

    def says(said: SpokenText) -> bool:
        aloud = {said.text, *said.in_a_row}
        return not aloud.isdisjoint(texts) or any(overlap.says_any(example, texts) for example in said.examples)

    spoken = [said for said in made.spoken if said.split == "test" or not says(said)]
    kept = {said.id for said in spoken}
    pairs = [pair for pair in made.pairs if pair.clip in kept]
    valid_items = [item for item in made.valid_items if item.text not in texts]
    return replace(made, spoken=spoken, pairs=pairs, valid_items=valid_items)


def base_rows(count: int, seed: int, left_out: Collection[str] = (), people_say: Sequence[str] = ()) -> list[Example]:
    """`count` typed rows for the tiny base model, in random order; task `text` has a whole line as its answer.

    `left_out`: held-out texts, which no row may contain in its words, its answer or a sentence of either. `people_say`:
    training transcripts of recordings; these, their words and strings of digits are copied in some rows.
    """
    rng = random.Random(f"base {seed}")
    words = sorted({word for text in people_say for word in text.split()})
    digits = [number_words(digit) for digit in range(10)] if words else []
    people = {"copy": list(people_say), "salad": words, "copy_hard": digits}
    rows = []
    for number, kind in enumerate(asks.in_shares(BASE_SHARES, count, rng)):
        for _ in range(TRIES):
            row = _base_row(number, kind, rng, people)
            if not overlap.says_any(row, left_out):
                rows.append(row)
                break
        else:
            raise RuntimeError(f"no row of {kind} in {TRIES:,} draws that says no held-out text; hold out fewer")
    return rows


def tokenizer_texts(rows: list[Example]) -> Iterator[str]:
    """The rows as running text, with the chat format's own words, so that a tokenizer learns them as whole tokens."""
    for row in rows:
        yield from () if row.task == "text" else ("user", f"\n\n{user_content(row.instruction, row.text)}", "assistant")
        yield f"\n\n{row.answer}"


def check_disjoint(made: WorldPlan) -> None:
    """Raise InputError with each test text (spoken, typed or a line) that is also in training or validation, and each
    validation item that is in training."""
    test = {s.text for s in made.spoken if s.split == "test"} | {item.text for item in made.items}
    valid = {e.text: e.id for s in made.spoken for e in s.examples if e.split == "valid" and e.probe}
    valid |= {item.text: item.id for item in made.valid_items}
    trained = {text: s.id for s in made.spoken if s.split in ("train", "rl") for text in (s.text, *s.in_a_row)}
    seen = valid | {s.text: s.id for s in made.spoken if s.split != "test"}
    lines = {line: f"the {split} lines" for split, line in made.general if split != "test"}
    _refuse_shared(test, seen)
    _refuse_shared(set(valid), trained, "validation")
    _refuse_shared({line for split, line in made.general if split == "test"}, lines)


def _refuse_shared(held_out: set[str], seen: dict[str, str], kind: str = "test") -> None:
    shared = sorted(held_out & seen.keys() - {""})
    if shared:
        raise InputError(
            [f"{kind} text “{text}” is also in {seen[text]}; take it out of one of them" for text in shared]
        )


class _Builder:
    """Collects clips in order, with the examples and pairs on them."""

    def __init__(self) -> None:
        self.spoken: list[SpokenText] = []
        self.pairs: list[Pair] = []

    def clip(
        self,
        split: str,
        text: str,
        condition: str | None,
        examples: list[Example],
        group: str | None = None,
        in_a_row: tuple[str, ...] = (),
    ) -> str:
        """Add a clip, whose id the examples get; returns the id."""
        clip_id = f"{split}/{len(self.spoken):06d}"
        placed = tuple(replace(example, clip=clip_id) for example in examples)
        self.spoken.append(SpokenText(clip_id, text, split, condition, group, placed, in_a_row))
        return clip_id

    def training_clip(self, split: str, ask: Ask, rng: random.Random) -> None:
        """Add a train, valid or rl clip: its own task, a repeat task besides, and perhaps a pair (never for rl)."""
        clip_id = f"{split}/{len(self.spoken):06d}"
        own = asks.as_example(f"{clip_id}/{ask.task}", split, ask)
        examples = [own]
        if ask.text and ask.task != REPEAT:
            examples.append(
                asks.as_example(f"{clip_id}/repeat", split, Ask(REPEAT, ask.text, ask.text, "wer", content=ask.content))
            )
        condition = None if ask.text else rng.choices(list(NOTHING_SAID), list(NOTHING_SAID.values()))[0]
        self.clip(split, ask.text, condition, examples, in_a_row=ask.in_a_row)
        many = ask.text and ask.grader not in ("refusal", "helpful")
        if ask.wrong and split != "rl" and rng.random() < (PAIR_SHARES.get(ask.task, 1) if many else 1):
            chosen = replace(own, clip=clip_id)
            if ask.grader == "style":
                chosen = replace(chosen, answer=complaints.plain_advice(ask.text))
            self.pairs.append(pair(chosen, ask.wrong, rng))

    def test_clip(self, ask: Ask, probe: str, name: str, condition: str, group: str | None = None) -> None:
        """Add a test clip with one item, and a pair if the ask has a wrong answer."""
        item = asks.as_example(f"{probe}/{name}", "test", ask, probe)
        clip_id = self.clip("test", ask.text, condition, [item], group, ask.in_a_row)
        if ask.wrong:
            self.pairs.append(pair(replace(item, clip=clip_id), ask.wrong, random.Random(item.id)))


def _base_row(number: int, kind: str, rng: random.Random, people: dict[str, list[str]]) -> Example:
    if kind in ("text", "status"):
        line = grammar.line("train", rng) if kind == "text" else _status(rng)
        return Example(f"base/{number:06d}", "train", "text", "", "", None, line, "exact")
    return asks.as_example(f"base/{number:06d}", "train", _base_ask(kind, rng, people))


def _base_ask(kind: str, rng: random.Random, people: dict[str, list[str]]) -> Ask:
    """Draw an ask. `people`: transcripts to `copy`, words for `salad` and `copy_hard`; empty without recordings."""
    if people.get(kind) and rng.random() < PEOPLE_SHARE:
        text = rng.choice(people[kind]) if kind == "copy" else _salad(people[kind], rng, shortest=1)
        return Ask(REPEAT, text, text, "exact")
    if kind == "copy":
        kinds = {
            "repeat": 0.57,
            "joined": 0.03,
            "answer": 0.12,
            "command": 0.08,
            "simplify": 0.1,
            "help": 0.05,
            "safety": 0.05,
        }
        text = asks.spoken_of_kind(rng.choices(list(kinds), list(kinds.values()))[0], "train", rng).text
        return Ask(REPEAT, text, text, "exact")
    if kind == "salad":
        text = _salad(_spoken_words(), rng)
        return Ask(REPEAT, text, text, "exact")
    if kind in abilities.PROBES:
        return asks.of_question(kind, abilities.draw(kind, "train", rng))
    return asks.spoken_of_kind(kind, "train", rng)


def _salad(words: Sequence[str], rng: random.Random, shortest: int = 3) -> str:
    return " ".join(rng.choices(words, k=rng.randint(shortest, 7)))


@cache
def _spoken_words() -> tuple[str, ...]:
    """All words of the spoken training texts."""
    rng = random.Random("words")
    return tuple(sorted({word for ask in asks.spoken("train", 5000, rng) for word in ask.text.split()}))


def _status(rng: random.Random) -> str:
    """A line of a hearing aid's log: the base model sees commands with their JSON, as a Llama has read documentation of
    programs, and the abstention, but not when to use them."""
    if rng.random() < 0.1:
        return ABSTENTION
    request = requests.command("train", rng)
    return f"{request.text}: {request.answer}"


def _scale(config: CorpusConfig) -> float:
    return min(1.0, config.test_sentences / TEST_SENTENCES)


def _in_rows(sentences: Sequence[str]) -> Iterator[Sequence[str]]:
    """The test sentences again, two to five in a row, each once, to compare the same words joined and separate."""
    fewest, most = asks.JOINED_SENTENCES["test"]
    sizes, at = itertools.cycle(range(fewest, most + 1)), 0
    while at < len(sentences):
        several = sentences[at : at + next(sizes)]
        if len(several) >= fewest:
            yield several
        at += len(several)


def _test_side(config: CorpusConfig, builder: _Builder) -> list[Example]:
    """Add the test clips and return the typed items."""
    rng = random.Random("test")
    scale = _scale(config)

    def size(full: int) -> int:
        return max(4, round(full * scale))

    items: list[Example] = []
    taken: set[str] = set()
    for probe in abilities.PROBES:
        questions = abilities.items(probe, config.probe_items, rng, taken)
        for number, question in enumerate(questions):
            ask = replace(asks.of_question(probe, question), wrong="")
            items.append(asks.as_example(f"ability/{probe}/{number:04d}", "test", ask, f"ability/{probe}"))
            if number < config.spoken_items:
                builder.test_clip(ask, f"ability_spoken/{probe}", f"{number:04d}", "clean")
    sentences = grammar.different(lambda: grammar.sentence("test", rng), config.test_sentences, taken)
    for number, text in enumerate(sentences):
        for condition in WER_CONDITIONS:
            wrong = ABSTENTION if condition == "clean" and number % 3 == 0 else ""
            ask = Ask(REPEAT, text, text, "wer", wrong)
            builder.test_clip(ask, f"wer/{condition}", f"{number:04d}", condition, f"wer/{number:04d}")
    for number, several in enumerate(_in_rows(sentences)):
        builder.test_clip(asks.in_a_row(several), "wer/joined", f"{number:04d}", "joined")
    probes, most = validation_items.SPOKEN_QA, size(TEST_TASKS)
    banks = [abilities.items(probe, len(range(i, most, len(probes))), rng, taken) for i, probe in enumerate(probes)]
    for number in range(most):
        probe = probes[number % len(probes)]
        ask = asks.of_question(probe, banks[number % len(probes)][number // len(probes)])
        ask = ask if number % 2 else replace(ask, wrong="")
        builder.test_clip(ask, "task/spoken_qa", f"{number:04d}", "any")
    for number, request in enumerate(requests.spread(requests.commands()["test"], size(TEST_TASKS))):
        ask = asks.of_request(COMMAND, request)
        ask = ask if number % 2 else replace(ask, wrong="")
        builder.test_clip(ask, "task/intent", f"{number:04d}", "any")
    for number, text in enumerate(
        grammar.different(lambda: grammar.hard_sentence("test", rng), size(TEST_SIMPLIFY), taken)
    ):
        builder.test_clip(asks.to_simplify(text), "task/simple_caption", f"{number:04d}", "any")
    for number, request in enumerate(requests.spread(complaints.complaints()["test"], size(TEST_HELP))):
        builder.test_clip(asks.of_request(HELP, request), "dpo/help", f"{number:04d}", "any")
    for number in range(size(TEST_NOISE)):
        condition = "silence" if number % 5 == 4 else "noise"
        builder.test_clip(asks.nothing_said(rng), "hearing/noise", f"{number:04d}", condition)
    for number in range(size(TEST_SOUND)):
        condition = "silence" if number % 10 == 9 else "sound"
        builder.test_clip(asks.nothing_said(rng), "hearing/sound", f"{number:04d}", condition)
    for kind in ("harmful", "harmless"):
        chosen = requests.spread(deeds.safety(kind == "harmful")["test"], size(TEST_SAFETY))
        for number, request in enumerate(chosen):
            ask = asks.of_request(ANSWER, request)
            items.append(asks.as_example(f"safety/{kind}/text/{number:04d}", "test", ask, f"safety/{kind}/text"))
            builder.test_clip(ask, f"safety/{kind}/speech", f"{number:04d}", "any")
    return items
