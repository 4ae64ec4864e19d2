"""Transformers' encoders with a CTC head over characters, whose greedy output is the encoder's transcript.

A hub id or folder of one of MODELS: wav2vec 2.0, HuBERT, WavLM and data2vec take waveforms, w2v-BERT 2 filter banks.
In most of them padding changes a clip's frames, by group normalisation or convolutions over it, with an attention mask
too. So only clips of exactly equal length are encoded together, and no mask is needed. SpecAugment is left out: the
encoder stays in eval().
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torchaudio.compliance import kaldi
from transformers import (
    Data2VecAudioForCTC,
    Data2VecAudioModel,
    HubertForCTC,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertModel,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WavLMForCTC,
    WavLMModel,
)

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.frontend import collate
from posttrain.corpus.normalise import normalise
from posttrain.errors import InputError
from posttrain.model.encoders import forced_alignment, kinds
from posttrain.model.encoders.contract import Aligner, Span, whole
from posttrain.model.untrusted import read_content

MODELS: dict[str, tuple[Any, Any]] = {
    "wav2vec2": (Wav2Vec2ForCTC, Wav2Vec2Model),
    "hubert": (HubertForCTC, HubertModel),
    "wavlm": (WavLMForCTC, WavLMModel),
    "data2vec-audio": (Data2VecAudioForCTC, Data2VecAudioModel),
    "wav2vec2-bert": (Wav2Vec2BertForCTC, Wav2Vec2BertModel),
}
"""`model_type` → the model with its head, and without."""
NO_SPLIT = (
    "Wav2Vec2EncoderLayer", "Wav2Vec2EncoderLayerStableLayerNorm", "HubertEncoderLayer",
    "HubertEncoderLayerStableLayerNorm", "WavLMEncoderLayer", "WavLMEncoderLayerStableLayerNorm",
    "Data2VecAudioEncoderLayer", "Wav2Vec2BertEncoderLayer",
)  # fmt: skip
NO_MASKS = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
"""Without SpecAugment a model has no embedding for what is masked, which some folders lack."""
MASKED = "masked_spec_embed"
LONGEST_S = 60
"""Nothing in these models limits a clip's length but memory, which grows with its square."""
GUARD = 1e-7


