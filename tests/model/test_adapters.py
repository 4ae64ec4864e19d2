"""Every adapter of adapters/ changes what it names, and nothing else."""

import dataclasses
import math
import weakref

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from conftest import example, tiny_llama
from peft import get_peft_model
from transformers import ParakeetEncoder, ParakeetEncoderConfig

from posttrain.config import assets
from posttrain.errors import InputError
from posttrain.export.hugging_face import joined
from posttrain.model import adapters, checkpoint

NAMES = sorted(path.stem for path in assets.folder("adapters").rglob("*.yaml"))


def shake(model, scale=0.05):
    """Move what trains."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def logits(llama, turn=None):
    ids = torch.tensor([llama.tokenizer.prompt_ids(turn or example())])
    with torch.no_grad():
        return llama.model.eval()(ids).logits[:, -ids.shape[1] :]


def trained(llama):
    return {name for name, p in llama.model.named_parameters() if p.requires_grad}


def test_there_are_six_adapters_and_each_says_what_it_changes():
    assert {"projector", "lora", "qlora", "dora", "prompt_tuning", "full"} <= set(NAMES)
    assert all(len(adapters.read(name).summary) > 20 for name in NAMES)


@pytest.mark.parametrize("name", ["projector", "lora", "dora", "full"])
def test_an_adapter_begins_as_its_parent(llama, name):
    before = logits(llama)
    # measured 0 for each
    assert torch.equal(logits(checkpoint.adapt(llama, name)), before)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_what_trains_and_nothing_else(llama, name):
    llama = checkpoint.adapt(llama, name)
    shake(llama.model)
    ids = torch.tensor([llama.tokenizer.prompt_ids(example()) + llama.tokenizer.answer_ids("ok")])
    llama.model.train()
    llama.model(input_ids=ids, labels=torch.where(ids < llama.spec.num_words, ids, -100)).loss.backward()
    moved = {n for n, p in llama.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == trained(llama)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("projector", {"projector"}),
        ("lora", {"projector", "adapter"}),
        ("qlora", {"projector", "adapter"}),
        ("dora", {"projector", "adapter"}),
        ("prompt_tuning", {"prompt"}),
        ("full", {"projector", "llama"}),
    ],
)
def test_what_trains_is_told_per_part(llama, name, parts):
    llama = checkpoint.adapt(llama, name)
    summary = adapters.trainable_summary(llama.model)
    told, frozen = summary.removeprefix("trains ").split("; frozen ")
    assert {piece.rsplit(" ", 1)[0] for piece in told.split(", ")} == parts
    numbers = [int(word.replace(",", "")) for word in told.replace(", ", " ").split() if word[0].isdigit()]
    assert sum(numbers) == adapters.count_trainable(llama.model)
    assert ("llama" in frozen) == (name != "full")


def test_four_bit_weights_are_counted_as_weights(llama):
    def frozen_llama(name):
        return adapters.trainable_summary(checkpoint.adapt(llama, name).model).split("frozen llama ")[1].split(", p")[0]

    assert frozen_llama("qlora") == frozen_llama("projector").strip()


def test_with_adapters_off_text_is_the_base_bit_for_bit(llama, tokenizer):
    text = example(None, "turn it up")
    base = tiny_llama(tokenizer)(torch.tensor([llama.tokenizer.prompt_ids(text)])).logits
    llama = checkpoint.adapt(llama, "lora")
    shake(llama.model)
    assert not torch.allclose(logits(llama, text), base)
    with adapters.adapters_off(llama.model):
        assert torch.equal(logits(llama, text), base)


def test_with_adapters_off_speech_goes_through_the_parents_projector(llama):
    before = logits(llama)
    llama = checkpoint.adapt(llama, "lora")
    shake(llama.model)
    with adapters.adapters_off(llama.model):
        assert torch.equal(logits(llama), before)
    assert not torch.allclose(logits(llama), before)


def test_after_projector_training_text_is_the_base_bit_for_bit(llama, tokenizer):
    text = example(None, "turn it up")
    base = tiny_llama(tokenizer)(torch.tensor([llama.tokenizer.prompt_ids(text)])).logits
    llama = checkpoint.adapt(llama, "projector")
    shake(llama.model, 1.0)
    assert torch.equal(logits(llama, text), base)


@pytest.mark.parametrize("name", ["lora", "dora", "qlora"])
def test_merged_is_unmerged(llama, name):
    llama = checkpoint.adapt(llama, name)
    shake(llama.model)
    adapted = logits(llama)
    llama.model = checkpoint.merged(llama)
    # measured 9e-6 of logits up to 5; LoRA left out, or a 4-bit sum rounded to 4 bits again, is apart by 2
    torch.testing.assert_close(logits(llama), adapted, rtol=0, atol=1e-4)
    assert not any("lora" in n for n, _ in llama.model.named_parameters())


def test_merging_lets_go_of_a_base_in_four_bits(llama):
    llama = checkpoint.adapt(llama, "qlora")
    weights = [weakref.ref(module.weight) for module in llama.model.modules() if isinstance(module, Linear4bit)]
    checkpoint.merged(llama)
    assert weights and all(weight() is None for weight in weights)


def test_a_prompt_cannot_be_merged(llama):
    with pytest.raises(InputError, match="prompt_tuning cannot be merged"):
        checkpoint.merged(checkpoint.adapt(llama, "prompt_tuning"))


def test_the_reference_that_trl_copies_holds_the_projector_too(llama):
    llama = checkpoint.adapt(llama, "lora")
    shake(llama.model)
    model = llama.model
    model.add_adapter("ref", model.peft_config["default"])
    for name, parameter in model.named_parameters():  # as DPOTrainer and GRPOTrainer of TRL 1.16 do
        if ".default." in name:
            model.get_parameter(name.replace(".default.", ".ref.")).data.copy_(parameter.data)
    policy = logits(llama)
    shake(model)
    assert not torch.allclose(logits(llama), policy)
    model.set_adapter("ref")
    assert torch.equal(logits(llama), policy)


def test_lora_lands_on_the_decoder_only_where_an_encoder_has_layers_of_the_same_name(llama):
    torch.manual_seed(0)
    encoder = ParakeetEncoder(
        ParakeetEncoderConfig(hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
    )
    face = joined(llama.model, encoder, llama.spec, None)
    adapter = adapters.read("lora")
    model = get_peft_model(face, adapters.lora_config(adapter))
    adapters.check_targets(model, adapter)
    names = {name for name, _ in model.named_parameters() if "lora_" in name}
    assert names and not any("encoder" in name for name in names)
    assert any("encoder.layers.0.self_attn.q_proj" in name for name, _ in model.named_parameters())


def test_lora_on_other_layers_than_the_adapter_names_is_an_error(llama):
    adapter = adapters.read("lora")
    model = get_peft_model(llama.model, adapters.lora_config(adapter))
    fewer = dataclasses.replace(adapter, target_modules=("q_proj",))
    with pytest.raises(ValueError, match=r"landed on 8 layers .*, expected 2"):
        adapters.check_targets(model, fewer)


def test_a_layer_that_no_llama_has_is_refused_with_the_file_and_those_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "folder", lambda kind: tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text("summary: LoRA on two layers.\nmethod: lora\ntarget_modules: [q_prj, v_proj]\n")
    with pytest.raises(InputError, match=r"mine\.yaml: target_modules\.0 is 'q_prj': .*'q_proj', .*'down_proj'"):
        adapters.read("mine")


@pytest.mark.parametrize("rank", [0, 4, 16])
def test_the_rank_can_be_chosen_and_alpha_follows(llama, rank):
    llama = checkpoint.adapt(llama, "lora", rank=rank)
    if rank == 0:
        assert trained(llama) == {
            f"model.embed_tokens.projector.{n}" for n in ("norm.weight", "norm.bias", "out.weight", "out.bias")
        }
        return
    config = llama.model.peft_config["default"]
    assert (config.r, config.lora_alpha) == (rank, 2 * rank)


def test_a_wrong_adapter_is_refused_with_what_there_is():
    with pytest.raises(InputError, match=r"no entry 'lorra'.*lora"):
        adapters.read("lorra")
    with pytest.raises(InputError, match="rank is -1"):
        adapters.read("lora", rank=-1)
    with pytest.raises(InputError, match=r"prompt_tuning .* has none"):
        adapters.read("prompt_tuning", rank=4)


def test_a_wrong_adapter_file_lists_all_that_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "odd.yaml").write_text("summary: x\nmethod: magic\nranks: 3\n")
    monkeypatch.setattr(assets, "folder", lambda kind: tmp_path)
    with pytest.raises(InputError) as caught:
        adapters.read("odd")
    assert len(caught.value.problems) == 2


class TestQLoRA:
    """NF4 with double quantisation, on the CPU."""

    def test_linear_layers_take_at_most_a_third_of_bfloat16(self, llama):
        model = checkpoint.adapt(llama, "qlora").model
        layers = [m for m in model.modules() if isinstance(m, Linear4bit)]
        assert len(layers) == 2 * 7
        weights = sum(math.prod(m.weight.quant_state.shape) for m in layers)
        stored = sum(m.weight.nbytes + m.weight.quant_state.absmax.nbytes for m in layers)
        assert stored <= 2 * weights / 3
        held, in_bfloat16 = adapters.linear_bytes(model)
        assert in_bfloat16 == 2 * weights
        code_books = 1300 * len(layers)  # of the scales and of NF4 itself; they weigh nothing on larger layers
        assert stored < held < stored + code_books
        plain = adapters.linear_bytes(checkpoint.adapt(llama, "lora").model)
        assert plain == (4 * weights, 2 * weights)  # the tiny Llama is in float32

    def test_head_and_projector_stay_in_float32(self, llama):
        model = checkpoint.adapt(llama, "qlora").model
        assert model.get_output_embeddings().weight.dtype == torch.float32
        assert {p.dtype for p in adapters.projector_of(model).parameters()} == {torch.float32}

    def test_gradients_flow_after_an_inference(self, llama):
        llama = checkpoint.adapt(llama, "qlora")
        shake(llama.model)
        ids = torch.tensor([llama.tokenizer.prompt_ids(example())])

        def gradient():
            llama.model.train().zero_grad()
            llama.model(ids).logits.square().mean().backward()
            return adapters.projector_of(llama.model).out.weight.grad.clone()

        before = gradient()
        llama.answer([example()], 1, 3)
        # bitsandbytes 0.50 repacks at the first inference where the CPU has AVX-512 BF16; no gradient came through then
        assert before.any()
        assert torch.equal(gradient(), before)

    def test_what_trl_casts_to_bfloat16_comes_back(self, llama):
        model = checkpoint.adapt(llama, "qlora").model
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
        adapters.float32_trainables(model)
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize("name", ["projector", "lora", "prompt_tuning"])
def test_recomputed_activations_give_the_same_gradients(llama, name):
    llama = checkpoint.adapt(llama, name)
    shake(llama.model)
    ids = torch.tensor([llama.tokenizer.prompt_ids(example()) + llama.tokenizer.answer_ids("ok")])

    def gradients():
        llama.model.train().zero_grad()
        llama.model(input_ids=ids, use_cache=False).logits.square().mean().backward()
        return {n: p.grad.clone() for n, p in llama.model.named_parameters() if p.requires_grad}

    kept = gradients()
    llama.model.enable_input_require_grads()
    llama.model.gradient_checkpointing_enable()
    for gradient_name, gradient in gradients().items():
        # measured 0
        torch.testing.assert_close(gradient, kept[gradient_name], rtol=1e-6, atol=1e-7)
        assert gradient.any()
