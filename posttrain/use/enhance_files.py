"""Enhance recordings: one into a .wav file, those of a folder or a manifest into a folder.

They are read, processed and written in blocks, so that memory does not grow with their length.
"""

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import soundfile
from tqdm import tqdm

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE
from posttrain.corpus import audio
from posttrain.errors import InputError, collecting
from posttrain.use import before_after, outputs
from posttrain.use.before_after import Course
from posttrain.use.enhance import Aid, Compression, build

if TYPE_CHECKING:
    from posttrain.acoustics.audiogram import Ear
    from posttrain.corpus.manifest import Row

MANIFESTS = (".csv", ".tsv", ".jsonl")
DECIMALS = 2


@dataclass(frozen=True)
class Job:
    """One recording, and the file to write."""

    path: Path
    target: Path
    where: str = ""
    """Manifest and line, for messages."""
    segment: audio.Segment = audio.ALL
    """Which part of the recording."""

    @property
    def names(self) -> dict[str, str]:
        """What a result says first."""
        return {"in": str(self.path), "out": str(self.target)}


def enhance(
    source: Path,
    target: Path,
    checkpoint: Path | None = None,
    audiogram: str | None = None,
    ear: "Ear | None" = None,
    denoise: float = 1.0,
    stream: bool = False,
    dry_run: bool = False,
    compression: Compression = "none",
    mono: bool = False,
    plot: Path | None = None,
) -> dict[str, Any]:
    """Enhance a recording into a .wav file, or those of a folder or manifest into a folder (32-bit float, 16 kHz).

    Two channels stay two unless `mono`; more are averaged. Paths below a folder are kept, with the ending .wav. Files
    that are there are replaced. `plot`: a .png or .svg file for one recording's spectrograms.

    Returns the settings and latency_ms; for one recording levels, rtf (seconds to read, process and write a second of
    sound) and duration_s; for several `files`, each with in, out and these, and `failed`, if any: those that could not
    be read after all, and why.

    Raises InputError that lists all problems of recordings, outputs, checkpoint and audiogram before anything is made,
    and if the only recording cannot be read after all.
    """
    problems: list[str] = []
    several = source.is_dir() or source.suffix.lower() in MANIFESTS
    jobs = _jobs(source, target, problems) if several else _job(source, target, problems)
    samples = _checked(jobs, mono, problems)
    if plot is not None and (wrong := _plot_problem(plot, source, several)):
        problems.append(wrong)
    aid = build(checkpoint, audiogram, ear, denoise, problems, compression)
    if aid and aid.folder is None and not problems:
        problems += _peer_problems(aid, jobs, mono, stream)
    if problems or aid is None:
        raise InputError(problems)
    used: dict[str, Any] = {"in": str(source), "out": str(target), "checkpoint": str(aid.checkpoint)}
    used |= {"audiogram": aid.audiogram.name, "ear": aid.ear, "denoise": denoise, "stream": stream}
    used |= {"compression": compression}
    used |= {"latency_ms": round(aid.latency_ms["total"], DECIMALS)}
    used |= {"latency_parts_ms": {part: round(ms, DECIMALS) for part, ms in aid.latency_ms.items() if part != "total"}}
    used |= {"plot": str(plot)} if plot else {}
    if dry_run:
        return used | ({"files": [job.names for job in jobs]} if several else {})
    done, failed = [], []
    with tqdm(total=math.ceil(samples / SAMPLE_RATE), desc="enhancing", unit="s") as bar:
        passed = 0

        def progress(count: int) -> None:
            nonlocal passed
            passed += count
            bar.update(min(math.ceil(passed / SAMPLE_RATE), bar.total) - bar.n)

        for job in jobs:
            try:
                done.append(job.names | _enhanced(job, aid, stream, mono, plot, progress))
            except ValueError as error:
                failed.append(f"{job.where}{job.path}: {error}")
    if several:
        return used | {"files": done} | ({"failed": failed} if failed else {})
    if failed:
        raise InputError(failed)
    return used | done[0]


def _job(source: Path, target: Path, problems: list[str]) -> list[Job]:
    if target.suffix.lower() != ".wav" or target.is_dir() or not target.absolute().parent.is_dir():
        problems.append(f"OUT is {target}, expected a .wav file in a folder that is there")
    elif outputs.same(target, source):
        problems.append(f"IN and OUT are both {source}; name another OUT")
    return [Job(source, target)]


