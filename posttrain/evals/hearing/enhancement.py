"""Measure an enhancer on unseen voices in unseen noises at several SNRs, in the air and through simulated ears.

One line per clip and condition. What cannot be measured (silent speech, an output that is not finite) counts as a bad
clip and is left out of the means.
"""

import importlib.util
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posttrain.acoustics import SAMPLE_RATE, enhancer, mixtures, scenes
from posttrain.acoustics.audiogram import Audiogram
from posttrain.acoustics.bands import HOP
from posttrain.acoustics.drawn import own_snr_db
from posttrain.acoustics.enhancer import Enhancer
from posttrain.acoustics.fitting import NALR
from posttrain.acoustics.hearing_loss import HearingLoss
from posttrain.acoustics.levels import present
from posttrain.acoustics.mixtures import Mixture, si_sdr
from posttrain.corpus.store import Corpus
from posttrain.machine.device import progress, say
from posttrain.stages.training.enhance_data import audio_of, clean_speech, in_turn, listener, recorded_noises
from posttrain.stages.training.enhance_losses import sdr

Line = dict[str, Any]
SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 20.0)
CLEAN_SNR_DB = 0.0
"""With the mixtures of this SNR, their speech alone is enhanced too."""
MOST_OWN_SNR_DB = 100.0
"""What a recording with digital silence in its pauses counts as."""
EAR_SNR_DB = 5.0
EARS = ("N1", "N3", "S2")
TALKER_DB_SPL = 65.0
CLIPS = 120
"""Number of clips of synthetic speech and of each recorded source, taken from the voices in turn."""
TIMED = 5
"""Number of clips streamed to measure the real-time factor."""


def evaluate(checkpoint: Path, corpus: Corpus, device: str) -> tuple[list[Line], dict[str, float]]:
    """One line per clip and condition, and the costs: latency_ms, and rtf when streamed hop by hop."""
    if not _has_stoi():
        say("  STOI is left out; pip install 'posttrain[hearing]' adds it")
    made, ear = enhancer.load(checkpoint, device), HearingLoss().to(device)
    lines: list[Line] = []
    sources = sorted({clip.source for clip in clean_speech(corpus, "test")}, key=lambda name: (name == "made", name))
    for source in sources:
        speech = in_turn(clean_speech(corpus, "test"), source)[:CLIPS]
        with progress(len(SNRS_DB) * len(speech), f"measuring, {source}", "mixture") as bar:
            for mixture in mixtures_of(corpus, source, SNRS_DB):
                content = {"content": corpus.clips[mixture.id].text or mixture.id}
                lines += [line | content for line in _measure(made, ear, mixture, source)]
                bar.update()
    timed = [corpus.audio(clip.id) for clip in clean_speech(corpus, "test")[:TIMED]]
    return lines, {"cost/latency_ms": made.latency_ms, "cost/rtf": round(real_time_factor(made, timed), 4)}


def mixtures_of(corpus: Corpus, source: str, snrs_db: Sequence[float], clips: int | None = None) -> Iterator[Mixture]:
    """Test speech of the source; synthetic speech in synthetic noise, recorded speech in recorded noise if any.

    clips: how many, CLIPS if None.
    """
    speech = in_turn(clean_speech(corpus, "test"), source)[: clips or CLIPS]
    recorded = [(c.noise or c.id, corpus.audio(c.id).numpy()) for c in recorded_noises(corpus, "test")]
    noises = recorded if recorded and source != "made" else scenes.TEST_KINDS
    yield from mixtures.fixed([(c.id, c.speaker) for c in speech], audio_of(corpus), noises, snrs_db)


def real_time_factor(made: Enhancer, waveforms: list[torch.Tensor]) -> float:
    """Processor seconds per second of audio, streamed hop by hop for normal hearing."""
    hearing = torch.from_numpy(listener("normal").levels()).float()
    clock, samples = time.process_time(), 0
    for waveform in waveforms:
        stream = made.stream(hearing)
        for piece in waveform.split(HOP):
            stream.push(piece)
        samples += len(waveform)
    return (time.process_time() - clock) / (samples / SAMPLE_RATE)


def stoi(estimate: np.ndarray, target: np.ndarray) -> float:
    """Short-time objective intelligibility (Taal et al. 2011); NaN for less than 0.4 s of speech."""
    from torchmetrics.functional.audio.stoi import short_time_objective_intelligibility

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            found = short_time_objective_intelligibility(
                torch.from_numpy(estimate), torch.from_numpy(target), SAMPLE_RATE
            )
        except RuntimeWarning:
            return math.nan
    return float(found)


def _has_stoi() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torchmetrics", "pystoi"))


def _measure(made: Enhancer, ear: HearingLoss, mixture: Mixture, source: str) -> Iterator[Line]:
    """The mixture's gain; with CLEAN_SNR_DB also the speech alone, at EAR_SNR_DB also what listeners hear."""
    hearing, clean = listener("normal").levels(), mixture.clean

    def line(probe: str, value: float) -> Line:
        about: Line = {"id": f"{probe}/{mixture.id}", "probe": probe, "clip": mixture.id, "speaker": mixture.speaker}
        about |= {"source": source, "noise": mixture.noise, "snr_db": mixture.snr_db}
        return about | {"value": value if math.isfinite(value) else None}

    enhanced, snr = made.enhance(mixture.noisy, hearing), f"snr{mixture.snr_db:g}"
    gain = si_sdr(enhanced, clean) - si_sdr(mixture.noisy, clean)
    yield line(f"enhance/si_sdr_gain/{source}/{snr}", gain)
    if _has_stoi():
        yield line(f"enhance/stoi_gain/{source}/{snr}", stoi(enhanced, clean) - stoi(mixture.noisy, clean))
    if mixture.snr_db == CLEAN_SNR_DB:
        if source != "made":
            yield line(f"enhance/own_snr/{source}", min(own_snr_db(clean), MOST_OWN_SNR_DB))
        for switch, denoise in (("on", 1.0), ("off", 0.0)):
            yield line(f"enhance/clean/{source}/{switch}", si_sdr(made.enhance(clean, hearing, denoise), clean))
    if mixture.snr_db == EAR_SNR_DB:
        for name in EARS:
            yield line(f"enhance/ear_gain/{source}/{name}", _ear_gain(made, ear, mixture, listener(name)))


def _ear_gain(made: Enhancer, ear: HearingLoss, mixture: Mixture, who: Audiogram) -> float:
    """SDR (dB) of the enhanced speech minus that of the noisy speech, both fitted and as the listener hears them."""
    device, hl_db = made.analysis.device, who.levels()
    three = np.stack([made.enhance(mixture.noisy, hl_db), mixture.noisy, mixture.clean])
    loss = torch.from_numpy(hl_db).float().to(device).expand(3, -1)
    waveforms = torch.from_numpy(three).to(device)
    with torch.no_grad():
        spoken = present(waveforms, TALKER_DB_SPL, reference=waveforms[2:])
        heard = ear(NALR(who).to(device)(spoken), loss)  # (3, S)
    after, before = sdr(heard[:2], heard[2:].expand(2, -1))
    return float(after - before)
