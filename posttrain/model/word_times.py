"""When each word of a transcript is said, by forced alignment over a checkpoint's word head (CTC)."""

from collections.abc import Sequence

import torch

from posttrain.acoustics import SAMPLE_RATE
from posttrain.model.encoders.forced_alignment import word_spans
from posttrain.model.speech_llama import SpeechLlama

Times = list[tuple[float, float]]
"""Start and end of each word, in seconds."""


@torch.no_grad()
def aligned(llama: SpeechLlama, clip: str, words: Sequence[str], frame_samples: int) -> Times | None:
    """When each word of a clip is said, from the clip's first frame; a gap between two words is shared by them.

    None without a word head, for a word that it lacks or that is its blank, and for more words than the clip has speech
    tokens for.
    """
    if llama.head is None or llama.table is None or not words:
        return None
    unit = {word: number for number, word in enumerate(llama.head.ids.tolist())}
    units = [[unit.get(word, -1) for word in llama.tokenizer.word_ids(f" {each}")] for each in words]
    if any(-1 in spelled or llama.head.blank in spelled for spelled in units):
        return None
    stacked = llama.table.stacked(llama.spec.stack)
    first, tokens = stacked.spans[clip]
    scores = llama.head(stacked.rows(torch.arange(first, first + tokens))).log_softmax(-1).cpu()  # (N, U)
    spans = word_spans(scores, units, llama.head.blank)
    token_s = llama.spec.stack * frame_samples / SAMPLE_RATE
    return [(start * token_s, end * token_s) for start, end in spans] if spans else None


def shared(words: Sequence[str], length_s: float) -> Times:
    """The time as the words share it by their letters: a guess, for words that cannot be aligned."""
    letters = [len(word) + 1 for word in words]
    total, done, times = sum(letters), 0, []
    for count in letters:
        times.append((length_s * done / total, length_s * (done + count) / total))
        done += count
    return times
