import pytest
import torch
from conftest import example
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from posttrain.config.sections import SFTConfig
from posttrain.model import checkpoint
from posttrain.model.decoding import right_padded
from posttrain.stages.training import bfloat16, supervised
from posttrain.stages.training.trainer import arguments, keep_trainables, train
from tests.stages.toy_run import toy_context


class Line(torch.nn.Module):
    """y = w x; the loss is NaN where x is."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, y):
        return {"loss": ((self.w * x - y) ** 2).mean()}


def collate(rows):
    return {key: torch.tensor([row[key] for row in rows]) for key in ("x", "y")}


def line_trainer(context, values, **options):
    rows = Dataset.from_list([{"id": f"clip/{i}", "x": x, "y": 2.0} for i, x in enumerate(values)])
    args = arguments(TrainingArguments, context, **{"steps": 8, "batch_size": 2, "learning_rate": 0.5, **options})
    return Trainer(model=Line(), args=args, train_dataset=rows, data_collator=collate)


def test_training_reports_steps_and_losses_and_writes_nothing(tmp_path, table):
    context = toy_context(tmp_path, "toy", table)
    metrics = train(line_trainer(context, [1.0] * 6), context, "toy", [])
    assert metrics["steps"] == 8
    assert metrics["trainable_params"] == 1
    assert metrics["loss_last"] < metrics["loss_first"] or metrics["loss_last"] == pytest.approx(metrics["loss_first"])
    assert not list(context.folder.iterdir())


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_nan_loss_stops_with_the_step_and_the_ids_of_its_batch(tmp_path, table, accumulation):
    context = toy_context(tmp_path, "toy", table)
    values = [1.0] * 15 + [float("nan")]
    trainer = line_trainer(
        context, values, train_sampling_strategy="sequential", gradient_accumulation_steps=accumulation
    )
    with pytest.raises(RuntimeError, match=f"toy: loss is nan at step {8 // accumulation}") as stopped:
        train(trainer, context, "toy", [])
    held = [f"clip/{i}" for i in range(16 - 2 * accumulation, 16)]
    assert f"the batch held {', '.join(held)};" in str(stopped.value)


def test_a_gradient_that_is_not_finite_stops_too(tmp_path, table):
    context = toy_context(tmp_path, "toy", table)
    trainer = line_trainer(context, [1.0, 1.0])
    trainer.model.w.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(RuntimeError, match=r"toy: grad_norm is (inf|nan) at step 1"):
        train(trainer, context, "toy", [])


def test_zero_steps_train_nothing(tmp_path, table):
    context = toy_context(tmp_path, "toy", table)
    trainer = line_trainer(context, [1.0, 1.0], steps=0)
    assert train(trainer, context, "toy", []) == {"steps": 0, "tokens": 0}
    assert trainer.model.w.item() == 0


def test_a_value_to_keep_that_is_never_logged_is_an_error(tmp_path, table):
    context = toy_context(tmp_path, "toy", table)
    with pytest.raises(ValueError, match="no logged value is called margin"):
        train(line_trainer(context, [1.0, 1.0]), context, "toy", [], keep=("margin",))


def test_what_trains_keeps_its_type_and_value_while_a_trainer_is_built():
    model = torch.nn.Linear(2, 2)
    before = model.weight.clone()
    with keep_trainables(model):
        model.weight.data = model.weight.data.to(torch.bfloat16)
    assert torch.equal(model.weight, before)


def test_a_wide_llama_trains_in_bfloat16_where_a_cpu_is_faster_so_and_computes_as_before_afterwards(
    tmp_path, llama, table, monkeypatch
):
    context, asked = toy_context(tmp_path, "sft", table), [example(f"test/{i}", id=f"e{i}") for i in range(4)]
    config = SFTConfig(steps=2, batch_size=2)
    llama = checkpoint.adapt(llama, "lora")

    def chosen(amx, wide):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(bfloat16, "WIDE", wide)
        return supervised.build(llama, asked, config, context).args.bf16

    width = llama.model.config.hidden_size
    assert (chosen(True, width + 1), chosen(False, width), chosen(True, width)) == (False, False, True)
    seen = set()
    product = llama.model.get_submodule("base_model.model.model.layers.0.mlp.up_proj")
    attention = llama.model.config
    hook = product.register_forward_hook(
        lambda module, given, out: seen.add((out.dtype, attention._attn_implementation))
    )
    for _ in range(2):
        seen.clear()
        supervised.train_supervised(llama, asked, config, context, "sft")
        assert seen == {(torch.bfloat16, bfloat16.ATTENTION)}
    llama.answer(asked[:1], max_new_tokens=1)
    hook.remove()
    assert seen == {(torch.bfloat16, bfloat16.ATTENTION), (torch.float32, "sdpa")}
    checkpoint.save(tmp_path / "saved", llama, "sft")
    answers = [each.answer for each in asked]
    read = checkpoint.load(tmp_path / "saved", table=table)
    assert read.logprobs(asked, answers) == llama.logprobs(asked, answers)


@pytest.mark.parametrize("short", [0, 999])
def test_attention_of_short_and_of_long_rows_is_the_models_own(llama, short, monkeypatch):
    rows = [llama.tokenizer.prompt_ids(example(f"test/{i}")) for i in range(3)]
    ids, mask = right_padded(rows, llama.tokenizer.pad_token_id)

    def logits():
        return llama.model(input_ids=ids, attention_mask=mask).logits[mask.bool()]

    own = logits()
    monkeypatch.setattr(bfloat16, "SHORT", short)
    llama.model.set_attn_implementation(bfloat16.ATTENTION)
    assert torch.allclose(logits(), own, atol=1e-4 * own.abs().max().item())


def test_a_model_without_an_adapter_trains_twice_in_bfloat16_too(tmp_path, llama, table, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(bfloat16, "WIDE", 1)
    llama = checkpoint.adapt(llama, "full")
    context, asked = toy_context(tmp_path, "sft", table), [example(f"test/{i}", id=f"e{i}") for i in range(4)]
    trainer = supervised.build(llama, asked, SFTConfig(steps=1, batch_size=2), context)
    seen = []
    llama.model.model.layers[0].mlp.up_proj.register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    for _ in range(2):
        with bfloat16.quick(trainer):
            trainer.train()
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    llama.answer(asked[:1], max_new_tokens=1)
    assert set(seen) == {torch.float32}
