"""`make bench RUN=…`, of a run with an enhance stage: its denoiser beside others, on the same test recordings.

For each: parameters, algorithmic latency as measured, processor seconds on one core, and what it gains over the noisy
input at every SNR and changes in clean speech; with a model, also its word errors behind each. Recorded voices and
noises where the run's corpus has them, else synthetic ones. Everything is also in runs/bench/denoising.json.
"""

import argparse
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE, enhancer
from posttrain.acoustics.bands import HOP
from posttrain.acoustics.enhancer import Enhancer
from posttrain.acoustics.latency import latency_ms
from posttrain.acoustics.mixtures import si_sdr
from posttrain.acoustics.peers import PEERS, Peer
from posttrain.corpus.store import Corpus
from posttrain.errors import InputError
from posttrain.evals.hearing import perception
from posttrain.evals.hearing.enhancement import SNRS_DB, mixtures_of, stoi
from posttrain.evals.hearing.machine_hearing import Machine
from posttrain.evals.measures import Ratio
from posttrain.evals.metrics import harms
from posttrain.machine import streams
from posttrain.machine.device import quiet_libraries
from posttrain.machine.source import code_of
from posttrain.model import origin
from posttrain.stages.training.enhance_data import clean_speech, listener
from posttrain.use import bench_recognition
from posttrain.use.bench_case import Case, Timing, Work, machine, timed

OURS, LESS = "ours", " − "
INT8 = "ours, int8"
"""Ours with 8-bit matrices (`enhancer.rounded`), computed in floats."""
CLEAN = "clean"
"""The condition where clean speech goes in; SI-SDR is then the output's to the input, and no gain."""
GAINS = {"si_sdr": "SI-SDR gain, dB; clean speech: SI-SDR to the input", "stoi": "STOI gain, points"}
MEASURES = GAINS | bench_recognition.MEASURES
POINTS = {"si_sdr": 1, "stoi": 100, "wer": 100, "encoder_wer": 100}
"""What a figure is multiplied by in tables."""
CLIPS = 40
TIMED = 3
"""Clips whose mixtures are timed, one after the other."""
BOOTSTRAP = 1000
OUT = Path("runs/bench/denoising.json")
Line = dict[str, Any]


