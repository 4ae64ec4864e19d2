"""TRL's trainers take plain strings with clips in them as they are."""

import pytest
import torch
from conftest import example
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from posttrain.model import checkpoint

TURNS = [example(f"test/{i}", answer=word) for i, word in enumerate(("one", "two", "three", "four"))]


@pytest.fixture
def options(tmp_path):
    """Two steps of two rows on the CPU."""
    return {
        "output_dir": str(tmp_path / "out"),
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def rows(tokenizer, **columns):
    return Dataset.from_list(
        [{"prompt": tokenizer.prompt_text(t), **{k: f(t) for k, f in columns.items()}} for t in TURNS]
    )


def snapshot(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_only_trainables_moved(model, before):
    for name, parameter in model.named_parameters():
        if ".ref." not in name and name in before:
            assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


def test_sft_trains_on_prompts_and_completions(llama, options):
    llama = checkpoint.adapt(llama, "lora")
    data = rows(llama.tokenizer, completion=lambda t: t.answer)
    trainer = SFTTrainer(llama.model, SFTConfig(**options), train_dataset=data, processing_class=llama.tokenizer)
    for row, turn in zip(trainer.train_dataset, TURNS, strict=True):
        prompt, answer = llama.tokenizer.prompt_ids(turn), llama.tokenizer.answer_ids(turn.answer)
        assert row["input_ids"] == prompt + answer
        assert row["labels"] == [-100] * len(prompt) + answer
    before = snapshot(llama.model)
    trainer.train()
    assert_only_trainables_moved(llama.model, before)


def test_dpo_trains_on_strings_against_a_frozen_copy_of_adapter_and_projector(llama, options):
    llama = checkpoint.adapt(llama, "lora")
    data = rows(llama.tokenizer, chosen=lambda t: t.answer, rejected=lambda t: "no")
    trainer = DPOTrainer(llama.model, args=DPOConfig(**options), train_dataset=data, processing_class=llama.tokenizer)
    for row, turn in zip(trainer.train_dataset, TURNS, strict=True):
        assert row["prompt_ids"] == llama.tokenizer.prompt_ids(turn)
        assert row["chosen_ids"] == llama.tokenizer.answer_ids(turn.answer)
    before = snapshot(llama.model)
    trainer.train()
    assert_only_trainables_moved(llama.model, before)
    references = {name for name in before if ".ref." in name}
    assert any("projector" in name for name in references)
    assert all(torch.equal(llama.model.get_parameter(name), before[name]) for name in references)


def test_reward_and_grpo_train_on_strings_with_a_reward_model_that_shares_tokenizer_and_table(
    llama, base_folder, table, options
):
    scored = rows(llama.tokenizer, chosen=lambda t: t.answer, rejected=lambda t: "no")
    scorer = checkpoint.classifier(checkpoint.create(base_folder, base_folder.parent / "ctc", table, stack=3))
    lora = LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=r"model\.layers\.\d+\.self_attn\.q_proj", modules_to_save=["score"]
    )
    scorer = get_peft_model(scorer, lora)
    before = snapshot(scorer)
    trainer = RewardTrainer(scorer, RewardConfig(**options), train_dataset=scored, processing_class=llama.tokenizer)
    expected = llama.tokenizer.prompt_ids(TURNS[1]) + llama.tokenizer.answer_ids("two")
    assert trainer.train_dataset[1]["chosen_ids"] == expected
    trainer.train()
    assert_only_trainables_moved(scorer, before)

    llama = checkpoint.adapt(llama, "lora")
    seen = []

    def length(prompts, completions, **_):
        seen.extend(prompts)
        return [float(len(c)) for c in completions]

    before = snapshot(llama.model)
    settings = GRPOConfig(**options, num_generations=2, max_completion_length=4, beta=0.1)
    grpo = GRPOTrainer(
        llama.model,
        [length, scorer],
        args=settings,
        train_dataset=rows(llama.tokenizer),
        processing_class=llama.tokenizer,
        reward_processing_classes=[None, llama.tokenizer],
    )
    grpo.train()
    assert set(seen) <= {llama.tokenizer.prompt_text(t) for t in TURNS}
    assert_only_trainables_moved(llama.model, before)
    assert {"ref", "default"} == set(llama.model.peft_config)
