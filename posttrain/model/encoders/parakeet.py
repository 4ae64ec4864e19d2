"""Parakeet, Transformers' FastConformer with a CTC head, whose greedy output is the encoder's transcript.

Tiny and built here, or loaded from a hub id or folder. The blank is `config.pad_token_id`. Frames and transcript come
from one pass. BatchNorm stays in eval() unless the ctc stage trains it; padded and unpadded outputs agree (tested).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    ParakeetCTCConfig,
    ParakeetEncoder,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetTokenizer,
)

from posttrain.acoustics.frontend import LogMel, collate
from posttrain.model.encoders import forced_alignment
from posttrain.model.encoders.contract import Aligner, Span, whole

NO_SPLIT = ("ParakeetEncoderBlock",)
CHARACTERS = "▁'abcdefghijklmnopqrstuvwxyz"


@dataclass
class Parakeet:
    """An `Encoder` (contract.py)."""

    model: ParakeetForCTC
    """Encoder and head."""
    tokenizer: ParakeetTokenizer
    """CTC units; its pad token is the blank."""
    extractor: ParakeetFeatureExtractor
    """Feature settings."""
    log_mel: LogMel
    """The same settings on torchaudio."""

    @property
    def width(self) -> int:
        return self.module.config.hidden_size

    @property
    def frame_samples(self) -> int:
        return int(self.module.config.subsampling_factor * self.log_mel.hop_length)

    @property
    def longest_samples(self) -> int:
        return int(self.module.config.max_position_embeddings * self.frame_samples)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def module(self) -> ParakeetEncoder:
        return self.model.encoder

    @property
    def aligner(self) -> Aligner:
        return self.word_spans

    def num_frames(self, samples: int) -> int:
        if samples < 2 * self.log_mel.hop_length:
            return 0
        mel = torch.tensor([samples // self.log_mel.hop_length])
        return int(self.model._get_subsampling_output_length(mel))

    def features(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.log_mel(waveforms, lengths)  # (B, F, M), (B, F)

    def encode(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return encode(self.module, features, mask)

    @torch.no_grad()
    def transcribe(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, words: Sequence[bool] = ()
    ) -> list[tuple[torch.Tensor, str]]:
        self.model.eval()
        frames, counts = self.encode(*self.features(waveforms.to(self.device), lengths.to(self.device)))
        best = self.model.ctc_head(frames).argmax(-1).cpu()  # (B, T)
        frames = frames.float().cpu()  # (B, T, D)
        return [(frames[i, :n].clone(), self.words(best[i, :n])) for i, n in enumerate(counts.tolist())]

    def save(self, folder: Path) -> None:
        for part in (self.model, self.tokenizer, self.extractor):
            part.save_pretrained(folder)

    def labels(self, text: str) -> list[int]:
        """CTC units of normalised words."""
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def words(self, units: torch.Tensor) -> str:
        """The words of a path of CTC units (T,)."""
        return " ".join(self.tokenizer.decode(units.tolist(), skip_special_tokens=True).split())

    @torch.no_grad()
    def word_spans(self, frames: torch.Tensor, text: str) -> list[Span] | None:
        """Spans of the words by CTC forced alignment; see `Aligner`."""
        scores = self.model.ctc_head(frames[None].to(self.device, self.model.dtype)).float().log_softmax(-1).cpu()
        words = [self.labels(word) for word in text.split()]
        return forced_alignment.word_spans(scores[0], words, self.model.config.pad_token_id)


def load(source: str | Path, revision: str | None = None, device: str = "cpu") -> Parakeet:
    """The Parakeet CTC model in a folder or under a hub id, frozen, in eval(); `loading.load` rewords its errors."""
    model, report = ParakeetForCTC.from_pretrained(
        source, revision=revision, use_safetensors=True, output_loading_info=True
    )
    tokenizer = ParakeetTokenizer.from_pretrained(source, revision=revision)
    extractor = ParakeetFeatureExtractor.from_pretrained(source, revision=revision)
    whole(source, report)
    return _frozen(model.to(device), tokenizer, extractor)


def skeleton(config: dict[str, Any]) -> ParakeetForCTC:
    """An untrained model for a config.json."""
    return ParakeetForCTC(ParakeetCTCConfig.from_dict(config))


def body(config: ParakeetEncoderConfig) -> ParakeetEncoder:
    """An untrained encoder without the head."""
    return ParakeetEncoder(config)


def features(extractor: ParakeetFeatureExtractor, waveforms: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mel features (B, F, M) of waveforms (S_i,) and their mask (B, F)."""
    return log_mel(extractor)(*collate(waveforms))


