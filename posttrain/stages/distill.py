"""`distill`: the Llama reading the transcript teaches the same Llama hearing the speech (cross-modal distillation).

Loss on answer tokens only, over the same answer for both: w · cross-entropy + (1 − w) · T² · divergence.
Only the projector trains, so the teacher needs no second copy: on a typed row the student is the teacher.
"""

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from transformers import Trainer, TrainingArguments

from posttrain.config.sections import DistillConfig
from posttrain.corpus.instructions import ANSWER, REPEAT
from posttrain.corpus.types import Example
from posttrain.model import checkpoint
from posttrain.model.divergence import divergence
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.trainer import arguments, print_trainable, projector_on_four_bits, train

IGNORE = -100


def run(config: DistillConfig, context: StageContext) -> dict[str, Any]:
    """Train on spoken transcription and spoken open answers; saves the student."""
    llama = checkpoint.load(context.parents["model"], context.device, table=context.table, trainable=True)
    examples = context.corpus.spoken("train", REPEAT, ANSWER)
    if config.answers == "teacher":
        examples = _teacher_written(llama, examples)
    rows = Dataset.from_list([_row(llama, e) for e in examples])
    args = arguments(
        TrainingArguments,
        context,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        gradient_checkpointing=config.gradient_checkpointing,
        llama=llama.model,
    )
    print_trainable(llama.model, "distill")
    with projector_on_four_bits(llama.model):
        trainer = _DistillTrainer(
            model=llama.model,
            args=args,
            train_dataset=rows,
            data_collator=_Collator(llama.tokenizer.pad_token_id),
        )
    trainer.config = config
    metrics = train(trainer, context, "distill", examples)
    checkpoint.save(context.folder, llama, stage="distill", parents=context.parents)
    return metrics | {"examples": len(examples)}


class _DistillTrainer(Trainer):
    """HF Trainer with the loss above; every batch holds the same answers after a spoken and after a typed prompt."""

    config: DistillConfig

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        config = self.config
        student = _answer_logits(model, inputs["student_ids"], inputs["student_labels"])  # (L, V)
        with torch.no_grad():
            teacher = _answer_logits(model, inputs["teacher_ids"], inputs["teacher_labels"])  # (L, V)
        labels = inputs["student_labels"][:, 1:]
        cross_entropy = F.cross_entropy(student, labels[labels != IGNORE])
        apart = divergence(student, teacher, config.divergence, config.temperature, config.top_k)
        loss = config.cross_entropy_weight * cross_entropy + (1 - config.cross_entropy_weight) * apart
        return (loss, student) if return_outputs else loss


def _answer_logits(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Logits at the positions that predict an answer token, rows concatenated.  # (L, V)"""
    mask = ids != model.config.pad_token_id
    first = int((labels != IGNORE).any(0).nonzero()[0])  # logits over prompts would fill the memory
    kept = torch.arange(first - 1, ids.shape[1], device=ids.device)  # of a slice, the backward pass copies the head
    logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False, logits_to_keep=kept).logits
    return logits[:, :-1][labels[:, first:] != IGNORE].float()


class _Collator:
    """Pads on the right; labels are IGNORE outside the answer."""

    def __init__(self, pad: int):
        self.pad = pad

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        for who in ("student", "teacher"):
            ids = [torch.tensor(row[who] + row["answer"]) for row in rows]
            labels = [torch.tensor([IGNORE] * len(row[who]) + row["answer"]) for row in rows]
            batch[f"{who}_ids"] = pad_sequence(ids, batch_first=True, padding_value=self.pad)
            batch[f"{who}_labels"] = pad_sequence(labels, batch_first=True, padding_value=IGNORE)
        return batch


def _row(llama: SpeechLlama, example: Example) -> dict[str, Any]:
    typed = dataclasses.replace(example, clip=None)
    return {
        "id": example.id,
        "student": llama.tokenizer.prompt_ids(example),
        "teacher": llama.tokenizer.prompt_ids(typed),
        "answer": llama.tokenizer.answer_ids(example.answer),
    }


def _teacher_written(llama: SpeechLlama, examples: list[Example]) -> list[Example]:
    """The examples with the teacher's greedy answers to them as text; those with an empty answer are dropped."""
    typed = [dataclasses.replace(e, clip=None) for e in examples]
    answers = llama.answer(typed, 64, 48)
    return [dataclasses.replace(e, answer=a) for e, a in zip(examples, answers, strict=True) if a]
