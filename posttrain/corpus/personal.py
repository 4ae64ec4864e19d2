"""One person's recordings: a manifest `path,text,split[,names]`, with a few to train on and others to test on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posttrain.corpus import audio, manifest
from posttrain.corpus.normalise import normalise
from posttrain.errors import InputError

MOST = 20
"""Maximum number of training utterances: what a person can be asked to record."""
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Utterance:
    """One recording."""

    id: str
    """Line number in the manifest."""
    text: str
    """Normalised words."""
    split: str
    """One of SPLITS."""
    names: tuple[str, ...] | None
    """Words of the text that are this person's own: names, places. None if the manifest has no column `names`."""
    waveform: np.ndarray
    """float32 (S,) at 16 kHz."""
    name: str = ""
    """The path as written in the manifest."""


def load(path: Path | str, minimum_samples: int = audio.MINIMUM_SAMPLES) -> list[Utterance]:
    """The recordings of a manifest.

    InputError lists all problems: bad rows and audio, a split that is neither train nor test or has no row, more than
    MOST training rows, a sentence that is in both splits, a name that is not in its text.
    """
    rows, problems = manifest.scan(path)
    for row in rows:
        if row.split not in SPLITS:
            problems.append(row.problem(f"split is {row.split!r}, expected train or test; correct the line"))
        missing = sorted(set(_names(row) or ()) - set(row.text.split()))
        if missing:
            problems.append(row.problem(f"names are {' '.join(missing)}, which are not in the text; correct the line"))
    train, test = ([row for row in rows if row.split == split] for split in SPLITS)
    for split, found in (("train", train), ("test", test)):
        if rows and not found:
            problems.append(f"{path} has no row of split {split}, expected one or more; add them")
    if len(train) > MOST:
        problems.append(f"{path} has {len(train)} rows of split train, expected at most {MOST}; take some out")
    said = {row.text for row in train}
    problems += [row.problem(f"text {row.text!r} is in train too; say another") for row in test if row.text in said]
    utterances = []
    for row, heard, problem in manifest.load(rows, minimum_samples=minimum_samples, longest_s=audio.LONGEST_TRAINING_S):
        if problem or heard is None:
            problems.append(str(problem))
        else:
            utterances.append(Utterance(f"{row.line:06d}", row.text, str(row.split), _names(row), heard[1], row.name))
    if problems:
        raise InputError(problems)
    return utterances


def own_words(utterance: Utterance, known: set[str]) -> tuple[str, ...]:
    """The utterance's names: those in the manifest, else the words that are not `known`."""
    if utterance.names is not None:
        return utterance.names
    return tuple(dict.fromkeys(word for word in utterance.text.split() if word not in known))


def _names(row: manifest.Row) -> tuple[str, ...] | None:
    given = row.values.get("names")
    return None if given is None else tuple(normalise(given).split())
