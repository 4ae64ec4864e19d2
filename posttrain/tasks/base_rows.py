"""The typed rows that the tiny base model is trained on: a mixture of all families, running text and words to copy."""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache

from posttrain.corpus import grammar, overlap
from posttrain.corpus.instructions import PAUSE, REPEAT, TEXT, user_content
from posttrain.corpus.normalise import number_words
from posttrain.corpus.types import Example
from posttrain.tasks import mixtures
from posttrain.tasks.families import DRAWS
from posttrain.tasks.family import Ask, example

PEOPLE_SHARE = 0.5
"""Share of the copying rows with the words of recordings and with digits, if there are recordings."""
TRIES = 10_000
"""Maximum number of draws for one row."""
PAUSED_SHARE = 0.2
"""Share of the base model's typed repeat rows that get pauses."""
PAUSE_WEIGHTS = (30, 30, 20, 12, 8)
"""Weights of 0, 1, … pauses before a word."""


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
    for number, kind in enumerate(mixtures.in_shares(mixtures.BASE, count, rng)):
        for _ in range(TRIES):
            row = example(f"base/{number:06d}", "train", _draw(kind, rng, people))
            if not overlap.says_any(row, left_out):
                rows.append(row)
                break
        else:
            raise RuntimeError(f"no row of {kind} in {TRIES:,} draws that says no held-out text; hold out fewer")
    return rows


def tokenizer_texts(rows: list[Example]) -> Iterator[str]:
    """The rows as running text, with the chat format's own words, so that a tokenizer learns them as whole tokens."""
    for row in rows:
        yield from () if row.task == TEXT else ("user", f"\n\n{user_content(row.instruction, row.text)}", "assistant")
        yield f"\n\n{row.answer}"


def with_pauses(rows: list[Example], seed: int) -> list[Example]:
    """The rows, with pauses between the words of a share of the repeat rows.

    A pretrained Llama knows such lines from captions and chats; the tiny one learns them here.
    """
    rng = random.Random(f"pauses {seed}")
    return [
        replace(row, text=paused(row.text, rng)) if row.task == REPEAT and rng.random() < PAUSED_SHARE else row
        for row in rows
    ]


def paused(text: str, rng: random.Random) -> str:
    """`turn it up` → ` ... turn ... ... it up ...`."""
    said = PAUSE * rng.randint(0, 3)
    for word in text.split():
        said += PAUSE * rng.choices(range(len(PAUSE_WEIGHTS)), PAUSE_WEIGHTS)[0] + f" {word}"
    return said + PAUSE * rng.randint(0, 4)


def _draw(kind: str, rng: random.Random, people: dict[str, list[str]]) -> Ask:
    """Draw an ask. `people`: transcripts to `copy`, words for `salad` and `copy_hard`; empty without recordings."""
    if people.get(kind) and rng.random() < PEOPLE_SHARE:
        return _to_copy(rng.choice(people[kind]) if kind == "copy" else _salad(people[kind], rng, shortest=1))
    if kind == "text":
        return Ask(TEXT, "", grammar.line("train", rng), "exact")
    if kind == "copy":
        copied = rng.choices(list(mixtures.COPIED), list(mixtures.COPIED.values()))[0]
        return _to_copy(DRAWS[copied]("train", rng).text)
    if kind == "salad":
        return _to_copy(_salad(_spoken_words(), rng))
    return DRAWS[kind]("train", rng)


def _to_copy(text: str) -> Ask:
    return Ask(REPEAT, text, text, "exact")


def _salad(words: Sequence[str], rng: random.Random, shortest: int = 3) -> str:
    return " ".join(rng.choices(words, k=rng.randint(shortest, 7)))


@cache
def _spoken_words() -> tuple[str, ...]:
    """All words of the spoken training texts."""
    rng = random.Random("words")
    return tuple(
        sorted({word for _, ask in mixtures.spoken("train", 5000, rng, mixtures.SPOKEN) for word in ask.text.split()})
    )
