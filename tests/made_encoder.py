"""A second implementation of the `Encoder` contract, in a few lines: no conformer, no CTC, no tokenizer."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from posttrain.model.encoders import kinds, loading

FRAME = 640


class MadeEncoder:
    """Frames are a linear map of 40 ms of sound each; its own transcript is one word for every half second."""

    longest_samples = 30 * 16_000
    frame_samples = FRAME
    extractor = aligner = None
    device = torch.device("cpu")

    def __init__(self, width: int = 12, word: str = "help"):
        self.width, self.word = width, word
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.model = self.module = nn.Linear(FRAME, width).requires_grad_(False)

    def num_frames(self, samples):
        return samples // FRAME

    def features(self, waveforms, lengths):
        blocks = waveforms[:, : waveforms.shape[1] // FRAME * FRAME].unflatten(1, (-1, FRAME))
        return blocks, torch.arange(blocks.shape[1]) < (lengths // FRAME)[:, None]

    def encode(self, features, mask):
        return self.module(features), mask.sum(-1)

    def transcribe(self, waveforms, lengths, words=()):
        frames, counts = self.encode(*self.features(waveforms, lengths))
        return [(row[:n], " ".join([self.word] * (n // 12))) for row, n in zip(frames, counts.tolist(), strict=True)]

    def save(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.module, folder / "model.safetensors")
        about = {"model_type": "made", "width": self.width, "word": self.word}
        (folder / "config.json").write_text(json.dumps(about))


class Made:
    """Its entry in `loading.IMPLEMENTATIONS`."""

    @staticmethod
    def load(source, revision, device):
        about = json.loads((Path(source) / "config.json").read_text())
        encoder = MadeEncoder(about["width"], about["word"])
        load_model(encoder.module, Path(source) / "model.safetensors")
        return encoder

    @staticmethod
    def skeleton(config):
        return MadeEncoder(config["width"]).module


def add(monkeypatch):
    """Make the kind known, as its two rows would."""
    shape = kinds.Shape(FRAME * 12, 12, FRAME, 1)
    monkeypatch.setitem(kinds.KINDS, "made", kinds.Kind(("config.json",), lambda config, hop_samples: shape))
    monkeypatch.setitem(loading.IMPLEMENTATIONS, "made", Made)
