"""Muon for the matrices of a network that is trained from scratch, AdamW for the rest.

Muon (Jordan et al. 2024; scaled to AdamW's step size as in Liu et al. 2025, arXiv 2502.16982) makes each update of a
matrix orthogonal, so that large directions do not hold back the others. The small encoder leaves CTC's plateau, where
all frames are blank, sooner than with AdamW alone.
"""

import torch


class MuonAndAdamW(torch.optim.Optimizer):
    """PyTorch's Muon and AdamW as one optimizer with the parameter groups of both; its state is not saved."""

    def __init__(
        self,
        matrices: list[torch.nn.Parameter],
        others: list[torch.nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        beta2: float,
    ):
        """`matrices`: parameters of two dimensions. The learning rate means the same for both."""
        self.parts = (
            torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, beta2), weight_decay=weight_decay, fused=True),
        )
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step with each optimizer."""
        for part in self.parts:
            part.step()
