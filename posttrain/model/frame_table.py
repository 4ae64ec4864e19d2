"""Speech frames as vocabulary rows: ids below V are words, ids from V on are rows of a table of encoder frames.

A clip is a run of ids, so a prompt with speech in it is one id sequence, and trainers for text accept it unchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from posttrain.model.projector import Projector


def num_speech_tokens(num_frames: int, stack: int) -> int:
    """Number N of speech tokens for a clip of T encoder frames, with `stack` frames per token."""
    return -(-num_frames // stack)


@dataclass(frozen=True, eq=False)
class FrameTable:
    """The encoder's output for every clip, concatenated, unstacked."""

    frames: torch.Tensor
    """(T_all, D_enc), any float type; may be memory-mapped."""
    spans: dict[str, tuple[int, int]]
    """Clip id → (first frame, number of frames T)."""
    hypotheses: dict[str, str] = field(default_factory=dict)
    """Clip id → the encoder's own transcript; of training clips only where it is known."""
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Clip id → the windows that it is transcribed in, if there are several; each has its own span."""
    beside: Path | None = None
    """Folder for what follows from these frames alone, if they are kept on disk."""
    blanks: dict[str, torch.Tensor] = field(default_factory=dict, init=False)
    """A word head (word_head.py) → its probability of blank for each speech token, once computed."""

    def __post_init__(self) -> None:
        for clip, (start, count) in self.spans.items():
            if count < 1 or start < 0 or start + count > len(self.frames):
                raise ValueError(
                    f"clip {clip} spans frames {start} to {start + count}, expected at least one within the table's "
                    f"{len(self.frames)}; encode the corpus again"
                )

    @classmethod
    def of(cls, frames: Mapping[str, torch.Tensor], hypotheses: dict[str, str] | None = None) -> "FrameTable":
        """A table of these clips' frames (T_i, D_enc), in half precision, like a corpus's."""
        spans, first = {}, 0
        for clip, own in frames.items():
            spans[clip] = (first, len(own))
            first += len(own)
        return cls(torch.cat(list(frames.values())).half(), spans, hypotheses=hypotheses or {})

    @property
    def dim(self) -> int:
        """D_enc."""
        return self.frames.shape[1]

    def clip(self, clip: str) -> torch.Tensor:
        """The frames of one clip, float32 (T, D)."""
        start, count = self.spans[clip]
        return self.frames[start : start + count].float()

    def stacked(self, stack: int) -> "StackedTable":
        """The same frames viewed as speech tokens of `stack` frames each."""
        return StackedTable(self.frames, self.spans, stack)


class StackedTable:
    """Rows of `stack` neighbouring frames, gathered on access; a clip's last row is padded with zeros.

    Nothing is copied: the frames stay where they are (memory-mapped, on the CPU or on the device). `deepcopy` and
    `copy` return the same table. `spans`: clip id → (first row, number of rows N).
    """

    def __init__(self, frames: torch.Tensor, spans: dict[str, tuple[int, int]], stack: int):
        self.stack = stack
        self.spans: dict[str, tuple[int, int]] = {}
        starts, counts = [], []
        rows = 0
        for clip, (start, count) in spans.items():
            tokens = num_speech_tokens(count, stack)
            self.spans[clip] = (rows, tokens)
            starts.append(start + stack * torch.arange(tokens))
            counts.append((count - stack * torch.arange(tokens)).clamp(max=stack))
            rows += tokens
        self.num_rows = rows
        empty = not rows
        self.frames = frames.new_zeros(1, frames.shape[-1]) if empty else frames  # (T_all, D_enc)
        zero = torch.zeros(1, dtype=torch.long)
        device = self.frames.device
        self.first = (zero if empty else torch.cat(starts)).to(device)  # (N_all,)
        self.valid = (zero if empty else torch.cat(counts)).to(device)  # (N_all,)
        self.offsets = torch.arange(stack, device=device)  # (k,)

    @classmethod
    def none(cls, dim: int, stack: int) -> "StackedTable":
        """A table without clips; batches without speech run the projector on its one row of zeros."""
        return cls(torch.zeros(0, dim), {}, stack)

    @classmethod
    def live(cls, frames: torch.Tensor, counts: torch.Tensor, stack: int) -> "StackedTable":
        """The current batch's encoder output (B, T, D_enc) with `counts` (B,) valid frames; gradients flow through."""
        spans = {str(i): (i * frames.shape[1], int(n)) for i, n in enumerate(counts.tolist())}
        return cls(frames.reshape(-1, frames.shape[-1]), spans, stack)

    def kept(self, rows: torch.Tensor) -> "StackedTable":
        """The same table with these rows alone, a mask (N_all,); every clip must keep one."""
        at = [0, *rows.long().cumsum(0).tolist()]  # old row → how many are kept before it
        spans = {clip: (at[start], at[start + count] - at[start]) for clip, (start, count) in self.spans.items()}
        rows = rows.to(self.first.device)
        return self._changed(spans=spans, num_rows=at[-1], first=self.first[rows], valid=self.valid[rows])

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Rows (…) → stacked frames (…, k·D_enc), float32, on the frames' device. Row 0 always exists."""
        index = index.to(self.first.device)
        at = self.first[index][..., None] + self.offsets  # (…, k)
        inside = self.offsets < self.valid[index][..., None]  # (…, k)
        frames = F.embedding(at.clamp(max=len(self.frames) - 1), self.frames)  # (…, k, D_enc)
        return (frames.float() * inside[..., None]).flatten(-2)  # (…, k·D_enc)

    def to(self, device: torch.device | str) -> "StackedTable":
        """The table with its frames on that device; itself if they already are."""
        if self.frames.device == torch.device(device):
            return self
        return self._changed(**{k: v.to(device) for k, v in self.__dict__.items() if isinstance(v, torch.Tensor)})

    def _changed(self, **attributes: Any) -> "StackedTable":
        changed = object.__new__(StackedTable)
        changed.__dict__ = self.__dict__ | attributes
        return changed

    def __deepcopy__(self, memo: dict[int, Any]) -> "StackedTable":
        return self

    def __copy__(self) -> "StackedTable":
        return self


