"""KL as a loss and as a figure."""

import math

import pytest
import torch

from posttrain.model.divergence import divergence, kl_terms

KINDS = ("forward_kl", "reverse_kl", "js")


def test_the_figure_is_the_loss_and_both_are_torchs():
    p, q = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    theirs = torch.nn.functional.kl_div(q, p, log_target=True, reduction="batchmean")
    torch.testing.assert_close(kl_terms(p, q).sum() / 5, theirs)
    torch.testing.assert_close(divergence(q, p, "forward_kl"), theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [0, 3])
def test_a_divergence_is_zero_at_equality_and_positive_elsewhere(kind, top_k):
    a, b = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(0))
    assert divergence(a, a.clone(), kind, 2.0, top_k).abs() < 1e-6
    assert divergence(a, b, kind, 2.0, top_k) > 1e-3


def test_divergences_match_a_hand_worked_example():
    student, teacher = torch.log(torch.tensor([[0.5, 0.5]])), torch.log(torch.tensor([[0.9, 0.1]]))
    forward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    reverse = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    middle = (0.7, 0.3)
    js = 0.5 * sum(p * math.log(p / m) for p, m in zip((0.9, 0.1), middle, strict=True))
    js += 0.5 * sum(p * math.log(p / m) for p, m in zip((0.5, 0.5), middle, strict=True))
    for kind, value in zip(KINDS, (forward, reverse, js), strict=True):
        assert divergence(student, teacher, kind).item() == pytest.approx(value, abs=1e-6)


def test_t_squared_keeps_the_gradients_scale_at_high_temperature():
    teacher = torch.randn(4, 9, generator=torch.Generator().manual_seed(1)) * 0.01
    norms = []
    for temperature in (10.0, 100.0):
        student = torch.zeros(4, 9, requires_grad=True)
        divergence(student, teacher, "forward_kl", temperature).backward()
        norms.append(student.grad.norm().item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)
