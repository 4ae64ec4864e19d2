"""Which training rows of a model with `transcript` carry the encoder's transcript: the others teach it to hear without.

Only `SpeechTokenizer.messages` puts a transcript into a prompt; it ignores this choice if the model reads none.
"""

import random

LEFT_OUT = 1 / 3
"""Share of the training rows that are without their transcript."""


def with_transcript(seed: int, row: str) -> bool:
    """Whether the row of this id carries its clip's transcript; it does not depend on other rows or on their order."""
    return random.Random(f"transcript {seed} {row}").random() >= LEFT_OUT
