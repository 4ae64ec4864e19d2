"""`make scale`: time and memory to list recordings, decode them into a corpus, and encode them, by their number.

The recordings are a few synthetic half-second clips under many names, in LibriSpeech's layout. Each step runs in a
process of its own, whose peak memory is told, without what the libraries take. A million rows are listed only: their
files exist, and are not opened.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE
from posttrain.config.sections import CorpusConfig, CTCConfig
from posttrain.corpus import sources, store
from posttrain.machine import streams
from posttrain.machine.source import code_of
from posttrain.model.corpus_table import encode_corpus
from posttrain.stages.ctc import untrained
from posttrain.use.bench_case import machine

SIZES = (1_000, 10_000, 100_000, 1_000_000)
LISTED_ONLY = 1_000_000
STEPS = ("list", "lengths", "corpus", "frames")
READER_ROWS, CHAPTER_ROWS = 1_000, 50
FILES = 40
"""Different clips; a file system lets one file have some ten thousand names."""
OUT = Path("runs/bench/scale.json")


def main() -> None:
    """Print one line per size and step, and write scale.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of recordings")
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        run(given.step[0], Path(given.step[1]))
        return
    made: list[dict[str, float | str]] = []
    print(f"{'recordings':>10}  {'step':<8} {'seconds':>9} {'memory, MB':>16}")
    for size in given.sizes:
        with tempfile.TemporaryDirectory(prefix="posttrain-scale-") as folder:
            make(Path(folder) / "librispeech", size)
            for step in STEPS[:1] if size >= LISTED_ONLY else STEPS:
                command = [sys.executable, "-m", "posttrain.use.scale", "--step", step, folder]
                done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
                found = json.loads(done.stdout.splitlines()[-1])
                assert found["rows"] == size
                print(f"{size:>10,}  {step:<8} {found['seconds']:>9.1f} {found['memory_mb']:>16,.0f}", flush=True)
                made.append({"step": step} | found)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(OUT, {"machine": machine(), "code": code_of("scale"), "sizes": made})
    print(OUT)


def make(root: Path, size: int) -> None:
    """LibriSpeech's layout with `size` recordings."""
    rng = np.random.default_rng(0)
    clips = root.with_name("clips")
    clips.mkdir()
    for number in range(FILES):
        soundfile.write(clips / f"{number}.flac", 0.1 * rng.standard_normal(SAMPLE_RATE // 2), SAMPLE_RATE)
    for start in range(0, size, CHAPTER_ROWS):
        reader, chapter = str(100 + start // READER_ROWS), str(1000 + start // CHAPTER_ROWS)
        folder = root / "train-clean-100" / reader / chapter
        folder.mkdir(parents=True)
        names = [f"{reader}-{chapter}-{number:04d}" for number in range(min(CHAPTER_ROWS, size - start))]
        for number, name in enumerate(names, start):
            os.link(clips / f"{number % FILES}.flac", folder / f"{name}.flac")
        lines = (f"{name} THE QUICK BROWN FOX SAW NUMBER {rng.choice(WORDS)} {rng.choice(WORDS)}\n" for name in names)
        (folder / f"{reader}-{chapter}.trans.txt").write_text("".join(lines), encoding="utf-8")


WORDS = ("ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN")


def run(step: str, folder: Path) -> None:
    """One step; prints its result as JSON."""
    config = CorpusConfig(sources=("librispeech",), data_root=str(folder))
    clock, before = time.perf_counter(), _peak_mb()
    if step == "list":
        rows = len(sources.listed("librispeech", folder, []).placed)
    elif step == "lengths":
        rows = len(sources.read(config, progress=False).clips)
    elif step == "corpus":
        recorded = sources.read(config, progress=False)
        rows = len(store.write(folder / "corpus", recorded.waveforms(), recorded.examples, [], [], [], {}).clips)
    else:
        corpus = store.Corpus.load(folder / "corpus")
        rows = len(encode_corpus(untrained(CTCConfig()), corpus, folder / "corpus", progress=False).spans)
    seconds = time.perf_counter() - clock
    print(json.dumps({"rows": rows, "seconds": seconds, "memory_mb": _peak_mb() - before}))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    with streams.patient():
        main()
