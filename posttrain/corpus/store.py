"""The corpus on disk: written once to a folder beside its final path, renamed, and read back as immutable rows.

Files: audio.safetensors (one int16 tensor `audio` of all clips, 16 kHz mono), clips.jsonl, examples.jsonl, items.jsonl,
pairs.jsonl, texts.jsonl, valid_items.jsonl, and corpus.json, written last: its existence means that the corpus is
complete.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open

from posttrain import files
from posttrain.corpus import former_names
from posttrain.corpus.choices import Choice
from posttrain.corpus.instructions import World
from posttrain.corpus.types import Clip, Example, Pair
from posttrain.errors import InputError
from posttrain.machine.growing import Growing
from posttrain.readers import json_lines

FULL_SCALE = 32_768.0
AUDIO, VALID_ITEMS = "audio.safetensors", "valid_items.jsonl"
LISTS = {"examples": Example, "items": Example, "pairs": Pair}
Row = TypeVar("Row")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A loaded corpus: clips, examples, evaluation items, pairs and texts."""

    folder: Path
    """Folder that holds it."""
    clips: dict[str, Clip]
    """By id, in order of their audio."""
    examples: list[Example]
    """Training examples, split train or valid."""
    items: list[Example]
    """Evaluation items, split test."""
    pairs: list[Pair]
    """Preference pairs of every split."""
    texts: list[dict[str, str]]
    """General text lines (split, text); in evaluations also those of data cards, with their `source`."""
    fingerprint: str
    """Hash of audio and all rows: corpora with the same one are the same."""
    counts: dict[str, Any]
    """Content of corpus.json: seed, config, hashes, counts of clips and of dropped recordings."""
    valid_items: list[Example] = field(default_factory=list)
    """Validation items: like `items`, but for choosing between models, which must not use the test."""
    choices: list[Choice] = field(default_factory=list)
    """In evaluations, the items of public benchmarks; they are not stored with the corpus."""

    def audio(self, clip_id: str) -> torch.Tensor:
        """The clip's waveform, float32 (S,) in ±1 at 16 kHz; KeyError with the id if there is none."""
        clip = self.clips[clip_id]
        with safe_open(self.folder / AUDIO, framework="pt") as file:  # if it stayed open, its pages would fill memory
            return file.get_slice("audio")[clip.start : clip.start + clip.samples].float() / FULL_SCALE  # (S,)

    @property
    def world(self) -> World:
        """What its texts are about."""
        return self.counts.get("config", {}).get("world", "tiny")

    def clips_of(self, split: str) -> list[Clip]:
        """Clips of a split, in order of their audio."""
        return [clip for clip in self.clips.values() if clip.split == split]

    def examples_of(self, split: str) -> list[Example]:
        """Examples of a split, in order."""
        return [example for example in self.examples if example.split == split]

    def spoken(self, split: str, *tasks: str) -> list[Example]:
        """Examples of a split and of these tasks, on clips with speech."""
        return [e for e in self.examples_of(split) if e.clip and e.text and e.task in tasks]

    @staticmethod
    def load(folder: str | Path) -> "Corpus":
        """The finished corpus in a folder; InputError if it is missing, damaged or inconsistent."""
        folder = Path(folder)
        summary_path = folder / "corpus.json"
        if not summary_path.is_file():
            raise InputError(f"{folder} holds no finished corpus (no corpus.json); make it with `make data`")
        parts = ("clips.jsonl", "texts.jsonl", *(f"{name}.jsonl" for name in LISTS))
        broken = [files.damage(summary_path), files.broken_tensors(folder / AUDIO)]
        broken += [f"{folder / name} is missing" for name in parts if not (folder / name).is_file()]
        if found := [problem for problem in broken if problem]:
            raise InputError([f"{problem}; delete {folder} and make it again" for problem in found])
        summary = json.loads(summary_path.read_text(encoding="utf-8"))
        with safe_open(folder / AUDIO, framework="pt") as file:
            (samples,) = file.get_slice("audio").get_shape()
        clips = {clip.id: clip for clip in _read(folder / "clips.jsonl", Clip)}
        end = max((clip.start + clip.samples for clip in clips.values()), default=0)
        if end != samples and clips:
            raise InputError(
                f"{folder}/{AUDIO} holds {samples} samples, expected {end} from clips.jsonl;"
                " delete the folder and make it again"
            )
        lists: dict[str, Any] = {name: _read(folder / f"{name}.jsonl", kind) for name, kind in LISTS.items()}
        if (folder / VALID_ITEMS).is_file():  # older corpora have none; code that needs some reports it
            lists["valid_items"] = _read(folder / VALID_ITEMS, Example)
        for name in lists.keys() & {"items", "valid_items"}:
            lists[name] = [dataclasses.replace(item, **_names(item)) for item in lists[name]]
        texts = json_lines.values(folder / "texts.jsonl")
        return Corpus(folder, clips, **lists, texts=texts, fingerprint=summary["fingerprint"], counts=summary)


