"""A folder of measured room impulse responses: recordings that are named as such, in folders as deep as they may be."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts import noise
from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import LOOKED_AT, folders, is_audio, some

RESPONSE = re.compile(r"(^|[^a-z])([bh]?rirs?|irs?)([^a-z]|$)|impulse[ _-]?response", re.IGNORECASE)
"""In the name of a file or folder: RIR, BRIR, HRIR, IR, whole words."""


def found(root: Path) -> bool:
    """Whether a recording whose own name, or its folder's, says so is there, down to three levels below the folder."""
    return _has_response(root, "", 3)


def _has_response(folder: Path, named: str, depth: int) -> bool:
    if any(is_audio(name) and RESPONSE.search(f"{named}/{name}") for name in some(folder)):
        return True
    inside = folders(folder, LOOKED_AT)[:20] if depth else []
    return any(_has_response(each, f"{named}/{each.name}", depth - 1) for each in inside)


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries as those of a folder of noises: the split is the first folder, often the room."""
    yield from noise.read(root, card, problems)
