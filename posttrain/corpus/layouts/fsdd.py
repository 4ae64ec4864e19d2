"""The Free Spoken Digit Dataset as its authors publish it: recordings/{digit}_{speaker}_{take}.wav."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import is_audio, listing, some

WORDS = "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split()
_NAME = re.compile(r"([0-9])_([^_]+)_([0-9]+)\.[^.]+")


def found(root: Path) -> bool:
    """Whether recordings/ holds such a name."""
    return any(_NAME.fullmatch(name) for name in some(root / "recordings"))


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries by speaker, digit and take, which is among the values."""
    folder = root / "recordings"
    files, rows = listing(folder), []
    for name in files:
        said = _NAME.fullmatch(name)
        if said and is_audio(name):
            rows.append((said[2], int(said[1]), int(said[3]), name))
        elif card.get("unlisted") != "ignore":
            problems.append(
                f"{folder / name} is not named DIGIT_SPEAKER_TAKE.wav, so that nobody knows what is said; rename it, or"
                " let the card say `unlisted: ignore`"
            )
    for number, (speaker, digit, take, name) in enumerate(sorted(rows), 1):
        values = {"take": str(take), "digit": str(digit)}
        yield Entry(
            folder, number, f"recordings/{name}", WORDS[digit], speaker, None, values=values, id=name, there=files[name]
        )
