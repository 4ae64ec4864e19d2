"""A folder of recordings without words, in folders as deep as they may be: MUSAN, DEMAND, one's own noises; rooms too.

The split is the first folder below the corpus's (MUSAN: music, noise, speech; DEMAND: a place), `folder` and `file`
(without its ending) are among the values. One folder may hold all of it, as an archive unpacks (musan/). Documents
beside the recordings are left alone; a file that may be a recording in disguise is a problem.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import LOOKED_AT, folders, is_audio, listing, some, walk

DOCUMENTS = frozenset(
    ".txt .md .rst .csv .tsv .json .jsonl .yaml .yml .xml .html .htm .pdf .doc .docx .xls .xlsx .rtf .bib".split()
    + ".png .jpg .jpeg .gif .svg .sh .py .m .mat .md5 .sha256 .ini .db".split()
)
NAMES = frozenset("readme license licence annotations copying authors changelog citation index contents".split())


def found(root: Path) -> bool:
    """Whether a recording is in the folder or in the first folders down to three levels below it."""
    return _has_audio(root, 3)


def _has_audio(folder: Path, depth: int) -> bool:
    if any(is_audio(name) for name in some(folder)):
        return True
    return depth > 0 and any(_has_audio(inside, depth - 1) for inside in folders(folder, LOOKED_AT)[:20])


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries by the names of folders and files."""
    base, ignore, numbers = _base(root), card.get("unlisted") == "ignore", count(1)
    for folder, files in walk(base):
        inside = folder.relative_to(base).parts
        below = folder.relative_to(root).as_posix()
        where = "/".join(inside)
        for name in sorted(files):
            stem, ending = os.path.splitext(name)
            if is_audio(name):
                path = name if below == "." else f"{below}/{name}"
                values = {"folder": where, "file": stem}
                split = inside[0] if inside else None
                yield Entry(root, next(numbers), path, "", None, split, values=values, id=path, there=files[name])
            elif ending.lower() not in DOCUMENTS and stem.lower() not in NAMES and not ignore:
                problems.append(
                    f"{folder / name} has no ending of a recording or of a document; name it after its format, take it"
                    " out, or let the card say `unlisted: ignore`"
                )


def _base(root: Path) -> Path:
    """The folder itself, or the only one in it if no recording is beside that one."""
    inside = folders(root)
    return inside[0] if len(inside) == 1 and folders(inside[0]) and not any(map(is_audio, listing(root))) else root
