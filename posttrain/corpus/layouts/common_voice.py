"""Common Voice: train.tsv, dev.tsv, test.tsv and clips/*.mp3, of one language or of several folders.

Cells are separated by tabs and nothing is quoted: a quote belongs to the sentence. The speaker is `client_id`. Clips
that only validated.tsv, invalidated.tsv or other.tsv name are in no split.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import LOOKED_AT, folders, is_audio, listing
from posttrain.readers import tables, text_lines

SPLITS = ("train", "dev", "test")
OTHERS = ("validated", "invalidated", "other")
NEEDED = ("client_id", "path", "sentence")
KEPT = ("locale", "age", "gender", "accents", "accent", "variant")


def found(root: Path) -> bool:
    """Whether the folder, or one in it (a language, a release), has clips/ and a table of a split."""
    return bool(_languages(root, LOOKED_AT))


def _languages(root: Path, most: int | None = None) -> list[Path]:
    inside = folders(root, most)
    releases = [folder for folder in inside if folder.name.startswith("cv-corpus-")]
    return [
        folder
        for folder in (root, *inside, *(language for release in releases for language in folders(release, most)))
        if any((folder / f"{split}.tsv").is_file() for split in SPLITS) and (folder / "clips").is_dir()
    ]


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries of the three tables, in their order. Clips in no table are a problem, unless the card says `unlisted:
    ignore`."""
    for folder in _languages(root):
        clips = listing(folder / "clips")
        inside = (folder / "clips").relative_to(root).as_posix()
        unlisted = set() if card.get("unlisted") == "ignore" else {name for name in clips if is_audio(name)}
        for split in SPLITS:
            table = folder / f"{split}.tsv"
            shared: dict[tuple[str, ...], dict[str, str]] = {}
            people: dict[str, str] = {}
            for line, cells in _rows(table, problems) if table.is_file() else ():
                name = _file(cells["path"])
                unlisted.discard(name)
                kept = tuple(cells.get(column, "") for column in KEPT)
                if kept not in shared:
                    shared[kept] = {column: cell for column, cell in zip(KEPT, kept, strict=True) if cell}
                speaker = people.setdefault(cells["client_id"], cells["client_id"])
                yield Entry(
                    table,
                    line,
                    f"{inside}/{name}",
                    cells["sentence"],
                    speaker,
                    split,
                    values=shared[kept],
                    id=name,
                    there=clips.get(name, False),
                )
        for other in OTHERS if unlisted else ():
            path = folder / f"{other}.tsv"
            unlisted -= {_file(cells["path"]) for _, cells in _rows(path, [])} if path.is_file() else set()
        problems += [
            f"{folder / 'clips' / name} is in no table; let the card say `unlisted: ignore`, or delete it"
            for name in sorted(unlisted)
        ]


def _file(path: str) -> str:
    """Releases before the fourth leave the ending out."""
    return path if is_audio(path) else f"{path}.mp3"


def _rows(table: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column → cell); lines with another number of cells, or without speaker or path, are problems."""
    header: list[str] = []
    for number, line, bad in text_lines.read(table, f"a table of {', '.join(NEEDED)}", problems):
        cells = line.split("\t")
        if bad is None and header and len(cells) != len(header):
            bad = f"{len(cells)} cells, expected {len(header)} as in the header: {tables.shown(line)}; correct the line"
        if bad is not None:
            problems.append(f"{table}:{number}: {bad}")
        elif not header:
            header = [cell.strip().lower() for cell in cells]
            if lacking := [name for name in NEEDED if name not in header]:
                problems.append(
                    f"{table}:{number}: no column {', '.join(lacking)}, expected {', '.join(NEEDED)}, separated by"
                    " tabs; take the table as it was published"
                )
                return
        else:
            row = dict(zip(header, cells, strict=True))
            empty = [name for name in ("client_id", "path") if not row[name].strip()]
            if empty:
                problems.append(f"{table}:{number}: {', '.join(empty)} is empty; fill it in, or delete the line")
            else:
                yield number, row
