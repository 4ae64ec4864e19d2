"""A word cut out of one clip's frames and put in the place of a word of another: it is then heard in new company.

Where words are is found by CTC forced alignment (torchaudio), with the encoder's own head.
"""

from itertools import pairwise

import torch
import torchaudio.functional as AF

from posttrain.model.encoder import CTCEncoder

Span = tuple[int, int]


@torch.no_grad()
def word_spans(encoder: CTCEncoder, frames: torch.Tensor, text: str) -> list[Span] | None:
    """First and one past the last frame of each word of `text` in frames (T, D), halfway between neighbours.

    None where the clip has too few frames for its text.
    """
    labels = [encoder.labels(word) for word in text.split()]
    flat = torch.tensor([[unit for word in labels for unit in word]], dtype=torch.int32)  # (1, U)
    blank = encoder.model.config.pad_token_id
    if len(frames) < flat.shape[1] + int((flat[0, 1:] == flat[0, :-1]).sum()):  # a blank is due between equal units
        return None
    head = encoder.model.ctc_head
    scores = head(frames[None].to(encoder.model.device, encoder.model.dtype)).float().log_softmax(-1).cpu()  # (1, T, V)
    path, confidence = AF.forced_align(scores, flat, blank=blank)
    units = AF.merge_tokens(path[0], confidence[0], blank=blank)
    ends, number = [], 0
    for word in labels:
        ends.append((units[number].start, units[number + len(word) - 1].end))
        number += len(word)
    between = [(before[1] + after[0]) // 2 for before, after in pairwise(ends)]
    edges = [max(0, ends[0][0] - 1), *between, min(len(frames), ends[-1][1] + 1)]
    return list(pairwise(edges))


def replaced(frames: torch.Tensor, span: Span, word: torch.Tensor) -> torch.Tensor:
    """Frames (T, D) with those of another word in the place of a span."""
    return torch.cat([frames[: span[0]], word, frames[span[1] :]])
