"""`dpo`: direct preference optimisation (Rafailov et al. 2023) of the sft adapter and projector, by TRL's DPOTrainer.

The reference is a frozen copy of both as they are when the stage starts. For a PEFT model TRL creates it: an adapter
called `ref`, which also holds a copy of the projector; with adapters off, the projector would be a different one. A
parent without an adapter (full fine-tuning) gets a deep copy as its reference.
"""

import copy
from typing import Any

from datasets import Dataset
from peft import PeftModel
from trl import DPOConfig as DPOArguments
from trl import DPOTrainer

from posttrain.config.sections import DPOConfig
from posttrain.corpus.types import Pair
from posttrain.model import checkpoint
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.pairs import prompt_of, train_pairs
from posttrain.stages.training.trainer import arguments, drop_reference, keep_trainables, print_trainable, train
from posttrain.stages.training.transcripts import with_transcript


def run(config: DPOConfig, context: StageContext) -> dict[str, Any]:
    """Train on the preference pairs of the training split; saves the parent with adapter and projector changed."""
    llama = checkpoint.load(context.parents["model"], context.device, table=context.table, trainable=True)
    pairs = train_pairs(context.corpus)
    print_trainable(llama.model, "dpo")
    trainer = build(config, context, llama, pairs)
    metrics = train(trainer, context, "dpo", pairs, keep=("rewards/accuracies", "rewards/margins"))
    drop_reference(llama.model)
    checkpoint.save(context.folder, llama, stage="dpo", parents=context.parents)
    return metrics | {"pairs": len(pairs)}


def build(config: DPOConfig, context: StageContext, llama: SpeechLlama, pairs: list[Pair]) -> DPOTrainer:
    """TRL's trainer with the reference in place."""
    args = arguments(
        DPOArguments,
        context,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        gradient_checkpointing=config.gradient_checkpointing,
        llama=llama.model,
        schedule="linear",
        by_length=True,
        beta=config.beta,
        max_length=None,
    )
    reference = None
    if not isinstance(llama.model, PeftModel):
        reference = copy.deepcopy(llama.model).requires_grad_(False)
    with keep_trainables(llama.model):
        return DPOTrainer(
            model=llama.model,
            ref_model=reference,
            args=args,
            train_dataset=rows(llama, pairs, context.seed),
            processing_class=llama.tokenizer,
        )


def rows(llama: SpeechLlama, pairs: list[Pair], seed: int = 0) -> Dataset:
    """Columns id, prompt, chosen, rejected (chat messages), length (tokens of the longer row).

    `seed`: draws the pairs whose prompt carries a transcript, if the model reads them.
    """
    made = []
    for pair in pairs:
        prompt, transcript = prompt_of(pair), with_transcript(seed, pair.id)
        answers = [llama.tokenizer.answer_ids(answer) for answer in (pair.chosen, pair.rejected)]
        made.append(
            {
                "id": pair.id,
                "prompt": llama.tokenizer.messages(prompt, transcript),
                "chosen": [{"role": "assistant", "content": pair.chosen}],
                "rejected": [{"role": "assistant", "content": pair.rejected}],
                "length": len(llama.tokenizer.prompt_ids(prompt, transcript)) + max(map(len, answers)),
            }
        )
    return Dataset.from_list(made)