@dataclass(frozen=True)
class Denoiser:
    """One that is compared."""

    name: str
    identity: str
    """Name and version of what was measured."""
    params: int | None
    """None if unknown."""
    enhance: Callable[[np.ndarray], np.ndarray]
    """float32 (S,) at 16 kHz → (S,), aligned."""
    latency_ms: Callable[[], float]
    """Measures the algorithmic latency."""
    streamed: Callable[[np.ndarray], Work]
    """A waveform (S,) → work that puts it through an open stream, hop by hop or frame by frame."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the comparison and write denoising.json."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a finished enhance stage, such as runs/tiny/enhance")
    parser.add_argument("--clips", type=int, default=CLIPS, help="test clips of each source")
    parser.add_argument("--model", type=Path, help="a checkpoint that transcribes, such as runs/smol/sft")
    given = parser.parse_args(arguments)
    if given.clips < 1:
        parser.error(f"--clips is {given.clips}, expected 1 or more")
    quiet_libraries()
    try:
        perception.available()
        made, corpus = enhancer.load(given.folder), Corpus.load(origin.resolve(given.folder).corpus)
        models = bench_recognition.load(given.model, given.folder, corpus) if given.model else None
        found = compared(made, corpus, given.clips, models)
    except InputError as error:
        parser.error(str(error))
    about = {"machine": machine(), "checkpoint": str(given.folder), "code": code_of("denoising")}
    about |= {"model": str(given.model)} if given.model else {}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(OUT, about | found)
    print("\n".join([*about["machine"], "", *text(found), "", str(OUT)]))


def compared(
    made: Enhancer, corpus: Corpus, clips: int, models: tuple[Machine, Machine] | None = None
) -> dict[str, Any]:
    """`denoisers` with their costs, `figures`, and `missing`: the fix for each peer whose package is not installed.

    models: for word errors, a model and the same behind ours (`bench_recognition.load`).
    InputError if the corpus has no clean test speech.
    """
    peers = [peer for peer in PEERS.values() if not peer.missing]
    in_8_bits = copy.deepcopy(made)
    in_8_bits.load_state_dict(enhancer.whole(enhancer.rounded(made.state_dict())))
    known = [_ours(made), _ours(in_8_bits, INT8), *(_theirs(peer) for peer in peers)]
    sources = _sources(corpus)
    lines = list(chain.from_iterable(_lines(known, corpus, source, clips) for source in sources))
    if models:
        alone, behind = models
        hears = {one.name: (one.enhance, behind if one.name in (OURS, INT8) else alone) for one in known}
        lines += chain.from_iterable(bench_recognition.lines(hears, alone, corpus, source, clips) for source in sources)
    return {
        "clips": clips,
        "denoisers": _costs(known, _timed_sound(corpus, sources[0])),
        "figures": figures(lines),
        "missing": {peer.name: peer.missing for peer in PEERS.values() if peer.missing},
    }


def figures(lines: list[Line]) -> list[dict[str, Any]]:
    """Mean of each denoiser, measure, source and condition, with its interval over speakers and contents.

    Word errors are all errors over all words. Also of ours less each other one's, on the same clips. `bad`: clips that
    could not be measured. `harm`: a gain that surely is a loss, as `metrics.harms` has it.
    """
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in (*lines, *_paired(lines)):
        groups.setdefault((line["source"], line["measure"], line["condition"], line["denoiser"]), []).append(line)
    found = []
    for (source, measure, condition, name), group in groups.items():
        good = {line["clip"]: line for line in group if math.isfinite(line["value"])}
        one: dict[str, Any] = {"source": source, "measure": measure, "condition": condition, "denoiser": name}
        one |= {"n": len(good), "bad": len(group) - len(good)}
        if good:
            units = {clip: (line["content"], line["speaker"]) for clip, line in good.items()}
            ratio = Ratio({c: (line["value"], line.get("of", 1.0)) for c, line in good.items()}, "clips", units=units)
            ci = ratio.interval(0, BOOTSTRAP)
            nothing_changed = LESS in name and not any(line["value"] for line in good.values())
            one |= {"value": ci.value, "ci95": [-ci.hi if nothing_changed else ci.lo, ci.hi]}
            gain = measure in GAINS and condition != CLEAN and LESS not in name
            one["harm"] = gain and harms(f"enhance/{measure}_gain/", one)
            one |= {"speakers": len({line["speaker"] for line in good.values()})}
        found.append(one)
    return found


def _paired(lines: list[Line]) -> Iterator[Line]:
    """Ours less each other denoiser's value, clip by clip."""
    ours = {(x["source"], x["measure"], x["condition"], x["clip"]): x["value"] for x in lines if x["denoiser"] == OURS}
    for x in lines:
        if x["denoiser"] != OURS:
            value = ours[x["source"], x["measure"], x["condition"], x["clip"]] - x["value"]
            yield x | {"denoiser": f"{OURS}{LESS}{x['denoiser']}", "value": value}


