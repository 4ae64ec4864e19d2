"""Recordings of real people and real noises: a card data/NAME.yaml describes them, DATA_ROOT/NAME holds them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from posttrain.acoustics import SAMPLE_RATE
from posttrain.config import assets
from posttrain.config.sections import CorpusConfig
from posttrain.corpus import audio, manifest
from posttrain.corpus.instructions import ABSTENTION, INSTRUCTIONS, REPEAT
from posttrain.corpus.manifest import Row
from posttrain.corpus.types import CLIP_ID, SPLITS, Clip, Example
from posttrain.errors import InputError
from posttrain.files import content_hash

DIGITS = frozenset("zero oh one two three four five six seven eight nine".split())
NOISE_PIECE_S = 4.0


@dataclass(frozen=True)
class Recorded:
    """What the sources add to the corpus."""

    clips: list[tuple[Clip, np.ndarray]] = field(default_factory=list)
    """Clips and their int16 waveforms (S,)."""
    examples: list[Example] = field(default_factory=list)
    """"repeat" for train and valid clips; evaluation items for test ones."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Number of bad recordings per source, if `on_bad_audio` is drop."""


def without(recorded: Recorded, texts: set[str]) -> Recorded:
    """The recordings without training and validation clips that say one of these texts; single digits stay."""
    out = {clip.id for clip, _ in recorded.clips if clip.split != "test" and clip.text in texts - DIGITS}
    clips = [(clip, waveform) for clip, waveform in recorded.clips if clip.id not in out]
    return Recorded(clips, [e for e in recorded.examples if e.clip not in out], recorded.dropped)


def check(config: CorpusConfig) -> None:
    """Raise InputError with all problems of a recipe's sources, including bad audio (unless that is dropped)."""
    read(config, progress=False)


def read(config: CorpusConfig, progress: bool = True) -> Recorded:
    """All recordings of the recipe's sources; InputError lists every bad row of every manifest.

    With `on_bad_audio: drop`, unusable recordings are left out and counted; bad paths and texts are still errors.
    """
    if config.sources and config.data_root is None:
        raise InputError("corpus.data_root is null, expected the folder of the sources; set DATA_ROOT=… or data_root")
    if twice := sorted({name for name in config.sources if config.sources.count(name) > 1}):
        raise InputError(f"corpus.sources names {', '.join(twice)} more than once; name each source once")
    recorded, problems = Recorded(), []
    for name in config.sources:
        try:
            _add(recorded, name, Path(config.data_root or ""), config.on_bad_audio == "drop", progress)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return recorded


def card(name: str) -> dict[str, Any]:
    """The data card of a source with a manifest; InputError if it is missing or invalid."""
    path = assets.path("data", name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}; correct it") from error
    if not isinstance(content, dict) or content.get("kind") not in ("speech", "noise") or "use" not in content:
        kind = content.get("kind") if isinstance(content, dict) else content
        raise InputError(f"{path}: kind is {kind}, expected speech or noise with `use`; name another source")
    if not isinstance(content.get("manifest"), str):
        raise InputError(f"{path}: manifest is {content.get('manifest')}, expected the name of a CSV file; add it")
    use = content["use"]
    if not isinstance(use, dict) or not set(use) <= set(SPLITS) or not all(isinstance(v, dict) for v in use.values()):
        raise InputError(f"{path}: use is {use}, expected {', '.join(SPLITS)} → column: values; correct it")
    return content


def split_of(row: Row, use: dict[str, dict[str, Any]]) -> str | None:
    """The split whose conditions (column → value or values) the row meets, test first; None if it is not used."""
    for split in reversed(SPLITS):
        wanted = use.get(split)
        if wanted is not None and all(
            row.values.get(column) in [str(v) for v in (values if isinstance(values, list) else [values])]
            for column, values in wanted.items()
        ):
            return split
    return None


