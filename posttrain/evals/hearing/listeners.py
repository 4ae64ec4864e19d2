"""Four processings of the same noisy clips for each listener, measured at the better ear.

The processings are unaided, fitted (NAL-R), enhanced, and both; the machine transcribes them too (`machine_hearing`).
The talker is at 65 dB SPL at the ear. HASPI and HASQI compare with the clean speech as it reaches a normal ear,
unamplified; SI-SDR, STOI and PESQ compare with the clean speech fitted like the clip, so that gain does not count as
distortion. Words correct are predicted from HASPI and the audiogram.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posttrain.acoustics.audiogram import Audiogram, Ear
from posttrain.acoustics.enhancer import Enhancer
from posttrain.acoustics.fitting import NALR
from posttrain.acoustics.levels import present
from posttrain.acoustics.mixtures import Mixture
from posttrain.evals.hearing import perception, words_correct
from posttrain.evals.hearing.perception import EAR_HZ, Task

Line = dict[str, Any]
TALKER_DB_SPL = 65.0
AT_THE_EAR = ("haspi", "hasqi")
"""Measures that model the listener's ear; of two ears the better score counts."""


@dataclass(frozen=True)
class Heard:
    """One noisy clip at one ear of one listener, in every processing."""

    mixture: Mixture
    source: str
    """Source of the speech: `made` (synthetic), or a recorded one."""
    listener: Audiogram
    ear: Ear
    clean: np.ndarray
    """The speech alone, (S,), at 65 dB SPL."""
    clean_fitted: np.ndarray
    """The same after NAL-R."""
    waveforms: dict[str, np.ndarray]
    """Processing → (S,) at the ear, levels as in `acoustics.levels`."""

    def line(self, measure: str, processing: str, **result: Any) -> Line:
        """The line to write for one measure of one processing."""
        m, who = self.mixture, self.listener.name
        probe = f"listener/{measure}/{self.source}/{who}/snr{m.snr_db:g}/{processing}"
        about = {"id": f"{probe}/{m.id}", "probe": probe, "clip": m.id, "speaker": m.speaker, "noise": m.noise}
        return about | result


def ears(listener: Audiogram) -> tuple[Ear, ...]:
    """The ears to measure: only one if both have the same thresholds."""
    alike = listener.left_db_hl == listener.right_db_hl
    return (listener.better_ear,) if alike else ("left", "right")


def hear(
    enhancer: Enhancer, mixture: Mixture, source: str, listener: Audiogram, ear: Ear, denoise: float = 1.0
) -> Heard:
    """The mixture at this ear, in every processing; `denoise` is the enhancer's strength."""
    enhanced = enhancer.enhance(mixture.noisy, listener.levels(ear), denoise)
    three = torch.from_numpy(np.stack([mixture.noisy, enhanced, mixture.clean]))
    plain = present(three, TALKER_DB_SPL, reference=three[2:])
    fitted = NALR(listener, ear)(plain)
    waveforms = {"unaided": plain[0], "nalr": fitted[0], "enhanced": plain[1], "enhanced_nalr": fitted[1]}
    kept = {name: waveform.numpy() for name, waveform in waveforms.items()}
    return Heard(mixture, source, listener, ear, plain[2].numpy(), fitted[2].numpy(), kept)


def measure(heard: Sequence[Heard], measures: Sequence[str], cache: Path, jobs: int) -> list[Line]:
    """One line per measure, clip, listener and processing; `value` is None for a clip that cannot be measured."""
    asked = list(_tasks(heard, measures))
    scores = perception.score([task for _, _, task in asked], cache, jobs)
    best: dict[str, Line] = {}
    mapping = words_correct.load()
    for (place, processing, task), value in zip(asked, scores, strict=True):
        line = place.line(task.measure, processing, value=value)
        before = best.get(line["id"])
        if before is None or before["value"] is None or (value is not None and value > before["value"]):
            best[line["id"]] = line
            if task.measure == "haspi":
                share = None if value is None else mapping.predict(value, place.listener)
                line = place.line("words", processing, value=share)
                best[line["id"]] = line
    return list(best.values())


def _tasks(heard: Sequence[Heard], measures: Sequence[str]) -> Iterator[tuple[Heard, str, Task]]:
    for place in heard:
        thresholds = tuple(float(level) for level in place.listener.at(EAR_HZ, place.ear))
        for processing, waveform in place.waveforms.items():
            for name in measures:
                task = Task(name, waveform, place.clean, thresholds)
                if name in AT_THE_EAR:
                    yield place, processing, task
                elif place.ear == place.listener.better_ear:
                    reference = place.clean_fitted if processing.endswith("nalr") else place.clean
                    yield place, processing, replace(task, reference=reference, thresholds_db_hl=())
