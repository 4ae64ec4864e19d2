"""A batch of a training loop of our own in pieces, which cores work on side by side, at most one each.

A recurrence is thousands of small steps, in which two cores are no faster than one; two pieces of a batch are. The
result does not depend on the number of cores: one thread computes a piece, and they are added up in order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from posttrain.machine import threads

PIECE = 4
"""Examples that one core works on at a time: a batch of eight keeps two cores busy."""
Means = dict[str, torch.Tensor]
Objective = Callable[[slice], Means]
"""Rows of a batch → their mean losses, () each."""
Goals = Mapping[str, Sequence[torch.nn.Parameter]]
"""Name of a loss → what it trains."""
Learn = Callable[[Objective, Goals, int], dict[str, float]]
"""Objective, what each loss trains, and the number of rows → mean losses; leaves gradients where weights train."""


@contextmanager
def in_pieces(device: str) -> Iterator[Learn]:
    """A function that computes a batch's losses and gradients, in pieces on the CPU, elsewhere at once."""
    with threads.pool() as pool:

        def learn(objective: Objective, goals: Goals, size: int) -> dict[str, float]:
            piece = PIECE if device == "cpu" else size
            starts = range(0, size, piece)
            shares = [min(piece, size - start) / size for start in starts]
            work = [pool.submit(_gradients, objective, goals, slice(start, start + piece)) for start in starts]
            losses, gradients = zip(*(done.result() for done in work), strict=True)
            for weight, *found in zip(_weights(goals), *gradients, strict=True):
                weight.grad = None if found[0] is None else _mean(found, shares)
            return {name: _mean([each[name] for each in losses], shares).item() for name in losses[0]}

        yield learn


def _gradients(objective: Objective, goals: Goals, rows: slice) -> tuple[Means, list[torch.Tensor | None]]:
    losses = objective(rows)
    gradients = [torch.autograd.grad(losses[goal], list(weights), allow_unused=True) for goal, weights in goals.items()]
    return {name: loss.detach() for name, loss in losses.items()}, [each for of in gradients for each in of]


def _weights(goals: Goals) -> list[torch.nn.Parameter]:
    return [weight for weights in goals.values() for weight in weights]


def _mean(values: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    return torch.stack([share * value for share, value in zip(shares, values, strict=True)]).sum(0)
