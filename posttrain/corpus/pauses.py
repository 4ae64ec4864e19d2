"""Pauses as they are written: between words they are what the blank of CTC is among a Llama's embeddings."""

import random
from dataclasses import replace

from posttrain.corpus.tasks import PAUSE, REPEAT
from posttrain.corpus.types import Example

PAUSED_SHARE = 0.2
"""Of the base's rows that repeat typed words, how many have pauses in them."""
PAUSE_WEIGHTS = (30, 30, 20, 12, 8)
"""How often there are 0, 1, … pauses before a word."""


def with_pauses(rows: list[Example], seed: int) -> list[Example]:
    """The rows, a share of those that only repeat typed with pauses between the words.

    A Llama that has read the world's captions and chats knows such lines; this is where the tiny one meets them.
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
