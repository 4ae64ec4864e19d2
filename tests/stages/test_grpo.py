import dataclasses

import pytest
import torch
from toy_run import adapter_tensors, files, frozen_tensors, sft_folder, toy_context, toy_corpus

from posttrain.config.sections import GRPOConfig, RewardConfig
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.stages import grpo, reward

CONFIG = GRPOConfig(steps=2, prompts_per_step=4, generations=4, max_new_tokens=6, hard_share=0, learning_rate=1e-2)


@pytest.fixture
def graded(monkeypatch):
    """A grader that always finds a difference, since an untrained model's answers are all worth nothing."""
    seen = []

    def grade(name, answer, example):
        seen.append((name, answer, example))
        return len(answer) / 10

    monkeypatch.setattr(grpo, "grade", grade)
    return seen


def test_grpo_trains_adapter_and_projector_and_leaves_all_else_bit_identical(tmp_path, llama, table, graded):
    context = toy_context(tmp_path, "grpo", table, model=sft_folder(llama, tmp_path / "sft"))
    metrics = grpo.run(CONFIG, context)
    assert metrics["steps"] == 2 and metrics["tokens"] > 0
    assert {"reward_last", "kl_last"} <= metrics.keys()
    before, after = adapter_tensors(tmp_path / "sft"), adapter_tensors(context.folder)
    assert before.keys() == after.keys() and any("projector" in name for name in after)
    assert not [name for name in after if torch.equal(before[name], after[name])]
    parent, child = checkpoint.load(tmp_path / "sft"), checkpoint.load(context.folder)
    frozen = frozen_tensors(parent)
    assert all(torch.equal(tensor, frozen_tensors(child)[name]) for name, tensor in frozen.items())


def test_grpo_leaves_exactly_a_checkpoint_with_the_parents_adapter_name(tmp_path, llama, table, graded):
    context = toy_context(tmp_path, "grpo", table, model=sft_folder(llama, tmp_path / "sft"))
    grpo.run(CONFIG, context)
    assert files(context.folder) == files(tmp_path / "sft")
    assert list(checkpoint.load(context.folder).model.peft_config) == ["default"]


def test_each_answer_is_graded_against_its_own_spoken_example(tmp_path, llama, table, graded):
    context = toy_context(tmp_path, "grpo", table, model=sft_folder(llama, tmp_path / "sft"))
    grpo.run(dataclasses.replace(CONFIG, steps=1), context)
    assert len(graded) == 16
    examples = [example for _, _, example in graded]
    assert {e.id for e in examples} == {e.id for e in context.corpus.examples if e.split == "rl"}
    assert all(name == example.grader for name, _, example in graded)
    assert not any("<|" in answer for _, answer, _ in graded)


def test_at_step_zero_the_divergence_from_the_reference_is_zero(tmp_path, llama, table, graded):
    context = toy_context(tmp_path, "grpo", table, model=sft_folder(llama, tmp_path / "sft"))
    policy = checkpoint.load(context.parents["model"], "cpu", table=table, trainable=True)
    config = dataclasses.replace(CONFIG, steps=3)  # the warm-up holds the first still
    trainer = grpo.build(config, context, policy, grpo.spoken_prompts(context.corpus, 0))
    trainer.train()
    kl = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert kl[2] > 1e-4


@pytest.mark.parametrize(("adapter", "rank"), [("full", None), ("lora", 0)])
def test_a_parent_without_an_adapter_is_refused(tmp_path, llama, table, adapter, rank):
    context = toy_context(tmp_path, "grpo", table, model=sft_folder(llama, tmp_path / "sft", adapter, rank))
    with pytest.raises(InputError, match=r"sft has no adapter, but grpo needs one.*sft\.adapter=lora"):
        grpo.run(CONFIG, context)


