"""Validation WER while a stage trains: the only figure that model choice and stopping may use."""

from typing import Any

import jiwer
from transformers import TrainerCallback

from posttrain.corpus.instructions import REPEAT
from posttrain.corpus.normalise import normalise
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.model.speech_llama import SpeechLlama


def valid_answers(llama: SpeechLlama, corpus: Corpus, batch_size: int = 64) -> list[tuple[Example, str]]:
    """The validation voices' clips, each with its greedy transcript."""
    examples = corpus.spoken("valid", REPEAT)
    if not examples:
        raise ValueError("the corpus has no validation clip, expected some; raise corpus.valid_clips")
    return list(zip(examples, llama.answer(examples, batch_size, 48), strict=True))


def valid_wer(answers: list[tuple[Example, str]]) -> float:
    """WER of these transcripts; a share, errors / words."""
    return jiwer.wer([example.text for example, _ in answers], [normalise(heard) for _, heard in answers])


class StopAtWER(TrainerCallback):
    """Stop as soon as validation WER, measured `looks` times, is no higher than `target`."""

    def __init__(self, llama: SpeechLlama, corpus: Corpus, target: float, looks: int = 20):
        self.llama, self.corpus, self.target, self.looks = llama, corpus, target, looks
        self.seen: list[tuple[int, float]] = []
        """(step, validation WER)."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Measure, and stop if the target is reached."""
        if state.global_step % max(1, state.max_steps // self.looks) == 0:
            self.seen.append((state.global_step, valid_wer(valid_answers(self.llama, self.corpus))))
            control.should_training_stop |= self.seen[-1][1] <= self.target  # keeps the stop at the last step
        return control
