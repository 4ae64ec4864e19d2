"""Muon for the matrices of a network that is trained from the start, AdamW for the rest.

Muon (Jordan et al. 2024; scaled to AdamW's step size as in Liu et al. 2025, arXiv 2502.16982) makes each update of a
matrix orthogonal, so that no direction waits for the large ones. The small encoder leaves CTC's plateau, where all
frames are blank, sooner than by AdamW alone.
"""

import torch


class MuonAndAdamW(torch.optim.Optimizer):
    """Both of PyTorch's own as one optimizer, whose groups a scheduler sees side by side; its state is not saved."""

    def __init__(
        self,
        matrices: list[torch.nn.Parameter],
        others: list[torch.nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        beta2: float,
    ):
        """`matrices`: parameters of two dimensions. The learning rate means the same to both."""
        self.parts = (
            torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, beta2), weight_decay=weight_decay, fused=True),
        )
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of each."""
        for part in self.parts:
            part.step()
