"""The conformer encoder with its CTC head: Transformers' Parakeet, tiny and built here, or loaded from Hub or folder.

The blank is `config.pad_token_id`. Frames and hypotheses come from one pass. BatchNorm stays in eval() unless the ctc
stage trains it; padded and unpadded outputs agree (tested).
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import (
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetTokenizer,
)

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.enhancer import SPEC
from posttrain.acoustics.frontend import LogMel, collate, heard, settings
from posttrain.errors import InputError
from posttrain.model import origin
from posttrain.model.untrusted import read_config

SPEC_FILE = "checkpoint.json"
BEHIND = "encoder"
"""Subfolder of an enhancer's folder for the encoder that was trained with it."""
CHARACTERS = "▁'abcdefghijklmnopqrstuvwxyz"
BATCH_SAMPLES = 16 * 3 * SAMPLE_RATE
"""Most samples in a padded batch: few enough for a processor's cache."""


@dataclass
class CTCEncoder:
    """Waveforms → encoder frames and greedy CTC hypotheses."""

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
        """D of the encoder's frames."""
        return self.model.config.encoder_config.hidden_size

    @property
    def frame_samples(self) -> int:
        """Samples at 16 kHz per encoder frame."""
        return int(self.model.config.encoder_config.subsampling_factor * self.log_mel.hop_length)

    def num_encoder_frames(self, samples: int) -> int:
        """Number of encoder frames of a clip with this many samples."""
        mel = torch.tensor([samples // self.log_mel.hop_length])
        return int(self.model._get_subsampling_output_length(mel))

    @torch.no_grad()
    def run(
        self, waveforms: Sequence[torch.Tensor], progress: str | None = None, lengths: Sequence[int] | None = None
    ) -> list[tuple[torch.Tensor, str]]:
        """(frames float32 (T_i, D), greedy hypothesis) per waveform (S_i,), in order; batched by length.

        Silence around speech is not encoded (see `heard`).
        `progress`: name of a progress bar. `lengths`: in samples, for waveforms that are read on access.
        Raises ValueError if a waveform is shorter than one encoder frame.
        """
        lengths = lengths or [len(waveform) for waveform in waveforms]
        for number, samples in enumerate(lengths):
            if self.num_encoder_frames(samples) < 1 or samples < 2 * self.log_mel.hop_length:
                raise ValueError(f"waveform {number} is {samples} samples, expected one encoder frame or more")
        self.model.eval()
        device = self.model.device
        order = sorted(range(len(lengths)), key=lambda i: lengths[i])
        results: dict[int, tuple[torch.Tensor, str]] = {}
        bar = tqdm(total=len(order), desc=progress, unit="clip", disable=progress is None)
        for batch in _batches(order, lengths):
            padded, samples_in = collate([heard(waveforms[i]) for i in batch])
            features, mask = self.log_mel(padded.to(device), samples_in.to(device))  # (B, F, M), (B, F)
            features = features.to(self.model.dtype)
            encoded = self.model.encoder(input_features=features, attention_mask=mask.long())
            frames = encoded.last_hidden_state  # (B, T, D)
            best = self.model.ctc_head(frames).argmax(-1).cpu()  # (B, T)
            counts = encoded.attention_mask.sum(-1).tolist()
            frames = frames.float().cpu()
            for row, (i, count) in enumerate(zip(batch, counts, strict=True)):
                results[i] = (frames[row, :count].clone(), self._words(best[row, :count]))
            bar.update(len(batch))
        bar.close()
        return [results[i] for i in range(len(waveforms))]

    def encode(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Encoder frames (T_i, D) per waveform."""
        return [frames for frames, _ in self.run(waveforms)]

    def hypotheses(self, waveforms: Sequence[torch.Tensor]) -> list[str]:
        """Greedy CTC hypothesis per waveform."""
        return [words for _, words in self.run(waveforms)]

    def labels(self, text: str) -> list[int]:
        """CTC units of normalised words."""
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def save(self, folder: Path) -> None:
        """Write a Hugging Face folder in Parakeet's file layout."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.extractor.save_pretrained(folder)

    def _words(self, units: torch.Tensor) -> str:
        return " ".join(self.tokenizer.decode(units.tolist(), skip_special_tokens=True).split())


def load(source: str | Path, revision: str | None = None, device: str = "cpu") -> CTCEncoder:
    """The encoder in a folder or under a hub id, frozen, in eval(); InputError names what is missing or wrong."""
    source, revision = _referred(source, revision)
    if str(source).startswith((".", "/", "~")) and not Path(source).is_dir():
        raise InputError(f"encoder {source} is not there; name a folder with a Parakeet CTC model, or a hub id")
    try:
        read_config(source, revision)
        model, loading = ParakeetForCTC.from_pretrained(
            source, revision=revision, use_safetensors=True, output_loading_info=True
        )
        tokenizer = ParakeetTokenizer.from_pretrained(source, revision=revision)
        extractor = ParakeetFeatureExtractor.from_pretrained(source, revision=revision)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"encoder {source} cannot be loaded: {error}; name a folder or hub id of a Transformers Parakeet CTC model"
        ) from error
    wrong = {kind: sorted(keys) for kind, keys in loading.items() if keys and kind != "error_msgs"}
    if wrong:
        raise InputError(f"encoder {source} does not fit its config.json: {wrong}; get the folder again, whole")
    return _frozen(model.to(device), tokenizer, extractor)


def save(encoder: CTCEncoder, folder: Path) -> None:
    """Save an encoder trained here: write a Parakeet folder, read it back, and complete it with checkpoint.json.

    Raises RuntimeError if it does not read back as written."""
    encoder.save(folder)
    read = load(folder)
    if weights_hash(read.model) != weights_hash(encoder.model):
        raise RuntimeError(f"{folder} does not read back as what was written; look at the disk")
    _write_spec(folder, {"encoder": "./.", "revision": None, "weights": weights_hash(read.model)})


def behind(enhancer: Path, encoder: CTCEncoder) -> CTCEncoder:
    """The encoder that was fine-tuned together with an enhancer, on its output, or the given one if there is none.

    Raises InputError if it is missing or changed, or was fine-tuned from another encoder than the given one: a Llama
    trained with the given one would not understand it.
    """
    known = json.loads((enhancer / SPEC).read_text(encoding="utf-8")).get("heard_by")
    if known is None:
        return encoder
    folder = enhancer / BEHIND
    if known["learned_from"] != weights_hash(encoder.model):
        raise InputError(
            f"{folder} learned from another encoder than the checkpoint hears by; name an enhancer of the checkpoint's"
            " run, or a checkpoint whose sft left the ctc stage's encoder as it was"
        )
    made = load(os.path.abspath(folder), device=str(encoder.model.device))
    if known["weights"] != weights_hash(made.model):
        raise InputError(f"{folder} is not the encoder that learned with the enhancer; get the folder again, whole")
    return made


def refer(folder: Path, source: str, revision: str | None) -> None:
    """Save a reference to an encoder stored elsewhere; a folder below the working folder is named relative to it."""
    if Path(source).is_dir():
        path = Path(os.path.abspath(source))
        source = path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.as_posix()
        source = source if source.startswith("/") else f"./{source}"
        link = {origin.LINKS: origin.links(folder, {"encoder": path})}
        _write_spec(folder, {"encoder": source, "revision": revision, **link})
        return
    _write_spec(folder, {"encoder": source, "revision": revision})


def _write_spec(folder: Path, spec: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / SPEC_FILE, {"format": 1, "stage": "ctc", **spec})


def _referred(source: str | Path, revision: str | None) -> tuple[str | Path, str | None]:
    """The encoder that a ctc checkpoint refers to, if it only refers to one; else the source itself."""
    path = Path(source) / SPEC_FILE
    if path.is_file() and not (Path(source) / "config.json").is_file():
        try:
            spec = json.loads(path.read_text(encoding="utf-8"))
            named, revision = spec["encoder"], spec["revision"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} names no encoder ({error!r}); name a ctc stage's folder, whole") from error
        if named == "./.":
            raise InputError(f"{source} holds no encoder (no config.json); get the folder again, whole")
        if link := (spec.get(origin.LINKS) or {}).get("encoder"):
            return str(origin.place(Path(source), "encoder", named.removeprefix("./"), link)), revision
        return named, revision
    return source, revision


def tiny(
    hidden_size: int,
    layers: int,
    heads: int,
    subsampling_factor: int,
    subsampling_channels: int,
    mel_bins: int,
    tokenizer: ParakeetTokenizer | None = None,
) -> CTCEncoder:
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


def weights_hash(model: torch.nn.Module) -> str:
    """Hash of all weights and buffers and their names, 16 hex digits."""
    tensors = ((name, t.detach().cpu().contiguous()) for name, t in sorted(model.state_dict().items()))
    parts = (part for name, t in tensors for part in (name, t.view(-1).view(torch.uint8).numpy().tobytes()))
    return files.content_hash(parts)[:16]


def _frozen(model: ParakeetForCTC, tokenizer: ParakeetTokenizer, extractor: ParakeetFeatureExtractor) -> CTCEncoder:
    model.eval().requires_grad_(False)
    return CTCEncoder(model, tokenizer, extractor, LogMel(extractor).to(model.device))


def _batches(order: list[int], lengths: Sequence[int]) -> list[list[int]]:
    """Indices sorted by length, cut so that a padded batch holds at most BATCH_SAMPLES samples."""
    batches: list[list[int]] = []
    for i in order:
        if not batches or (len(batches[-1]) + 1) * lengths[i] > BATCH_SAMPLES:
            batches.append([])
        batches[-1].append(i)
    return batches
