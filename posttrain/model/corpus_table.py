"""The frame table of a whole corpus: the frozen encoder runs once over it, and is read from the cache ever after.

Or of a few recordings, at once and not kept.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from posttrain.corpus.store import Corpus
from posttrain.model import encoder as encoders
from posttrain.model.encoder import CTCEncoder
from posttrain.model.frame_table import FrameTable


def corpus_table(folder: Path, corpus: Corpus, device: str) -> FrameTable:
    """Frames and CTC hypotheses of every clip by the encoder in `folder`, where they are kept as well."""
    encoder = encoders.load(folder, device=device)
    frames, spans, hypotheses = encoders.encode_corpus(encoder, corpus, folder)
    return FrameTable(frames, spans, hypotheses=hypotheses)


def table_of(encoder: CTCEncoder, waveforms: Mapping[str, torch.Tensor]) -> FrameTable:
    """Frames and CTC hypotheses of these clips, 16 kHz (S,)."""
    heard = dict(zip(waveforms, encoder.run(list(waveforms.values())), strict=True))
    return FrameTable.of(
        {clip: frames for clip, (frames, _) in heard.items()}, {clip: said for clip, (_, said) in heard.items()}
    )
