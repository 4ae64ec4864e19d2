"""Memory is estimated from shapes that are the models' own."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from posttrain.config.recipe import load_recipe, with_stage
from posttrain.run import memory

GIB = 2**30


def on_meta(shape: memory.Llama) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.inner,
        tie_word_embeddings=shape.tied,
    )
    with torch.device("meta"):
        return LlamaForCausalLM(config)


@pytest.mark.parametrize("name", ["tiny", *memory.KNOWN_LLAMAS])
def test_weights_are_counted_as_transformers_counts_them(name):
    shape = memory.KNOWN_LLAMAS.get(name) or memory.llama_shape(load_recipe("tiny"))
    model = on_meta(shape)
    assert shape.params == model.num_parameters()
    linear = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    assert shape.linear == sum(m.weight.numel() for m in linear)


def test_llama_31_8b_is_known_without_a_network():
    assert memory.KNOWN_LLAMAS["meta-llama/Llama-3.1-8B-Instruct"].params == 8_030_261_248


def test_lora_weights_are_counted_as_peft_counts_them():
    from peft import get_peft_model

    from posttrain.model import adapters

    shape = memory.llama_shape(load_recipe("tiny"))
    adapter = adapters.read("lora")
    with torch.device("meta"):
        model = get_peft_model(on_meta(shape), adapters.lora_config(adapter, modules_to_save=()))
    assert shape.lora(adapter.rank) == adapters.count_trainable(model)


@pytest.mark.parametrize("name", ["none", "lora", "full"])
def test_what_a_block_keeps_for_the_backward_pass_is_what_autograd_saves(name):
    from peft import get_peft_model

    from posttrain.model import adapters

    shape = memory.Llama(300, 256, 4, 8, 2, 32, 896)  # Llama 3.1 8B's proportions
    model = on_meta(shape).to_empty(device="cpu").to(torch.bfloat16).requires_grad_(name == "full")
    if name == "lora":
        model = get_peft_model(model, adapters.lora_config(adapters.read("lora"), modules_to_save=()))
    backbone = model.get_base_model().model if name == "lora" else model.model
    held = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    saved: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            saved[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    alive: list[torch.Tensor] = []
    rows, tokens = 4, 64
    mask = torch.ones(rows, tokens, dtype=torch.long)
    mask[0, 50:] = 0  # a padded batch, as nearly all are
    given = torch.zeros(rows, tokens, shape.width, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), torch.autocast("cpu", torch.bfloat16):
        backbone(inputs_embeds=given, attention_mask=mask, use_cache=False)
    told = rows * tokens * memory.activation_bytes(shape, 2, False, name)
    assert told == pytest.approx(sum(saved.values()), rel=0.1)


@pytest.mark.parametrize("recipe", ["tiny", "smol", "llama32_1b", "llama31_8b", "llama31_8b_qlora"])
def test_every_stage_of_a_recipe_has_an_estimate_in_parts(recipe):
    needs = memory.estimate(load_recipe(recipe))
    assert {"base", "ctc", "align", "distill", "sft", "reward", "dpo", "grpo"} <= {need.name for need in needs}
    for need in needs:
        assert need.total == pytest.approx(sum(need.parts.values()))
        assert all(size >= 0 for size in need.parts.values())
        assert str(need).startswith(f"{need.name} about ")


def test_the_tiny_pipeline_fits_into_4_gib_and_the_real_ones_into_what_they_say():
    assert max(need.total for need in memory.estimate(load_recipe("tiny"))) < 4 * GIB
    assert max(need.total for need in memory.estimate(load_recipe("smol"))) < 8 * GIB
    assert max(need.total for need in memory.estimate(load_recipe("llama32_1b"))) < 24 * GIB
    largest = max(need.total for need in memory.estimate(load_recipe("llama31_8b")))
    assert 20 * GIB < largest < 48 * GIB
    in_four_bits = {need.name: need.total for need in memory.estimate(load_recipe("llama31_8b_qlora"))}
    assert in_four_bits.pop("reward") < 32 * GIB  # which unpacks them
    assert max(in_four_bits.values()) < 24 * GIB


@pytest.mark.parametrize(
    ("recipe", "measured"),
    [
        (
            "llama31_8b",
            {"base": 18.6, "ctc": 16.4, "align": 25.9, "sft": 22.5, "reward": 22.2, "dpo": 22.6, "grpo": 32.7},
        ),
        ("llama31_8b_qlora", {"align": 10.6, "sft": 8.8, "reward": 19.4}),
    ],
)
def test_the_8b_estimates_are_near_what_was_measured(recipe, measured):
    """GiB at the peak, the CUDA context counted, of a few steps and their evaluation on an H200, bfloat16."""
    clips = ["corpus.train_clips=120", "corpus.rl_clips=40", "corpus.valid_clips=12"]
    limits = ["evaluation.max_new_tokens=48", "grpo.max_new_tokens=40"]
    needs = {need.name: need.total / GIB for need in memory.estimate(load_recipe(recipe, clips + limits))}
    assert {name: needs[name] for name in measured} == pytest.approx(measured, rel=0.08)


@pytest.mark.parametrize(
    ("change", "less"),
    [
        ("sft.batch_size=1", True),
        ("sft.gradient_checkpointing=true", True),
        ("sft.adapter=full", False),
        ("sft.batch_size=64", False),
        ("sft.transcript=true", False),
    ],
)
def test_options_move_the_estimate_the_right_way(change, less):
    def sft(overrides):
        needs = memory.estimate(load_recipe("llama31_8b", overrides))
        return next(need.total for need in needs if need.name == "sft")

    assert (sft([change]) < sft([])) == less


def test_an_enhancer_with_whom_the_encoder_learns_takes_its_training_and_the_teacher_too():
    def total(*changes):
        recipe = with_stage(load_recipe("llama31_8b", [*changes]), "enhance")
        return next(need.total for need in memory.estimate(recipe) if need.name == "enhance")

    learner = memory.encoder_shape(load_recipe("llama31_8b")).params
    assert total("enhance.machine_weight=20") - total() > (16 + 4) * learner


def test_four_bits_take_less_than_a_third_of_sixteen_for_linear_layers():
    shape = memory.KNOWN_LLAMAS["meta-llama/Llama-3.1-8B-Instruct"]
    kept = (shape.params - shape.linear) * 2
    assert memory.weights_bytes(shape, 2, True) - kept < (memory.weights_bytes(shape, 2, False) - kept) / 3


def test_what_does_not_fit_is_said_with_the_mend(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: (8.0 * GIB, "a small machine"))
    fit, told = memory.fits(load_recipe("llama31_8b"))
    assert not fit
    assert "of 8.0 GiB free on a small machine; lower batch_size" in told
    assert memory.fits(load_recipe("tiny"))[0]


def test_only_the_stages_that_run_must_fit(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: (30.0 * GIB, "a machine"))
    recipe = load_recipe("llama31_8b")
    assert not memory.fits(recipe)[0]
    fit, told = memory.fits(recipe, {"base", "ctc"})
    assert fit and told.startswith("base about")


def test_a_model_nobody_knows_has_no_estimate():
    recipe = load_recipe("llama31_8b", ["base.model=nobody/unheard-of"])
    assert memory.estimate(recipe) == []
    assert memory.fits(recipe) == (True, "the models' shapes are not known before they are downloaded")
