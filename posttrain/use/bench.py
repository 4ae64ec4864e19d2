"""`make bench`: processing time on one core of this machine, compared with similar code of other packages.

The sound is synthetic; the times depend neither on its content nor on trained weights. Only transcripts and training
steps (with RUN) are of a finished run. The table is also in runs/bench/bench.json.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE, audiogram, scenes
from posttrain.acoustics.audiogram import AUDIOMETRIC_HZ, Audiogram
from posttrain.acoustics.bands import HOP
from posttrain.acoustics.enhancer import Enhancer
from posttrain.acoustics.fitting import NALR, TAPS
from posttrain.acoustics.hearing_loss import HearingLoss
from posttrain.config.sections import CTCConfig
from posttrain.errors import InputError
from posttrain.evals.hearing import perception
from posttrain.evals.hearing.perception import EAR_HZ, Task
from posttrain.machine import streams
from posttrain.machine.source import code_of
from posttrain.model.encoders.contract import run as encoded
from posttrain.stages.ctc import untrained
from posttrain.use import bench_decoding, bench_training
from posttrain.use.bench_case import RUNS, Case, Timing, Work, machine, timed

SOUND = "second of sound"
SECONDS = 2.0
CLIPS = 8
"""Clips per encoder batch."""
LISTENER = "N3"
STANDARD = ("N1", "N2", "N3", "N4", "N5", "N6", "N7", "S1", "S2", "S3")
MSBG_HZ = 44_100
OUT = Path("runs/bench/bench.json")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the machine, the latencies and the table of times, and write bench.json."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    help = "time its transcripts and training steps, such as runs/tiny/sft"
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help=help)
    parser.add_argument("--clips", type=int, default=bench_decoding.CLIPS, help="test clips to transcribe")
    given = parser.parse_args(arguments)
    if given.clips < 1:
        parser.error(f"--clips is {given.clips}, expected 1 or more")
    try:
        loaded = bench_decoding.loaded(given.checkpoint, given.clips) if given.checkpoint else None
        trained = bench_decoding.loaded(given.checkpoint, bench_training.CLIPS, "train") if given.checkpoint else None
    except InputError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    print("\n".join(machine()))
    print("\nalgorithmic latency, ms")
    for name, milliseconds in latencies().items():
        print(f"  {name:<68} {milliseconds:6.2f}")
    print(f"\nprocessor seconds, one core: median [least, greatest] of {RUNS} runs")
    print(f"  {'':<56} {'ours':>28} {'peer':>28} {'ours / peer':>24}")
    found: list[Timing] = []
    try:
        of_run = (bench_decoding.cases(*loaded[:2]), bench_training.cases(*trained)) if loaded and trained else ()
        for case in chain(cases(), *of_run):
            found.append(timed(case))
            print(found[-1].line, flush=True)
    except InputError as error:
        parser.error(str(error))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    times = [timing.entry for timing in found]
    made = {"machine": machine(), "checkpoint": given.checkpoint and str(given.checkpoint)}
    files.write_json(OUT, made | {"code": code_of("bench"), "latency_ms": latencies(), "times": times})
    print(f"\n{OUT}")


def latencies() -> dict[str, float]:
    """Algorithmic latencies in ms, computed from windows and filters; nothing is timed."""
    fitting = {name: NALR(audiogram.bisgaard(name)).delay_ms for name in STANDARD}
    most = max(fitting, key=lambda name: fitting[name])
    own, window = Enhancer().latency_ms, 512
    return {
        "enhancer, window and hop": own,
        f"its peer, pyroomacoustics' spectral subtraction, window of {window}": 1000 * window / SAMPLE_RATE,
        f"NAL-R as a minimum-phase filter, greatest group delay ({most})": fitting[most],
        f"its peer, pyclarity's linear-phase filter of {TAPS} taps": 1000 * (TAPS - 1) / 2 / SAMPLE_RATE,
        "enhancer and NAL-R": own + fitting[most],
    }


def cases(seconds: float = SECONDS) -> Iterator[Case]:
    """All cases to time. InputError if the extra `hearing` is not installed."""
    from pyroomacoustics.denoise import apply_iterative_wiener, apply_spectral_sub

    perception.available()
    clean, noisy = sound(seconds)
    waveform, hl_db = torch.from_numpy(noisy), audiogram.bisgaard(LISTENER).levels()
    denoiser = Enhancer().requires_grad_(False).eval()

    def subtract() -> Any:
        return apply_spectral_sub(noisy, nfft=512)

    yield Case(
        "enhancer, whole clip",
        lambda: denoiser.enhance(noisy, hl_db),
        "pyroomacoustics' iterative Wiener filter",
        lambda: apply_iterative_wiener(noisy, frame_len=512),
        SOUND,
        seconds,
    )
    yield Case(
        "enhancer, streamed in hops of 4 ms",
        lambda: _stream(denoiser, waveform, torch.from_numpy(hl_db).float()),
        "pyroomacoustics' spectral subtraction, blocks of 16 ms",
        subtract,
        SOUND,
        seconds,
    )
    yield Case("NAL-R", *_nal_r(noisy, audiogram.bisgaard(LISTENER)), SOUND, seconds)
    yield Case("simulated loss", *_loss(noisy, hl_db), SOUND, seconds)
    ear = tuple(float(level) for level in audiogram.bisgaard(LISTENER).at(EAR_HZ, "left"))
    tasks = {name: Task(name, noisy, clean, ear) for name in ("haspi", "hasqi", "stoi")}
    for name in ("haspi", "hasqi"):
        yield Case(
            f"{name.upper()}, by pyclarity",
            lambda name=name: perception.MEASURES[name][1](tasks[name]),  # type: ignore[misc]
            "STOI, by pystoi",
            lambda: perception.MEASURES["stoi"][1](tasks["stoi"]),
            SOUND,
            seconds,
        )
    yield Case(f"encoder, {CLIPS} clips", *_encoder(noisy), SOUND, CLIPS * seconds)


def sound(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """A speech-like signal at conversational level, alone and in noise; each float32 (S,)."""
    rng = np.random.default_rng(0)
    samples = int(seconds * SAMPLE_RATE)
    clean = scenes.noise("modulated", samples, rng)
    return clean, scenes.mix(clean, scenes.noise("pink", samples, rng), 5.0)


def _stream(denoiser: Enhancer, waveform: torch.Tensor, hl_db: torch.Tensor) -> None:
    stream = denoiser.stream(hl_db)
    for piece in waveform.split(HOP):
        stream.push(piece)


def _nal_r(noisy: np.ndarray, listener: Audiogram) -> tuple[Work, str, Work]:
    from clarity.enhancer.nalr import NALR as Theirs
    from clarity.utils.audiogram import Audiogram as TheirAudiogram

    ours, theirs = NALR(listener), Theirs(TAPS - 1, SAMPLE_RATE)
    ear = TheirAudiogram(levels=np.array(listener.left_db_hl), frequencies=np.array(listener.frequencies_hz))
    taps, _ = theirs.build(ear)
    waveform = torch.from_numpy(noisy)[None]
    return lambda: ours(waveform), "pyclarity's NAL-R", lambda: theirs.apply(taps, noisy)


def _loss(noisy: np.ndarray, hl_db: np.ndarray) -> tuple[Work, str, Work]:
    """Forward pass only, like pyclarity's, which runs at its own rate; the resampling is not timed."""
    import soxr
    from clarity.evaluator.msbg.msbg import Ear
    from clarity.utils.audiogram import Audiogram as TheirAudiogram

    ours, theirs = HearingLoss(), Ear(equiv_0db_spl=65, ahr=0)
    theirs.set_audiogram(TheirAudiogram(levels=hl_db, frequencies=np.array(AUDIOMETRIC_HZ)))
    waveform, thresholds = torch.from_numpy(noisy)[None], torch.from_numpy(hl_db).float()[None]
    resampled = soxr.resample(noisy.astype(float), SAMPLE_RATE, MSBG_HZ)
    return lambda: ours(waveform, thresholds), "pyclarity's MSBG, 44.1 kHz", lambda: theirs.process(resampled)


def _encoder(noisy: np.ndarray) -> tuple[Work, str, Work]:
    """Our features and batches against Transformers' extractor, with the same untrained weights of tiny's size."""
    made = untrained(CTCConfig())
    made.model.eval()
    clips = [noisy] * CLIPS

    def theirs() -> None:
        given = made.extractor(clips, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.no_grad():
            made.model(**given)

    return (
        lambda: encoded(made, [torch.from_numpy(clip) for clip in clips]),
        "Transformers' extractor and model",
        theirs,
    )


if __name__ == "__main__":
    with streams.patient():
        main()
