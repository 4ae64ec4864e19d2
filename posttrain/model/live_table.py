"""A frame table recomputed for every batch, so that the encoder trains too (the paper's joint setting)."""

import torch
from torch import nn

from posttrain.acoustics.frontend import collate, heard
from posttrain.corpus.store import Corpus
from posttrain.model.encoder import CTCEncoder
from posttrain.model.frame_table import StackedTable


class LiveTable(nn.Module):
    """Replaces a StackedTable in a SpeechEmbedding: the same rows, from the encoder's current weights, with gradients.

    Once it is in the embedding, its encoder is part of the model. Dropout and batch normalisation stay in eval().
    """

    def __init__(self, encoder: CTCEncoder, corpus: Corpus, frozen: StackedTable):
        super().__init__()
        self.encoder = encoder.model.encoder.requires_grad_(True)
        self.log_mel = encoder.log_mel
        self.corpus = corpus
        self.spans, self.stack, self.table_id = frozen.spans, frozen.stack, "live"
        self.clips = list(frozen.spans)
        self.starts = torch.tensor([frozen.spans[c][0] for c in self.clips])

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Rows (…) → stacked frames (…, k·D_enc), float32; the clips they belong to are encoded as one batch."""
        device = next(self.encoder.parameters()).device
        index, starts = index.to(device), self.starts.to(device)
        owner = torch.bucketize(index, starts, right=True) - 1  # (…)
        used, place = owner.unique(return_inverse=True)
        waveforms, lengths = collate([heard(self.corpus.audio(self.clips[i])) for i in used.tolist()])
        features, mask = self.log_mel(waveforms.to(device), lengths.to(device))  # (B, F, M), (B, F)
        self.encoder.eval()
        encoded = self.encoder(input_features=features, attention_mask=mask.long())
        live = StackedTable.live(encoded.last_hidden_state, encoded.attention_mask.sum(-1), self.stack)
        first = torch.tensor([start for start, _ in live.spans.values()], device=device)
        return live.rows(index - starts[owner] + first[place])
