"""Reads a whole corpus of recordings as training would, and lists what is wrong with it (`posttrain data check`)."""

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from posttrain import files
from posttrain.config import assets
from posttrain.corpus import checks, manifest, sources
from posttrain.corpus.checks import Fault, Sound
from posttrain.corpus.layouts import folders, kinds, table
from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.manifest import Row
from posttrain.errors import InputError

COLUMNS = ("path", "text", "split", "speaker", "offset_s", "duration_s", "channel")


@dataclass(frozen=True)
class Checked:
    """What was found."""

    name: str
    root: Path
    layout: str
    rows: list[tuple[Row, str | None]]
    """Rows whose table, path and text can be used, with their splits."""
    faults: list[Fault]
    sounds: dict[int, Sound] = field(default_factory=dict)
    """id(row) → what was measured, for recordings that can be read."""
    unnamed: str = ""
    """Who speaks in rows of several splits that name no speaker: nobody may be in two."""

    @property
    def usable(self) -> bool:
        """Whether training would take it, without dropping bad audio."""
        refused = ("refused", "dropped")
        return bool(self.sounds) and not any(checks.KINDS[fault.kind][0] in refused for fault in self.faults)

    @property
    def counts(self) -> dict[str, int]:
        """Kind of fault → how many there are, in the order of KINDS."""
        found = Counter(fault.kind for fault in self.faults)
        return {kind: found[kind] for kind in checks.KINDS if found[kind]}

    def facts(self) -> dict[str, Any]:
        """Hours, speakers and the like, over the recordings that can be read."""
        heard = [(row, split, self.sounds[id(row)]) for row, split in self.rows if id(row) in self.sounds]
        return {
            "layout": self.layout,
            "rows": len(self.rows),
            "hours": round(sum(sound.duration_s for *_, sound in heard) / 3600, 3),
            "speakers": len({row.speaker for row, _ in self.rows if row.speaker}),
            "splits": dict(Counter(split or "none" for _, split in self.rows)),
            "rates_hz": dict(sorted(Counter(sound.rate_hz for *_, sound in heard).items())),
            "channels": dict(sorted(Counter(sound.channels for *_, sound in heard).items())),
            "duration_s": _spread([sound.duration_s for *_, sound in heard]),
            "level_dbfs": _spread([sound.level_dbfs for *_, sound in heard if np.isfinite(sound.level_dbfs)]),
            "active_share": _spread([sound.active_s / sound.duration_s for *_, sound in heard]),
        }


def check(name: str, data_root: str | Path | None, progress: bool = True) -> Checked:
    """Check a source (a card's name, below `data_root`), a folder in a known layout, or a table.

    InputError if there is nothing to read: no such source, folder or layout.
    """
    problems: list[str] = []
    named: set[str] = set()
    counts: list[str] = []
    root, layout, about, rows = _listed(name, data_root, problems, named, counts)
    faults = [Fault("row", problem) for problem in problems] + [Fault("another count", count) for count in counts]
    sounds: dict[int, Sound] = {}
    kind = about.get("kind", "speech")
    longest_s = sources.LONGEST_S[kind]
    for row, heard, problem in manifest.load([row for row, _ in rows], progress, longest_s=longest_s):
        if heard is None:
            faults.append(Fault("audio", problem or row.name, row))
        else:
            sounds[id(row)] = checks.sound(*heard)
            faults += [*checks.of_sound(row, sounds[id(row)]), *checks.of_ending(row, heard[0].format)]
    hashes = {name: sound.hash for name, sound in sounds.items()}
    found = [*checks.overlapping(rows), *checks.shared(rows, hashes, bool(about.get("closed_vocabulary")))]
    faults += [fault for fault in found if kind == "speech" or fault.kind.startswith("audio")]
    unnamed = sorted({str(split) for row, split in rows if not row.speaker})
    if kind == "speech" and len(unnamed) > 1:
        what = f"{rows[0][0].manifest}: rows of {', '.join(unnamed)} name no speaker; add the column speaker"
        faults.append(Fault("speaker in two splits", what))
    faults += _unlisted(root, named, problems)
    return Checked(name, root, layout, rows, faults, sounds, "one of no name" if len(unnamed) > 1 else "")


