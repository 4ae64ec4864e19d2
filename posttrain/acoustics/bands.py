"""The enhancer's frames, bands, and how the noise floor and the mean level of a band are followed.

Latency. Frames look back over a long window, but only their last 8 ms are overlap-added, so that frequency resolution
costs no latency (Mauler and Martin 2007; in low-latency enhancement Wood and Rickard 2019 and Wang et al. 2022). A
sample is final when the second frame that covers it has arrived: LATENCY_SAMPLES after the sample itself, hop buffering
included. Later input cannot change it.
"""

import math

import torch

from posttrain.acoustics import SAMPLE_RATE

HOP = 64
ANALYSIS = 512
SYNTHESIS = 2 * HOP
LATENCY_SAMPLES = SYNTHESIS
BINS = ANALYSIS // 2 + 1
FLOOR = 1e-9
"""Added to the power of each bin; below any microphone's own noise."""
SINGLE_BINS = 48
"""Bins up to 1.5 kHz that are bands of their own, so that harmonics are resolved."""
WIDE_BANDS = 24
"""Bands above, 0.6 equivalent rectangular bandwidths apart (Glasberg and Moore 1990)."""
BANDS = SINGLE_BINS + WIDE_BANDS
QUICK, SLOW = 0.2, 0.004
"""Share of each frame in the smoothed level and in the mean level: 20 ms and one second."""
RISE = 6.0 * HOP / SAMPLE_RATE * math.log(10) / 10 / 4
"""How fast the noise floor follows a rise, per frame: 6 dB a second, in the scale of the levels. It falls with the
smoothed level."""
DEPTH = 30.0 * math.log(10) / 10 / 4
"""The floor is never further below the mean level than this, 30 dB: a gap in the sound must not blind the network."""
SILENT_LEVEL = math.log(3e-8) / 4
"""Level of the loudest band below which a frame is silent, as if muted, and nothing is tracked: noise of −100 dBFS."""


def windows() -> tuple[torch.Tensor, torch.Tensor]:
    """The analysis window (ANALYSIS,) and the synthesis window (SYNTHESIS,) for its end.

    Their product is a Hann window of two hops, which overlap-adds to 1 (Mauler and Martin 2007).
    """
    long = torch.hann_window(2 * (ANALYSIS - HOP), dtype=torch.float64).sqrt()[: ANALYSIS - HOP]
    short = torch.hann_window(SYNTHESIS, dtype=torch.float64)
    analysis = torch.cat([long, short[HOP:].sqrt()])
    synthesis = torch.cat([short[:HOP] / long[-HOP:], short[HOP:].sqrt()])
    return analysis.float(), synthesis.float()


def bands() -> torch.Tensor:
    """Weights of the bins in each band, (BINS, BANDS): single bins, then triangles; each bin's weights sum to 1."""
    hz = torch.arange(BINS, dtype=torch.float64) * SAMPLE_RATE / ANALYSIS
    erb_rate = 21.4 * (1 + 0.00437 * hz).log10()
    last, end = erb_rate[SINGLE_BINS - 1], erb_rate[-1]
    centres = torch.linspace(float(last), float(end), WIDE_BANDS + 1, dtype=torch.float64)[1:]
    places = torch.cat([erb_rate[:SINGLE_BINS], centres])
    after = torch.searchsorted(places, erb_rate).clamp(1, BANDS - 1)  # each bin lies between two centres
    share = ((erb_rate - places[after - 1]) / (places[after] - places[after - 1])).clamp(0, 1)
    weights = torch.zeros(BINS, BANDS, dtype=torch.float64)
    weights.scatter_(1, after[:, None], share[:, None])
    weights.scatter_(1, after[:, None] - 1, 1 - share[:, None])
    return weights.float()


@torch.no_grad()
def above_floor(levels: torch.Tensor) -> torch.Tensor:
    """Levels (B, F, BANDS) from the start of the sound → above the noise floor and the mean, (B, F, 2, BANDS).

    The floor is the smoothed level where that falls, and rises slowly. A silent frame has zeros and changes nothing.
    """
    heard = levels.amax(-1, keepdim=True) > SILENT_LEVEL  # (B, F, 1)
    gaps = not heard.all()
    unknown = torch.full_like(levels[:, 0], math.inf)
    smooth, floor, mean = (unknown,) * 3 if gaps else (levels[:, 0],) * 3
    floors, means = [], []
    for level, sound in zip(levels.unbind(1), heard.unbind(1), strict=True):
        before = smooth, floor, mean
        smooth, mean = smooth.lerp(level, QUICK), mean.lerp(level, SLOW)
        floor = torch.minimum(smooth, floor + RISE).maximum(mean - DEPTH)
        if gaps:
            now = (
                torch.where(known.isinf(), level, new) for known, new in zip(before, (smooth, floor, mean), strict=True)
            )
            smooth, floor, mean = (torch.where(sound, new, known) for known, new in zip(before, now, strict=True))
        floors.append(floor)
        means.append(mean)
    above = torch.stack([levels - torch.stack(floors, 1), levels - torch.stack(means, 1)], dim=2)
    return torch.where(heard.unsqueeze(-1), above, torch.zeros_like(above))