def _add(recorded: Recorded, name: str, data_root: Path, drop: bool, progress: bool) -> None:
    about = card(name)
    path = data_root / name / about["manifest"]
    if not path.is_file():
        raise InputError(f"source {name} not found ({path}); put it below data_root, or take it out of corpus.sources")
    rows, bad_rows = manifest.scan(path, text=about["kind"] == "speech")
    there = set(rows[0].values) if rows else set()
    lacking = sorted({column for columns in about["use"].values() for column in columns} - there) if rows else []
    bad_rows += [f"{path}:1: no column {column}, which `use` of the card {name} names; add it" for column in lacking]
    placed = [(row, split) for row in rows if (split := split_of(row, about["use"]))]
    if not placed and not bad_rows:
        raise InputError(f"{path}: no row meets `use` of the card {name}; correct the card or the manifest")
    placed = _disjoint(placed, about) if placed else []
    problems: list[str] = []
    longest_s = audio.LONGEST_TRAINING_S if about["kind"] == "speech" else audio.LONGEST_WHOLE_S
    loaded = manifest.load([row for row, _ in placed], progress=progress, longest_s=longest_s)
    for (row, waveform, problem), (_, split) in zip(loaded, placed, strict=True):
        if waveform is None:
            problems.append(problem or row.name)
        elif about["kind"] == "speech":
            _add_speech(recorded, name, row, split, waveform)
        else:
            _add_noise(recorded, name, row, split, waveform)
    if bad_rows or (problems and not drop):
        raise InputError([*bad_rows, *problems])
    recorded.dropped[name] = len(problems)


def _add_speech(recorded: Recorded, name: str, row: Row, split: str, waveform: np.ndarray) -> None:
    clip_id = _clip_id(split, name, row)
    clip = Clip(clip_id, row.text, f"{name}/{row.speaker}", split, name, "real", None, 0, 0, row.name)
    recorded.clips.append((clip, audio.int16(waveform)))
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


def _add_noise(recorded: Recorded, name: str, row: Row, split: str, waveform: np.ndarray) -> None:
    """Add pieces of a noise recording, to abstain on; those of the training split are also mixed into speech."""
    kind = Path(row.name).stem
    for number, piece in enumerate(_pieces(waveform)):
        clip_id = f"{_clip_id(split, name, row)}/{number:02d}"
        clip = Clip(clip_id, "", f"{name}/{row.name}", split, name, "noise", kind, 0, 0, row.name)
        recorded.clips.append((clip, audio.int16(piece)))
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


def _clip_id(split: str, source: str, row: Row) -> str:
    """Split, source and the row's line in the manifest: file names may contain what an id may not, or differ only in
    their suffix."""
    safe = source if CLIP_ID.fullmatch(source) else content_hash(source)[:8]
    return f"{split}/{safe}/{row.line:06d}"


def _pieces(waveform: np.ndarray) -> Iterator[np.ndarray]:
    size = int(NOISE_PIECE_S * SAMPLE_RATE)
    for start in range(0, max(len(waveform) - size // 2, 1), size):
        yield waveform[start : start + size]


def _disjoint(placed: list[tuple[Row, str]], about: dict[str, Any]) -> list[tuple[Row, str]]:
    """The rows without train rows that share a text with a test or validation row, and without validation rows that
    share one with a test row, unless the card says that the vocabulary is closed (single digits). InputError if a
    speaker is in two splits, or rows of several splits name none."""
    if about["kind"] != "speech":
        return placed
    splits: dict[str | None, set[str]] = {}
    for row, split in placed:
        splits.setdefault(row.speaker, set()).add(split)
    if len(splits.get(None, ()) or splits.get("", ())) > 1:
        raise InputError(
            f"{placed[0][0].manifest}: rows of several splits name no speaker, expected nobody in two splits; add the"
            " column speaker"
        )
    shared = sorted(f"{speaker} ({', '.join(sorted(s))})" for speaker, s in splits.items() if len(s) > 1)
    if shared:
        raise InputError(
            f"{placed[0][0].manifest}: speakers in two splits: {'; '.join(shared)}; correct `use` of the card"
        )
    if about.get("closed_vocabulary"):
        return placed
    test, valid = ({row.text for row, split in placed if split == name} for name in ("test", "valid"))
    held_out = {"test": set(), "valid": test}
    return [(row, split) for row, split in placed if row.text not in held_out.get(split, test | valid)]