def write_clean(checked: Checked, path: Path) -> int:
    """Write a manifest of the rows that training would use, and return their number.

    Without rows that are refused, dropped or left out; where two splits share a speaker or a recording, the test keeps
    it, or else the validation. Rows that name no speaker may be of the same one.
    InputError if the manifest is not in the corpus's folder or above it, which its paths would then leave, if it is the
    table that was read, and if the recordings are inside parquet files.
    """
    folder = path.resolve().parent
    if path.resolve() in {row.manifest.resolve() for row in {row.manifest: row for row, _ in checked.rows}.values()}:
        raise InputError(f"{path} is the table that was read; name another for the clean one")
    if any(row.inside is not None for row, _ in checked.rows):
        raise InputError(
            f"{path}: a manifest cannot name recordings inside parquet files; leave rows out with `use` of the card, or"
            " write the files again without them"
        )
    if not checked.root.resolve().is_relative_to(folder):
        raise InputError(f"{path}: paths in a manifest are below its folder; write it to {checked.root}, or above that")
    bad = {id(fault.row) for fault in checked.faults if checks.KINDS[fault.kind][0] == "dropped"}
    closed = not any(fault.kind == "text in two splits" for fault in checked.faults)
    kept: list[tuple[Row, str | None]] = []
    held: set[tuple[str, str]] = set()
    of_split: dict[str | None, list[Row]] = {}
    for row, split in checked.rows:
        of_split.setdefault(split, []).append(row)
    beside: dict[int, set[int]] = {}
    for (row, _), (other, _) in checks.overlaps(checked.rows):
        beside.setdefault(id(row), set()).add(id(other))
        beside.setdefault(id(other), set()).add(id(row))
    taken: set[int] = set()
    for split in sorted(of_split, key=_held_out, reverse=True):
        rows = [row for row in of_split[split] if id(row) not in bad and not beside.get(id(row), set()) & taken]
        rows = [row for row in rows if not held & _shares(checked, row, closed)]
        held |= {shared for row in rows for shared in _shares(checked, row, closed)}
        taken |= {id(row) for row in rows}
        kept += [(row, split) for row in rows]
    places = {id(row): number for number, (row, _) in enumerate(checked.rows)}
    kept.sort(key=lambda each: places[id(each[0])])
    with files.writing(path) as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, split in kept:
            place = os.path.relpath(row.path, folder)
            start, text = f"{row.offset_s:.15g}", " ".join(row.raw.split())
            length = "" if row.duration_s is None else f"{row.duration_s:.15g}"
            channel = "" if row.channel is None else row.channel
            writer.writerow([place, text, split or "", row.speaker or "", start, length, channel])
    return len(kept)


def _held_out(split: str | None) -> int:
    """2 for test rows, 1 for validation rows, 0 for the rest, by what their authors may call them."""
    name = (split or "").lower()
    return 2 if name.startswith(("test", "eval")) else 1 if name.startswith(("dev", "val")) else 0


def _shares(checked: Checked, row: Row, closed: bool) -> set[tuple[str, str]]:
    """What no row of another split may have: its voice, recording and, unless the vocabulary is closed, text."""
    found = {
        ("speaker", row.speaker or checked.unnamed),
        ("audio", checked.sounds[id(row)].hash),
        ("text", "" if closed else row.text),
    }
    return {each for each in found if each[1]}


def _listed(
    name: str, data_root: str | Path | None, problems: list[str], named: set[str], counts: list[str]
) -> tuple[Path, str, Mapping[str, Any], list[tuple[Row, str | None]]]:
    """Folder, layout, card and rows with their splits.

    Every path in a row, also in a bad one, is added to `named`, and what its authors count otherwise to `counts`.
    """
    place = Path(name).expanduser()
    if place.is_file():
        entries = _noted(table.entries(place, True, problems), named)
        rows = manifest.checked(entries, place.parent, True, problems)
        return place.parent, "table", {}, [(row, row.split) for row in rows]
    if place.is_dir():
        layout = kinds.layout_of(place)
        if layout is None:
            known = "; ".join(f"{kind}: {each.what}" for kind, each in kinds.LAYOUTS.items())
            raise InputError(f"{place} has none of the layouts that are read ({known}); put a manifest.csv into it")
        kind = "noise" if layout in ("noise", "rooms") else "speech"
        entries = _noted(kinds.LAYOUTS[layout].read(place, {"kind": kind}, problems), named)
        rows = manifest.checked(entries, place, kind == "speech", problems)
        return place, layout, {"kind": kind}, [(row, row.split) for row in rows]
    if name not in assets.names("data"):
        raise InputError(f"{name} is no folder, no table and no source; name one, or one of {', '.join(_sources())}")
    if data_root is None:
        raise InputError(f"source {name} is below a data root, and none is given; set DATA_ROOT=… or --data-root")
    source = sources.listed(name, Path(data_root), problems)
    root = Path(data_root) / name
    every = list(_noted(kinds.LAYOUTS[source.layout].read(root, source.card, []), named))
    for split, wanted in source.card.get("published", {}).items():
        count = sum(entry.split == split for entry in every)
        if count not in (0, wanted["clips"]):
            counts.append(
                f"{root}: split {split} has {count:,} recordings, published are {wanted['clips']:,}; get it again"
            )
    return root, source.layout, source.card, [(row, split) for _, row, split in source.placed]


def _sources() -> list[str]:
    """Names of the cards that describe recordings."""
    found = []
    for name in assets.names("data"):
        try:
            sources.card(name)
        except InputError:
            continue
        found.append(name)
    return found


def _noted(entries: Iterable[Entry], named: set[str]) -> Iterator[Entry]:
    for entry in entries:
        named.add(entry.name)
        yield entry


def _unlisted(root: Path, named: set[str], problems: Sequence[str]) -> Iterator[Fault]:
    """Audio files below the folder that no row names, nor the line of a row that cannot be read."""
    listed, told = {os.path.realpath(root / name) for name in named if "\0" not in name}, "\n".join(problems)
    for folder, inside, names in os.walk(root):
        inside.sort()
        for name in sorted(filter(folders.is_audio, names)):
            place = Path(folder) / name
            if os.path.realpath(place) not in listed and name not in told:
                yield Fault("unlisted", f"{place} is in no row; add one, or take the file out")


def _spread(values: list[float]) -> dict[str, float]:
    """5 %, median and 95 % quantiles."""
    if not values:
        return {}
    return {name: round(float(np.quantile(values, q)), 3) for name, q in (("p5", 0.05), ("median", 0.5), ("p95", 0.95))}
