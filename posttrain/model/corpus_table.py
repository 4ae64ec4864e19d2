"""The frame table of a whole corpus: the frozen encoder runs over it once, and later calls read the cache.

Also of a few recordings, without a cache.
"""

import errno
import json
import tempfile
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE, activity
from posttrain.corpus.store import Corpus
from posttrain.machine import lock
from posttrain.machine.device import say
from posttrain.model import frame_cache
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import Encoder, batched, run, state_hash
from posttrain.model.frame_table import FrameTable

FRAMES, SPANS = "frames.safetensors", "hypotheses.json"
FRAMES_FORMAT = 7
"""Version of cached frames; increase it when the encoded part of a clip changes."""


def corpus_table(folder: Path, corpus: Corpus, device: str, transcripts: bool = False) -> FrameTable:
    """Frames and the encoder's transcripts of every clip from the encoder in `folder`, where they are cached too.

    `transcripts`: those of training clips are needed.
    """
    return encode_corpus(encoders.load(folder, device=device), corpus, folder, transcripts=transcripts)


def table_of(encoder: Encoder, waveforms: Mapping[str, torch.Tensor]) -> FrameTable:
    """Frames and the encoder's transcripts of these clips, 16 kHz (S,)."""
    heard = dict(zip(waveforms, run(encoder, list(waveforms.values())), strict=True))
    return FrameTable.of(
        {clip: frames for clip, (frames, _) in heard.items()}, {clip: said for clip, (_, said) in heard.items()}
    )


def encode_corpus(
    encoder: Encoder, corpus: Corpus, folder: Path, progress: bool = True, transcripts: bool = False
) -> FrameTable:
    """Frames (float16) and transcripts of all clips, and of the windows of test clips that are cut into several.

    Only a model whose prompts carry transcripts reads those of training clips. Without `transcripts` the encoder may
    leave them empty (`Encoder.transcribe`), and the table does not have these.

    Cached in `folder` (frames.safetensors, hypotheses.json) under the hashes of the corpus's clips and of the encoder;
    recomputed if either changes, or if transcripts that are needed are not among them. The cache grows batch by batch,
    so an interrupted encoding goes on where it stopped, and is mapped into memory, not read. float16 halves its size;
    text rows do not use it.
    """
    plain = f"{_sounds(corpus)}-{state_hash(encoder.model)}-{FRAMES_FORMAT}"
    key = f"{plain}-transcripts" if transcripts else plain
    with lock.waiting(folder):  # another command may be encoding the same
        found = _cached(folder, corpus, {key, f"{plain}-transcripts"})
        if found is None:
            try:
                _encode(encoder, corpus, folder, key, progress, transcripts)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EROFS):
                    raise
                say(f"  {folder} cannot be written to: the encoder's frames are not kept")
                with tempfile.TemporaryDirectory() as elsewhere:
                    return encode_corpus(encoder, corpus, Path(elsewhere), progress, transcripts)
            found = _cached(folder, corpus, {key})
    assert found is not None
    return found


def _cached(folder: Path, corpus: Corpus, usable: Collection[str]) -> FrameTable | None:
    """The table in a folder, its frames mapped into memory, if its key is among those that can be used."""
    frames_path, spans_path = folder / FRAMES, folder / SPANS
    if not frames_path.is_file() or files.damage(spans_path) is not None:
        return None
    kept = json.loads(spans_path.read_text(encoding="utf-8"))
    if kept["key"] not in usable or _key_of(frames_path) != kept["key"]:
        return None
    spans = {clip_id: tuple(span) for clip_id, span in kept["spans"].items()}
    parts = {clip_id: tuple(ids) for clip_id, ids in kept["parts"].items()}
    every = kept["key"].endswith("-transcripts")
    known = kept["hypotheses"] if every else _known(kept["hypotheses"], corpus)
    beside = folder / f"frames-{files.value_hash(kept['key'])}"
    return FrameTable(load_file(frames_path)["frames"], spans, hypotheses=known, parts=parts, beside=beside)


def _encode(encoder: Encoder, corpus: Corpus, folder: Path, key: str, progress: bool, transcripts: bool) -> None:
    pieces = _Pieces(corpus)
    wanted = [True] * len(pieces) if transcripts else pieces.tested

    def batches(done: Container[int]) -> Iterator[frame_cache.Batch]:
        desc = "encoding" if progress else None
        return batched(encoder, pieces, desc, pieces.lengths, pieces.names, wanted, done)

    found = frame_cache.fill(folder / FRAMES, key, encoder.width, batches)
    spans = {name: found[number][:2] for number, name in enumerate(pieces.names)}
    hypotheses = {name: found[number][2] for number, name in enumerate(pieces.names)}
    hypotheses |= {clip: " ".join(hypotheses[i] for i in ids).strip() for clip, ids in pieces.parts.items()}
    files.write_json(folder / SPANS, {"key": key, "spans": spans, "hypotheses": hypotheses, "parts": pieces.parts})
    frame_cache.finish(folder / FRAMES)


def _sounds(corpus: Corpus) -> str:
    """Identifies the corpus's clips: their audio and where each is in it."""
    hashes = corpus.counts["hashes"]
    return files.value_hash([hashes["audio"], hashes["clips"]])


def _known(hypotheses: dict[str, str], corpus: Corpus) -> dict[str, str]:
    """Without the empty transcripts of training clips, which nobody asked for: there may be words in these clips."""
    trained = {clip.id for clip in corpus.clips.values() if clip.split == "train"}
    return {name: words for name, words in hypotheses.items() if words or name not in trained}


def _key_of(frames: Path) -> str | None:
    """Cache key of a file of frames; checked because two commands that encode at once both write the cache."""
    with safe_open(frames, framework="pt") as file:
        return (file.metadata() or {}).get("key")


class _Pieces(Sequence[torch.Tensor]):
    """Waveforms of all clips and of the windows of test clips, each read on access: hours of audio would fill
    the memory."""

    def __init__(self, corpus: Corpus):
        self.corpus = corpus
        self.names = list(corpus.clips)
        self.lengths = [clip.samples for clip in corpus.clips.values()]
        self.tested = [clip.split != "train" for clip in corpus.clips.values()]
        self.windows: dict[str, tuple[str, int, int]] = {}
        self.parts: dict[str, tuple[str, ...]] = {}
        for clip in corpus.clips.values():
            if clip.split == "test" and clip.text and clip.samples > activity.PAUSE_S * SAMPLE_RATE:
                self._add_windows(clip.id, activity.windows(corpus.audio(clip.id).numpy()))

    def _add_windows(self, clip_id: str, windows: list[tuple[int, int]]) -> None:
        if len(windows) > 1:
            self.parts[clip_id] = tuple(f"{clip_id}#{number}" for number in range(len(windows)))
            for name, (first, last) in zip(self.parts[clip_id], windows, strict=True):
                self.windows[name] = (clip_id, first, last)
                self.names.append(name)
                self.lengths.append(last - first)
                self.tested.append(True)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        clip_id, first, last = self.windows.get(self.names[index], (self.names[index], 0, None))
        return self.corpus.audio(clip_id)[first:last]
