"""CTC with two kinds of units at two depths, used to train the tiny encoder."""

from typing import Any

import torch
from transformers import ParakeetForCTC, ParakeetTokenizer

LOWER_WEIGHT = (0.9, 0.1)
"""Weight of the characters' loss against the units', at first and from LOWER_UNTIL of the steps on synthetic speech."""
LOWER_UNTIL = 0.6


class HierarchicalCTC(torch.nn.Module):
    """The encoder in training: its own units after the last layer, characters after the middle one.

    A word's sound is learned first from its letters; the last layers then learn whole words and word pieces, which a
    projector can map into a Llama's embedding space (Sanabria and Metze 2018, arXiv 1807.07104; Lee and Watanabe 2021,
    arXiv 2102.03216). So the weight moves from characters to units; the character head is dropped after training. The
    loss is in nats per unit said: ParakeetForCTC's own mean divides each clip's loss by its own units, so that a clip
    without speech would weigh as much as thirty others.
    """

    def __init__(self, model: ParakeetForCTC, characters: ParakeetTokenizer, steps: int):
        """`steps`: the number of steps on synthetic speech, over which the weight moves."""
        super().__init__()
        self.model, self.characters = model, characters
        self.moving_steps, self.seen = max(1, LOWER_UNTIL * steps), 0
        self.lower_head = torch.nn.Linear(model.config.encoder_config.hidden_size, len(characters))
        layers = model.encoder.layers
        layers[(len(layers) - 1) // 2].register_forward_hook(self._keep)

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        lower_labels: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Features (B, F, M), mask (B, F), units (B, U) and characters (B, C), padded with −100 → the loss."""
        outputs = self.model(input_features=input_features, attention_mask=attention_mask, labels=labels)
        lower = self.lower_head(self.middle).float().log_softmax(-1)  # (B, T, characters)
        frames = self.model._get_subsampling_output_length(attention_mask.sum(-1))  # (B,)
        said = lower_labels != -100  # (B, C)
        lower_loss = torch.nn.functional.ctc_loss(
            lower.transpose(0, 1),
            lower_labels[said],
            frames,
            said.sum(-1),
            blank=self.characters.pad_token_id,
            reduction="sum",
            zero_infinity=True,
        )
        loss = outputs.loss / (labels != -100).sum().clamp(min=1)
        first, last = LOWER_WEIGHT
        weight = first + (last - first) * min(1, self.seen / self.moving_steps)
        self.seen += self.training
        return {"loss": (1 - weight) * loss + weight * lower_loss / said.sum().clamp(min=1)}

    def _keep(self, layer: Any, inputs: Any, output: torch.Tensor) -> None:
        self.middle = output
