"""What recordings to train on give beside themselves: strings of single words, and all once more at another speed.

Few people are recorded, and a model soon knows them. Speed moves pitch and formants with the tempo, as another
person's would be (Ko et al. 2015, "Audio augmentation for speech recognition"); who says single digits is heard saying
strings of them. Deviations: 1. one copy a recording, at one of four speeds; 2. further from 1 than their 0.9 and 1.1,
since `ctc` changes the speed a little each time it hears a clip.
"""

import dataclasses
import random

import numpy as np
import soxr

from posttrain.corpus.sources import Recorded
from posttrain.corpus.tasks import INSTRUCTIONS, REPEAT
from posttrain.corpus.types import Clip, Example

SPEEDS = (0.8, 0.87, 1.15, 1.25)
RATE_HZ = 16_000
STRING_WORDS = (2, 6)
GAP_S = 0.1
"""At most, between the words of a string."""

Recording = tuple[Clip, np.ndarray]


def with_copies(recorded: Recorded, left_out: set[str], seed: int) -> Recorded:
    """The recordings, with strings and copies of those that are to train on; no string has a text of `left_out`."""
    rng = random.Random(f"copies {seed}")
    spoken = [(clip, waveform) for clip, waveform in recorded.clips if clip.split == "train" and clip.text]
    strings = [string for string in _strings(spoken, rng) if string[0].text not in left_out]
    more = strings + [_at_speed(recording, rng.choice(SPEEDS)) for recording in spoken + strings]
    return dataclasses.replace(
        recorded,
        clips=recorded.clips + more,
        examples=recorded.examples + [_to_repeat(clip) for clip, _ in more],
    )


def _strings(spoken: list[Recording], rng: random.Random) -> list[Recording]:
    """Half as many strings as a speaker has single words."""
    words: dict[str, list[Recording]] = {}
    for clip, waveform in spoken:
        if " " not in clip.text:
            words.setdefault(clip.speaker, []).append((clip, waveform))
    made = []
    for speaker, said in sorted(words.items()):
        for number in range(len(said) // 2):
            chosen = rng.sample(said, min(len(said), rng.randint(*STRING_WORDS)))
            pieces = [p for _, waveform in chosen for p in (waveform, np.zeros(_gap(rng), np.int16))][:-1]
            text = " ".join(clip.text for clip, _ in chosen)
            clip = dataclasses.replace(chosen[0][0], id=f"train/{speaker}/strings/{number:04d}", text=text)
            made.append((clip, np.concatenate(pieces)))
    return made


def _gap(rng: random.Random) -> int:
    return rng.randrange(int(GAP_S * RATE_HZ))


def _at_speed(recording: Recording, speed: float) -> Recording:
    """Faster by that factor, higher with it; by another speaker then."""
    clip, waveform = recording
    sped = soxr.resample(waveform, speed * RATE_HZ, RATE_HZ)  # int16 (S / speed,)
    return dataclasses.replace(clip, id=f"{clip.id}@{speed}", speaker=f"{clip.speaker}@{speed}"), sped


def _to_repeat(clip: Clip) -> Example:
    return Example(f"{clip.id}/repeat", clip.split, REPEAT, INSTRUCTIONS[REPEAT], clip.text, clip.id, clip.text, "wer")
