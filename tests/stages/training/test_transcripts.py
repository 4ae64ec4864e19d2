"""Training rows carry the encoder's transcript, all but a third of them; every stage after sft keeps to it."""

import dataclasses

import pytest
import torch

from posttrain.config.counted import counted
from posttrain.config.sections import DPOConfig, GRPOConfig, RewardConfig, SFTConfig
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.stages import dpo, grpo, reward, sft
from posttrain.stages.training import supervised
from posttrain.stages.training.pairs import prompt_of, train_pairs
from posttrain.stages.training.transcripts import with_transcript
from tests.stages.toy_run import HALF_RIGHT, adapter_tensors, sft_folder, toy_context

FAST = {"steps": 2, "batch_size": 2, "learning_rate": 1e-2}
WORDS = {"test/0": "turn it up", "test/1": "one and two", "test/2": "mute it", "test/3": "wind"}


@pytest.fixture
def told(table):
    return dataclasses.replace(table, hypotheses=WORDS)


@pytest.fixture
def reading(llama, told):
    return dataclasses.replace(llama, spec=dataclasses.replace(llama.spec, transcript=True)).attach(told)


@pytest.fixture
def after_sft(tmp_path, reading):
    """An sft checkpoint whose model reads transcripts."""
    return sft_folder(reading, tmp_path / "sft")


def spoken(count):
    return [Example(f"e{i}", "train", "repeat", "repeat", "x", f"test/{i % 4}", "ok", "wer") for i in range(count)]


def read(tokenizer, ids):
    return "Heard: " in tokenizer.decode(ids)


def test_a_third_of_the_rows_go_without_by_seed_and_row_whatever_stands_beside_them():
    drawn = {seed: [with_transcript(seed, f"row/{i}") for i in range(3000)] for seed in (0, 1)}
    assert all(sum(of_seed) / 3000 == pytest.approx(2 / 3, abs=0.03) for of_seed in drawn.values())
    assert drawn[0] == [with_transcript(0, f"row/{i}") for i in range(3000)] != drawn[1]
    assert [with_transcript(0, f"row/{i}") for i in (7, 5)] == [drawn[0][7], drawn[0][5]]


def test_rows_of_sft_are_the_prompts_of_the_evaluation_or_those_without_the_line(reading):
    made = supervised.rows(reading, spoken(60), seed=3)
    kept = [with_transcript(3, f"e{i}") for i in range(60)]
    assert 10 < sum(kept) < 55
    for row, example, kept_here in zip(made, spoken(60), kept, strict=True):
        prompt = reading.tokenizer.prompt_ids(example, kept_here)
        assert row["input_ids"] == prompt + reading.tokenizer.answer_ids("ok")
        assert sum(row["completion_mask"]) == len(row["input_ids"]) - len(prompt)
        assert read(reading.tokenizer, row["input_ids"]) == kept_here
    assert [r["input_ids"] for r in made] == [r["input_ids"] for r in supervised.rows(reading, spoken(60), seed=3)]
    assert [r["input_ids"] for r in made] != [r["input_ids"] for r in supervised.rows(reading, spoken(60), seed=4)]


def test_a_model_without_the_option_has_the_same_rows_for_every_seed(llama, told):
    first, second = (supervised.rows(llama.attach(told), spoken(20), seed)["input_ids"] for seed in (0, 1))
    assert first == second and not any(read(llama.tokenizer, row) for row in first)


def test_dpo_and_reward_rows_carry_it_as_trl_encodes_them(tmp_path, told, after_sft):
    context = toy_context(tmp_path, "dpo", told, model=after_sft)
    policy = checkpoint.load(after_sft, table=told, trainable=True)
    pairs = [dataclasses.replace(p, id=f"{p.id}/{i}") for p in train_pairs(context.corpus) for i in range(5)]
    trainer = dpo.build(DPOConfig(**FAST), context, policy, pairs)
    kept = [with_transcript(context.seed, pair.id) for pair in pairs]
    assert 0 < sum(kept) < len(kept)
    for row, scored, pair, kept_here in zip(
        trainer.train_dataset, reward.rows(policy.tokenizer, pairs, context.seed), pairs, kept, strict=True
    ):
        expected = policy.tokenizer.prompt_ids(prompt_of(pair), kept_here)
        assert row["prompt_ids"] == expected and read(policy.tokenizer, expected) == kept_here
        assert scored["chosen_ids"] == expected + policy.tokenizer.answer_ids(pair.chosen)


