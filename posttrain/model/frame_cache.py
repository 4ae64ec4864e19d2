"""Encoder frames on disk, written batch by batch: an encoding that is interrupted goes on where it stopped."""

import json
import os
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import IO

import torch

from posttrain import files
from posttrain.machine.growing import HEADER, Growing

Batch = dict[int, tuple[torch.Tensor, str]]
"""Number of a clip → its frames (T, D) and the encoder's transcript."""
Encoded = dict[int, tuple[int, int, str]]
"""Number of a clip → its first frame, their number, and the transcript."""


def fill(path: Path, key: str, width: int, batches: Callable[[Container[int]], Iterator[Batch]]) -> Encoded:
    """Write the frames of all batches to `partial_of(path)`, a safetensors file with float16 `frames` (T_all, width).

    batches: yields the batches of the clips whose numbers are not in the container. A log beside the file says what is
    in it; what an earlier call under the same key wrote is kept. `finish` moves the file to `path`.
    """
    done = _read(path, key, width)
    frames = Growing(partial_of(path), "frames", "float16", (width,), sum(count for _, count, _ in done.values()))
    try:
        with _log(path).open("w", encoding="utf-8") as log:
            _append(log, key)
            _append(log, list(done.items()))
            for batch in batches(done.keys()):
                new: Encoded = {}
                for number, (own, words) in batch.items():
                    new[number] = (frames.rows, len(own), words)
                    frames.append(own.half().numpy())
                frames.flush()
                _append(log, list(new.items()))
                done |= new
        frames.finish({"key": key})
    finally:
        frames.close()
    return done


def finish(path: Path) -> None:
    """Move the file that `fill` wrote into place."""
    files.move(partial_of(path), path)
    _log(path).unlink()


def partial_of(path: Path) -> Path:
    """The file while it is written."""
    return path.with_name(f"{path.stem}.partial")


def _log(path: Path) -> Path:
    return path.with_name(f"{path.stem}.partial.jsonl")


def _append(log: IO[str], value: object) -> None:
    log.write(json.dumps(value) + "\n")
    log.flush()
    os.fsync(log.fileno())


def _read(path: Path, key: str, width: int) -> Encoded:
    """What an earlier, unfinished call wrote under this key; a last line that a crash broke is left out."""
    if not (_log(path).is_file() and partial_of(path).is_file()):
        return {}
    try:
        first, *lines = _log(path).read_text(encoding="utf-8").split("\n")
        if first != json.dumps(key):
            return {}
        done = {number: tuple(place) for line in lines[:-1] for number, place in json.loads(line)}
    except ValueError:  # a disk that lost what it said was written
        return {}
    size = 8 + HEADER + 2 * width * sum(count for _, count, _ in done.values())
    return done if partial_of(path).stat().st_size >= size else {}