def encode(module: ParakeetEncoder, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (B, F, M) and mask (B, F) → frames (B, T, D) and how many of them are valid (B,)."""
    encoded = module(input_features=features.to(module.dtype), attention_mask=mask.long())
    return encoded.last_hidden_state, encoded.attention_mask.sum(-1)


def num_frames(config: dict[str, Any], mask: torch.Tensor) -> list[int]:
    """The number of frames of each clip, by its mask (B, F)."""
    shape = SimpleNamespace(config=ParakeetEncoderConfig(**config))
    return ParakeetEncoder._get_subsampling_output_length(shape, mask.sum(-1)).tolist()


def log_mel(extractor: ParakeetFeatureExtractor) -> LogMel:
    """The extractor's features on torchaudio. `normalise_over` is this project's own setting; see `settings`."""
    return LogMel(
        extractor.sampling_rate,
        extractor.n_fft,
        extractor.win_length,
        extractor.hop_length,
        extractor.feature_size,
        extractor.preemphasis or 0.0,
        extractor.to_dict().get("normalise_over", "all") == "speech",
    )


def settings(mel_bins: int) -> ParakeetFeatureExtractor:
    """Feature settings of a tiny encoder.

    `normalise_over` is our own: a pretrained Parakeet has no such setting and is normalised over all frames.
    """
    return ParakeetFeatureExtractor(feature_size=mel_bins, normalise_over="speech")


def tiny(
    hidden_size: int,
    layers: int,
    heads: int,
    subsampling_factor: int,
    subsampling_channels: int,
    mel_bins: int,
    tokenizer: ParakeetTokenizer | None = None,
) -> Parakeet:
    """A new small Parakeet, weights from torch's global generator; CTC units are the tokenizer's, else characters."""
    tokenizer = tokenizer or unit_tokenizer()
    encoder = ParakeetEncoderConfig(
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden_size,
        subsampling_factor=subsampling_factor,
        subsampling_conv_channels=subsampling_channels,
        num_mel_bins=mel_bins,
        layerdrop=0.0,
        dropout=0.1,
        activation_dropout=0.0,  # drawing the masks would take an eighth of a training step
        attention_dropout=0.0,
        max_position_embeddings=5000,
        scale_input=True,
    )
    config = ParakeetCTCConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        ctc_loss_reduction="sum",
        encoder_config=encoder.to_dict(),
    )
    model = ParakeetForCTC(config)
    for module in model.modules():
        # with Transformers' N(0, 0.02) such narrow convolutions pass almost no signal: PyTorch's defaults, as in NeMo
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)):
            module.reset_parameters()
    return _frozen(model, tokenizer, settings(mel_bins))


def unit_tokenizer(texts: Iterable[str] = (), units: int = 0) -> ParakeetTokenizer:
    """CTC units in Parakeet's tokenizer class: `units` byte pairs (BPE) of normalised texts, the blank last.

    The alphabet is always complete, so any normalised text can be encoded; if `units` is at or below its size, or
    without texts, the units are characters.
    """
    alphabet = sorted(CHARACTERS)
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    made.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=max(units, len(alphabet) + 2),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        special_tokens=["<unk>"],
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return ParakeetTokenizer(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>")


def _frozen(model: ParakeetForCTC, tokenizer: ParakeetTokenizer, extractor: ParakeetFeatureExtractor) -> Parakeet:
    model.eval().requires_grad_(False)
    return Parakeet(model, tokenizer, extractor, log_mel(extractor).to(model.device))