def _jobs(source: Path, target: Path, problems: list[str]) -> list[Job]:
    """The recordings of a folder or a manifest; what is wrong with them or with OUT is added to `problems`."""
    from posttrain.corpus import manifest
    from posttrain.corpus.layouts.folders import is_audio, walk

    found: list[tuple[str, Job]] = []
    if source.is_dir():
        paths = [folder / name for folder, names in walk(source) for name in sorted(names) if is_audio(name)]
        found = [(str(path.relative_to(source)), Job(path, target)) for path in paths]
        if not found:
            problems.append(
                f"IN is {source}, a folder without recordings; name one with .wav, .flac or other audio files"
            )
        if target.resolve().is_relative_to(source.resolve()):
            problems.append(f"OUT is {target}, inside IN, where the next call would read it; name a folder elsewhere")
    else:
        with collecting(problems):
            rows, wrong = manifest.scan(source, text=False)
            problems += wrong
            found = [(_named(row), Job(row.path, target, row.problem(""), row.segment[:3])) for row in rows]
    if target.suffix.lower() == ".wav" or (target.exists() and not target.is_dir()):
        problems.append(
            f"OUT is {target}, expected a folder, since IN is a {'folder' if source.is_dir() else 'manifest'}"
        )
        return [job for _, job in found]
    if not target.absolute().parent.is_dir():
        problems.append(f"OUT is {target}, expected a folder in one that is there")
    places, wrong = outputs.places([name for name, _ in found], target, ".wav")
    problems += wrong
    jobs = [Job(job.path, Path(f"{places[name]}.wav"), job.where, job.segment) for name, job in found]
    problems += outputs.blocked(
        [*dict.fromkeys(job.target for job in jobs)], [source, *(job.path for job in jobs)], target
    )
    return jobs


def _named(row: "Row") -> str:
    """The row's path; with the segment's start and the channel, if it names them, before the ending."""
    parts = [f"from{row.offset_s:g}s"] if row.offset_s else []
    parts += [f"channel{row.channel}"] if row.channel is not None else []
    path = Path(row.name)
    return str(path.with_name("_".join([path.stem, *parts]) + path.suffix))


def _checked(jobs: list[Job], mono: bool, problems: list[str]) -> int:
    """Samples of all recordings, of which every one was decoded; what is wrong with one is added to `problems`."""

    def check(job: Job) -> tuple[int, str]:
        try:
            found = _header(job)
            audio.check(found, _apart(found, mono))
        except ValueError as error:
            return 0, f"{job.where}{job.path}: {error}"
        return found.samples, ""

    with ThreadPoolExecutor() as pool:
        checked = list(
            tqdm(pool.map(check, jobs), "checking", len(jobs), unit="file", leave=False, disable=len(jobs) < 2)
        )
    problems += [problem for _, problem in checked if problem]
    return sum(samples for samples, _ in checked)


def _header(job: Job) -> audio.Header:
    return audio.header(job.path, 1, audio.LONGEST_S, *job.segment)


def _apart(found: audio.Header, mono: bool) -> bool:
    """Whether the channels are kept."""
    return found.channels == 2 and found.channel is None and not mono


def _peer_problems(aid: Aid, jobs: list[Job], mono: bool, stream: bool) -> list[str]:
    """What another denoiser than ours cannot do: hop by hop, and two channels with one mask."""
    two = [f"{job.where}{job.path}" for job in jobs if _apart(_header(job), mono)]
    problems = [f"--stream takes an enhance stage's folder, --checkpoint is {aid.checkpoint}; leave out --stream"]
    mended = [
        f"{path} has two channels, and {aid.checkpoint} takes one; add --mono, which averages them" for path in two
    ]
    return (problems if stream else []) + mended


def _plot_problem(plot: Path, source: Path, several: bool) -> str | None:
    if several:
        return f"--plot is for one recording, and IN is {source}; name one of its recordings, or leave --plot out"
    if plot.suffix.lower() not in before_after.PICTURES:
        return f"--plot is {plot}, expected a .png or .svg file; rename it"
    return outputs.problem(plot, [source], "--plot")


def _enhanced(
    job: Job, aid: Aid, stream: bool, mono: bool, plot: Path | None, progress: Callable[[int], None]
) -> dict[str, Any]:
    """Write one recording's output, whole or not at all; ValueError if the recording cannot be read."""
    clock = time.perf_counter()
    found = _header(job)
    apart = _apart(found, mono)
    before, after = (Course(found.samples, plot is not None) for _ in range(2))
    blocks = aid.blocks(before.watch(audio.blocks(found, apart)), found.samples, stream)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    with files.beside(job.target) as partial:
        with soundfile.SoundFile(
            os.fsencode(partial), "w", SAMPLE_RATE, 2 if apart else 1, "FLOAT", format="WAV"
        ) as file:
            for block in after.watch(blocks):
                file.write(block.T)  # floats: an aid's gain may exceed ±1, and nothing may be clipped
                progress(block.shape[-1])
        took_s = time.perf_counter() - clock
    if plot is not None:
        before_after.draw(plot, before, after)
    duration_s = after.samples / SAMPLE_RATE
    levels = {"in_db_spl": before.level_db_spl, "out_db_spl": after.level_db_spl}
    rounded = {name: round(level, DECIMALS) for name, level in levels.items()}
    return {"levels": rounded, "rtf": round(took_s / duration_s, 4), "duration_s": round(duration_s, 3)}