@dataclass
class CTC:
    """An `Encoder` (contract.py)."""

    model: Any
    """Encoder and head, one of MODELS."""
    tokenizer: Wav2Vec2CTCTokenizer
    """CTC units, characters; its pad token is the blank."""
    extractor: Wav2Vec2FeatureExtractor | SeamlessM4TFeatureExtractor
    """Feature settings."""

    longest_samples = LONGEST_S * SAMPLE_RATE

    @property
    def width(self) -> int:
        return int(self.module.config.hidden_size)

    @property
    def frame_samples(self) -> int:
        config = self.module.config
        return kinds.KINDS[config.model_type].shape(config.to_dict(), kinds.HOP_SAMPLES).frame_samples

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def module(self) -> Any:
        return self.model.base_model

    @property
    def aligner(self) -> Aligner:
        return self.word_spans

    def num_frames(self, samples: int) -> int:
        length = _filterbank_frames(samples) if _is_filterbank(self.extractor) else samples
        return _frames(self.module.config, torch.tensor([length]))[0]

    def features(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return prepared(self.extractor, waveforms, lengths)  # (B, F, M), (B, F)

    def encode(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return encode(self.module, features, mask)

    @torch.no_grad()
    def transcribe(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, words: Sequence[bool] = ()
    ) -> list[tuple[torch.Tensor, str]]:
        self.model.eval()
        frames, counts = self.encode(*self.features(waveforms.to(self.device), lengths.to(self.device)))
        best = self.model.lm_head(frames).argmax(-1).cpu()  # (B, T)
        frames = frames.float().cpu()  # (B, T, D)
        return [(frames[i, :n].clone(), self.words(best[i, :n])) for i, n in enumerate(counts.tolist())]

    def save(self, folder: Path) -> None:
        for part in (self.model, self.tokenizer, self.extractor):
            part.save_pretrained(folder)

    def words(self, units: torch.Tensor) -> str:
        """The words of a path of CTC units (T,), normalised."""
        once = units.unique_consecutive().tolist()
        return normalise(self.tokenizer.decode(once, skip_special_tokens=True, group_tokens=False))

    def labels(self, word: str) -> list[int]:
        """CTC units of a normalised word, in the vocabulary's case; without the characters that it lacks."""
        known = self.tokenizer.get_vocab()
        return [known[c] for letter in word for c in (letter, letter.upper()) if c in known]

    @torch.no_grad()
    def word_spans(self, frames: torch.Tensor, text: str) -> list[Span] | None:
        """Spans of the words by CTC forced alignment; None also if the vocabulary has no letter of a word."""
        words = [self.labels(word) for word in text.split()]
        if not all(words):
            return None
        scores = self.model.lm_head(frames[None].to(self.device, self.model.dtype)).float().log_softmax(-1).cpu()
        blank, delimiter = self.model.config.pad_token_id, self.tokenizer.get_vocab().get("|")
        return forced_alignment.word_spans(scores[0], words, blank, delimiter)


def load(source: str | Path, revision: str | None = None, device: str = "cpu") -> CTC:
    """The model in a folder or under a hub id, frozen, in eval(), float32; `loading.load` rewords its errors."""
    content = read_content(source, revision)
    with_head, _ = MODELS[content["model_type"]]
    config = with_head.config_class.from_dict(content | NO_MASKS)
    if getattr(config, "add_adapter", False) and config.output_hidden_size != config.hidden_size:
        raise InputError(
            f"encoder {source}: output_hidden_size is {config.output_hidden_size}, expected hidden_size,"
            f" {config.hidden_size}; name another folder or hub id"
        )
    model, report = with_head.from_pretrained(
        source,
        revision=revision,
        config=config,
        use_safetensors=True,
        output_loading_info=True,
        dtype=torch.float32,
    )
    report["unexpected_keys"] = {key for key in report["unexpected_keys"] if not key.endswith(MASKED)}
    whole(source, report)
    kind = SeamlessM4TFeatureExtractor if config.model_type == "wav2vec2-bert" else Wav2Vec2FeatureExtractor
    extractor = kind.from_pretrained(source, revision=revision)
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(source, revision=revision)
    return CTC(model.to(device).eval().requires_grad_(False), tokenizer, extractor)


def skeleton(config: dict[str, Any]) -> Any:
    """An untrained model for a config.json."""
    with_head, _ = MODELS[config["model_type"]]
    return with_head(with_head.config_class.from_dict(config | NO_MASKS))


def body(config: Any) -> Any:
    """An untrained encoder without the head."""
    _, headless = MODELS[config.model_type]
    return headless(config)


def features(extractor: Any, waveforms: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (B, F, M) of waveforms (S_i,) and their mask (B, F)."""
    return prepared(extractor, *collate(waveforms))


def encode(module: Any, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (B, F, M) and mask (B, F) → frames (B, T, D) and how many of them are valid (B,)."""
    lengths = mask.sum(-1)  # (B,)
    frames: dict[int, torch.Tensor] = {}
    for length in lengths.unique().tolist():
        (rows,) = (lengths == length).nonzero(as_tuple=True)
        own = features[rows, :length].to(module.dtype)  # (b, F, M)
        hidden = module(own.squeeze(-1) if own.shape[-1] == 1 else own).last_hidden_state  # (b, T, D)
        frames |= zip(rows.tolist(), hidden, strict=True)
    ordered = [frames[row] for row in range(len(frames))]
    counts = torch.tensor([len(own) for own in ordered], device=features.device)
    return pad_sequence(ordered, batch_first=True), counts


def num_frames(config: dict[str, Any], mask: torch.Tensor) -> list[int]:
    """The number of frames of each clip, by its mask (B, F)."""
    with_head, _ = MODELS[config["model_type"]]
    return _frames(with_head.config_class.from_dict(config), mask.sum(-1))


def prepared(extractor: Any, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Waveforms (B, S) and lengths (B,) → the extractor's features (B, F, M), zero where padded, and the mask (B, F).

    M is 1 for a model that takes waveforms. Differentiable, and equal to the extractor's own features (tested).
    """
    clips = [waveform[:length] for waveform, length in zip(waveforms, lengths.tolist(), strict=True)]
    own = [_filterbank(extractor, clip) if _is_filterbank(extractor) else _wave(extractor, clip) for clip in clips]
    counts = torch.tensor([len(rows) for rows in own], device=waveforms.device)
    padded = pad_sequence(own, batch_first=True)  # (B, F, M)
    return padded, torch.arange(padded.shape[1], device=waveforms.device) < counts[:, None]


def _wave(extractor: Wav2Vec2FeatureExtractor, clip: torch.Tensor) -> torch.Tensor:
    """A waveform (S,) → (S, 1), with mean 0 and deviation 1 if the extractor says so."""
    if extractor.do_normalize:
        clip = (clip - clip.mean()) / (clip.var(correction=0) + GUARD).sqrt()
    return clip[:, None]


def _filterbank(extractor: SeamlessM4TFeatureExtractor, clip: torch.Tensor) -> torch.Tensor:
    """A waveform (S,) → log-mel filter banks as Kaldi computes them, normalised, `stride` in a row: (F, stride · M)."""
    bank = kaldi.fbank(clip[None] * 2**15, num_mel_bins=extractor.num_mel_bins, window_type="povey")  # (frames, M)
    bank = (bank - bank.mean(0)) / (bank.var(0) + GUARD).sqrt()
    return bank[: len(bank) // extractor.stride * extractor.stride].reshape(-1, extractor.stride * bank.shape[1])


def _is_filterbank(extractor: Any) -> bool:
    return isinstance(extractor, SeamlessM4TFeatureExtractor)


def _filterbank_frames(samples: int) -> int:
    """Rows of `_filterbank` for a clip with this many samples: windows of 25 ms every 10 ms, two in a row."""
    return max(0, 1 + (samples - 400) // 160) // 2


def _frames(config: Any, lengths: torch.Tensor) -> list[int]:
    """Numbers of frames for lengths (B,) of features."""
    _, headless = MODELS[config.model_type]
    counts = headless._get_feat_extract_output_lengths(SimpleNamespace(config=config), lengths)
    return counts.clamp(min=0).tolist()
