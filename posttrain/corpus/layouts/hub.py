"""Data sets of the Hugging Face hub: streamed into parquet files below the data root, which `parquet` then reads.

A card names one: `hub: {id: openslr/librispeech_asr, config: clean, splits: [train.100, test], revision: …}`; with
`rows`, only so many of each split. No code of a data set is run.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from posttrain import files
from posttrain.errors import InputError

SHARD_ROWS, GROUP_ROWS = 1_000, 100
"""Rows of a file, which is what a broken download loses, and of what is read at once later."""
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def download(card: Mapping[str, Any], folder: Path, progress: bool = True) -> list[Path]:
    """Stream the splits of the card into folder/SPLIT/0000.parquet, …, and return the new files.

    Files that are there are kept, so that an interrupted download goes on. InputError if the hub cannot be reached, or
    has no such data set, configuration or split.
    """
    about, made = card["hub"], []
    for split in about["splits"]:
        place = folder / re.sub(r"[^A-Za-z0-9.]+", "_", split)
        place.mkdir(parents=True, exist_ok=True)
        there = sorted(place.glob("*.parquet"))
        done = sum(pq.read_metadata(path).num_rows for path in there)
        rows = _stream(about, split, card.get("columns", {}).get("audio", "audio"), done)
        bar = tqdm(rows, split, initial=done, unit="row", disable=not progress)
        for number, shard in enumerate(_shards(bar), len(there)):
            made.append(place / f"{number:04d}.parquet")
            with files.beside(made[-1]) as partial:
                pq.write_table(_table(shard), partial, row_group_size=GROUP_ROWS)
    return made


def _stream(about: Mapping[str, Any], split: str, audio: str, first: int) -> Iterator[dict[str, Any]]:
    """The split's rows from the given one on, with audio as it is stored in a column called `audio`."""
    import datasets  # takes a second, which a recipe without such a source does not wait for

    left = None if about.get("rows") is None else max(about["rows"] - first, 0)
    try:
        rows = datasets.load_dataset(
            about["id"],
            about.get("config"),
            split=split,
            revision=about.get("revision"),
            data_files=about.get("data_files"),
            streaming=True,
        )
        for cells in islice(rows.cast_column(audio, datasets.Audio(decode=False)).skip(first), left):
            yield {**{name: cell for name, cell in cells.items() if name != audio}, "audio": cells[audio]}
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{about['id']}, split {split}: {said}; check id, config, split and columns, the network, and HF_TOKEN if"
            " the data set is gated"
        ) from error


def _shards(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    waiting = iter(rows)
    while shard := list(islice(waiting, SHARD_ROWS)):
        yield shard


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {name: pa.array([row.get(name) for row in rows]) for name in rows[0] if name != "audio"}
    audio = [{"bytes": (row["audio"] or {}).get("bytes"), "path": (row["audio"] or {}).get("path")} for row in rows]
    return pa.table(columns | {"audio": pa.array(audio, type=AUDIO)})