class SpeechEmbedding(nn.Embedding):
    """A Llama's input embedding in which ids ≥ V are speech: table row → projector → embedding.

    Ids (B, L) → (B, L, D) in the weight's type. Word positions get the plain embedding, bit for bit. The projector
    runs at every position, for words on row 0 with its output discarded, so no parameter goes unused, no shape depends
    on the data, and nothing waits for a GPU.

    V is fixed. The table is a plain attribute: not saved, not moved, shared by deep copies. The module replaces
    `embed_tokens` and keeps `.weight`, tied or not.
    """

    def __init__(self, words: nn.Embedding, projector: Projector, stack: int):
        super().__init__(words.num_embeddings, words.embedding_dim, words.padding_idx, _weight=words.weight)
        self.weight = words.weight
        self.projector = projector
        self.stack = stack
        self.table: Any = None
        """Where speech ids are looked up, a StackedTable or a LiveTable; None has no clips."""

    def forward(self, ids: torch.Tensor, table: StackedTable | None = None) -> torch.Tensor:
        """`table` replaces the attached one here. Raises IndexError on the CPU for an id past the table's end."""
        table = table or self.table or StackedTable.none(self.projector.in_dim // self.stack, self.stack)
        speech = ids >= self.num_embeddings  # (B, L)
        words = F.embedding(ids.masked_fill(speech, 0), self.weight, self.padding_idx)  # (B, L, D)
        rows = (ids - self.num_embeddings).clamp(min=0)  # (B, L)
        stacked = table.rows(rows).to(self.weight.device)  # (B, L, k·D_enc)
        with torch.autocast(ids.device.type, enabled=False):
            spoken = self.projector(stacked).to(words.dtype)  # (B, L, D)
        return torch.where(speech[..., None], spoken, words)


def resize_forbidden(*_: Any, **__: Any) -> None:
    """Replaces `resize_token_embeddings`, which would silently shift every speech id."""
    raise ValueError("the vocabulary size is fixed, since speech ids begin where it ends; build a new model instead")


def embed_speech(llama: Any, projector: Projector, stack: int) -> SpeechEmbedding:
    """Give a Llama a SpeechEmbedding in place of its input embedding, sharing the word weights; returns it."""
    embedding = SpeechEmbedding(llama.get_input_embeddings(), projector, stack)
    llama.set_input_embeddings(embedding)
    llama.resize_token_embeddings = resize_forbidden
    return embedding
