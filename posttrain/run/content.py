"""Hashes of what a stage reads from disk besides the run itself, for its key: changed content makes another stage.

Recordings are hashed by their bytes. A hash is kept in ~/.cache/posttrain/hashes.json (XDG_CACHE_HOME) beside the
file's size, its times of modification and of status change, and its inode, and is computed again when one of them
differs: writing to a file, replacing it, or setting its time back changes at least the last three. A file touched
within the last two seconds is not kept there, since a second change could fall into the same tick of the clock.
"""

import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from posttrain import files
from posttrain.config import assets
from posttrain.config.sections import CorpusConfig
from posttrain.errors import InputError
from posttrain.model.origin import identity

PROSE = ("title", "origin", "licence", "caveats", "what", "checksums")
"""Entries of a card that are meant for human readers only."""
OTHERWISE = ("layouts", "published")
"""Entries about how the folder could also be published, and about what its authors count."""
SETTLED_S = 2.0


def of_sources(config: CorpusConfig) -> dict[str, Any]:
    """Source → its card, and hashes of its rows and recordings; None for a source that a run refuses."""
    return {name: _of_source(name, Path(config.data_root or "")) for name in config.sources}


def of_text(config: CorpusConfig) -> list[str | None]:
    """Hashes of the published texts whose phrases are spoken."""
    from posttrain.corpus import general_text

    return hashes(general_text.training_files(config.data_root))


def of_prompts(config: CorpusConfig) -> list[Any]:
    """The published prompts and questions that are test items: hashes of their files, and their cards."""
    from posttrain.tasks import asked_benchmarks, safety_sets

    try:
        prompts, cards = safety_sets.files(config), safety_sets.cards(config)
    except InputError:
        prompts, cards = [], []  # the run refuses it and gives the reason
    asked = asked_benchmarks.found(config.data_root)
    return [*hashes([*prompts, *asked.values()]), *map(_card, [*cards, *asked])]


def _card(name: str) -> dict[str, Any]:
    """A card without what is for human readers only."""
    return {key: value for key, value in assets.card(name).items() if key not in PROSE}


def of_rows(config: CorpusConfig) -> list[list[str | None]]:
    """Hashes of the files of instructions and preferences, and of their recordings; empty if none is named."""
    from posttrain.corpus import row_files

    if not (config.instructions or config.preferences):
        return []
    try:
        recorded = [row.path for row in row_files.recordings(config)]
    except InputError:
        recorded = []  # the run refuses it and gives the reason
    return [hashes(row_files.paths(config)), *([hashes(recorded)] if recorded else [])]


def of_personal(manifest: str | None, listener: str) -> dict[str, Any]:
    """Hashes of a person's manifest, recordings and audiogram."""
    path = Path(manifest or "")
    return {"manifest": _of_manifest(path) if path.is_file() else None, "listener": of_listener(listener)}


def of_listener(name: str) -> Any:
    """Hash of the audiogram's file, or the thresholds of a standard one."""
    for file in (name, name.rpartition(":")[0]):
        if file and Path(file).is_file():
            return files.sha256(Path(file))
    return standard_audiograms().get(name)


def standard_audiograms() -> dict[str, Any]:
    """Name → thresholds in dB HL, from the card."""
    return dict(assets.card("bisgaard")["thresholds_db_hl"])


def of_adapter(name: str) -> Any:
    """Content of an adapter's file without its summary; None if there is no such file."""
    try:
        card = yaml.safe_load(assets.path("adapters", name).read_text(encoding="utf-8"))
    except (InputError, OSError, ValueError, yaml.YAMLError):
        return None  # the run refuses it and gives the reason
    return {key: value for key, value in card.items() if key != "summary"} if isinstance(card, dict) else card


def of_model(name: str | None) -> str | None:
    """Hash of a local model folder; None for a hub id or none."""
    folder = Path(name or "").expanduser()
    return identity(folder) if name and folder.is_dir() else None


def hashes(paths: Iterable[Path]) -> list[str | None]:
    """The sha256 of every file, None for a missing one; a file is read again only if it may have changed."""
    cache = _cache_file()
    known = files.json_or_empty(cache)
    places = [os.path.abspath(path) for path in paths]
    now = time.time_ns()
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda place: _hash(place, known), places))
    new = {
        place: [*state, digest]
        for place, (state, digest) in zip(places, found, strict=True)
        if digest and max(state[1:3]) < now - SETTLED_S * 1e9 and known.get(place) != [*state, digest]
    }
    if new:
        with suppress(OSError):
            cache.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(cache, json.dumps(known | new))
    return [digest for _, digest in found]


def _hash(place: str, known: dict[str, Any]) -> tuple[list[int], str | None]:
    try:
        status = os.stat(place)
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        kept = known.get(place)
        if isinstance(kept, list) and kept[:-1] == state:
            return state, str(kept[-1])
        return state, files.sha256(Path(place))
    except OSError:
        return [], None


def _cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "posttrain" / "hashes.json"


def _of_source(name: str, data_root: Path) -> Any:
    from posttrain.corpus import sources

    try:
        source = sources.listed(name, data_root, [])
    except InputError:
        return None  # the run refuses it and gives the reason
    rows = [row for _, row, _ in source.placed]
    places = list(dict.fromkeys(row.path for row in rows))
    recorded = dict(zip(places, hashes(places), strict=True))
    return {
        "card": {key: value for key, value in source.card.items() if key not in (*PROSE, *OTHERWISE)},
        "rows": files.value_hash(
            [(number, split, row.name, row.raw, row.speaker, *row.segment) for number, row, split in source.placed]
        ),
        "recordings": files.value_hash([(str(row.name), recorded[row.path]) for row in rows]),
    }


def _of_manifest(path: Path) -> dict[str, Any]:
    """Hashes of a manifest and of the recordings that it names."""
    from posttrain.corpus import manifest

    try:
        rows, _ = manifest.scan(path, text=False)
    except InputError:
        rows = []
    own, *recorded = hashes([path, *(row.path for row in rows)])
    return {"manifest": own, "recordings": dict(zip((row.name for row in rows), recorded, strict=True))}
