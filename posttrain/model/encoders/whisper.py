"""Whisper (Radford et al. 2022): the encoder's frames, and its decoder's greedy output as the encoder's transcript.

A hub id or folder of Transformers' WhisperForConditionalGeneration; a multilingual one is told to write English.
Whisper was trained on clips padded to 30 s. Here half a second of silence or a little more follows a clip, so that its
length is a multiple of half a second, and the encoder's positions end there; the frames of the silence are cut away.
Clips of one padded length are encoded together, so nothing is masked (Whisper's attention takes no mask). The decoder
is given frames of plain silence for the rest of the 30 s, computed once, so it decodes all clips of a batch together.
Frames and transcript depend on the clip alone.

With tiny.en the decoder's word errors are about those of clips padded to 30 s, at less cost; with no silence beyond
the clip's it repeats itself. The frames differ a little from those of padded clips, so a projector learns these ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    GenerationMixin,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.frontend import collate
from posttrain.corpus.normalise import normalise
from posttrain.errors import InputError
from posttrain.model.encoders.contract import whole

NO_SPLIT = ("WhisperEncoderLayer",)
SILENCE = 50
"""Fewest mel frames (10 ms) of silence after a clip; padded lengths are multiples of it."""
SILENT = -1.5
"""Feature of digital silence."""
TOKENS_S, TOKENS = 10, 8
"""The decoder writes at most this many tokens a second and this many more; fast speech has six a second."""


@dataclass
class Whisper:
    """An `Encoder` (contract.py)."""

    model: WhisperForConditionalGeneration
    """Encoder and decoder."""
    tokenizer: WhisperTokenizer
    """The decoder's tokens."""
    extractor: WhisperFeatureExtractor
    """Feature settings."""
    prompt: list[int]
    """The tokens that the decoder's output begins with."""
    _silence: tuple[int, torch.Tensor] | None = None

    aligner = None

    @property
    def width(self) -> int:
        return int(self.module.config.d_model)

    @property
    def frame_samples(self) -> int:
        return int(2 * self.extractor.hop_length)

    @property
    def longest_samples(self) -> int:
        return int((2 * self.module.config.max_source_positions - SILENCE) * self.extractor.hop_length)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def module(self) -> WhisperEncoder:
        return self.model.model.encoder

    def num_frames(self, samples: int) -> int:
        return _positions(samples // self.extractor.hop_length)

    def features(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return log_mel(self.extractor, waveforms, lengths)  # (B, F, M), (B, F)

    def encode(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return encode(self.module, features, mask)

    @torch.no_grad()
    def transcribe(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, words: Sequence[bool] = ()
    ) -> list[tuple[torch.Tensor, str]]:
        self.model.eval()
        features, mask = self.features(waveforms.to(self.device), lengths.to(self.device))
        counts = _positions(mask.sum(-1)).tolist()
        heard: dict[int, torch.Tensor] = {}
        for rows, frames in _padded(self.module, features, mask):
            heard |= zip(rows, frames, strict=True)
        asked = [row for row in range(len(counts)) if not words or words[row]]
        said = dict(zip(asked, self.said([heard[row] for row in asked]), strict=True)) if asked else {}
        return [(heard[row][:count].float().cpu().clone(), said.get(row, "")) for row, count in enumerate(counts)]

    def said(self, clips: Sequence[torch.Tensor]) -> list[str]:
        """The decoder's greedy transcripts, normalised, of padded clips' frames (T, D).

        The decoder also attends to the frames of silence up to 30 s: without them it repeats itself without end.
        """
        silence = self.silence()
        frames = torch.stack([torch.cat([clip, silence[len(clip) :]]) for clip in clips])  # (b, T, D), 30 s
        prompt = torch.tensor([self.prompt] * len(frames), device=frames.device)  # (b, L)
        own = self.model.generation_config
        most = [len(self.prompt) + TOKENS + TOKENS_S * len(clip) * self.frame_samples // SAMPLE_RATE for clip in clips]
        config = GenerationConfig(
            max_length=min(max(most), self.model.config.max_target_positions),
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
            suppress_tokens=own.suppress_tokens or None,
            begin_suppress_tokens=own.begin_suppress_tokens,
        )
        # Whisper's own `generate` is for clips of 30 s and longer
        written = GenerationMixin.generate(
            self.model,
            decoder_input_ids=prompt,
            decoder_attention_mask=torch.ones_like(prompt),
            encoder_outputs=BaseModelOutput(last_hidden_state=frames),
            attention_mask=torch.ones(frames.shape[:2], dtype=torch.long, device=frames.device),
            generation_config=config,
        )
        written = [ids[:count] for ids, count in zip(written.tolist(), most, strict=True)]
        return [normalise(text) for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]

    def silence(self) -> torch.Tensor:
        """The frames (T, D) of 30 s of silence, computed once and again when the encoder has learned."""
        learned = self.module.conv1.weight._version
        if self._silence is None or self._silence[0] != learned:
            mel = 2 * self.module.config.max_source_positions
            features = torch.full((1, mel, self.module.config.num_mel_bins), SILENT, device=self.device)
            self._silence = learned, _forward(self.module, features)[0]
        return self._silence[1]

    def save(self, folder: Path) -> None:
        for part in (self.model, self.tokenizer, self.extractor):
            part.save_pretrained(folder)


def load(source: str | Path, revision: str | None = None, device: str = "cpu") -> Whisper:
    """The Whisper in a folder or under a hub id, frozen, in eval(), float32; `loading.load` rewords its errors."""
    model, report = WhisperForConditionalGeneration.from_pretrained(
        source, revision=revision, use_safetensors=True, output_loading_info=True, dtype=torch.float32
    )
    tokenizer = WhisperTokenizer.from_pretrained(source, revision=revision)
    extractor = WhisperFeatureExtractor.from_pretrained(source, revision=revision)
    whole(source, report)
    try:
        prompt = _prompt(model.generation_config.to_dict())
    except (KeyError, TypeError) as error:
        raise InputError(
            f"encoder {source}: generation_config.json has no {error}, which the decoder's prompt needs; take that file"
            " from the model that this one was trained from"
        ) from error
    if len(tokenizer) <= max(prompt):
        raise InputError(
            f"encoder {source}: its tokenizer has {len(tokenizer)} tokens, expected over {max(prompt)}; get the folder"
            " again, whole"
        )
    return Whisper(model.to(device).eval().requires_grad_(False), tokenizer, extractor, prompt)


def skeleton(config: dict[str, Any]) -> WhisperForConditionalGeneration:
    """An untrained model for a config.json."""
    return WhisperForConditionalGeneration(WhisperConfig.from_dict(config))


def body(config: WhisperConfig) -> WhisperEncoder:
    """An untrained encoder without the decoder."""
    return WhisperEncoder(config)


def features(extractor: WhisperFeatureExtractor, waveforms: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mel features (B, F, M) of waveforms (S_i,), with the silence after them, and the clips' mask (B, F)."""
    return log_mel(extractor, *collate(waveforms))


def encode(module: WhisperEncoder, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (B, F, M) and mask (B, F) → frames (B, T, D) and how many of them are valid (B,)."""
    counts = _positions(mask.sum(-1))  # (B,)
    frames: dict[int, torch.Tensor] = {}
    for rows, padded in _padded(module, features, mask):
        frames |= zip(rows, padded, strict=True)
    own = [frames[row][:count] for row, count in enumerate(counts.tolist())]
    return pad_sequence(own, batch_first=True), counts


def num_frames(config: dict[str, Any], mask: torch.Tensor) -> list[int]:
    """The number of frames of each clip, by its mask (B, F)."""
    return _positions(mask.sum(-1)).tolist()


def log_mel(
    extractor: WhisperFeatureExtractor, waveforms: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Waveforms (B, S) and lengths (B,) → the extractor's features of clips and silence (B, F, M), and the clips' mask.

    Differentiable; WhisperFeatureExtractor's own of the same padded clips differ by rounding (tested).
    """
    hop = extractor.hop_length
    count = torch.div(lengths, hop, rounding_mode="floor")  # (B,)
    samples = int(_with_silence(count).max()) * hop
    waveforms = F.pad(waveforms, (0, samples - waveforms.shape[1]))  # (B, S')
    window = torch.hann_window(extractor.n_fft, device=waveforms.device)
    spectrum = torch.stft(waveforms, extractor.n_fft, hop, window=window, return_complex=True)[..., :-1]  # (B, bins, F)
    power = spectrum.real.square() + spectrum.imag.square()  # (B, bins, F)
    filters = torch.from_numpy(extractor.mel_filters).to(power)  # (bins, M)
    log = (power.transpose(1, 2) @ filters).clamp(min=1e-10).log10()  # (B, F, M)
    log = torch.maximum(log, log.amax((1, 2), keepdim=True) - 8)
    return (log + 4) / 4, torch.arange(log.shape[1], device=log.device) < count[:, None]  # (B, F, M), (B, F)


def _prompt(generation: dict[str, Any]) -> list[int]:
    """Start of transcript, English and transcribe if there are other languages and tasks, no timestamps."""
    languages = []
    if generation["is_multilingual"]:
        languages = [generation["lang_to_id"]["<|en|>"], generation["task_to_id"]["transcribe"]]
    return [generation["decoder_start_token_id"], *languages, generation["no_timestamps_token_id"]]


def _padded(
    module: WhisperEncoder, features: torch.Tensor, mask: torch.Tensor
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Rows of the batch whose padded lengths are equal, and their frames (b, T, D), those of the silence too."""
    lengths = _with_silence(mask.sum(-1))  # (B,)
    for length in lengths.unique().tolist():
        (rows,) = (lengths == length).nonzero(as_tuple=True)
        yield rows.tolist(), _forward(module, features[rows, :length])


def _forward(module: WhisperEncoder, features: torch.Tensor) -> torch.Tensor:
    """Features (b, F, M) → frames (b, T, D): WhisperEncoder.forward without its demand for 30 s."""
    mel = features.to(module.dtype).transpose(1, 2)  # (b, M, F)
    hidden = F.gelu(module.conv2(F.gelu(module.conv1(mel)))).transpose(1, 2)  # (b, T, D)
    hidden = hidden + module.embed_positions.weight[: hidden.shape[1]]
    for layer in module.layers:
        hidden = layer(hidden, None)
    return module.layer_norm(hidden)


def _positions(mel: Any) -> Any:
    """Mel frames → encoder frames, two in one."""
    return (mel + 1) // 2


def _with_silence(mel: Any) -> Any:
    """Mel frames of a clip → with the silence after it."""
    return (mel + 2 * SILENCE - 1) // SILENCE * SILENCE
