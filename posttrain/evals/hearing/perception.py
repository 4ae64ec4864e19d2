"""Score processed clips with pyclarity and torchmetrics: HASPI, HASQI, STOI, PESQ, SI-SDR; in parallel, and cached.

The cache key is what the score was computed from: the measure, its library's version, both waveforms and the ear. So an
interrupted run resumes, and a second run measures nothing again.
"""

import importlib.util
import json
import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.levels import RMS_ONE_DB_SPL
from posttrain.acoustics.mixtures import si_sdr
from posttrain.errors import InputError
from posttrain.files import content_hash

if TYPE_CHECKING:
    from clarity.utils.audiogram import Audiogram as ClarityAudiogram

EAR_HZ = (250.0, 500.0, 1000.0, 2000.0, 4000.0, 6000.0)
"""Frequencies at which HASPI and HASQI take thresholds."""
SEED = 0
"""Seed of the noise in the ear model of HASPI and HASQI, set again for each clip."""


@dataclass(frozen=True)
class Task:
    """One measure of one clip."""

    measure: str
    """One of MEASURES."""
    processed: np.ndarray
    """float32 (S,), levels as in `acoustics.levels`."""
    reference: np.ndarray
    """The clean speech, (S,): unamplified for HASPI and HASQI, fitted like `processed` for the others."""
    thresholds_db_hl: tuple[float, ...]
    """Thresholds of the ear at EAR_HZ; measures in the air do not use them."""

    @property
    def key(self) -> str:
        """Hash of everything that the score depends on."""
        package = MEASURES[self.measure][0]
        of = repr([self.measure, version(package), SEED, self.thresholds_db_hl])
        return content_hash([of, self.processed.tobytes(), "|", self.reference.tobytes(), "|"])[:24]


def haspi(task: Task) -> float:
    """HASPI v2 (Kates and Arehart 2021), 0 to 1."""
    from clarity.evaluator.haspi.haspi import haspi_v2

    np.random.seed(SEED)  # pyclarity draws from the global generator
    score, _ = haspi_v2(task.reference, SAMPLE_RATE, task.processed, SAMPLE_RATE, _ear(task), level1=RMS_ONE_DB_SPL)
    return float(score)


def hasqi(task: Task) -> float:
    """HASQI v2 (Kates and Arehart 2014), 0 to 1; it fits the reference with NAL-R itself."""
    from clarity.evaluator.hasqi.hasqi import hasqi_v2

    np.random.seed(SEED)
    score, *_ = hasqi_v2(task.reference, SAMPLE_RATE, task.processed, SAMPLE_RATE, _ear(task), level1=RMS_ONE_DB_SPL)
    return float(score)


def stoi(task: Task) -> float:
    """STOI (Taal et al. 2011), at most 1."""
    from posttrain.evals.hearing.enhancement import stoi  # a process that scores others needs none of its libraries

    return stoi(task.processed, task.reference)


def pesq(task: Task) -> float:
    """Wide-band PESQ (ITU-T P.862.2), about 1 to 4.6."""
    from torchmetrics.functional.audio.pesq import perceptual_evaluation_speech_quality

    both = torch.from_numpy(task.processed), torch.from_numpy(task.reference)
    return float(perceptual_evaluation_speech_quality(*both, SAMPLE_RATE, "wb"))


MEASURES: dict[str, tuple[str, Callable[[Task], float]]] = {
    "haspi": ("pyclarity", haspi),
    "hasqi": ("pyclarity", hasqi),
    "si_sdr": ("numpy", lambda task: si_sdr(task.processed, task.reference)),
    "stoi": ("pystoi", stoi),
    "pesq": ("pesq", pesq),
}
"""Measure → the package whose version is part of the key, and the function."""
NEEDED = ("clarity", "pystoi", "torchmetrics")


def available() -> list[str]:
    """The measures available here; InputError if the extra is not installed. PESQ needs a compiler to install."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{', '.join(missing)} is not installed; pip install 'posttrain[hearing]'")
    return [name for name in MEASURES if name != "pesq" or importlib.util.find_spec("pesq")]


def score(tasks: Sequence[Task], cache: Path, jobs: int) -> list[float | None]:
    """The score of every task, None if it has none (silence, not finite); kept in `cache`, a file of JSON lines.

    `jobs`: number of processes.
    """
    keys = [task.key for task in tasks]
    known = _read(cache)
    todo = {key: task for key, task in zip(keys, tasks, strict=True) if key not in known}
    cache.parent.mkdir(parents=True, exist_ok=True)
    with (
        cache.open("a", encoding="utf-8") as file,
        _map(jobs) as run,
        tqdm(total=len(tasks), initial=len(tasks) - len(todo), desc="measuring", unit="score") as bar,
    ):
        for key, value in zip(todo, run(_score, todo.values()), strict=True):
            known[key] = value
            file.write(json.dumps([key, value]) + "\n")
            file.flush()
            bar.update()
    return [known[key] for key in keys]


def _score(task: Task) -> float | None:
    """The task's score; None if it cannot be measured, so that the caller can count a bad clip."""
    if not (np.isfinite(task.processed).all() and task.processed.any() and task.reference.any()):
        return None
    try:
        value = MEASURES[task.measure][1](task)
    except (ValueError, RuntimeError):  # pyclarity: signal below threshold; PESQ: no utterance
        return None
    return value if math.isfinite(value) else None


def _read(cache: Path) -> dict[str, float | None]:
    """The cached scores; a last line cut off by a kill is skipped."""
    known: dict[str, float | None] = {}
    for line in cache.read_text(encoding="utf-8").split("\n") if cache.is_file() else []:
        try:
            key, value = json.loads(line)
        except ValueError:
            continue
        known[key] = value
    return known


@contextmanager
def _map(jobs: int) -> Iterator[Callable[..., Any]]:
    """`map`, or with several jobs a map over processes of one thread each."""
    if jobs == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool.map


def _ear(task: Task) -> "ClarityAudiogram":
    from clarity.utils.audiogram import Audiogram

    return Audiogram(levels=np.array(task.thresholds_db_hl), frequencies=np.array(EAR_HZ))
