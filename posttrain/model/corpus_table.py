"""The frame table of a whole corpus: the frozen encoder runs over it once, and later calls read the cache.

Also of a few recordings, without a cache.
"""

import errno
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE, activity
from posttrain.corpus.store import Corpus
from posttrain.machine.device import say
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import Encoder, run
from posttrain.model.frame_table import FrameTable

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

    Cached in `folder` (frames.safetensors, hypotheses.json) under the corpus's fingerprint and the encoder's hash;
    recomputed if either changes, or if transcripts that are needed are not among them. float16 halves the table's size;
    text rows do not use it.
    """
    plain = f"{corpus.fingerprint}-{encoder.weights_hash()}-{FRAMES_FORMAT}"
    whole = f"{plain}-transcripts"
    usable = (whole,) if transcripts else (whole, plain)
    frames_path, spans_path = folder / "frames.safetensors", folder / "hypotheses.json"
    if frames_path.is_file() and files.damage(spans_path) is None:
        kept = json.loads(spans_path.read_text(encoding="utf-8"))
        if kept["key"] in usable and _key_of(frames_path) == kept["key"]:
            spans = {clip_id: tuple(span) for clip_id, span in kept["spans"].items()}
            parts = {clip_id: tuple(ids) for clip_id, ids in kept["parts"].items()}
            known = kept["hypotheses"] if kept["key"] == whole else _known(kept["hypotheses"], corpus)
            return FrameTable(load_file(frames_path)["frames"], spans, hypotheses=known, parts=parts)
    pieces = _Pieces(corpus)
    wanted = [True] * len(pieces) if transcripts else pieces.tested
    results = run(encoder, pieces, "encoding" if progress else None, pieces.lengths, pieces.names, wanted)
    frames = torch.cat([frames for frames, _ in results]).half()  # (T_all, D)
    spans, start = {}, 0
    for name, (clip_frames, _) in zip(pieces.names, results, strict=True):
        spans[name] = (start, len(clip_frames))
        start += len(clip_frames)
    hypotheses = {name: words for name, (_, words) in zip(pieces.names, results, strict=True)}
    hypotheses |= {clip: " ".join(hypotheses[i] for i in ids).strip() for clip, ids in pieces.parts.items()}
    key = whole if transcripts else plain
    try:
        with files.beside(frames_path) as partial:
            save_file({"frames": frames}, partial, {"key": key})
        files.write_json(spans_path, {"key": key, "spans": spans, "hypotheses": hypotheses, "parts": pieces.parts})
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS):
            raise
        say(f"  {folder} cannot be written to: the encoder's frames are not kept")
    known = hypotheses if transcripts else _known(hypotheses, corpus)
    return FrameTable(frames, spans, hypotheses=known, parts=pieces.parts)


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
