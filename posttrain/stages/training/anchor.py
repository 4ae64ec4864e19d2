"""Keep the Llama close to its base during training: KL(base ‖ model) on typed rows, added to the loss of the tasks.

Learning without Forgetting (Li & Hoiem 2016) with rehearsed rows: the base's own predictions are the targets, so the
rows need no right answers. Typed text does not go through the projector, which the KL therefore does not constrain.
"""

from itertools import cycle
from typing import Any

import torch
from trl import SFTTrainer

from posttrain.corpus.types import Example
from posttrain.model.decoding import right_padded
from posttrain.model.divergence import divergence
from posttrain.model.reference import Reference
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages import base


class Anchor:
    """KL(base ‖ model) in nats per token, over the answers and the running text of a few typed rows at a time."""

    def __init__(
        self, llama: SpeechLlama, reference: Reference, examples: list[Example], weight: float, batch_size: int
    ):
        self.reference, self.weight = reference, weight
        self.pad = llama.tokenizer.pad_token_id
        self.examples = examples
        rows = base.rows(llama.tokenizer, examples)
        self.batches = cycle([rows[i : i + batch_size] for i in range(0, len(rows), batch_size)])
        self.seen: list[float] = []

    def loss(self, model: Any) -> torch.Tensor:
        """The weighted KL of the next rows, a scalar."""
        batch = next(self.batches)
        ids, mask = right_padded([row["input_ids"] for row in batch], self.pad)  # (B, L)
        counts, _ = right_padded([row["completion_mask"] for row in batch], 0)  # (B, L)
        inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device), "use_cache": False}
        chosen = counts[:, 1:].bool().to(model.device)  # (B, L − 1)
        with torch.no_grad(), self.reference.loaded() as off:
            theirs = off.model(**inputs).logits[:, :-1][chosen].float()  # (answers, V)
        ours = model(**inputs).logits[:, :-1][chosen].float()  # (answers, V)
        apart = divergence(ours, theirs, "forward_kl")
        self.seen.append(apart.item())
        return self.weight * apart

    def metrics(self) -> dict[str, float]:
        """Mean KL over the last ten steps."""
        last = self.seen[-10:]
        return {"kl_to_base_last": sum(last) / len(last)} if last else {}


class AnchoredTrainer(SFTTrainer):
    """TRL's trainer with the anchor's loss added; it is computed first, since it switches adapters off and on again."""

    anchor: Anchor

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        held = self.anchor.loss(model)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        return (loss + held, outputs) if return_outputs else loss + held
