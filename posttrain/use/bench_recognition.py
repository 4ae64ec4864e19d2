"""What denoisers do to recognition: word errors of a model on the same noisy recordings, behind each of them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from posttrain.corpus.store import Corpus
from posttrain.errors import InputError
from posttrain.evals.errors import edit_errors
from posttrain.evals.hearing.enhancement import mixtures_of
from posttrain.evals.hearing.machine_hearing import Machine
from posttrain.model import origin
from posttrain.stages.training.enhance_data import clean_speech

SNRS_DB = (0.0, 5.0, 10.0)
"""Where words are counted."""
UNPROCESSED = "unprocessed"
"""The noisy recordings themselves."""
MEASURES = {"wer": "word errors of the model, percent", "encoder_wer": "word errors of its encoder alone, percent"}
Line = dict[str, Any]
Hears = Mapping[str, tuple[Callable[[np.ndarray], np.ndarray], Machine]]
"""Name of a denoiser → what it does to a waveform (S,) → (S,), and the model that hears the result."""


def load(checkpoint: Path, denoiser: Path, corpus: Corpus) -> tuple[Machine, Machine]:
    """The model of a checkpoint, to be tested on this corpus, and the same with the encoder trained with the denoiser.

    InputError if it takes no speech, or its corpus trains on a speaker of the test.
    """
    trained_on = {clip.speaker for clip in Corpus.load(origin.resolve(checkpoint).corpus).clips_of("train")}
    both = sorted({clip.speaker for clip in clean_speech(corpus, "test")} & trained_on)
    if both:
        fix = "name a model that was not"
        raise InputError(f"{checkpoint} was trained on test speakers of {corpus.folder}, such as {both[0]}; {fix}")
    machine = Machine.load(checkpoint, "cpu")
    return machine, machine.behind(denoiser)


def lines(hears: Hears, alone: Machine, corpus: Corpus, source: str, clips: int) -> Iterator[Line]:
    """Word errors and words of each clip, SNR and measure, first without a denoiser, then behind each."""
    mixed = list(mixtures_of(corpus, source, SNRS_DB, clips))
    for name, (enhance, machine) in {UNPROCESSED: (lambda sound: sound, alone), **hears}.items():
        made = [enhance(mixture.noisy) for mixture in tqdm(mixed, f"{source}, {name}", unit="mixture", leave=False)]
        for mixture, outputs in zip(mixed, machine.transcribe(made), strict=True):
            text = corpus.clips[mixture.id].text
            about: Line = {"source": source, "clip": mixture.id, "speaker": mixture.speaker, "content": text}
            about |= {"denoiser": name, "condition": f"{mixture.snr_db:g} dB"}
            for measure, output in zip(MEASURES, outputs, strict=True):
                counts = edit_errors(text, output)
                yield about | {"measure": measure, "value": counts["errors"], "of": counts["words"]}
