"""Measure the algorithmic latency of any denoiser: how long a sample of its output waits for later input."""

import math
from collections.abc import Callable

import numpy as np

LONGEST_S = 0.2
"""Greatest latency that can be measured, and how long the input lasts on both sides of a change."""
FRAMES = (1, 4)
"""Frames after LONGEST_S at whose ends the input changes."""
BEFORE_END = (1, 8, 32)
"""How many samples before such an end: windows that are 0 at their edge hide the first ones."""
LOUD, SOFT = 0.9, 0.01
"""Amplitude of the noise after the change, and before it as a share of that: a loud change shows through windows."""


def latency_ms(denoise: Callable[[np.ndarray], np.ndarray], frame: int, rate_hz: int) -> float:
    """Greatest time between an input sample and the start of the change in the output that it causes, in ms.

    `denoise`: float32 (S,) → (S,), aligned, at `rate_hz`, the same at every call. `frame`: samples that it takes at
    once; the samples of a frame wait for its last one. As long as a sample lasts counts, so that a denoiser without
    memory or look-ahead has one sample. Resampling inside `denoise` makes the figure meaningless, since its filters
    ring.
    """
    around = math.ceil(LONGEST_S * rate_hz / frame)
    samples = (2 * around + max(FRAMES)) * frame
    before, loud = np.random.default_rng(0).uniform(-LOUD, LOUD, (2, samples)).astype(np.float32)
    before *= np.float32(SOFT)
    plain, longest = denoise(before), 0
    for at in ((around + number) * frame - early for number in FRAMES for early in BEFORE_END if early <= frame):
        changed = np.flatnonzero(denoise(np.concatenate([before[:at], loud[at:]])) != plain)
        if len(changed):
            longest = max(longest, at - int(changed[0]) + 1)
    return 1000 * longest / rate_hz
