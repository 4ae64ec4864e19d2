"""`reward`: a Bradley–Terry reward model on preference pairs (Ouyang et al. 2022), by TRL's RewardTrainer.

The sft model, its adapter merged in memory, with a sequence-classification head and a LoRA of its own. Only what
trained is saved; checkpoint.json names the parent.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from torch.nn.utils.rnn import pad_sequence
from trl import RewardConfig as RewardArguments
from trl import RewardTrainer

from posttrain import files
from posttrain.config.sections import RewardConfig
from posttrain.corpus.types import Example, Pair
from posttrain.errors import InputError
from posttrain.model import adapters, checkpoint, origin
from posttrain.model.frame_table import FrameTable
from posttrain.model.speech_llama import SpeechLlama
from posttrain.model.tokenizer import SpeechTokenizer
from posttrain.model.untrusted import check_adapter
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.pairs import prompt_of, train_pairs
from posttrain.stages.training.trainer import arguments, keep_trainables, print_trainable, train
from posttrain.stages.training.transcripts import with_transcript


@dataclass(frozen=True)
class RewardModel:
    """Scores answers to prompts, typed or spoken."""

    model: PeftModel
    """A LlamaForSequenceClassification with one label, wrapped by PEFT."""
    tokenizer: SpeechTokenizer
    """The parent's tokenizer, with its clips."""


def run(config: RewardConfig, context: StageContext) -> dict[str, Any]:
    """Train on the preference pairs of the training split; writes head + LoRA to `adapter/`, and checkpoint.json."""
    parent = context.parents["model"]
    llama = checkpoint.load(parent, context.device, table=context.table)
    adapter = adapters.Adapter("reward", "a reward model's own", "lora", rank=config.rank, alpha=2 * config.rank)
    lora = adapters.lora_config(adapter, "SEQ_CLS", modules_to_save=("score",))
    model = get_peft_model(checkpoint.classifier(llama, context.seed), lora)
    adapters.check_targets(model, adapter)
    print_trainable(model, "reward")
    pairs = train_pairs(context.corpus)
    args = arguments(
        RewardArguments,
        context,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        gradient_checkpointing=config.gradient_checkpointing,
        llama=model,
        schedule="linear",
        by_length=True,
        max_length=None,
    )
    with keep_trainables(model):
        trainer = RewardTrainer(
            model=model,
            args=args,
            train_dataset=rows(llama.tokenizer, pairs, context.seed),
            processing_class=llama.tokenizer,
        )
    metrics = train(trainer, context, "reward", pairs, keep=("accuracy", "margin"))
    _save(context, model, llama)
    return metrics | {"pairs": len(pairs)}


def load_reward(folder: str | Path, device: str, table: FrameTable | None = None) -> RewardModel:
    """The reward model of a finished reward stage, on the parent that it names; InputError if the folder holds none."""
    folder = Path(folder)
    spec = checkpoint.read_spec(folder)
    if spec.stage != "reward":
        raise InputError(f"{folder} is a checkpoint of stage {spec.stage}, expected reward")
    llama = checkpoint.load(origin.located(folder, "parent.model") or spec.parents["model"], device, table=table)
    check_adapter(folder / "adapter")
    model = PeftModel.from_pretrained(checkpoint.classifier(llama), str(folder / "adapter"))
    _check_loaded(folder, model)
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


def rows(tokenizer: SpeechTokenizer, pairs: list[Pair], seed: int = 0) -> Dataset:
    """Columns id, chosen_ids, rejected_ids (prompt and answer), length (of the longer row).

    `seed`: draws the pairs whose prompt carries a transcript, if the tokenizer has any.
    """
    made = []
    for pair in pairs:
        prompt = tokenizer.prompt_ids(prompt_of(pair), with_transcript(seed, pair.id))
        chosen, rejected = (prompt + tokenizer.answer_ids(answer) for answer in (pair.chosen, pair.rejected))
        length = max(len(chosen), len(rejected))
        made.append({"id": pair.id, "chosen_ids": chosen, "rejected_ids": rejected, "length": length})
    return Dataset.from_list(made)


def _save(context: StageContext, model: PeftModel, llama: SpeechLlama) -> None:
    """Write `adapter/` (LoRA and head), then checkpoint.json with its hashes, and read both back."""
    model.peft_config["default"].base_model_name_or_path = llama.spec.base
    model.save_pretrained(context.folder / "adapter")
    saved = sorted(path for path in (context.folder / "adapter").iterdir() if path.is_file())
    hashes = {path.relative_to(context.folder).as_posix(): files.sha256(path) for path in saved}
    parents = {role: checkpoint.relative(path) for role, path in context.parents.items()}
    spec = dataclasses.replace(llama.spec, stage="reward", parents=parents)
    links = checkpoint.links_of(context.folder, spec)
    written = {"format": checkpoint.FORMAT, **dataclasses.asdict(spec), origin.LINKS: links, "hashes": hashes}
    files.write_json(context.folder / checkpoint.SPEC_FILE, written)
    checkpoint.read_spec(context.folder)
    _check_loaded(context.folder, model)


def _check_loaded(folder: Path, model: PeftModel) -> None:
    """Raise InputError unless the folder's tensors are exactly the model's."""
    path = folder / "adapter" / "adapter_model.safetensors"
    saved, state = load_file(path), get_peft_model_state_dict(model)
    if saved.keys() != state.keys() or any(not torch.equal(saved[name], state[name].cpu()) for name in saved):
        raise InputError(f"{path} does not fit the parent that checkpoint.json names; train the reward stage again")
