"""Data sets of the Hugging Face hub, streamed: nothing is written to disk, and no code of theirs is run.

A card names them: `hub: {id: openslr/librispeech_asr, config: clean, splits: [train.100, test], revision: …}`, and
the columns if they have other names than usual.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.audiofolder import SPEAKERS, TEXTS, column
from posttrain.corpus.layouts.entry import Entry
from posttrain.readers import tables


def stream(card: Mapping[str, Any], problems: list[str]) -> Iterator[tuple[Entry, bytes]]:
    """(entry, its audio as stored) of every row of the card's splits, in their order; the entry's name is no file's."""
    import datasets  # takes a second, which a recipe without such a source does not wait for

    about = card["hub"]
    where = Path("hub") / about["id"] / about.get("config", "default")
    for split in about["splits"]:
        row = -1
        try:
            rows = datasets.load_dataset(
                about["id"],
                about.get("config"),
                split=split,
                revision=about.get("revision"),
                data_files=about.get("data_files"),
                streaming=True,
            )
            name = card.get("columns", {}).get("audio", "audio")
            for row, cells in enumerate(rows.cast_column(name, datasets.Audio(decode=False))):
                entry = _entry(where / split, row, split, cells, card, name, problems)
                if entry is not None:
                    yield entry, cells[name]["bytes"]
        except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
            said = (str(error) or type(error).__name__).splitlines()[0]
            problems.append(
                f"{where / split}, after row {row}: {said}; check id, config, split and columns, the"
                " network, and HF_TOKEN for a gated data set"
            )


def _entry(
    place: Path, row: int, split: str, cells: dict[str, Any], card: Mapping[str, Any], name: str, problems: list[str]
) -> Entry | None:
    audio = cells[name] or {}
    values = {key: str(value) for key, value in cells.items() if isinstance(value, str | int | float)}
    text, speaker = column(values, card, "text", TEXTS), column(values, card, "speaker", SPEAKERS)
    wrong = []
    if not audio.get("bytes"):
        wrong.append(f"{name} has no bytes, only the path {tables.shown(str(audio.get('path')))}; leave the row out")
    if text is None and card.get("kind", "speech") == "speech":
        there = tables.shown(", ".join(cells))
        wrong.append(
            f"no text in a column {', '.join(TEXTS)} among {there}; name it on the card: `columns: {{text: …}}`"
        )
    problems += [f"{place}, row {row}: {what}" for what in wrong]
    if wrong:
        return None
    named = f"{place.as_posix()}/{row:08d}"
    return Entry(place, row + 1, named, text or "", speaker, split, values=values, id=audio.get("path"), inside=row)
