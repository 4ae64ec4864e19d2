"""Data sets of the Hugging Face hub: streamed into parquet files below the data root, which `parquet` then reads.

A card names one: `hub: {id: openslr/librispeech_asr, config: clean, splits: [train.100, test], revision: …}`; with
`rows`, only so many of each split. No code of a data set is run.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi
from tqdm import tqdm

from posttrain import files
from posttrain.errors import InputError

SHARD_ROWS, GROUP_ROWS = 1_000, 100
"""Rows of a file, which is what a broken download loses, and of what is read at once later."""
TIMEOUT_S = 20.0
ORIGIN = b"posttrain"
"""Key of a file's metadata that says which data set and split its rows are from."""
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def download(card: Mapping[str, Any], folder: Path, progress: bool = True) -> list[Path]:
    """Stream the splits of the card into folder/SPLIT/0000.parquet, …, and return the new files.

    Files that are there are kept, so that an interrupted download goes on. InputError if the hub cannot be reached, or
    has no such data set, configuration or split, and if the files that are there are others, or not all of them.
    """
    about, made = _pinned(card["hub"]), []
    for split in about["splits"]:
        place = folder / re.sub(r"[^A-Za-z0-9.]+", "_", split)
        place.mkdir(parents=True, exist_ok=True)
        there = sorted(place.glob("*.parquet"))
        known = {key: about[key] for key in ("id", "config", "revision", "data_files") if about.get(key) is not None}
        origin = json.dumps(known | {"split": split}, sort_keys=True)
        done = _there(place, there, origin)
        rows = _stream(about, split, card.get("columns", {}).get("audio", "audio"), done)
        bar = tqdm(rows, split, initial=done, unit="row", disable=not progress)
        for number, shard in enumerate(_shards(bar), len(there)):
            made.append(place / f"{number:04d}.parquet")
            with files.beside(made[-1]) as partial:
                try:
                    table = _table(shard).replace_schema_metadata({ORIGIN: origin})
                except pa.ArrowException as error:
                    raise InputError(f"{about['id']}, split {split}: {error}; choose another data set") from error
                pq.write_table(table, partial, row_group_size=GROUP_ROWS)
    return made


def _pinned(about: Mapping[str, Any]) -> dict[str, Any]:
    """The card's entry with the commit that its revision, or the newest one, is at now; InputError without the hub."""
    if about.get("data_files") or re.fullmatch("[0-9a-f]{40}", str(about.get("revision"))):
        return dict(about)
    try:
        found = HfApi().dataset_info(about["id"], revision=about.get("revision"), timeout=TIMEOUT_S)
    except Exception as error:  # of whichever HTTP library its client uses
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{about['id']}: {said}; check id and revision, the network, and HF_TOKEN if the data set is gated"
        ) from error
    return {**about, "revision": found.sha}


def _there(place: Path, there: Sequence[Path], origin: str) -> int:
    """The number of rows that an earlier call wrote for the same data set."""
    rows = 0
    for number, path in enumerate(there):
        try:
            metadata = pq.read_metadata(path)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} is no parquet file ({error}); delete it and those after it") from error
        if path.name != f"{number:04d}.parquet":
            raise InputError(f"{place}/{number:04d}.parquet is missing; delete {place} and get it again")
        if (was := (metadata.metadata or {}).get(ORIGIN, b"unknown").decode()) != origin:
            raise InputError(f"{path} is from {was}, and the card now names {origin}; delete {place} and get it again")
        rows += metadata.num_rows
    return rows


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
    except (OSError, ValueError, KeyError, TypeError, datasets.exceptions.DatasetsError) as error:
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