def write(
    folder: Path,
    spoken: Iterable[tuple[Clip, np.ndarray]],
    examples: list[Example],
    items: list[Example],
    pairs: list[Pair],
    texts: list[dict[str, str]],
    summary: dict[str, Any],
    valid_items: Sequence[Example] = (),
) -> Corpus:
    """Write a corpus atomically and read it back.

    `spoken`: clips with their int16 waveforms (S,), of which one at a time is in memory; `start` and `samples` are set
    here. `summary` goes into corpus.json, with counts of clips and the fingerprint of everything written.
    """
    with files.new_folder(folder) as beside:
        clips, heard = _write_audio(beside / AUDIO, spoken)
        _check_ids(clips, {"examples": examples, "items": items, "pairs": pairs, "valid_items": valid_items})
        hashes = {"audio": heard}
        lists: dict[str, list[Any]] = {
            "clips": clips,
            "examples": examples,
            "items": items,
            "pairs": pairs,
            "texts": texts,
            "valid_items": list(valid_items),
        }
        for name, rows in lists.items():
            text = "".join(json.dumps(_plain(row), ensure_ascii=False) + "\n" for row in rows)
            hashes[name] = files.content_hash(text)
            (beside / f"{name}.jsonl").write_text(text, encoding="utf-8")
        fingerprint = files.value_hash(hashes)
        counts = {"fingerprint": fingerprint, "hashes": hashes, "clips": _count(clips), **summary}
        files.write_json(beside / "corpus.json", counts)
    return Corpus.load(folder)


def _write_audio(path: Path, spoken: Iterable[tuple[Clip, np.ndarray]]) -> tuple[list[Clip], str]:
    """The clips with their places in the file, and the hash of its samples."""
    clips, digest = [], hashlib.sha256()
    audio = Growing(path, "audio", "int16")
    try:
        for clip, waveform in spoken:
            clips.append(dataclasses.replace(clip, start=audio.rows, samples=len(waveform)))
            audio.append(waveform)
            digest.update(waveform.tobytes())
        audio.finish()
    finally:
        audio.close()
    return clips, digest.hexdigest()


def _count(clips: list[Clip]) -> dict[str, int]:
    return dict(sorted(Counter(f"{clip.source}/{clip.split}" for clip in clips).items()))


def _check_ids(clips: list[Clip], prompts: Mapping[str, Sequence[Example | Pair]]) -> None:
    """ValueError for a duplicate id or an unknown clip: a prompt would get another's speech."""
    for kind, ids in {"clips": clips, **prompts}.items():
        counts = Counter(each.id for each in ids)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise ValueError(f"{len(twice)} ids are shared by several {kind}, such as {twice[0]}; give each its own")
    known = {clip.id for clip in clips}
    named = {each.clip for each in chain.from_iterable(prompts.values()) if each.clip is not None}
    if lost := sorted(named - known):
        raise ValueError(f"{len(lost)} clips are named that the corpus does not have, such as {lost[0]}")


def _plain(row: Any) -> dict[str, Any]:
    fields = row if isinstance(row, dict) else dataclasses.asdict(row)
    return fields if fields.get("endings", True) else {k: v for k, v in fields.items() if k != "endings"}


def _names(item: Example) -> dict[str, Any]:
    """The item's id and probe as they are called today."""
    return dict(former_names.renamed({"id": item.id, "probe": item.probe}))


def _read(path: Path, kind: type[Row]) -> list[Row]:
    return [kind(**fields) for fields in json_lines.values(path)]
