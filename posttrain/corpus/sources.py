"""Recordings of real people and real noises: a card data/NAME.yaml describes them, DATA_ROOT/NAME holds them.

They are listed first, with their lengths from the files' headers, and decoded one by one when the corpus is written.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from posttrain.acoustics import SAMPLE_RATE
from posttrain.config import assets
from posttrain.config.sections import CorpusConfig
from posttrain.corpus import audio, checks, manifest
from posttrain.corpus.instructions import ABSTENTION, INSTRUCTIONS, REPEAT
from posttrain.corpus.layouts import selection
from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.kinds import LAYOUTS
from posttrain.corpus.manifest import Row
from posttrain.corpus.types import CLIP_ID, SPLITS, Clip, Example
from posttrain.errors import InputError, collecting
from posttrain.files import content_hash
from posttrain.readers import tables

DIGITS = frozenset("zero oh one two three four five six seven eight nine".split())
NOISE_PIECE_S = 4.0
LONGEST_S = {"speech": audio.LONGEST_TRAINING_S, "noise": audio.LONGEST_WHOLE_S}
"""Kind of card → its longest recording."""


SHAPES = (
    ("hub", dict, "id: …, splits: […]"),
    ("columns", dict, "audio, text, speaker → a column's name"),
    ("published", dict, "split → clips: number"),
    ("manifest", str, "a file's name"),
    ("rows", str, "a file's name"),
)
"""Entry of a card, its type, and what it is in words."""
_ZEROS, _OCTAL = re.compile("0[0-9]+"), re.compile("0[0-7]+")
"""What YAML takes for a number, the latter of base eight."""


@dataclass(frozen=True)
class Source:
    """The recordings of one card."""

    card: dict[str, Any]
    layout: str
    """Name of the layout that the folder has."""
    placed: list[tuple[int, Row, str]]
    """Number of the row among those that `use` takes, row, split; in the order of the layout."""


@dataclass(frozen=True)
class Recorded:
    """What the sources add to the corpus."""

    clips: list[Clip] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    """"repeat" for train and valid clips; evaluation items for test ones."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Number of bad recordings per source, if `on_bad_audio` is drop."""
    places: dict[str, tuple[Row, slice]] = field(default_factory=dict)
    """Clip id → its recording, and which of its samples."""
    counted: dict[str, Counter[str]] = field(default_factory=dict)
    """Source → kind of fault (`checks.KINDS`) → number of recordings that have it; filled as they are decoded."""

    def waveforms(self, progress: bool = False) -> Iterator[tuple[Clip, np.ndarray]]:
        """Clips and their int16 waveforms (S,), decoded one by one.

        At the end, InputError lists recordings that cannot be read, and those that are in two splits.
        """
        of_row: dict[int, list[Clip]] = {}
        for clip in self.clips:
            of_row.setdefault(id(self.places[clip.id][0]), []).append(clip)
        rows = [self.places[clips[0].id][0] for clips in of_row.values()]
        problems: list[str] = []
        hashes: dict[int, str] = {}
        for clips, (row, heard, problem) in zip(of_row.values(), manifest.load(rows, progress), strict=True):
            if heard is None:
                problems.append(problem or row.name)
                continue
            sound = checks.sound(*heard)
            hashes[id(row)] = sound.hash
            self.counted.setdefault(clips[0].source, Counter()).update(f.kind for f in checks.of_sound(row, sound))
            for clip in clips:
                yield clip, audio.int16(heard[1][self.places[clip.id][1]])
        placed = [(row, clips[0].split) for row, clips in zip(rows, of_row.values(), strict=True)]
        found = checks.shared(placed, hashes, closed=True)
        problems += [fault.what for fault in found if fault.kind == "audio in two splits"]
        if problems:
            raise InputError(problems)


def without(recorded: Recorded, texts: set[str]) -> Recorded:
    """The recordings without training and validation clips that say one of these texts; single digits stay."""
    out = {clip.id for clip in recorded.clips if clip.split != "test" and clip.text in texts - DIGITS}
    clips = [clip for clip in recorded.clips if clip.id not in out]
    return dataclasses.replace(recorded, clips=clips, examples=[e for e in recorded.examples if e.clip not in out])


