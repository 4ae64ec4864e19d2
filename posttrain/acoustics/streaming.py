"""The enhancer hop by hop, in NumPy, as on a device: for one listener, whose audiogram is in the weights already.

A hop is some fifty operations on arrays so small that what counts is the cost of starting one, which is lower in NumPy
than in PyTorch. The output equals that of `enhancer.Enhancer` up to rounding.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from posttrain.acoustics.bands import (
    ANALYSIS,
    BANDS,
    DEPTH,
    FLOOR,
    HOP,
    QUICK,
    RISE,
    SILENT_LEVEL,
    SLOW,
    SYNTHESIS,
)

Weights = Mapping[str, Sequence[torch.Tensor]]
"""Part of the network → its matrices and biases."""


class Network:
    """Weights and filters of an `enhancer.Enhancer` for one listener, as float32 arrays for x @ W + b."""

    def __init__(self, weights: Weights, filters: Mapping[str, torch.Tensor], neighbours: int):
        """`weights`: matrix and bias of `enter`, `hand_over`, `leave`; for input and for state of `full` and `sub`.

        `filters`: windows (`analysis`, `synthesis`) and the matrices from bins to bands and back (`bands`, `spread`).
        """
        self.weights = {
            name: [_array(each.mT if each.dim() == 2 else each) for each in parts] for name, parts in weights.items()
        }
        self.analysis, self.synthesis, self.bands, self.spread = (
            _array(filters[name]) for name in ("analysis", "synthesis", "bands", "spread")
        )
        self.near = np.arange(BANDS)[:, None] + np.arange(2 * neighbours + 1)  # (BANDS, near), into padded bands
        self.neighbours = neighbours

    def start(self, name: str, rows: int) -> np.ndarray:
        """State of a recurrence before the first frame: zeros (rows, width)."""
        return np.zeros((rows, len(self.weights[name][2])), np.float32)

    def linear(self, name: str, inputs: np.ndarray) -> np.ndarray:
        """A layer of that name without its activation."""
        matrix, bias = self.weights[name]
        return inputs @ matrix + bias

    def recur(self, name: str, inputs: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The next state of a gated recurrent unit as in torch.nn.GRU; inputs (rows, D), states (rows, width)."""
        into, into_bias, onto, onto_bias = self.weights[name]
        new, old = inputs @ into, state @ onto
        new += into_bias
        old += onto_bias
        width = state.shape[1]
        gates = sigmoid(new[:, : 2 * width] + old[:, : 2 * width])
        candidate = np.tanh(new[:, 2 * width :] + gates[:, :width] * old[:, 2 * width :])
        return candidate + gates[:, width:] * (state - candidate)


class Stream:
    """Enhances one recording piece by piece; the pieces together equal `Enhancer.forward` of the whole, `together`."""

    def __init__(self, network: Network, denoise: float):
        self.network, self.denoise = network, np.float32(denoise)
        self.full, self.sub = network.start("full", 1), network.start("sub", BANDS)
        self.tracked: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        """Smoothed level, floor and mean of each band, (BANDS,) each; None before the first sound."""
        self.padded = np.zeros((2, BANDS + 2 * network.neighbours), np.float32)
        self.waiting = np.zeros((1, ANALYSIS - HOP), np.float32)
        self.half: np.ndarray | None = None
        self.taken = self.given = 0
        self.channels: tuple[int, ...] = ()

    def push(self, samples: torch.Tensor) -> torch.Tensor:
        """Any number of samples (n,) or (C, n) → the samples that are now final, (m,) or (C, m)."""
        self.channels = tuple(samples.shape[:-1])
        self.taken += samples.shape[-1]
        return self._advance(np.atleast_2d(samples.numpy()))

    def flush(self) -> torch.Tensor:
        """The last samples, after the end of the input; this ends the stream."""
        rest = self.taken - self.given
        return self._advance(np.zeros((*(self.channels or (1,)), -self.taken % HOP + HOP), np.float32))[..., :rest]

    def _advance(self, rows: np.ndarray) -> torch.Tensor:
        waiting = np.concatenate([np.broadcast_to(self.waiting, (len(rows), self.waiting.shape[1])), rows], axis=1)
        count = max(0, (waiting.shape[1] - ANALYSIS) // HOP + 1)
        final = np.empty((len(rows), max(0, count - (self.half is None)), HOP), np.float32)
        for number in range(count):
            frame = self._frame(waiting[:, number * HOP : number * HOP + ANALYSIS])  # (C, SYNTHESIS)
            if self.half is not None:  # the first half of the first frame lies before the waveform
                final[:, number - count] = self.half + frame[:, :HOP]
            self.half = frame[:, HOP:]
        self.waiting = waiting[:, count * HOP :]
        self.given += final.shape[1] * HOP
        return torch.from_numpy(final.reshape(*self.channels, -1))

    def _frame(self, samples: np.ndarray) -> np.ndarray:
        """The end of the frame that ends with these samples, (C, ANALYSIS) → (C, SYNTHESIS)."""
        spectra = np.fft.rfft(samples * self.network.analysis)
        power = spectra.real**2 + spectra.imag**2  # (C, BINS)
        gains = self._gains((power if len(power) == 1 else power.mean(0, keepdims=True))[0])
        spectra *= 1 + self.denoise * (gains @ self.network.spread - 1)
        frame: np.ndarray = np.fft.irfft(spectra, ANALYSIS)[:, -SYNTHESIS:] * self.network.synthesis
        return frame

    def _gains(self, power: np.ndarray) -> np.ndarray:
        """Power of the bins (BINS,) → the gain of each band, 0 to 1, (BANDS,)."""
        network = self.network
        above = self._above(np.log(power @ network.bands + np.float32(FLOOR)) / 4)  # (2, BANDS)
        entered = network.linear("enter", above.reshape(1, -1))
        self.full = network.recur("full", entered * sigmoid(entered), self.full)
        context = network.linear("hand_over", self.full).reshape(BANDS, -1)
        self.padded[:, network.neighbours : network.neighbours + BANDS] = above
        near, mean_near = self.padded[:, network.near]
        self.sub = network.recur("sub", np.concatenate([near, mean_near, context], axis=1), self.sub)
        return sigmoid(network.linear("leave", self.sub))[:, 0]

    def _above(self, level: np.ndarray) -> np.ndarray:
        """The next frame of `bands.above_floor`, (BANDS,) → (2, BANDS)."""
        if not level.max() > SILENT_LEVEL:  # silence, and what is not a number
            return np.zeros((2, BANDS), np.float32)
        if self.tracked is None:
            self.tracked = level, level, level
        else:
            smooth, floor, mean = self.tracked
            smooth, mean = smooth + np.float32(QUICK) * (level - smooth), mean + np.float32(SLOW) * (level - mean)
            floor = np.maximum(np.minimum(smooth, floor + np.float32(RISE)), mean - np.float32(DEPTH))
            self.tracked = smooth, floor, mean
        return np.stack([level - self.tracked[1], level - self.tracked[2]])


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x), without overflow."""
    return np.tanh(values * np.float32(0.5)) * np.float32(0.5) + np.float32(0.5)


def _array(values: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().float().cpu().numpy())
