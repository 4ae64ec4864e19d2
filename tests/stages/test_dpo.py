import dataclasses
import math

import pytest
import torch
from toy_run import adapter_tensors, files, frozen_tensors, sft_folder, toy_context

from posttrain.config.sections import DPOConfig
from posttrain.model import checkpoint
from posttrain.model.adapters import adapters_off
from posttrain.stages import dpo
from posttrain.stages.training.pairs import prompt_of, train_pairs

CONFIG = DPOConfig(steps=3, batch_size=2, learning_rate=1e-2)


def loaded(context):
    return checkpoint.load(context.parents["model"], "cpu", table=context.table, trainable=True)


def losses(trainer):
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    with torch.no_grad():
        return trainer.compute_loss(trainer.model, batch).item()


def test_dpo_trains_adapter_and_projector_and_leaves_all_else_bit_identical(tmp_path, llama, table):
    context = toy_context(tmp_path, "dpo", table, model=sft_folder(llama, tmp_path / "sft"))
    metrics = dpo.run(CONFIG, context)
    assert metrics["steps"] == 3 and metrics["pairs"] == 4 and metrics["tokens"] > 0
    before, after = adapter_tensors(tmp_path / "sft"), adapter_tensors(context.folder)
    assert before.keys() == after.keys() and any("projector" in name for name in after)
    assert not [name for name in after if torch.equal(before[name], after[name])]
    parent, child = checkpoint.load(tmp_path / "sft"), checkpoint.load(context.folder)
    frozen = frozen_tensors(parent)
    assert len(frozen) > 10
    assert all(torch.equal(tensor, frozen_tensors(child)[name]) for name, tensor in frozen.items())
    beneath = [(folder / "projector.safetensors").read_bytes() for folder in (tmp_path / "sft", context.folder)]
    assert beneath[0] == beneath[1]


def test_dpo_leaves_exactly_a_checkpoint_with_the_parents_adapter_name(tmp_path, llama, table):
    context = toy_context(tmp_path, "dpo", table, model=sft_folder(llama, tmp_path / "sft"))
    dpo.run(CONFIG, context)
    assert files(context.folder) == files(tmp_path / "sft")
    child = checkpoint.load(context.folder)
    assert child.spec.stage == "dpo"
    assert list(child.model.peft_config) == ["default"]


@pytest.mark.parametrize(
    ("adapter", "rank"), [("lora", None), ("dora", None), ("prompt_tuning", None), ("lora", 0), ("full", None)]
)
def test_at_step_zero_policy_and_reference_are_one_model(tmp_path, llama, table, adapter, rank):
    context = toy_context(tmp_path, "dpo", table, model=sft_folder(llama, tmp_path / "sft", adapter, rank))
    trainer = dpo.build(CONFIG, context, loaded(context), train_pairs(context.corpus))
    assert losses(trainer) == math.log(2) or losses(trainer) == pytest.approx(math.log(2), abs=1e-7)
    assert trainer._metrics["train" if trainer.model.training else "eval"]["rewards/margins"][-1] == 0


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_the_reference_stays_the_parent_while_the_policy_moves(tmp_path, llama, table, adapter):
    context = toy_context(tmp_path, "dpo", table, model=sft_folder(llama, tmp_path / "sft", adapter))
    policy = loaded(context)
    pairs = train_pairs(context.corpus)
    prompts, chosen = [prompt_of(p) for p in pairs], [p.chosen for p in pairs]
    parent = policy.logprobs(prompts, chosen)
    trainer = dpo.build(CONFIG, context, policy, pairs)
    trainer.train()
    assert policy.logprobs(prompts, chosen) != pytest.approx(parent, abs=1e-3)
    if adapter == "full":
        reference = dataclasses.replace(policy, model=trainer.ref_model)
        assert reference.logprobs(prompts, chosen) == parent
        return
    with adapters_off(policy.model):
        assert policy.logprobs(prompts, chosen) != pytest.approx(parent, abs=1e-3)
    policy.model.set_adapter("ref")
    assert policy.logprobs(prompts, chosen) == parent


def test_dpo_rows_are_the_tokenizers_own_prompts_and_answers(tmp_path, llama, table):
    context = toy_context(tmp_path, "dpo", table, model=sft_folder(llama, tmp_path / "sft"))
    policy = loaded(context)
    pairs = train_pairs(context.corpus)
    trainer = dpo.build(CONFIG, context, policy, pairs)
    for row, pair in zip(trainer.train_dataset, pairs, strict=True):
        assert row["prompt_ids"] == policy.tokenizer.prompt_ids(prompt_of(pair))
        assert row["chosen_ids"] == policy.tokenizer.answer_ids(pair.chosen)
        assert row["rejected_ids"] == policy.tokenizer.answer_ids(pair.rejected)
        assert any(i >= policy.tokenizer.num_words for i in row["prompt_ids"])


def test_two_runs_of_dpo_with_one_seed_leave_the_same_weights(tmp_path, llama, table):
    sft = sft_folder(llama, tmp_path / "sft")
    left = []
    for name in ("a", "b"):
        context = toy_context(tmp_path, name, table, model=sft)
        dpo.run(CONFIG, context)
        left.append((context.folder / "adapter" / "adapter_model.safetensors").read_bytes())
    assert left[0] == left[1]


def test_a_full_parent_is_trained_whole(tmp_path, llama, table):
    context = toy_context(tmp_path, "dpo", table, model=sft_folder(llama, tmp_path / "sft", "full"))
    dpo.run(CONFIG, context)
    before, after = (frozen_tensors(checkpoint.load(f)) for f in (tmp_path / "sft", context.folder))
    moved = [name for name in after if not torch.equal(before[name], after[name])]
    assert len(moved) == len(after)
