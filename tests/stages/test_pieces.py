"""A batch in pieces: the same gradients as at once, whatever the number of cores."""

import pytest
import torch

from posttrain.stages.training.pieces import PIECE, in_pieces

SIZE = 2 * PIECE + 1


def squares(inputs, weight):
    """A loss that is a mean over rows, as those of a batch are; another that does not see the weight."""

    def objective(rows):
        found = inputs[rows] @ weight
        return {"loss": found.square().mean(), "told": inputs[rows].mean()}

    return objective


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_gradients_and_losses_are_those_of_the_whole_batch_to_the_bit_with_any_number_of_cores(threads):
    inputs, weight = torch.randn(SIZE, 3), torch.nn.Parameter(torch.randn(3))
    objective, found = squares(inputs, weight), []
    for cores in (1, 3):
        threads(cores)
        with in_pieces("cpu") as learn:
            losses = learn(objective, {"loss": [weight]}, SIZE)
        found.append((losses, weight.grad.clone()))
        assert torch.get_num_threads() == cores
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
    (wanted,) = torch.autograd.grad(objective(slice(None))["loss"], weight)
    torch.testing.assert_close(found[0][1], wanted)
    assert found[0][0]["told"] == pytest.approx(inputs.mean().item(), abs=1e-6)


def test_each_loss_trains_its_own_weights_and_what_it_does_not_use_has_no_gradient():
    ours, theirs, unused = (torch.nn.Parameter(torch.ones(1)) for _ in range(3))

    def objective(rows):
        return {"ours": (2 * ours * theirs.detach()).mean(), "theirs": (3 * theirs).mean()}

    with in_pieces("cpu") as learn:
        learn(objective, {"ours": [ours, unused], "theirs": [theirs]}, SIZE)
    assert (ours.grad.item(), theirs.grad.item(), unused.grad) == (pytest.approx(2), pytest.approx(3), None)


def test_an_error_in_a_piece_is_the_callers():
    def objective(rows):
        raise ValueError(f"from row {rows.start}")

    with pytest.raises(ValueError, match="from row 0"), in_pieces("cpu") as learn:
        learn(objective, {}, SIZE)
