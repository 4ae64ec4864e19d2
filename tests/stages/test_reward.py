import pytest
import torch
from toy_run import adapter_tensors, files, sft_folder, toy_context

from posttrain.config.sections import RewardConfig
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.stages import reward
from posttrain.stages.training.pairs import prompt_of, train_pairs

CONFIG = RewardConfig(steps=20, batch_size=4, learning_rate=1e-2, rank=4)


@pytest.fixture
def trained(tmp_path, llama, table):
    context = toy_context(tmp_path, "reward", table, model=sft_folder(llama, tmp_path / "sft"))
    return context, reward.run(CONFIG, context)


def answers_of(context):
    pairs = train_pairs(context.corpus)
    return [(prompt_of(p), p.chosen) for p in pairs] + [(prompt_of(p), p.rejected) for p in pairs]


def test_the_reward_model_learns_to_rank_its_pairs_and_is_loaded_as_it_was_left(trained, table):
    context, metrics = trained
    assert metrics["steps"] == 20 and metrics["pairs"] == 4
    assert metrics["accuracy_last"] > 0.9
    scores = reward.score(reward.load_reward(context.folder, "cpu", table), answers_of(context))
    assert all(chosen > rejected for chosen, rejected in zip(scores[:4], scores[4:], strict=True))


def test_head_and_lora_are_all_that_is_saved_and_the_parent_is_named(trained, tmp_path):
    context, _ = trained
    assert files(context.folder) == {
        "checkpoint.json",
        "adapter/README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    }
    names = adapter_tensors(context.folder)
    assert all("lora_" in name or "score" in name for name in names) and any("score" in name for name in names)
    spec = checkpoint.read_spec(context.folder)
    assert spec.stage == "reward"
    assert spec.parents == {"model": checkpoint.relative(tmp_path / "sft")}


def test_the_backbone_scores_as_the_merged_parent_until_it_is_trained(tmp_path, llama, table):
    context = toy_context(tmp_path, "reward", table, model=sft_folder(llama, tmp_path / "sft"))
    parent = checkpoint.load(tmp_path / "sft", table=table)
    prompt = parent.tokenizer.prompt_ids(context.corpus.examples[0])
    with torch.no_grad():
        hidden = parent.model.get_base_model().model(torch.tensor([prompt])).last_hidden_state
        scorer = checkpoint.classifier(checkpoint.load(tmp_path / "sft", table=table))
        merged = scorer.model(torch.tensor([prompt])).last_hidden_state
    # measured 2e-6; a forgotten adapter or projector is off by more than 0.1
    assert (hidden - merged).abs().max() < 1e-4


def test_a_score_does_not_depend_on_its_batch(trained, table):
    context, _ = trained
    model = reward.load_reward(context.folder, "cpu", table)
    answers = answers_of(context)
    together = reward.score(model, answers, batch_size=8)
    # measured 1e-6; padding taken for the answer's end would change scores by more than 0.01
    assert reward.score(model, answers, batch_size=1) == pytest.approx(together, abs=1e-4)


def test_a_folder_of_another_stage_is_refused(tmp_path, llama, table):
    with pytest.raises(InputError, match="checkpoint of stage sft, expected reward"):
        reward.load_reward(sft_folder(llama, tmp_path / "sft"), "cpu", table)


def test_a_reward_model_changed_on_disk_is_refused(trained, table):
    context, _ = trained
    path = context.folder / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(InputError, match=r"adapter_model\.safetensors"):
        reward.load_reward(context.folder, "cpu", table)
