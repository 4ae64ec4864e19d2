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

    def forward(self, speech: torch.Tensor, counts: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """CTC loss of concatenated clips: table rows (N_all,), counts (B,), units (B, L) padded with −100."""
        scores = self.head(self.table.rows(speech))  # (N_all, U)
        log_probs = pad_sequence(scores.split(counts.tolist())).log_softmax(-1)  # (N, B, U)
        said = labels != -100  # (B, L)
        loss = F.ctc_loss(
            log_probs, labels[said], counts, said.sum(-1), blank=self.head.blank, reduction="sum", zero_infinity=True
        )
        return {"loss": loss / said.sum().clamp(min=1)}

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Clip ids and their units → the arguments of `forward`."""
        spans = [self.spans[row["id"]] for row in rows]
        return {
            "speech": torch.cat([torch.arange(first, first + count) for first, count in spans]),
            "counts": torch.tensor([count for _, count in spans]),
            "labels": pad_sequence(
                [torch.tensor(row["units"] or [-100]) for row in rows], batch_first=True, padding_value=-100
            ),
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
