"""Muon and AdamW step as one optimizer, each on its own parameters and by its own rule."""

import pytest
import torch

from posttrain.stages.training.muon import MuonAndAdamW


@pytest.fixture
def parameters():
    torch.manual_seed(0)
    matrix, vector = torch.nn.Parameter(torch.randn(6, 4)), torch.nn.Parameter(torch.randn(5))
    matrix.grad, vector.grad = torch.randn(6, 4), torch.randn(5)
    return matrix, vector


def test_one_step_is_a_step_of_each(parameters):
    matrix, vector = parameters
    alone = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    for p, original in zip(alone, parameters, strict=True):
        p.grad = original.grad.clone()
    MuonAndAdamW([matrix], [vector], 1e-2, 0.1, beta2=0.98).step()
    torch.optim.Muon(alone[:1], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw").step()
    torch.optim.AdamW(alone[1:], lr=1e-2, betas=(0.9, 0.98), weight_decay=0.1).step()
    assert torch.equal(matrix, alone[0])
    torch.testing.assert_close(vector, alone[1])


def test_a_scheduler_reaches_both(parameters):
    optimizer = MuonAndAdamW([parameters[0]], [parameters[1]], 1e-2, 0.1, beta2=0.98)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step))
    before = [p.detach().clone() for p in parameters]
    optimizer.step()
    assert all(torch.equal(p, was) for p, was in zip(parameters, before, strict=True))
    scheduler.step()
    optimizer.step()
    assert not any(torch.equal(p, was) for p, was in zip(parameters, before, strict=True))
    optimizer.zero_grad()
    assert all(p.grad is None for p in parameters)


def test_every_direction_of_a_matrix_gets_a_step_of_like_size(parameters):
    matrix = torch.nn.Parameter(torch.zeros(6, 4))
    u, _, v = torch.linalg.svd(torch.randn(6, 4), full_matrices=False)
    matrix.grad = u @ torch.diag(torch.tensor([100.0, 10.0, 1.0, 0.1])) @ v
    MuonAndAdamW([matrix], [parameters[1]], 1e-2, 0.0, beta2=0.98).step()
    steps = torch.linalg.svdvals(matrix.detach())
    assert steps.max() < 3 * steps[2]
