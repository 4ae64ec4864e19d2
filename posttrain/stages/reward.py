"""`reward`: a Bradley–Terry reward model on preference pairs (Ouyang et al. 2022), by TRL's RewardTrainer.

The sft model, its adapter merged in memory, with a sequence-classification head and a LoRA of its own. What trained is
saved; the parent it stands on is named.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForSequenceClassification
from trl import RewardConfig as RewardArguments
from trl import RewardTrainer

from posttrain import checkpoint
from posttrain.config import RewardConfig
from posttrain.corpus.types import Example, Pair
from posttrain.errors import InputError
from posttrain.model.frame_table import FrameTable
from posttrain.model.speech_llama import SpeechLlama
from posttrain.model.tokenizer import SpeechTokenizer
from posttrain.stages.context import StageContext
from posttrain.stages.pairs import prompt_of, train_pairs
from posttrain.stages.trainer import arguments, print_trainable, train

TARGETS = r"model\.layers\.\d+\.self_attn\.[qkvo]_proj"


@dataclass(frozen=True)
class RewardModel:
    """Scores answers to prompts, typed or spoken."""

    model: PeftModel
    """A LlamaForSequenceClassification with one label, wrapped."""
    tokenizer: SpeechTokenizer
    """The parent's, with its clips."""


def run(config: RewardConfig, context: StageContext) -> dict[str, Any]:
    """Train on the preference pairs of the training split; leaves head + LoRA in `adapter/`, and checkpoint.json."""
    parent = context.parents["model"]
    llama = checkpoint.load(parent, context.device, table=context.table)
    classifier = _classifier(llama, context.seed)
    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=config.rank,
        lora_alpha=2 * config.rank,
        target_modules=TARGETS,
        modules_to_save=["score"],
    )
    model = get_peft_model(classifier, lora)
    print_trainable(model, "reward")
    pairs = train_pairs(context.corpus)
    args = arguments(
        RewardArguments,
        context,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        gradient_checkpointing=config.gradient_checkpointing,
        schedule="linear",
        by_length=True,
        max_length=None,
    )
    trainer = RewardTrainer(
        model=model,
        args=args,
        train_dataset=rows(llama.tokenizer, pairs),
        processing_class=llama.tokenizer,
    )
    metrics = train(trainer, context, "reward", keep=("accuracy", "margin"))
    _save(context, model)
    return metrics | {"pairs": len(pairs)}


def load_reward(folder: str | Path, device: str, table: FrameTable | None = None) -> RewardModel:
    """The reward model of a finished reward stage, on the parent that it names; InputError if the folder holds none."""
    spec_path = Path(folder) / "checkpoint.json"
    if not spec_path.is_file():
        raise InputError(f"{folder} has no checkpoint.json; give the folder of a finished reward stage")
    spec = json.loads(spec_path.read_text())
    if spec["stage"] != "reward":
        raise InputError(f"{folder} is a checkpoint of stage {spec['stage']}, expected reward")
    llama = checkpoint.load(Path(spec["parents"]["model"]), device, table=table)
    model = PeftModel.from_pretrained(_classifier(llama, seed=0), Path(folder) / "adapter")
    return RewardModel(model.to(device).eval(), llama.tokenizer)


@torch.no_grad()
def score(reward: RewardModel, answers: list[tuple[Example, str]], batch_size: int = 64) -> list[float]:
    """One score per (prompt, answer): the log-odds, up to a constant per prompt, that people prefer it."""
    rows = [reward.tokenizer.prompt_ids(e) + reward.tokenizer.answer_ids(answer) for e, answer in answers]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    scores = [0.0] * len(rows)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        ids = [torch.tensor(rows[i]) for i in batch]
        mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)  # (B, L)
        padded = pad_sequence(ids, batch_first=True, padding_value=reward.tokenizer.pad_token_id)  # (B, L)
        device = reward.model.device
        logits = reward.model(input_ids=padded.to(device), attention_mask=mask.to(device)).logits  # (B, 1)
        for i, value in zip(batch, logits[:, 0].float().tolist(), strict=True):
            scores[i] = value
    return scores


def rows(tokenizer: SpeechTokenizer, pairs: list[Pair]) -> Dataset:
    """Columns id, chosen_ids, rejected_ids (prompt and answer), length (of the longer)."""
    made = []
    for pair in pairs:
        prompt = tokenizer.prompt_ids(prompt_of(pair))
        chosen, rejected = (prompt + tokenizer.answer_ids(answer) for answer in (pair.chosen, pair.rejected))
        length = max(len(chosen), len(rejected))
        made.append({"id": pair.id, "chosen_ids": chosen, "rejected_ids": rejected, "length": length})
    return Dataset.from_list(made)


def _classifier(llama: SpeechLlama, seed: int) -> LlamaForSequenceClassification:
    """The Llama, adapter merged, under a head of one score; the head starts from `seed`."""
    merged = llama.model.merge_and_unload() if isinstance(llama.model, PeftModel) else llama.model
    config = merged.config
    config.num_labels = 1
    config.pad_token_id = llama.tokenizer.pad_token_id
    with torch.device("meta"):
        classifier = LlamaForSequenceClassification(config)
    classifier.model = merged.model
    head = torch.empty(1, config.hidden_size)
    head.normal_(std=config.initializer_range, generator=torch.Generator().manual_seed(seed))
    classifier.score = nn.Linear(config.hidden_size, 1, bias=False, device=merged.device, dtype=torch.float32)
    classifier.score.weight.data.copy_(head)
    return classifier.requires_grad_(False)


def _save(context: StageContext, model: PeftModel) -> None:
    model.save_pretrained(context.folder / "adapter")
    parents = {role: str(path) for role, path in context.parents.items()}
    spec = {"stage": "reward", "parents": parents}
    (context.folder / "checkpoint.json").write_text(json.dumps(spec, indent=1) + "\n")
