"""Where words are in a clip, by a CTC head and torchaudio's forced alignment."""

from itertools import pairwise

import torch
import torchaudio.functional as AF

from posttrain.model.encoders.contract import Span


def word_spans(
    scores: torch.Tensor, words: list[list[int]], blank: int, delimiter: int | None = None
) -> list[Span] | None:
    """Log-probabilities (T, V) on the CPU and each word's CTC units → the words' spans, cut halfway between neighbours.

    `delimiter`: the unit between two words, if there is one. None if there are too few frames; see `Aligner`.
    """
    between = [] if delimiter is None else [delimiter]
    flat = torch.tensor([[u for i, word in enumerate(words) for u in (between if i else []) + word]], dtype=torch.int32)
    repeated = int((flat[0, 1:] == flat[0, :-1]).sum())  # equal units need a blank between them
    if len(scores) < flat.shape[1] + repeated:
        return None
    path, confidence = AF.forced_align(scores[None], flat, blank=blank)  # flat (1, U)
    units = AF.merge_tokens(path[0], confidence[0], blank=blank)
    ends, number = [], 0
    for word in words:
        ends.append((units[number].start, units[number + len(word) - 1].end))
        number += len(word) + len(between)
    edges = [
        max(0, ends[0][0] - 1),
        *((a[1] + b[0]) // 2 for a, b in pairwise(ends)),
        min(len(scores), ends[-1][1] + 1),
    ]
    return list(pairwise(edges))