def check(config: CorpusConfig) -> None:
    """Raise InputError with all problems of a recipe's sources, including bad audio (unless that is dropped)."""
    recorded = read(config, progress=False)
    if config.on_bad_audio == "error":
        for _ in recorded.waveforms():
            pass


def read(config: CorpusConfig, progress: bool = True) -> Recorded:
    """All recordings of the recipe's sources; InputError lists every bad row of every source, also by its header.

    With `on_bad_audio: drop`, unusable recordings are left out and counted; bad paths and texts are still errors.
    """
    if config.sources and config.data_root is None:
        raise InputError("corpus.data_root is null, expected the folder of the sources; set DATA_ROOT=… or data_root")
    if twice := sorted({name for name in config.sources if config.sources.count(name) > 1}):
        raise InputError(f"corpus.sources names {', '.join(twice)} more than once; name each source once")
    recorded = Recorded()
    problems: list[str] = []
    for name in config.sources:
        with collecting(problems):
            _add(recorded, name, Path(config.data_root or ""), config.on_bad_audio == "drop", progress)
    if problems:
        raise InputError(problems)
    return _across(recorded, {name for name in config.sources if card(name).get("closed_vocabulary")})


def _across(recorded: Recorded, closed: set[str]) -> Recorded:
    """The recordings without train and validation clips that say what a held-out clip of another source says, as
    `_disjoint` does inside one; sources with a closed vocabulary are left alone."""
    open_ones = [clip for clip in recorded.clips if clip.text and clip.source not in closed]
    test, valid = ({clip.text for clip in open_ones if clip.split == name} for name in ("test", "valid"))
    held_out = {"test": set[str](), "valid": test}
    out = {clip.id for clip in open_ones if clip.text in held_out.get(clip.split, test | valid)}
    clips = [clip for clip in recorded.clips if clip.id not in out]
    return dataclasses.replace(recorded, clips=clips, examples=[e for e in recorded.examples if e.clip not in out])


def card(name: str) -> dict[str, Any]:
    """The data card of a source of recordings; InputError if it is missing or invalid."""
    path = assets.path("data", name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}; correct it") from error
    if not isinstance(content, dict) or content.get("kind") not in list(LONGEST_S) or "use" not in content:
        kind = content.get("kind") if isinstance(content, dict) else content
        raise InputError(f"{path}: kind is {kind}, expected speech or noise with `use`; name another source")
    layouts = content.get("layouts", ["table"])
    named = isinstance(layouts, dict | list) and layouts and all(name in list(LAYOUTS) for name in layouts)
    if not named or not all(isinstance(own, dict | None) for own in _own(layouts)):
        raise InputError(f"{path}: layouts is {layouts}, expected names among {', '.join(LAYOUTS)}; correct it")
    content["layouts"] = layouts = layouts if isinstance(layouts, dict) else dict.fromkeys(layouts)
    wrong = [each for part in (content, *filter(None, _own(layouts))) for each in _wrong(part)]
    if wrong:
        raise InputError([f"{path}: {each}" for each in wrong])
    return content


def _own(layouts: Any) -> list[Any]:
    """What a card says of single layouts."""
    return list(layouts.values()) if isinstance(layouts, dict) else []


