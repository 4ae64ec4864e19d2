"""Recordings of prompts, which rows of instructions and preferences name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from posttrain.corpus import audio, checks, manifest
from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.manifest import Row
from posttrain.corpus.splits import split_of
from posttrain.errors import InputError


def found(
    said: Sequence[Entry], root: Path, splits: Mapping[str, str], whole: bool, bad: list[str]
) -> dict[int, Row | None]:
    """Number of a row → its recording below `root`, in its speaker's split; None where what is wrong is in `bad`.

    splits: speaker → split, of those whose split a row gives; that of others is determined by their name. whole: each
    recording is decoded, which finds what a header does not tell.
    """
    rows = manifest.checked(said, root, True, bad)
    placed: dict[int, Row | None] = {entry.line: None for entry in said}
    for row, _, problem in manifest.measure(rows, longest_s=audio.LONGEST_TRAINING_S, whole=whole):
        if problem:
            bad.append(problem)
        else:
            placed[row.line] = replace(row, split=splits.get(str(row.speaker)) or split_of(f"speaker {row.speaker}"))
    return placed


def check(rows: Sequence[Row]) -> None:
    """InputError lists recordings that cannot be decoded, whose sound is in two splits or that say two prompts."""
    problems: list[str] = []
    hashes: dict[int, str] = {}
    says: dict[str, Row] = {}
    for row, heard, problem in manifest.load(rows, longest_s=audio.LONGEST_TRAINING_S):
        if heard is None:
            problems.append(problem or row.name)
            continue
        hashes[id(row)] = checks.sound(*heard).hash
        other = says.setdefault(hashes[id(row)], row)
        if other.text != row.text:
            problems.append(
                row.problem(f"{row.name} says {row.raw!r}, and {other.raw!r} in {other.manifest}; correct one")
            )
    faults = checks.shared([(row, row.split) for row in rows], hashes, closed=True)
    problems += [fault.what for fault in faults if fault.kind == "audio in two splits"]
    if problems:
        raise InputError(problems)
