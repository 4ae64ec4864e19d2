"""Maps stacked encoder frames to the Llama's embedding space."""

import torch
from torch import nn


class Projector(nn.Module):
    """Layer norm, then one linear layer (Fathullah et al. 2023), or two with a GELU between when `hidden` > 0.

    Kept in float32 whatever the Llama's type, since it is always trained. The output layer is initialised so
    that a normalised frame's output is as long as a typical word's embedding, `embedding_std` per dimension.

    Deviations from the paper: 1. the layer norm, so that the scale of the encoder does not matter. 2. `hidden`.
    """

    def __init__(self, in_dim: int, out_dim: int, hidden: int = 0, embedding_std: float = 0.02):
        super().__init__()
        self.in_dim, self.out_dim, self.hidden = in_dim, out_dim, hidden
        self.norm = nn.LayerNorm(in_dim)
        self.up = nn.Linear(in_dim, hidden) if hidden else None
        self.out = nn.Linear(hidden or in_dim, out_dim)
        self.scale_output(embedding_std)

    def forward(self, stacked: torch.Tensor) -> torch.Tensor:
        """(…, k·D_enc) → (…, D)."""
        x = self.norm(stacked.to(self.norm.weight.dtype))
        if self.up is not None:
            x = nn.functional.gelu(self.up(x))  # (…, hidden)
        return self.out(x)  # (…, D)

    @torch.no_grad()
    def scale_output(self, embedding_std: float) -> None:
        """Make the output's initial standard deviation per dimension about `embedding_std`."""
        if self.up is not None:
            nn.init.normal_(self.up.weight, std=self.in_dim**-0.5)
            nn.init.zeros_(self.up.bias)
        gelu_rms = 0.652  # root mean square of GELU(x), x standard normal
        fan_in = gelu_rms**2 * self.hidden if self.hidden else self.in_dim
        nn.init.normal_(self.out.weight, std=embedding_std * fan_in**-0.5)
        nn.init.zeros_(self.out.bias)
