"""CTC in the Llama's own embedding space: `align` starts with it, since it needs no pass through the Llama.

So the projector learns to output what is said, in the Llama's words and in order, and when nothing new is said
(model/word_head.py).
"""

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import Trainer, TrainingArguments

from posttrain.config.sections import AlignConfig
from posttrain.model.adapters import projector_of, speech_embedding_of
from posttrain.model.alignment import pause_id
from posttrain.model.speech_llama import SpeechLlama
from posttrain.model.word_head import WordHead
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.trainer import arguments, train

NEVER = -1e4
"""Score of what cannot be; with −∞ there would be no gradient."""


def train_embedding_ctc(
    llama: SpeechLlama, config: AlignConfig, context: StageContext
) -> tuple[WordHead, dict[str, Any]]:
    """Train the projector on every training clip, also those without words; its outputs end as long as words.

    Returns a frozen copy of the head as it is now, and metrics.
    """
    said = [clip for clip in context.corpus.clips_of("train") if clip.id in llama.tokenizer.clips]
    words = {clip.id: llama.tokenizer.word_ids(f" {clip.text}") if clip.text else [] for clip in said}
    model = EmbeddingCTC(llama, {word for text in words.values() for word in text})
    rows = [{"id": clip.id, "units": model.units(words[clip.id])} for clip in said]
    args = arguments(
        TrainingArguments,
        context,
        steps=config.ctc_steps,
        batch_size=config.ctc_batch_size,
        learning_rate=config.ctc_learning_rate,
    )
    model.to_unit_length()
    trainer = Trainer(model=model, args=args, train_dataset=rows, data_collator=model.collate)
    metrics = train(trainer, context, "align, ctc", said)
    model.to_word_length([clip.id for clip in said[:200]])
    found = {f"ctc_{name}": value for name, value in metrics.items()} | {"ctc_units": len(model.used)}
    return model.head.frozen(), found


class EmbeddingCTC(nn.Module):
    """The CTC loss of a SpeechLlama's projector as a word head of U units."""

    def __init__(self, llama: SpeechLlama, words: Collection[int]):
        """`words`: the ids to output; the blank is added."""
        super().__init__()
        embedding = speech_embedding_of(llama.model)
        self.table = embedding.table
        self.spans: dict[str, tuple[int, int]] = self.table.spans
        vectors = embedding.weight.detach()
        projector: Any = projector_of(llama.model)
        self.head = WordHead.of(projector, vectors, words, pause_id(llama.tokenizer)).to(vectors.device)
        self.used = {word: unit for unit, word in enumerate(self.head.ids.tolist())}
        """Word id → unit."""
        self.word_length = vectors[self.head.ids].float().norm(dim=-1).mean().item()

    def units(self, words: list[int]) -> list[int]:
        """Ids of words → units."""
        return [self.used[word] for word in words]

    def forward(
        self, speech: torch.Tensor, counts: torch.Tensor, units: torch.Tensor, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """CTC loss of concatenated clips: table rows (N_all,) and counts (B,); units (B, K), the blank and those of
        each clip; labels (B, L), each the number of one of its clip's units, padded with −100.

        All other units count as one: PyTorch's gradient takes a loop over all classes, and there are thousands.
        """
        scores = self.head(self.table.rows(speech))  # (N_all, U)
        own = units.repeat_interleave(counts, 0)  # (N_all, K), padded with the blank
        padding = own == self.head.blank
        padding[:, 0] = False
        others = scores.scatter(1, own, NEVER).logsumexp(1, keepdim=True)  # (N_all, 1)
        chosen = torch.cat([scores.gather(1, own).masked_fill(padding, NEVER), others], 1)  # (N_all, K + 1)
        log_probs = pad_sequence(chosen.split(counts.tolist())).log_softmax(-1)  # (N, B, K + 1)
        said = labels != -100  # (B, L)
        loss = F.ctc_loss(log_probs, labels[said], counts, said.sum(-1), blank=0, reduction="sum", zero_infinity=True)
        return {"loss": loss / said.sum().clamp(min=1)}

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Clip ids and their units → the arguments of `forward`."""
        spans = [self.spans[row["id"]] for row in rows]
        units = [[self.head.blank, *dict.fromkeys(row["units"])] for row in rows]
        labels = [[own.index(unit) for unit in row["units"]] or [-100] for own, row in zip(units, rows, strict=True)]
        return {
            "speech": torch.cat([torch.arange(first, first + count) for first, count in spans]),
            "counts": torch.tensor([count for _, count in spans]),
            "units": pad_sequence(list(map(torch.tensor, units)), batch_first=True, padding_value=self.head.blank),
            "labels": pad_sequence(list(map(torch.tensor, labels)), batch_first=True, padding_value=-100),
        }

    def to_unit_length(self) -> None:
        """Scale the projector's output layer so that one learning rate suits every Llama; cosines do not change."""
        self._scale(self.head.words.shape[-1] ** 0.5 / self.word_length)

    def to_word_length(self, clips: list[str]) -> None:
        """Scale the projector's output layer so that these clips' speech tokens are on average as long as words."""
        spans = [self.spans[clip] for clip in clips]
        speech = torch.cat([torch.arange(first, first + count) for first, count in spans])
        with torch.no_grad():
            spoken = self.head.projector(self.table.rows(speech).to(self.head.words.device)).norm(dim=-1).mean().item()
        self._scale(self.word_length / spoken)

    @torch.no_grad()
    def _scale(self, factor: float) -> None:
        self.head.projector.out.weight.mul_(factor)
        self.head.projector.out.bias.mul_(factor)
