"""A frame table recomputed for every batch, so that the encoder trains too (the paper's joint setting)."""

import torch
from torch import nn

from posttrain.acoustics.frontend import collate, heard
from posttrain.corpus.store import Corpus
from posttrain.model.encoders.contract import Encoder
from posttrain.model.frame_table import StackedTable


class LiveTable(nn.Module):
    """Replaces a StackedTable in a SpeechEmbedding: the same rows, from the encoder's current weights, with gradients.

    Once it is in the embedding, its encoder is part of the model. Dropout and batch normalisation stay in eval().
    """

    def __init__(self, encoder: Encoder, corpus: Corpus, frozen: StackedTable):
        super().__init__()
        self.encoder = encoder.module.requires_grad_(True)
        self.source = encoder
        self.corpus = corpus
        self.spans, self.stack = frozen.spans, frozen.stack
        self.clips = list(frozen.spans)
        self.starts = torch.tensor([frozen.spans[c][0] for c in self.clips])

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Rows (…) → stacked frames (…, k·D_enc), float32; the clips they belong to are encoded as one batch."""
        device = next(self.encoder.parameters()).device
        index, starts = index.to(device), self.starts.to(device)
        owner = torch.bucketize(index, starts, right=True) - 1  # (…)
        used, place = owner.unique(return_inverse=True)
        waveforms, lengths = collate([heard(self.corpus.audio(self.clips[i])) for i in used.tolist()])
        self.encoder.eval()
        features, mask = self.source.features(waveforms.to(device), lengths.to(device))  # (B, F, M), (B, F)
        live = StackedTable.live(*self.source.encode(features, mask), self.stack)
        first = torch.tensor([start for start, _ in live.spans.values()], device=device)
        return live.rows(index - starts[owner] + first[place])