def test_grpo_prompts_carry_it(tmp_path, told, after_sft):
    context = toy_context(tmp_path, "grpo", told, model=after_sft)
    policy = checkpoint.load(after_sft, table=told, trainable=True)
    prompts = [
        dataclasses.replace(e, id=f"{e.id}/{i}") for e in grpo.spoken_prompts(context.corpus, 0) for i in "abcde"
    ]
    trainer = grpo.build(GRPOConfig(steps=1, prompts_per_step=2, generations=2), context, policy, prompts)
    contents = [row["prompt"][0]["content"] for row in trainer.train_dataset]
    kept = [with_transcript(context.seed, example.id) for example in prompts]
    assert ["\nHeard: " in content for content in contents] == kept and 0 < sum(kept) < len(kept)


def test_stages_after_sft_keep_the_option_and_refuse_a_table_without_transcripts(tmp_path, told, table, after_sft):
    dpo.run(DPOConfig(**FAST), toy_context(tmp_path, "dpo", told, model=after_sft))
    reward.run(RewardConfig(**FAST), toy_context(tmp_path, "reward", told, model=tmp_path / "dpo"))
    assert all(checkpoint.read_spec(tmp_path / stage).transcript for stage in ("dpo", "reward"))
    example = spoken(1)[0]
    loaded = reward.load_reward(tmp_path / "reward", "cpu", told)
    assert read(loaded.tokenizer, loaded.tokenizer.prompt_ids(example))
    with pytest.raises(ValueError, match=r"has no transcript .* encode the corpus with them"):
        dpo.run(DPOConfig(**FAST), toy_context(tmp_path, "again", table, model=after_sft))


def test_sft_turns_it_on_and_what_continues_from_it_goes_on(tmp_path, llama, told, monkeypatch):
    monkeypatch.setattr(sft, "valid_answers", lambda llama, corpus: HALF_RIGHT)
    checkpoint.save(tmp_path / "distill", llama, stage="distill")
    seen = []
    own = supervised.rows
    monkeypatch.setattr(supervised, "rows", lambda *a: seen.append(own(*a)) or seen[-1])
    sft.run(SFTConfig(transcript=True, **FAST), toy_context(tmp_path, "first", told, model=tmp_path / "distill"))
    sft.run(SFTConfig(**FAST), toy_context(tmp_path, "second", told, model=tmp_path / "first"))
    sft.run(SFTConfig(**FAST), toy_context(tmp_path, "plain", told, model=tmp_path / "distill"))
    lines = [[read(llama.tokenizer, row) for row in rows["input_ids"]] for rows in seen]
    assert lines[0] == lines[1] == [row != "train/typed" and with_transcript(0, row) for row in seen[0]["id"]]
    assert any(lines[0]) and not any(lines[2])
    first, plain = (adapter_tensors(tmp_path / name) for name in ("first", "plain"))
    assert any(not torch.equal(tensor, plain[name]) for name, tensor in first.items())
    assert [checkpoint.read_spec(tmp_path / n).transcript for n in ("first", "second", "plain")] == [True, True, False]


def test_an_encoder_that_trains_is_refused(tmp_path, llama, reading, told):
    checkpoint.save(tmp_path / "distill", llama, stage="distill")
    checkpoint.save(tmp_path / "reading", reading, stage="sft")
    for name, parent, option in (("a", "distill", {"transcript": True}), ("b", "reading", {"rank": 0})):
        with pytest.raises(InputError, match=r"sft\.train_encoder is true, .*transcripts"):
            context = toy_context(tmp_path, name, told, model=tmp_path / parent)
            sft.run(SFTConfig(train_encoder=True, **option, **FAST), context)


def test_keys_count_the_option_only_where_it_is_on():
    assert "transcript" not in counted("sft", SFTConfig())
    assert counted("sft", SFTConfig(transcript=True))["transcript"] is True