def test_prompts_are_those_that_no_stage_before_has_heard_their_kinds_by_turns(tmp_path):
    corpus = toy_corpus(tmp_path)
    first = next(e for e in corpus.examples if e.split == "rl")
    many = [dataclasses.replace(first, id=f"rl/more/{i}") for i in range(20)]
    corpus = dataclasses.replace(corpus, examples=[*many, *corpus.examples])
    prompts = grpo.spoken_prompts(corpus, 0)
    assert len(prompts) == 24 and {p.split for p in prompts} == {"rl"}
    assert len({(p.task, p.grader) for p in prompts[:4]}) == 4
    assert [p.id for p in prompts] == [p.id for p in grpo.spoken_prompts(corpus, 0)]
    assert [p.id for p in prompts] != [p.id for p in grpo.spoken_prompts(corpus, 1)]


@pytest.mark.parametrize(("share", "known"), [(1.0, 0), (0.8, 1), (0.5, 4), (0.25, 6)])
def test_all_that_the_parent_gets_wrong_is_practised_with_a_share_of_what_it_knows(
    share, known, tmp_path, llama, table, monkeypatch
):
    [example, *_] = grpo.spoken_prompts(toy_corpus(tmp_path), 0)
    examples = [dataclasses.replace(example, id=str(number)) for number in range(10)]
    monkeypatch.setattr(grpo, "grade", lambda name, answer, example: 1.0 if int(example.id) < 6 else 0.9)
    config = dataclasses.replace(CONFIG, hard_share=share)
    llama = llama.attach(table)
    chosen = grpo.worth_practising(llama, examples, config, 0)
    assert sorted(e.id for e in chosen if int(e.id) >= 6) == ["6", "7", "8", "9"]
    assert len(chosen) == 4 + known == len({e.id for e in chosen})
    assert chosen == grpo.worth_practising(llama, examples, config, 0)


def test_where_too_little_is_wrong_everything_is_practised(tmp_path, llama, table, monkeypatch):
    examples = grpo.spoken_prompts(toy_corpus(tmp_path), 0)
    config = dataclasses.replace(CONFIG, hard_share=1.0)
    for right in ({e.id for e in examples}, {e.id for e in examples[1:]}):
        monkeypatch.setattr(grpo, "grade", lambda name, answer, example, right=right: float(example.id in right))
        assert grpo.worth_practising(llama.attach(table), examples, config, 0) == examples


def test_the_reward_models_score_is_added_with_its_weight(tmp_path, llama, table, graded):
    sft = sft_folder(llama, tmp_path / "sft")
    reward_context = toy_context(tmp_path, "reward", table, model=sft)
    reward.run(RewardConfig(steps=1, batch_size=2), reward_context)
    context = toy_context(tmp_path, "grpo", table, model=sft, reward=reward_context.folder)
    policy = checkpoint.load(sft, "cpu", table=table, trainable=True)
    config = dataclasses.replace(CONFIG, steps=1, reward_model_weight=0.5)
    trainer = grpo.build(config, context, policy, grpo.spoken_prompts(context.corpus, 0))
    trainer.train()
    row = trainer.state.log_history[0]
    summed = row["rewards/verifiable_reward/mean"] + 0.5 * row["rewards/reward_model/mean"]
    assert row["rewards/reward_model/mean"] != 0
    assert row["reward"] == pytest.approx(summed, abs=1e-5)


def test_a_weight_without_a_reward_stage_is_refused(tmp_path, llama, table):
    context = toy_context(tmp_path, "grpo", table, model=sft_folder(llama, tmp_path / "sft"))
    with pytest.raises(InputError, match=r"reward_model_weight is 0\.5, but the run has no reward stage"):
        grpo.run(dataclasses.replace(CONFIG, reward_model_weight=0.5), context)


def test_a_step_wider_than_the_corpus_is_refused(tmp_path, llama, table):
    context = toy_context(tmp_path, "grpo", table, model=sft_folder(llama, tmp_path / "sft"))
    with pytest.raises(InputError, match="prompts_per_step is 8, but there are 4"):
        grpo.run(dataclasses.replace(CONFIG, prompts_per_step=8), context)