def _wrong(part: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the entries of a card, or of one of its layouts."""
    use = part.get("use", {})
    if not isinstance(use, dict) or not set(use) <= set(SPLITS) or not all(isinstance(v, dict) for v in use.values()):
        yield f"use is {use}, expected {', '.join(SPLITS)} → column: values; correct it"
    else:
        for column, value in (pair for columns in use.values() for pair in columns.items()):
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, bool) or not isinstance(each, str | int):
                    yield f"use has {column} {each}, which YAML does not take for a text; put it in quotes"
    for key, kind, wanted in SHAPES:
        if key in part and not isinstance(part[key], kind):
            yield f"{key} is {part[key]!r}, expected {wanted}; correct it"
    hub = part.get("hub")
    if isinstance(hub, dict):
        splits = hub.get("splits")
        if not isinstance(hub.get("id"), str) or not isinstance(splits, list) or not splits:
            yield f"hub is {hub}, expected an id and a list of splits; correct it"
    published = part.get("published")
    if isinstance(published, dict) and not all(isinstance(p, dict) and "clips" in p for p in published.values()):
        yield f"published is {published}, expected split → clips: number; correct it"


def listed(name: str, data_root: Path, problems: list[str]) -> Source:
    """The rows of a source and their splits, without opening audio; problems with single rows are added to `problems`.

    InputError if the folder is missing or has none of the card's layouts, or if no row is used.
    """
    about, root = card(name), data_root / name
    found = [kind for kind in about["layouts"] if LAYOUTS[kind].found(root)]
    if not found and root.is_dir() and list(about["layouts"]) != ["table"]:
        found = list(about["layouts"])[:1]  # what is missing is for its reader to say
    if not found:
        get = "put it below data_root, or take it out of corpus.sources"
        get = f"get it with: posttrain data get {name} --data-root {data_root}" if "hub" in about else get
        wanted = " or ".join(LAYOUTS[kind].what for kind in about["layouts"])
        raise InputError(f"source {name} not found ({root}: {wanted}); {get}")
    layout = found[0]
    about = about | (about["layouts"][layout] or {})
    bad: list[str] = []
    there: set[str] = set()
    used = _used(_entries(root, about, layout, bad), about["use"], there, bad)
    rows = manifest.checked(used, root, about["kind"] == "speech", bad)
    lacking = sorted({column for columns in about["use"].values() for column in columns} - there) if there else []
    bad += [f"{root}: no column {column}, which `use` of the card {name} names; add it" for column in lacking]
    problems += tables.in_line_order(bad)
    if not rows and not bad:
        raise InputError(f"{root}: no row meets `use` of the card {name}; correct the card or the table")
    placed = [(number, row, split_of(row, about["use"]) or "") for number, row in enumerate(rows, 1)]
    return Source(about, layout, placed)


def _entries(root: Path, about: dict[str, Any], layout: str, bad: list[str]) -> Iterable[Entry]:
    """The rows of the layout, or those whose names the card's file of `rows` holds."""
    entries = LAYOUTS[layout].read(root, about, bad)
    return selection.chosen(entries, assets.folder("data") / about["rows"], bad) if "rows" in about else entries


def _used(entries: Iterable[Entry], use: dict[str, dict[str, Any]], there: set[str], bad: list[str]) -> Iterator[Entry]:
    """The entries of a split; others are neither checked nor read. The columns of all are added to `there`, and numbers
    of the card that meant a text with zeros before them, such as a speaker 0006, to `bad`."""
    numbers = {(column, v) for columns in use.values() for column, value in columns.items() for v in _several(value)}
    numbers = {(column, v) for column, v in numbers if isinstance(v, int)}
    for entry in entries:
        columns = _columns(entry)
        there.update(columns)
        for column, number in sorted(numbers):
            cell = columns.get(column, "")
            if _ZEROS.fullmatch(cell) and number in (int(cell), int(cell, 8) if _OCTAL.fullmatch(cell) else None):
                numbers.remove((column, number))
                bad.append(
                    f"{entry.table}:{entry.line}: {column} is {cell}, and in the card the number {number}; put it in"
                    " quotes there"
                )
        if split_of(entry, use):
            yield entry


def split_of(row: Row | Entry, use: dict[str, dict[str, Any]]) -> str | None:
    """The split whose conditions (column → value or values) the row meets, test first; None if it is not used."""
    columns = _columns(row)
    for split in reversed(SPLITS):
        wanted = use.get(split)
        if wanted is not None and all(
            columns.get(column) in [str(each) for each in _several(value)] for column, value in wanted.items()
        ):
            return split
    return None


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _columns(row: Row | Entry) -> dict[str, str]:
    own = {"path": row.name, "speaker": row.speaker, "split": row.split}
    return dict(row.values) | {name: value for name, value in own.items() if value is not None}


def _add(recorded: Recorded, name: str, data_root: Path, drop: bool, progress: bool) -> None:
    bad_rows: list[str] = []
    source = listed(name, data_root, bad_rows)
    placed = _disjoint(source.placed, source.card) if source.placed else []
    problems: list[str] = []
    longest_s = LONGEST_S[source.card["kind"]]
    measured = manifest.measure([row for _, row, _ in placed], progress, longest_s, whole=drop)
    for (row, samples, problem), (number, _, split) in zip(measured, placed, strict=True):
        if samples is None:
            problems.append(problem or row.name)
        elif source.card["kind"] == "speech":
            _add_speech(recorded, name, number, row, split)
        else:
            _add_noise(recorded, name, number, row, split, samples)
    if bad_rows or (problems and not drop):
        raise InputError([*bad_rows, *problems])
    recorded.dropped[name] = len(problems)


def _add_speech(recorded: Recorded, name: str, number: int, row: Row, split: str) -> None:
    clip_id = _clip_id(split, name, number)
    speaker = f"{name}/{row.speaker}"
    recorded.clips.append(Clip(clip_id, row.text, speaker, split, name, "real", None, 0, 0, row.name, row.raw))
    recorded.places[clip_id] = (row, slice(None))
    probes: list[str | None] = [None]
    if split == "test":
        probes = [f"wer_real/{name}"]
        if name == "speechocean762" and set(row.text.split()) <= DIGITS:
            probes.append(f"wer_real/{name}_digits")
    for probe in probes:
        example_id = f"{probe or 'repeat'}/{clip_id}"
        instruction = INSTRUCTIONS[REPEAT]
        recorded.examples.append(
            Example(example_id, split, REPEAT, instruction, row.text, clip_id, row.text, "wer", probe)
        )


def _add_noise(recorded: Recorded, name: str, number: int, row: Row, split: str, samples: int) -> None:
    """Add pieces of a noise recording, to abstain on; those of the training split are also mixed into speech."""
    kind = Path(row.name).stem
    for place, piece in enumerate(_pieces(samples)):
        clip_id = f"{_clip_id(split, name, number)}/{place:02d}"
        recorded.clips.append(Clip(clip_id, "", f"{name}/{row.name}", split, name, "noise", kind, 0, 0, row.name))
        recorded.places[clip_id] = (row, piece)
        probe = "hearing/noise" if split == "test" else None
        example_id = f"{probe or 'repeat'}/{clip_id}"
        recorded.examples.append(
            Example(
                example_id,
                split,
                REPEAT,
                INSTRUCTIONS[REPEAT],
                "",
                clip_id,
                ABSTENTION,
                "abstain",
                probe,
                content=f"{name}/{row.name}",
            )
        )


def _clip_id(split: str, source: str, number: int) -> str:
    """Split, source and the row's number, which is the same in every layout.

    File names may contain what an id may not, or differ only in their suffix.
    """
    safe = source if CLIP_ID.fullmatch(source) else content_hash(source)[:8]
    return f"{split}/{safe}/{number:06d}"


def _pieces(samples: int) -> Iterator[slice]:
    size = int(NOISE_PIECE_S * SAMPLE_RATE)
    for start in range(0, max(samples - size // 2, 1), size):
        yield slice(start, start + size)


def _disjoint(placed: Sequence[tuple[int, Row, str]], about: dict[str, Any]) -> list[tuple[int, Row, str]]:
    """The rows without train rows that share a text with a test or validation row, and without validation rows that
    share one with a test row, unless the card says that the vocabulary is closed (single digits). InputError if a
    speaker is in two splits, or rows of several splits name none, or segments of several splits overlap."""
    if overlapping := [fault.what for fault in checks.overlapping((row, split) for _, row, split in placed)]:
        raise InputError(overlapping)
    if about["kind"] != "speech":
        return list(placed)
    splits: dict[str | None, set[str]] = {}
    for _, row, split in placed:
        splits.setdefault(row.speaker, set()).add(split)
    if len(splits.pop(None, set()) | splits.pop("", set())) > 1:
        raise InputError(
            f"{placed[0][1].manifest}: rows of several splits name no speaker, expected nobody in two splits; add the"
            " column speaker"
        )
    shared = sorted(f"{speaker} ({', '.join(sorted(s))})" for speaker, s in splits.items() if len(s) > 1)
    if shared:
        raise InputError(
            f"{placed[0][1].manifest}: speakers in two splits: {'; '.join(shared)}; correct `use` of the card"
        )
    if about.get("closed_vocabulary"):
        return list(placed)
    test, valid = ({row.text for _, row, split in placed if split == name} for name in ("test", "valid"))
    held_out = {"test": set(), "valid": test}
    return [each for each in placed if each[1].text not in held_out.get(each[2], test | valid)]
