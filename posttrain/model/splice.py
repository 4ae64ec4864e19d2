"""Replaces a word in one clip's frames with a word cut out of another clip, so that the word occurs in new contexts.

Word positions are found by CTC forced alignment (torchaudio), with the encoder's own head.
"""

from itertools import pairwise

import torch
import torchaudio.functional as AF

from posttrain.model.encoder import CTCEncoder

Span = tuple[int, int]


@torch.no_grad()
def word_spans(encoder: CTCEncoder, frames: torch.Tensor, text: str) -> list[Span] | None:
    """First and one past the last frame of each word of `text` in frames (T, D), cut halfway between neighbours.

    None if the clip has too few frames for its text.
    """
    labels = [encoder.labels(word) for word in text.split()]
    flat = torch.tensor([[unit for word in labels for unit in word]], dtype=torch.int32)  # (1, U)
    blank = encoder.model.config.pad_token_id
    if len(frames) < flat.shape[1] + int((flat[0, 1:] == flat[0, :-1]).sum()):  # equal units need a blank between them
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
    """Frames (T, D) with a span replaced by those of another word; T may change."""
    return torch.cat([frames[: span[0]], word, frames[span[1] :]])
