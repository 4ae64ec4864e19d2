"""Chooses, on validation clips, the weights with which word head and Llama decide together (model/together.py)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jiwer

from posttrain.corpus.normalise import normalise
from posttrain.corpus.types import Example
from posttrain.model import together
from posttrain.model.speech_llama import SpeechLlama
from posttrain.model.together import Candidate, Weights
from posttrain.tasks.hearing import is_abstention

CTC = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
LENGTH = (0.0, -1.0, 1.0, 2.0, 3.0)
ENCODER = (0.0, 1.0, 2.0, 4.0)
"""Weights that are tried."""


def deciding(
    llama: SpeechLlama, answers: list[tuple[Example, str]], candidates: int, batch_size: int = 64
) -> tuple[SpeechLlama, dict[str, Any]]:
    """The model with the weights that are best on the validation clips, and their WER with and without the head.

    `answers`: the clips, with the model's own transcripts; those in which it hears words are counted. It decides alone
    unless the weights make fewer errors.
    """
    llama = dataclasses.replace(llama, spec=dataclasses.replace(llama.spec, together=None))
    heard = [(e, output) for e, output in answers if output and not is_abstention(output)]
    if not heard:
        return llama, {"words": 0}
    scored = together.scored(llama, [e for e, _ in heard], [output for _, output in heard], batch_size, candidates)
    weights, errors = choose(scored, [e.text for e, _ in heard])
    alone = sum(_errors(e.text, output) for e, output in heard)
    words = sum(len(e.text.split()) for e, _ in heard)
    found = {"together_wer": round(errors / words, 4), "alone_wer": round(alone / words, 4), "words": words}
    if errors >= alone:
        return llama, found
    spec = dataclasses.replace(llama.spec, together=dataclasses.astuple(weights), candidates=candidates)
    return dataclasses.replace(llama, spec=spec), found | dataclasses.asdict(weights)


def choose(scored: Sequence[Sequence[Candidate]], texts: Sequence[str]) -> tuple[Weights, int]:
    """The weights with the fewest word errors over these clips' candidates and texts, and how many errors.

    Of weights with equally many, the first in the order of CTC, LENGTH and ENCODER.
    """
    errors = [[_errors(text, candidate.text) for candidate in own] for text, own in zip(texts, scored, strict=True)]

    def total(weights: Weights) -> int:
        scores = ([candidate.score(weights) for candidate in own] for own in scored)
        return sum(found[own.index(max(own))] for found, own in zip(errors, scores, strict=True))

    every = [Weights(ctc, length, encoder) for ctc in CTC for length in LENGTH for encoder in ENCODER]
    won = min(every, key=total)
    return won, total(won)


def _errors(said: str, heard: str) -> int:
    found = jiwer.process_words(said, normalise(heard))
    return found.substitutions + found.deletions + found.insertions
