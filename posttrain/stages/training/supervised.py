"""Supervised training for `align`, `sft` and `personalise`: examples → rows of ids → TRL's SFTTrainer; answer loss."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig as SFTArguments
from trl import SFTTrainer

from posttrain.corpus.types import Example
from posttrain.model.adapters import float32_trainables
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages import base
from posttrain.stages.training.anchor import Anchor, AnchoredTrainer
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.trainer import arguments, print_trainable, projector_on_four_bits, train


def train_supervised(
    llama: SpeechLlama,
    examples: list[Example],
    config: Any,
    context: StageContext,
    label: str,
    callbacks: Sequence[TrainerCallback] = (),
    anchor: Anchor | None = None,
    own_tests: Iterable[str] = (),
) -> dict[str, Any]:
    """Train the trainable parts of `llama` on the examples; `config` has steps, batch_size, learning_rate.

    `anchor`: a second loss, which keeps the model close to the base on typed text. `own_tests`: a person's test
    sentences, which no row may contain.
    """
    print_trainable(llama.model, label)
    trainer = build(llama, examples, config, context, callbacks, AnchoredTrainer if anchor else SFTTrainer)
    if anchor:
        trainer.anchor = anchor
    trained_on = [*examples, *(anchor.examples if anchor else ())]
    metrics = train(trainer, context, label, trained_on, own_tests=own_tests)
    return metrics | {"examples": len(examples)} | (anchor.metrics() if anchor else {})


def build(
    llama: SpeechLlama,
    examples: list[Example],
    config: Any,
    context: StageContext,
    callbacks: Sequence[TrainerCallback] = (),
    cls: type[SFTTrainer] = SFTTrainer,
    **extra: Any,
) -> Any:
    """TRL's trainer for the examples; `extra` are arguments that override the chosen ones."""
    args = arguments(
        SFTArguments,
        context,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        gradient_checkpointing=config.gradient_checkpointing,
        llama=llama.model,
        by_length=True,
        max_length=None,
        completion_only_loss=True,
        **extra,
    )
    with projector_on_four_bits(llama.model):
        trainer = cls(
            model=llama.model,
            args=args,
            train_dataset=rows(llama, examples, context.seed),
            processing_class=llama.tokenizer,
            callbacks=list(callbacks),
            optimizers=(_optimizer(llama, config), None),
        )
    float32_trainables(llama.model)
    return trainer


def _optimizer(llama: SpeechLlama, config: Any) -> torch.optim.Optimizer | None:
    """AdamW with separate learning rates for projector and encoder if `config` has them, else None (Trainer's own)."""
    own = {"projector": getattr(config, "projector_learning_rate", None)}
    if getattr(config, "train_encoder", False):
        own["encoder"] = config.encoder_learning_rate
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for name, parameter in llama.model.named_parameters():
        if parameter.requires_grad:
            part = "encoder" if ".table.encoder." in name else "projector" if ".projector." in name else ""
            groups.setdefault(own.get(part) or config.learning_rate, []).append(parameter)
    if groups.keys() == {config.learning_rate}:
        return None
    return torch.optim.AdamW([{"params": params, "lr": lr} for lr, params in groups.items()], weight_decay=0.0)


def rows(llama: SpeechLlama, examples: list[Example], seed: int = 0) -> Dataset:
    """Columns id, input_ids, completion_mask (1 on the answer, its end token included), length.

    `seed`: draws the rows that carry a transcript, if the model reads them.
    Raises ValueError if an answer contains a clip: labels are words only.
    """
    made = base.rows(llama.tokenizer, examples, seed)
    for row in made:
        kept = zip(row["input_ids"], row["completion_mask"], strict=True)
        if any(i >= llama.tokenizer.num_words for i, counts in kept if counts):
            raise ValueError(f"answer of {row['id']} holds a clip, expected words only; correct the corpus")
    return Dataset.from_list(made)
