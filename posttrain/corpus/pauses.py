"""Written pauses between words: among a Llama's embeddings they play the role of the CTC blank."""

import random
from dataclasses import replace

from posttrain.corpus.instructions import PAUSE, REPEAT
from posttrain.corpus.types import Example

PAUSED_SHARE = 0.2
"""Share of the base model's typed repeat rows that get pauses."""
PAUSE_WEIGHTS = (30, 30, 20, 12, 8)
"""Weights of 0, 1, … pauses before a word."""


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
