"""The frame table of a whole corpus: the frozen encoder runs once over it, and is read from the cache ever after."""

from pathlib import Path

from posttrain.corpus.store import Corpus
from posttrain.model import encoder as encoders
from posttrain.model.frame_table import FrameTable


def corpus_table(folder: Path, corpus: Corpus, device: str) -> FrameTable:
    """Frames and CTC hypotheses of every clip by the encoder in `folder`, where they are kept as well."""
    encoder = encoders.load(folder, device=device)
    frames, spans, hypotheses = encoders.encode_corpus(encoder, corpus, folder)
    return FrameTable(frames, spans, hypotheses=hypotheses)
