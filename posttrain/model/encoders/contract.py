"""The `Encoder` contract: waveforms → for each clip its frames, which the Llama is given, and the encoder's transcript.

All code outside `model/encoders/` knows an encoder by this contract only; the `ctc` stage, which trains a Parakeet from
scratch, is the exception. A new kind of encoder is a file like `parakeet.py`, a row in `kinds.py` and one in
`loading.py`. Where the transcript comes from is the encoder's own affair: a CTC head, or a decoder as Whisper's.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.frontend import collate, heard
from posttrain.errors import InputError

Span = tuple[int, int]
"""First frame, and one past the last."""
Aligner = Callable[[torch.Tensor, str], list[Span] | None]
"""Frames (T, D) and their text → the span of each word; None if there are too few frames for the text."""
BATCH_SAMPLES = 16 * 3 * SAMPLE_RATE
"""Most samples in a padded batch: few enough for a processor's cache."""


class Encoder(Protocol):
    """A pretrained or newly trained speech encoder, frozen and in eval() unless a stage trains it."""

    @property
    def width(self) -> int:
        """D of its frames."""

    @property
    def frame_samples(self) -> int:
        """Samples at 16 kHz per frame."""

    @property
    def longest_samples(self) -> int:
        """Samples of the longest clip that it encodes; longer ones are cut before, or refused by `run`."""

    @property
    def model(self) -> torch.nn.Module:
        """All of it, the part that transcribes included; `state_hash` of it identifies frames and transcripts."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    @property
    def module(self) -> Any:
        """The PreTrainedModel that computes frames from features: what trains when a stage trains the encoder.

        It has a `config`, whose `model_type` is listed in `loading.BODIES`; the part that transcribes is not in it.
        """

    @property
    def extractor(self) -> Any:
        """Transformers' feature extractor with the settings of `features`; it is saved with the encoder."""

    @property
    def aligner(self) -> Aligner | None:
        """Finds words in frames; None if this encoder cannot, and then `personalise` needs `splices=0`."""

    def num_frames(self, samples: int) -> int:
        """Number of frames T of a clip with this many samples; 0 if it is too short to be encoded."""

    def features(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms (B, S), zero-padded, with `lengths` (B,) in samples → features (B, F, M) and their mask (B, F).

        Differentiable: the enhancer trains through it.
        """

    def encode(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and mask → frames (B, T, D) and the number of valid ones (B,); gradients reach both inputs."""

    def transcribe(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, words: Sequence[bool] = ()
    ) -> list[tuple[torch.Tensor, str]]:
        """Waveforms (B, S) and lengths (B,) → the frames float32 (T, D), on the CPU, and the transcript of each clip.

        `words`: whether each clip's transcript is needed, by default all are; one that is not may be left empty where
        it costs more than the frames. Without gradients, in eval(). A clip's frames do not depend on its batch.
        """

    def save(self, folder: Path) -> None:
        """Write a Hugging Face folder, with a config.json whose `model_type` is in `kinds.KINDS`."""


def run(
    encoder: Encoder,
    waveforms: Sequence[torch.Tensor],
    progress: str | None = None,
    lengths: Sequence[int] = (),
    names: Sequence[str] = (),
    words: Sequence[bool] = (),
) -> list[tuple[torch.Tensor, str]]:
    """(frames float32 (T_i, D), the encoder's transcript) of each waveform (S_i,), in order; batched by length.

    Silence around speech is not encoded (see `heard`).
    `progress`: name of a progress bar. `lengths`: in samples, for waveforms that are read on access. `names`: of the
    clips, for errors. `words`: whether each clip's transcript is needed, by default all are.
    Raises ValueError if a waveform is shorter than one frame or, without its silence, longer than the encoder takes.
    """
    results: dict[int, tuple[torch.Tensor, str]] = {}
    for batch in batched(encoder, waveforms, progress, lengths, names, words):
        results |= batch
    return [results[i] for i in range(len(waveforms))]


def batched(
    encoder: Encoder,
    waveforms: Sequence[torch.Tensor],
    progress: str | None = None,
    lengths: Sequence[int] = (),
    names: Sequence[str] = (),
    words: Sequence[bool] = (),
    done: Container[int] = (),
) -> Iterator[dict[int, tuple[torch.Tensor, str]]]:
    """As `run`, batch by batch: number of the waveform → its frames and transcript; without those that are `done`."""
    lengths = lengths or [len(waveform) for waveform in waveforms]

    def name(number: int) -> str:
        return f"clip {names[number]}" if names else f"waveform {number}"

    for number, samples in enumerate(lengths):
        if encoder.num_frames(samples) < 1:
            raise ValueError(f"{name(number)} is {samples} samples, expected one encoder frame or more")
    order = sorted((i for i in range(len(lengths)) if i not in done), key=lambda i: lengths[i])
    first = len(lengths) - len(order)
    bar = tqdm(total=len(lengths), initial=first, desc=progress, unit="clip", disable=progress is None)
    for batch in _batches(order, lengths):
        padded, samples_in = collate([heard(waveforms[i]) for i in batch])
        if padded.shape[1] > encoder.longest_samples:
            raise ValueError(
                f"{name(batch[int(samples_in.argmax())])} has {padded.shape[1] / SAMPLE_RATE:.1f} s of sound, "
                f"expected at most {encoder.longest_samples / SAMPLE_RATE:.1f} s, as the encoder takes no more; cut it"
            )
        wanted = [words[i] for i in batch] if words else ()
        yield dict(zip(batch, encoder.transcribe(padded, samples_in, wanted), strict=True))
        bar.update(len(batch))
    bar.close()


def state_hash(model: torch.nn.Module) -> str:
    """Hash of all weights and buffers and their names, 16 hex digits."""
    state = sorted(model.state_dict().items())
    parts = ((name, tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()) for name, tensor in state)
    return files.content_hash(part for name, values in parts for part in (name, values.tobytes()))[:16]


def whole(source: str | Path, report: Mapping[str, Any]) -> None:
    """Raise InputError if `from_pretrained` reports weights that are missing, left over or of another shape."""
    wrong = {kind: sorted(keys) for kind, keys in report.items() if keys and kind != "error_msgs"}
    if wrong:
        raise InputError(f"encoder {source} does not fit its config.json: {wrong}; get the folder again, whole")


def _batches(order: list[int], lengths: Sequence[int]) -> list[list[int]]:
    """Indices sorted by length, cut so that a padded batch holds at most BATCH_SAMPLES samples."""
    batches: list[list[int]] = []
    for i in order:
        if not batches or (len(batches[-1]) + 1) * lengths[i] > BATCH_SAMPLES:
            batches.append([])
        batches[-1].append(i)
    return batches
