"""CTC over the Llama's own words: says which speech tokens add no word.

A speech token's cosine with a word's embedding is its score for that word; the embedding of a written pause is the
blank. `align` trains its projector so and keeps a copy, which stays as it is while later stages train the projector on.
It needs no head of the encoder's own, so it is there for every encoder.

CTC over a language model's words is from Ma et al. 2025 (LegoSLM, arXiv 2505.11352). Deviations: 1. the frozen word
embeddings are the output layer; 2. the Llama is given the vectors themselves, not posteriors times embeddings; 3. only
the words that the training texts use are outputs, so a large vocabulary costs no more than a small one.
"""

import copy
import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from posttrain import files
from posttrain.model.encoders.contract import state_hash
from posttrain.model.frame_table import FrameTable, StackedTable
from posttrain.model.projector import Projector

MARGIN = 5.0
"""Nats by which a perfect match outweighs a vocabulary of unrelated words; less gives higher cosines, more slowly."""
ROWS = 2048
"""Speech tokens that are scored at a time."""


class WordHead(nn.Module):
    """A projector with the frozen embeddings of U words as its output layer; U units, one of them the blank."""

    words: torch.Tensor
    """(U, D), of unit length."""
    ids: torch.Tensor
    """(U,), of these words in the Llama."""

    def __init__(self, projector: Projector, vectors: torch.Tensor, ids: torch.Tensor, blank: int):
        """`vectors` (U, D) of any length; `ids` (U,) of these words in the Llama; `blank`: a unit."""
        super().__init__()
        self.projector = projector
        self.blank = blank
        self.sharpness = math.log(len(ids)) + MARGIN
        self.register_buffer("words", F.normalize(vectors.float(), dim=-1))
        self.register_buffer("ids", ids)

    @classmethod
    def of(cls, projector: Projector, embeddings: torch.Tensor, words: Collection[int], blank: int) -> "WordHead":
        """A head for these word ids and the word id `blank`, with their rows of `embeddings` (V, D)."""
        ids = sorted({*words, blank})
        return cls(projector, embeddings[ids], torch.tensor(ids), ids.index(blank))

    def forward(self, stacked: torch.Tensor) -> torch.Tensor:
        """Stacked frames (N, k·D_enc) → sharpness times the cosine with every unit (N, U)."""
        return self.sharpness * F.normalize(self.projector(stacked.to(self.words.device)), dim=-1) @ self.words.T

    def frozen(self) -> "WordHead":
        """A copy that no longer trains, with the words as they are saved: in half precision."""
        head = WordHead(copy.deepcopy(self.projector), self.words.half(), self.ids.clone(), self.blank)
        return head.to(self.words.device).requires_grad_(False).eval()

    @cached_property
    def hash(self) -> str:
        """Identifies its weights, once it is frozen."""
        return state_hash(self)

    @torch.no_grad()
    def blanks(self, table: StackedTable) -> torch.Tensor:
        """The probability that each speech token of the table adds no word: float32 (N_all,), on the CPU."""
        found = torch.zeros(table.num_rows)
        for start in range(0, table.num_rows, ROWS):
            rows = torch.arange(start, min(start + ROWS, table.num_rows))
            found[rows] = self(table.rows(rows)).softmax(-1)[:, self.blank].cpu()  # copied: a view would keep all units
        return found

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        tensors = {f"projector.{name}": tensor for name, tensor in self.projector.state_dict().items()}
        units = {"words": self.words.half(), "ids": self.ids, "blank": torch.tensor(self.blank)}
        save_file({name: tensor.cpu().contiguous() for name, tensor in (tensors | units).items()}, path)


def load(path: Path, in_dim: int, out_dim: int, hidden: int) -> WordHead:
    """The saved head, for a projector of this shape; RuntimeError or KeyError if the file does not fit it."""
    tensors = load_file(path)
    projector = Projector(in_dim, out_dim, hidden)
    own = {name.removeprefix("projector."): t for name, t in tensors.items() if name.startswith("projector.")}
    projector.load_state_dict(own)
    head = WordHead(projector, tensors["words"], tensors["ids"], int(tensors["blank"]))
    return head.requires_grad_(False).eval()


def spoken(head: WordHead, table: FrameTable, stack: int, below: float) -> StackedTable:
    """The table's speech tokens whose probability of blank is below `below`; of a clip without any, the likeliest.

    The probabilities are kept beside the frames: the head stays as it is from `align` on.
    """
    stacked = table.stacked(stack)
    key = f"{head.hash}-{stack}"
    if key not in table.blanks:
        table.blanks[key] = _kept(head, stacked, table.beside and table.beside / f"blanks-{key}.safetensors")
    return stacked.kept(spoken_rows(table.blanks[key], stacked.spans, below))


def _kept(head: WordHead, stacked: StackedTable, path: Path | None) -> torch.Tensor:
    if path is None:
        return head.blanks(stacked)
    with suppress(OSError, SafetensorError):
        return load_file(path)["blanks"]
    found = head.blanks(stacked)
    with suppress(OSError):  # it cannot be written to, or has those of another head: a branch leaves its run as it is
        path.parent.mkdir()
        with files.beside(path) as partial:
            save_file({"blanks": found}, partial)
    return found


def spoken_rows(blanks: torch.Tensor, spans: Mapping[str, tuple[int, int]], below: float) -> torch.Tensor:
    """Which speech tokens `spoken` keeps, from their probabilities of blank: a mask (N_all,)."""
    kept = blanks < below
    for first, count in spans.values():
        kept[first + int(blanks[first : first + count].argmin())] = True
    return kept