def text(found: dict[str, Any]) -> list[str]:
    """The comparison as lines of text."""
    said: list[str] = []
    for title, rows in tables(found):
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        said += [title, *("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in rows), ""]
    return [*said, *(f"{name} is left out: {fix}" for name, fix in found["missing"].items())]


def tables(found: dict[str, Any]) -> Iterator[tuple[str, list[list[str]]]]:
    """A title and cells: the costs, then for each source and measure a line for each denoiser, a column a condition."""
    costs = [["denoiser", "parameters", "latency, ms", "processor seconds for a second of sound", "ratio to ours"]]
    for one in found["denoisers"]:
        params = f"{one['params']:,}" if one["params"] else "–"
        costs.append(
            [one["identity"], params, f"{one['latency_ms']:.1f}", *map(_spread, (one["seconds"], one["ratio"]))]
        )
    yield "Cost", costs
    by = {(f["source"], f["measure"], f["condition"], f["denoiser"]): f for f in found["figures"]}
    for source, measure in dict.fromkeys(key[:2] for key in by):
        own = [key for key in by if key[:2] == (source, measure)]
        conditions, names = (list(dict.fromkeys(key[place] for key in own)) for place in (2, 3))
        rows = [[by[source, measure, condition, name] for condition in conditions] for name in names]
        head = ["", *(f"{figure['condition']} (n={figure['n']})" for figure in rows[0])]
        cells = ([name, *map(_cell, row)] for name, row in zip(names, rows, strict=True))
        yield f"{MEASURES[measure]}, {source}", [head, *cells]


def _cell(figure: dict[str, Any]) -> str:
    if "value" not in figure:
        return "–"
    scale = POINTS[figure["measure"]]
    value, lo, hi = (f"{round(scale * x, 1) + 0.0:.1f}".replace("-", "−") for x in (figure["value"], *figure["ci95"]))
    return f"{value} [{lo}, {hi}]" + " harm" * figure["harm"]


def _spread(values: Sequence[float]) -> str:
    return f"{values[0]:.3g} [{values[1]:.3g}, {values[2]:.3g}]"


def _sources(corpus: Corpus) -> list[str]:
    """Recorded sources of clean test speech, or all if there is none."""
    clips = clean_speech(corpus, "test")
    if not clips:
        raise InputError(f"{corpus.folder} has no clean test speech, expected some; raise corpus.test_clips")
    return sorted({clip.source for clip in clips if clip.recorded} or {clip.source for clip in clips})


def _lines(known: list[Denoiser], corpus: Corpus, source: str, clips: int) -> Iterator[Line]:
    """A line for each clip, condition, denoiser and measure."""
    mixtures = mixtures_of(corpus, source, SNRS_DB, clips)
    for mixture in tqdm(mixtures, source, unit="mixture", leave=False):
        about = {"source": source, "clip": mixture.id, "speaker": mixture.speaker}
        about |= {"content": corpus.clips[mixture.id].text or mixture.id}
        inputs = {f"{mixture.snr_db:g} dB": mixture.noisy}
        inputs |= {CLEAN: mixture.clean} if mixture.snr_db == SNRS_DB[-1] else {}
        for condition, sound in inputs.items():
            before = {"si_sdr": 0.0 if condition == CLEAN else si_sdr(sound, mixture.clean)}
            before |= {"stoi": stoi(sound, mixture.clean)}
            for one in known:
                made = one.enhance(sound)
                after = {"si_sdr": si_sdr(made, mixture.clean), "stoi": stoi(made, mixture.clean)}
                for measure, value in after.items():
                    found = {"measure": measure, "condition": condition, "value": value - before[measure]}
                    yield about | {"denoiser": one.name} | found


def _ours(made: Enhancer, name: str = OURS) -> Denoiser:
    hl_db = listener("normal").levels()
    hearing = torch.from_numpy(hl_db).float()

    def enhance(waveform: np.ndarray) -> np.ndarray:
        return made.enhance(waveform, hl_db)

    def streamed(waveform: np.ndarray) -> Work:
        stream, pieces = made.stream(hearing), torch.from_numpy(waveform).split(HOP)
        return lambda: [stream.push(piece) for piece in pieces]

    params = sum(parameter.numel() for parameter in made.parameters())
    latency = partial(latency_ms, enhance, HOP, SAMPLE_RATE)
    return Denoiser(name, name, params, enhance, latency, streamed)


def _theirs(peer: Peer) -> Denoiser:
    def streamed(waveform: np.ndarray) -> Work:
        stream, samples = peer.stream(), torch.from_numpy(waveform)
        return lambda: stream.push(samples)

    latency = partial(latency_ms, peer.at_its_rate, peer.frame, peer.rate_hz)
    return Denoiser(peer.name, peer.identity, None, peer.enhance, latency, streamed)


def _timed_sound(corpus: Corpus, source: str) -> np.ndarray:
    """Noisy speech at the middle SNR, (S,)."""
    middle = SNRS_DB[len(SNRS_DB) // 2]
    return np.concatenate([mixture.noisy for mixture in islice(mixtures_of(corpus, source, [middle]), TIMED)])


def _costs(known: list[Denoiser], sound: np.ndarray) -> list[dict[str, Any]]:
    """Latency and processor seconds of each, timed in turns with ours; ours is timed as often as there are others."""
    ours, *others = known
    amount = len(sound) / SAMPLE_RATE

    def against(other: Denoiser) -> Timing:
        work, peer = other.streamed(sound), ours.streamed(sound)
        return timed(Case(other.name, work, ours.name, peer, "second of sound", amount))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = {other.name: against(other) for other in others}
    torch.set_num_threads(threads)
    first = next(iter(times.values()))
    seconds = {ours.name: first.peers} | {name: timing.ours for name, timing in times.items()}
    ratios = {ours.name: (1.0, 1.0, 1.0)} | {name: timing.ratio for name, timing in times.items()}
    return [
        {
            "name": one.name,
            "identity": one.identity,
            "params": one.params,
            "latency_ms": one.latency_ms(),
            "seconds": list(seconds[one.name]),
            "ratio": list(ratios[one.name]),
        }
        for one in known
    ]


if __name__ == "__main__":
    with streams.patient():
        main()
