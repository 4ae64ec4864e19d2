"""Growth of forgetting while a stage trains, measured at a few steps on validation data only."""

from typing import Any

from transformers import TrainerCallback

from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.model.divergence import kl_terms
from posttrain.model.reference import Reference
from posttrain.model.speech_llama import SpeechLlama


class Curve(TrainerCallback):
    """Record {"step", "loss" of the tasks' validation answers, "kl_base" on validation text} at `looks` steps.

    Both are in nats per token. kl_base is KL(base ‖ model), which is L_f of arXiv 2401.05605 (cross-entropy against the
    base's predictions) minus the base's own entropy. ValueError if the corpus has no validation examples or lines.
    """

    def __init__(self, llama: SpeechLlama, reference: Reference, corpus: Corpus, looks: int):
        self.llama, self.reference, self.looks = llama, reference, looks
        self.examples = corpus.examples_of("valid")
        self.lines = [text["text"] for text in corpus.texts if text["split"] == "valid"]
        if not self.examples or not self.lines:
            raise ValueError("the corpus has no validation examples or lines, expected some; raise corpus.valid_clips")
        self.seen: list[dict[str, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure if it is time to."""
        if state.global_step % max(1, state.max_steps // self.looks) == 0:
            self.seen.append(
                {
                    "step": state.global_step,
                    "loss": task_loss(self.llama, self.examples),
                    "kl_base": kl_base(self.llama, self.reference, self.lines),
                }
            )


def task_loss(llama: SpeechLlama, examples: list[Example]) -> float:
    """Cross-entropy of the right answers, nats per token."""
    answers = [e.answer for e in examples]
    tokens = [len(llama.tokenizer.answer_ids(answer)) for answer in answers]
    means = llama.logprobs(examples, answers)
    return -sum(mean * n for mean, n in zip(means, tokens, strict=True)) / sum(tokens)


def kl_base(llama: SpeechLlama, reference: Reference, lines: list[str], batch_size: int = 64) -> float:
    """KL(base ‖ model) on running text, nats per token."""
    rows = sorted((llama.tokenizer.text_ids(line) for line in lines), key=len)
    total = tokens = 0.0
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        spans = [(1, len(row)) for row in batch]
        ours = llama.span_logprobs(batch, spans)
        with reference.loaded() as off:
            theirs = off.span_logprobs(batch, spans)
        total += sum(kl_terms(p, q).sum().item() for p, q in zip(theirs, ours, strict=True))
        tokens += sum(len(p) for p in theirs)
    return total / tokens
