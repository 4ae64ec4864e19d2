"""A Llama in a GGUF file becomes a Hugging Face folder: weights, tokenizer and scaling of positions are the file's."""

import json

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from posttrain.__main__ import run
from posttrain.errors import InputError
from posttrain.model.chat_format import CHATML, of_tokenizer
from posttrain.model.speech_llama import load_llama
from posttrain.model.weights.llama_gguf import INNER, OUTER, llama_from_gguf

SPECIAL = [*CHATML.special, "<repo_name>"]
TOKENS = [*SPECIAL, "Ġ", *"abcdefghij", *"0123456789", "ab", "Ġa", "ĠĠ"]
MERGES = ["a b", "Ġ a", "Ġ Ġ"]
TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def llama(tie: bool = False, **more) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=tie,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0} | more,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.2)
    return model


def write(path, model, kind=GGMLQuantizationType.F32, fields=(), tensors=(), without=(), pre="smollm"):
    """A GGUF file; `fields` and `tensors` add to it or replace."""
    config, writer = model.config, GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, value in dict(fields).items():
        writer.add_float32(name, value) if isinstance(value, float) else writer.add_uint32(name, value)
    for name, weight in {**_named(model), **dict(tensors)}.items():
        if name not in without:
            packed = quants.quantize(weight, kind) if weight.ndim == 2 else weight
            writer.add_tensor(name, packed, raw_dtype=kind if weight.ndim == 2 else GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _named(model) -> dict[str, np.ndarray]:
    """Name in GGUF → weight, with the rows of q and k in llama.cpp's order."""
    state = {name: weight.numpy() for name, weight in model.state_dict().items()}
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    found = {
        name: state[to] for name, to in OUTER.items() if not (model.config.tie_word_embeddings and "lm_head" in to)
    }
    for block in range(model.config.num_hidden_layers):
        for name, to in INNER.items():
            weight = state[f"model.layers.{block}.{to}.weight"]
            if name in heads:
                rows, width = weight.shape
                weight = weight.reshape(heads[name], 2, -1, width).swapaxes(1, 2).reshape(rows, width)
            found[f"blk.{block}.{name}.weight"] = weight
    return found


def converted(tmp_path, *args, **more):
    (tmp_path / "out").mkdir()
    llama_from_gguf(write(tmp_path / "x.gguf", *args, **more), tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("tie", [True, False])
def test_the_folder_of_a_full_precision_file_has_the_models_own_weights_and_logits(tmp_path, tie):
    model = llama(tie)
    found, tokenizer = load_llama(converted(tmp_path, model))
    wanted = model.state_dict()
    assert all(torch.equal(weight, wanted[name]) for name, weight in found.state_dict().items())
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(found(ids).logits, model(ids).logits)
    assert found.config.tie_word_embeddings is tie and len(tokenizer) == len(TOKENS)


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0, GGMLQuantizationType.F16])
def test_quantised_weights_are_those_that_transformers_dequantises(tmp_path, kind):
    folder = converted(tmp_path, llama(tie=True), kind)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, gguf_file="x.gguf").eval()
    ours, _ = load_llama(folder)
    assert all(torch.equal(weight, ours.state_dict()[name]) for name, weight in theirs.state_dict().items())
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)


def test_the_tokenizer_cuts_digits_apart_and_keeps_the_chat_format(tmp_path):
    _, tokenizer = load_llama(converted(tmp_path, llama()))
    text = "ab a  12"
    assert tokenizer.convert_ids_to_tokens(tokenizer.word_ids(text)) == ["ab", "Ġa", "ĠĠ", "1", "2"]
    assert tokenizer.decode(tokenizer.word_ids(text)) == text
    assert of_tokenizer(tokenizer) is CHATML and tokenizer.encode("<|im_end|>", add_special_tokens=False) == [2]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 2, 0)
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    marked = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    answer = [i for i, mark in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if mark]
    assert answer == tokenizer.answer_ids("b")


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_factors_of_llama_3_1_and_3_2_become_their_scaling_of_positions(tmp_path, factor):
    scaling = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"rope_theta": 500_000.0, "original_max_position_embeddings": 8192}
    model = llama(**scaling)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](model.config, torch.device("cpu"))
    plain = 1 / 500_000.0 ** (torch.arange(0, 16, 2) / 16)
    folder = converted(tmp_path, model, tensors={"rope_freqs.weight": (plain / scaled).numpy()}, pre="llama-bpe")
    found = LlamaForCausalLM.from_pretrained(folder).eval()
    assert found.config.rope_parameters == scaling
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(found(ids).logits, model(ids).logits)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"without": ("blk.1.ffn_up.weight",)}, r"blk\.1\.ffn_up\.weight is missing, or more than a Llama has"),
        ({"tensors": {"blk.0.attn_q.bias": np.ones(64, np.float32)}}, r"blk\.0\.attn_q\.bias is missing, or more"),
        ({"tensors": {"rope_freqs.weight": np.full(8, 3, np.float32)}}, r"rope_freqs\.weight is neither Llama 3\.1's"),
        (
            {"tensors": {"output_norm.weight": np.ones(32, np.float32)}},
            r"output_norm\.weight is of shape \(32,\), expected",
        ),
        ({"fields": {"llama.expert_count": 8}}, r"llama\.expert_count is 8, which is not converted"),
        ({"pre": "qwen2"}, "tokenizer is gpt2 with qwen2, expected gpt2 with smollm or llama-bpe"),
    ],
)
def test_what_is_not_a_plain_llama_is_refused_by_name(tmp_path, more, said):
    with pytest.raises(InputError, match=said):
        converted(tmp_path, llama(), **more)


def test_a_file_that_is_cut_off_or_no_gguf_is_refused(tmp_path):
    whole = write(tmp_path / "x.gguf", llama()).read_bytes()
    for end in (3, 30, 500, len(whole) // 2, len(whole) - 1):
        (tmp_path / "x.gguf").write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"x\.gguf is not a whole GGUF file: .* get the file again"):
            llama_from_gguf(tmp_path / "x.gguf", tmp_path)
    with pytest.raises(InputError, match="nothing: no GGUF file"):
        llama_from_gguf(tmp_path / "nothing", tmp_path)


def test_the_command_converts_a_file_and_says_what_it_cannot_convert(tmp_path, capsys):
    path, folder = write(tmp_path / "x.gguf", llama()), tmp_path / "mine"
    command = ["weights", str(folder), "--from-gguf", str(path)]
    assert run([*command, "--dry-run"]) == 0 and not folder.exists()
    assert run(command) == 0 and load_llama(folder)
    assert (
        "mine  brought" in capsys.readouterr().out
        and json.loads((folder / "origin.json").read_text())["from"] == "x.gguf"
    )
    assert run(command) == 2 and "which exists; name a new folder" in capsys.readouterr().err
    assert run(["weights", str(tmp_path / "other"), "--from-gguf", str(path), "--source", "hub"]) == 2
    write(tmp_path / "y.gguf", llama(), fields={"llama.attention.head_count": 0})
    assert run(["weights", str(tmp_path / "other"), "--from-gguf", str(tmp_path / "y.gguf")]) == 2
    assert "y.gguf cannot be converted as gguf: ZeroDivisionError" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
