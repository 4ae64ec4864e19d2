"""Training recordings once more, in other speeds, noises and rooms.

The encoder knows few speakers, and them by heart: its frames of what they said are surer than its frames of people it
has not met. A Llama that had only the sure ones would not learn to doubt; these are in between.
"""

from dataclasses import replace

import numpy as np
import torch
from tqdm import tqdm

from posttrain.acoustics.augment import Augmenter
from posttrain.corpus.sources import Recorded, to_int16
from posttrain.corpus.types import Clip

NOISE_PROBABILITY = 0.8
ROOM_PROBABILITY = 0.3
TALKERS = 100


def again(recorded: Recorded, seed: int, progress: bool = True) -> Recorded:
    """Each training recording of speech, changed at random by `seed`, with its examples; int16 (S,) as the others."""
    train = [(clip, _float(waveform)) for clip, waveform in recorded.clips if clip.split == "train"]
    said = [(clip, waveform) for clip, waveform in train if clip.text]
    if not said:
        return Recorded()
    augment = Augmenter(
        [waveform for _, waveform in said[:TALKERS]],
        [waveform for clip, waveform in train if not clip.text],
        NOISE_PROBABILITY,
        ROOM_PROBABILITY,
        seed,
    )
    changed: dict[str, Clip] = {}
    made = Recorded()
    for clip, waveform in tqdm(said, desc="once more, in noise", unit="clip", disable=not progress):
        (heard,) = augment.waveforms([waveform], [False])
        changed[clip.id] = replace(clip, id=f"{clip.id}/again")
        made.clips.append((changed[clip.id], to_int16((heard / heard.abs().max().clamp(min=1)).numpy())))
    for example in recorded.examples:
        if example.clip in changed:
            made.examples.append(replace(example, id=f"{example.id}/again", clip=changed[example.clip].id))
    return made


def _float(waveform: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(waveform).float() / 32_768
