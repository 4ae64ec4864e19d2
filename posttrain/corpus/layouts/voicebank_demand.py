"""VoiceBank-DEMAND (Valentini et al.): noisy_SET_wav, clean_SET_wav and SET_txt, the same names in each.

Entries are of the noisy side, or of the clean one if the card says `side: clean`; the value `clean` is the path of the
clean twin below the corpus's folder. The speaker is the first part of a name such as p226_001.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import LOOKED_AT, folders, is_audio, listing
from posttrain.readers import text_lines

SETS = re.compile(r"noisy_((?:train|test)set(?:_\d+spk)?)_wav")
_NAME = re.compile(r"(p\d+)_\d+")


def found(root: Path) -> bool:
    """Whether a noisy and a clean folder of one set are there."""
    return bool(_sets(root, LOOKED_AT))


def _sets(root: Path, most: int | None = None) -> list[str]:
    named = [match[1] for folder in folders(root, most) if (match := SETS.fullmatch(folder.name))]
    return [name for name in named if (root / f"clean_{name}_wav").is_dir()]


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries by set (testset, trainset_28spk, …) and name. Without folders of texts, only a card of noise is read."""
    side, text = card.get("side", "noisy"), card.get("kind", "speech") == "speech"
    for name in _sets(root):
        places = {each: root / f"{each}_{name}_wav" for each in ("noisy", "clean")}
        files = {each: listing(place) for each, place in places.items()}
        texts = root / f"{name}_txt"
        if text and not texts.is_dir():
            problems.append(f"{texts} not found, where the words of {places[side]} are; unpack {name}_txt.zip")
            continue
        written = set(listing(texts))
        for number, file in enumerate(sorted(files["noisy"].keys() | files["clean"].keys()), 1):
            stem = os.path.splitext(file)[0]
            lacking = [each for each in places if file not in files[each]]
            speaker = _NAME.fullmatch(stem)
            if not speaker or not is_audio(file):
                if card.get("unlisted") != "ignore":
                    problems.append(
                        f"{places[side] / file} is not named SPEAKER_NUMBER.wav, such as p226_001.wav; rename it"
                    )
                continue
            if lacking:
                problems.append(
                    f"{places[lacking[0]] / file} not found, the twin of a {side} recording; get the whole set"
                )
                continue
            said = _text(texts / f"{stem}.txt", problems) if text else ""
            written.discard(f"{stem}.txt")
            if said is not None:
                values = {each: f"{place.name}/{file}" for each, place in places.items()}
                yield Entry(
                    places[side],
                    number,
                    f"{places[side].name}/{file}",
                    said,
                    speaker[1],
                    name,
                    values=values,
                    id=stem,
                    there=files[side][file],
                )
        problems += [
            f"{texts / each} has no recording in {places[side]}; get the whole set, or delete it"
            for each in sorted(written if text else ())
        ]


def _text(path: Path, problems: list[str]) -> str | None:
    """The words in a file; None if there are none, which is a problem."""
    lines, before = [], len(problems)
    for number, line, bad in text_lines.read(path, "the words of a recording", problems):
        lines.append(line.strip())
        if bad is not None:
            problems.append(f"{path}:{number}: {bad}")
    if not lines and len(problems) == before:
        problems.append(f"{path} is empty, expected the words of the recording; write them")
    return " ".join(lines) if len(problems) == before else None
