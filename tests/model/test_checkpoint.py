"""A checkpoint comes back as it was, or not at all."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import byte_tokenizer, example, tiny_llama
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain import files
from posttrain.errors import InputError
from posttrain.model import adapters, checkpoint
from posttrain.model.adapters import adapters_off

ADAPTERS = ("projector", "lora", "qlora", "dora", "prompt_tuning", "full")
TURNS = [example(f"test/{i}", id=f"e{i}") for i in range(4)] + [example(None, "turn it up", id="typed")]


def shaken(llama, adapter, rank=None):
    llama = checkpoint.adapt(llama, adapter, rank=rank)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in llama.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return llama


def scores(llama):
    rows = [llama.tokenizer.prompt_ids(turn) for turn in TURNS]
    return llama.span_logprobs(rows, [(1, len(row)) for row in rows])


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture
def saved(llama, base_folder, tmp_path):
    """A LoRA checkpoint."""
    llama = shaken(llama, "lora")
    checkpoint.save(tmp_path / "sft", llama, "sft", {"model": base_folder})
    return tmp_path / "sft"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_is_loaded_is_what_was_saved_bit_for_bit(llama, base_folder, tmp_path, table, adapter):
    llama = shaken(llama, adapter)
    expected = scores(llama)
    with adapters_off(llama.model):
        beneath = scores(llama)
    spec = checkpoint.save(tmp_path / "sft", llama, "sft", {"model": base_folder})
    loaded = checkpoint.load(tmp_path / "sft", table=table)
    assert same(scores(loaded), expected)
    assert not any(p.requires_grad for p in loaded.model.parameters())
    with adapters_off(loaded.model):
        assert same(scores(loaded), beneath)
    assert (spec.stage, spec.adapter, spec.parents) == ("sft", adapter, {"model": str(base_folder)})


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_loaded_trainable_exactly_what_trained_trains_again(llama, base_folder, tmp_path, table, adapter):
    llama = checkpoint.adapt(llama, adapter)
    expected = {n for n, p in llama.model.named_parameters() if p.requires_grad}
    checkpoint.save(tmp_path / "sft", llama, "sft", {"model": base_folder})
    loaded = checkpoint.load(tmp_path / "sft", table=table, trainable=True)
    assert {n for n, p in loaded.model.named_parameters() if p.requires_grad} == expected


@pytest.mark.parametrize(
    ("adapter", "files"),
    [
        ("projector", {"checkpoint.json", "projector.safetensors"}),
        ("lora", {"checkpoint.json", "projector.safetensors", "adapter"}),
        ("full", {"checkpoint.json", "projector.safetensors", "llama"}),
    ],
)
def test_a_folder_holds_what_was_trained_and_a_spec(llama, tmp_path, adapter, files):
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "config.yaml").write_text("kept: true\n")
    checkpoint.save(tmp_path / "sft", checkpoint.adapt(llama, adapter), "sft")
    assert {path.name for path in (tmp_path / "sft").iterdir()} == files | {"config.yaml"}


def test_no_path_of_this_machine_is_written_for_what_lies_in_the_project(
    llama, base_folder, tmp_path, monkeypatch, table
):
    monkeypatch.chdir(tmp_path)
    fresh = checkpoint.create(base_folder, tmp_path / "ctc", table, stack=3)
    checkpoint.save(tmp_path / "sft", checkpoint.adapt(fresh, "lora"), "sft", {"model": base_folder})
    for path in (tmp_path / "sft").rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path
    assert checkpoint.read_spec("sft").base == "base"


def test_a_base_is_a_plain_llama_folder(base_folder):
    model = AutoModelForCausalLM.from_pretrained(base_folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert AutoTokenizer.from_pretrained(base_folder)("hi").input_ids == byte_tokenizer()("hi").input_ids


def test_a_fully_trained_llama_is_a_plain_llama_folder_too(llama, tmp_path):
    llama = shaken(llama, "full")
    checkpoint.save(tmp_path / "sft", llama, "sft")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "sft" / "llama")
    ids = torch.tensor([llama.tokenizer.prompt_ids(example(None, "turn it up"))])
    assert torch.equal(model.eval()(ids).logits, llama.model.eval()(ids).logits)


def test_a_moved_checkpoint_finds_the_llama_that_lies_in_it(llama, tmp_path, table):
    llama = shaken(llama, "full")
    expected = scores(llama)
    checkpoint.save(tmp_path / "sft.partial", llama, "sft")
    (tmp_path / "sft.partial").rename(tmp_path / "sft")
    assert same(scores(checkpoint.load(tmp_path / "sft", table=table)), expected)


def test_a_base_that_only_names_a_model_loads_it(base_folder, tmp_path, table):
    checkpoint.refer_base(tmp_path / "named", str(base_folder))
    checkpoint.refer_base(tmp_path / "again", str(tmp_path / "named"), quantization="nf4")
    assert {p.name for p in (tmp_path / "named").iterdir()} == {"checkpoint.json"}
    llama = checkpoint.create(tmp_path / "named", tmp_path / "ctc", table, stack=3)
    assert llama.spec.base == str(base_folder)
    four_bit = checkpoint.load(tmp_path / "again")
    assert four_bit.spec.base == str(base_folder)
    assert four_bit.model.is_loaded_in_4bit


def test_a_four_bit_base_is_loaded_as_such_again(llama, tmp_path, table):
    checkpoint.save(tmp_path / "sft", checkpoint.adapt(llama, "qlora"), "sft")
    loaded = checkpoint.load(tmp_path / "sft", table=table)
    assert loaded.spec.quantization == "nf4"
    assert loaded.model.is_loaded_in_4bit


def test_rank_zero_saves_a_projector_and_no_adapter(llama, tmp_path, table):
    llama = shaken(llama, "lora", rank=0)
    expected = scores(llama)
    checkpoint.save(tmp_path / "sft", llama, "sft")
    assert not (tmp_path / "sft" / "adapter").exists()
    assert same(scores(checkpoint.load(tmp_path / "sft", table=table)), expected)


def test_only_the_policy_is_saved_where_a_reference_stands_beside_it(llama, tmp_path, table):
    llama = shaken(llama, "lora")
    llama.model.add_adapter("ref", llama.model.peft_config["default"])
    llama.model.set_adapter("default")
    expected = scores(llama)
    checkpoint.save(tmp_path / "dpo", llama, "dpo")
    assert not any("ref" in p.name for p in (tmp_path / "dpo" / "adapter").iterdir())
    assert same(scores(checkpoint.load(tmp_path / "dpo", table=table)), expected)


def test_training_goes_on_from_a_saved_adapter(saved, table, tmp_path):
    loaded = checkpoint.load(saved, table=table, trainable=True)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    expected = scores(loaded)
    checkpoint.save(tmp_path / "dpo", loaded, "dpo", {"model": saved})
    again = checkpoint.load(tmp_path / "dpo", table=table)
    assert same(scores(again), expected)
    assert again.spec.parents == {"model": str(saved)}


def test_adapting_twice_is_going_on_or_an_error(saved, table):
    loaded = checkpoint.load(saved, table=table)
    assert adapters.count_trainable(checkpoint.adapt(loaded, "lora").model) > 0
    with pytest.raises(InputError, match="has adapter lora already"):
        checkpoint.adapt(checkpoint.load(saved, table=table), "dora")


def test_the_classifier_scores_the_last_token_that_is_not_padding(llama):
    turns = [llama.tokenizer.prompt_ids(turn) for turn in TURNS]
    hidden = llama.model.model(torch.tensor([turns[1]])).last_hidden_state[0, -1]
    scorer = checkpoint.classifier(llama)
    padded = torch.tensor([turns[1] + [llama.tokenizer.pad_token_id] * 4])
    score = scorer(input_ids=padded, attention_mask=(padded != llama.tokenizer.pad_token_id).long()).logits
    torch.testing.assert_close(score[0, 0], scorer.score.weight[0] @ hidden, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_the_classifier_has_the_adapter_in_it(llama, adapter):
    llama = shaken(llama, adapter)
    ids = torch.tensor([llama.tokenizer.prompt_ids(example())])
    backbone = llama.model.get_base_model() if isinstance(llama.model, PeftModel) else llama.model
    expected = backbone.model(ids).last_hidden_state
    found = checkpoint.classifier(llama).model(ids).last_hidden_state
    # measured 2e-6; without the adapter apart by 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


class TestWrongInput:
    """Each is one InputError that names the file and the mend."""

    def test_no_checkpoint(self, tmp_path):
        with pytest.raises(InputError, match="holds no checkpoint"):
            checkpoint.load(tmp_path)

    def test_a_spec_that_is_not_json_or_lacks_fields(self, saved):
        for text in ("{", "[]", '{"stage": "sft"}'):
            (saved / "checkpoint.json").write_text(text)
            with pytest.raises(InputError, match=r"checkpoint\.json is not a checkpoint's"):
                checkpoint.load(saved)

    def test_an_encoder(self, tmp_path):
        (tmp_path / "checkpoint.json").write_text('{"format": 1, "stage": "ctc"}')
        with pytest.raises(InputError, match="holds an encoder, expected a Llama"):
            checkpoint.load(tmp_path)

    def test_a_file_changed_since(self, saved):
        tensors = load_file(saved / "projector.safetensors")
        tensors["out.bias"] += 1
        save_file(tensors, saved / "projector.safetensors")
        with pytest.raises(InputError, match=r"projector\.safetensors: sha256"):
            checkpoint.load(saved)

    def test_a_file_missing(self, saved):
        (saved / "adapter" / "adapter_model.safetensors").unlink()
        with pytest.raises(InputError, match=r"adapter_model\.safetensors is missing"):
            checkpoint.load(saved)

    def test_a_file_cut_short(self, saved):
        path = saved / "projector.safetensors"
        path.write_bytes(path.read_bytes()[:20])
        rehash(saved)
        with pytest.raises(InputError, match="cannot be read"):
            checkpoint.load(saved)

    def test_a_projector_of_another_shape(self, saved):
        tensors = load_file(saved / "projector.safetensors")
        tensors["out.weight"] = tensors["out.weight"][:, :-1].contiguous()
        save_file(tensors, saved / "projector.safetensors")
        rehash(saved)
        with pytest.raises(InputError, match=r"projector\.safetensors: shapes is .*\(64, 35\).*expected .*\(64, 36\)"):
            checkpoint.load(saved)

    def test_an_adapter_that_lacks_tensors(self, saved):
        path = saved / "adapter" / "adapter_model.safetensors"
        tensors = load_file(path)
        tensors.pop(next(name for name in tensors if "lora_B" in name))
        save_file(tensors, path)
        rehash(saved)
        with pytest.raises(InputError, match=r"adapter_model\.safetensors: tensors"):
            checkpoint.load(saved)

    def test_another_base(self, saved, base_folder, tokenizer):
        shutil.rmtree(base_folder)
        with pytest.raises(InputError, match="base"):
            checkpoint.load(saved)
        model = tiny_llama(tokenizer)
        model.config.vocab_size += 1
        bigger = type(model)(model.config)
        checkpoint.save_base(base_folder, bigger, tokenizer)
        with pytest.raises(InputError, match=r"base/checkpoint\.json: sha256 is .* use files of one checkpoint"):
            checkpoint.load(saved)
        (base_folder / "checkpoint.json").unlink()  # a plain Llama folder, of which no hash was taken
        with pytest.raises(InputError, match="num_words is 269, expected 268"):
            checkpoint.load(saved)

    def test_a_base_that_is_not_whole(self, base_folder):
        path = base_folder / "model.safetensors"
        tensors = load_file(path)
        tensors.pop("model.layers.1.mlp.up_proj.weight")
        save_file(tensors, path, {"format": "pt"})
        rehash(base_folder)
        with pytest.raises(InputError, match="not a whole Llama"):
            checkpoint.load(base_folder)

    def test_a_half_written_checkpoint_is_none(self, saved):
        (saved / "checkpoint.json").unlink()
        with pytest.raises(InputError, match="holds no checkpoint"):
            checkpoint.load(saved)


def rehash(folder):
    path = folder / "checkpoint.json"
    spec = json.loads(path.read_text())
    spec["hashes"] = {name: files.sha256(folder / name) for name in spec["hashes"]}
    path.write_text(json.dumps(spec))


def test_a_run_read_from_elsewhere_keeps_its_own_base(base_folder, tmp_path, monkeypatch, table):
    for project in ("mine", "other"):
        shutil.copytree(base_folder, tmp_path / project / "runs" / "tiny" / "base")
    monkeypatch.chdir(tmp_path / "mine")
    fresh = checkpoint.create(Path("runs/tiny/base"), Path("runs/tiny/ctc"), table, stack=3)
    checkpoint.save(Path("runs/tiny/align"), fresh, "align", {"llm": "runs/tiny/base"})
    assert checkpoint.read_spec("runs/tiny/align").base == "runs/tiny/base"
    monkeypatch.chdir(tmp_path / "other")
    found = checkpoint.read_spec(tmp_path / "mine" / "runs" / "tiny" / "align").base
    assert found == str(tmp_path / "mine" / "runs" / "tiny" / "base")
