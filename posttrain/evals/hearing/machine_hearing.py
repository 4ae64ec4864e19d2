"""Speech-Llama transcripts of clips through a listener's simulated ear, and of clips with the enhancer in front."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from posttrain.acoustics.audiogram import normal
from posttrain.acoustics.enhancer import Enhancer
from posttrain.acoustics.hearing_loss import HearingLoss, internal_noise
from posttrain.corpus.instructions import INSTRUCTIONS, REPEAT
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.evals.errors import edit_errors
from posttrain.evals.hearing.listeners import Heard, Line
from posttrain.model import checkpoint as checkpoints
from posttrain.model.corpus_table import table_of
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import Encoder
from posttrain.model.speech_llama import SpeechLlama
from posttrain.tasks.hearing import is_abstention

BATCH = 64
MAX_NEW_TOKENS = 60
MICROPHONE = 0.04
"""Scales 65 dB SPL at the ear (root mean square 1) to the loudness of the corpus's clips."""


@dataclass(frozen=True)
class Machine:
    """A checkpoint that transcribes, and its encoder."""

    llama: SpeechLlama
    encoder: Encoder

    @classmethod
    def load(cls, checkpoint: Path, device: str) -> "Machine":
        """Load both from a checkpoint; InputError if it takes no speech."""
        spec = checkpoints.read_spec(checkpoint)
        if not spec.encoder:
            raise InputError(f"{checkpoint} ({spec.stage}) does not hear; name a stage from align on")
        return cls(checkpoints.load(checkpoint, device), encoders.load(spec.encoder, device=device))

    def behind(self, enhancer: Path) -> "Machine":
        """The same Llama with the encoder that was trained with the enhancer, if there is one."""
        return replace(self, encoder=encoders.trained_with(enhancer, self.encoder))

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[tuple[str, str]]:
        """The Llama's and the encoder's own transcript of each waveform (S,); the Llama's is empty if it abstained."""
        table = table_of(self.encoder, {str(i): torch.from_numpy(waveform) for i, waveform in enumerate(waveforms)})
        self.llama.attach(table)
        examples = [Example(clip, "test", REPEAT, INSTRUCTIONS[REPEAT], "", clip, "", "wer") for clip in table.spans]
        outputs = self.llama.answer(examples, BATCH, MAX_NEW_TOKENS)
        words = ["" if is_abstention(output) else output for output in outputs]
        return list(zip(words, table.hypotheses.values(), strict=True))


def through_ears(machine: Machine, heard: Iterable[Heard], texts: dict[str, str]) -> Iterator[Line]:
    """Transcripts and errors of every clip and processing after its ear's simulated loss, listener by listener.

    A normal ear's internal noise is added, so that the machine does not hear what a normal ear would not.
    `texts`: clip → what is said in it.
    """
    ear = HearingLoss()

    def listener(place: Heard) -> tuple[str, str]:
        return place.source, place.listener.name

    for (_, name), group in groupby(heard, listener):
        places = list(tqdm(group, desc=f"machine hearing, {name}", unit="clip"))
        for processing in places[0].waveforms:
            waveforms = [_left_of(ear, place, processing) for place in places]
            for place, (said, _) in zip(places, machine.transcribe(waveforms), strict=True):
                text = texts[place.mixture.id]
                errors = edit_errors(text, said)
                counts = {key: errors[key] for key in ("errors", "words")}
                yield place.line("wer", processing, text=text, content=text, output=said, **counts)


def with_and_without(
    machine: Machine, enhancer: Enhancer, corpus: Corpus, denoise: float = 1.0, behind: Machine | None = None
) -> Iterator[Line]:
    """The run's own transcription items with and without the enhancer before the encoder: the effect of --enhance.

    `behind`: the machine that transcribes the enhanced clips, if not `machine`.
    """
    items = [item for item in corpus.items if item.clip and item.probe and item.probe.startswith(("wer/", "wer_real/"))]
    waveforms = [corpus.audio(item.clip or "").numpy() for item in items]
    hearing = normal().levels()
    enhanced = [
        enhancer.enhance(waveform, hearing, denoise) for waveform in tqdm(waveforms, desc="enhancing", unit="clip")
    ]
    for suffix, hears, variant in (("unenhanced", machine, waveforms), ("enhanced", behind or machine, enhanced)):
        for item, (said, own) in zip(items, hears.transcribe(variant), strict=True):
            clip = corpus.clips[item.clip or ""]
            family, _, condition = str(item.probe).partition("/")
            counts = edit_errors(clip.text, said) | {"encoder_errors": edit_errors(clip.text, own)["errors"]}
            probe = f"{family}_{suffix}/{condition}"
            about: dict[str, Any] = {"id": f"{probe}/{item.id}", "probe": probe, "clip": clip.id}
            about |= {"speaker": clip.speaker, "text": clip.text, "content": item.content_id}
            yield about | {"output": said, "encoder_output": own} | counts


def _left_of(ear: HearingLoss, place: Heard, processing: str) -> np.ndarray:
    """The clip after the ear's simulated loss, at the microphone's level, (S,)."""
    waveform = torch.from_numpy(place.waveforms[processing])
    thresholds = torch.from_numpy(place.listener.levels(place.ear)).float()
    with torch.no_grad():
        left = ear(waveform[None], thresholds[None])[0]
    return (MICROPHONE * (left + internal_noise(len(left), torch.Generator().manual_seed(0)))).numpy()
