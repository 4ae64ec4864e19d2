"""A folder with exactly the files of Llama 3.1 8B Instruct goes the same way as the tiny base."""

import json

import pytest
import torch
from conftest import ENCODER_DIM, byte_tokenizer, example, frame_table
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM
from trl.chat_template_utils import llama3_1_chat_template

from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.model.chat_format import LLAMA3, training_template

FILES = {
    "config.json",
    "generation_config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
PREAMBLE = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"


@pytest.fixture
def folder(tmp_path):
    """Small numbers, Meta's files: old keys of the config, the template in tokenizer_config.json, sharded bfloat16."""
    folder = tmp_path / "Llama-3.1-8B-Instruct"
    tokenizer = byte_tokenizer()
    ends = [tokenizer.convert_tokens_to_ids(t) for t in ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")]
    shape = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": ends,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 128,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 8,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.42.3",
        "use_cache": True,
        "vocab_size": len(tokenizer),
    }
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape)).to(torch.bfloat16)
    size = sum(p.nbytes for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=size * 2 // 3)
    (folder / "config.json").write_text(json.dumps(shape))
    (folder / "generation_config.json").write_text(
        json.dumps(
            {
                "bos_token_id": tokenizer.bos_token_id,
                "do_sample": True,
                "eos_token_id": ends,
                "temperature": 0.6,
                "top_p": 0.9,
                "transformers_version": "4.42.3",
            }
        )
    )
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    backend["post_processor"] = {"type": "Sequence", "processors": [byte_level, backend["post_processor"]]}
    (folder / "tokenizer.json").write_text(json.dumps(backend))
    added = {str(i): t.__getstate__() for i, t in tokenizer.added_tokens_decoder.items()}
    names = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "added_tokens_decoder": added,
                "chat_template": llama3_1_chat_template,
                "clean_up_tokenization_spaces": True,
                "model_input_names": ["input_ids", "attention_mask"],
                "model_max_length": 131072,
                "tokenizer_class": "PreTrainedTokenizerFast",
                **names,
            }
        )
    )
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    return folder


def test_the_folder_has_llama_31s_files(folder):
    assert {path.name for path in folder.iterdir()} == FILES


def test_it_becomes_a_base_hears_takes_an_adapter_and_comes_back(folder, tmp_path):
    checkpoint.refer_base(tmp_path / "base", str(folder), dtype="bfloat16")
    table = frame_table()
    llama = checkpoint.create(tmp_path / "base", tmp_path / "ctc", table, stack=4)
    assert llama.model.dtype == torch.bfloat16
    assert llama.tokenizer.pad_token == "<|finetune_right_pad_id|>"
    adapted = checkpoint.adapt(llama, "lora")
    trains = {p.dtype for p in adapted.model.parameters() if p.requires_grad}
    assert trains == {torch.float32}
    ids = torch.tensor([adapted.tokenizer.prompt_ids(example()) + adapted.tokenizer.answer_ids("ok")])
    adapted.model(input_ids=ids, labels=ids.masked_fill(ids >= llama.spec.num_words, -100)).loss.backward()
    checkpoint.save(tmp_path / "sft", adapted, "sft", {"model": tmp_path / "base"})
    assert {p.name for p in (tmp_path / "sft").iterdir()} == {"checkpoint.json", "projector.safetensors", "adapter"}
    loaded = checkpoint.load(tmp_path / "sft", table=table)
    turns = [example("test/1"), example(None, "hi")]
    assert loaded.answer(turns, 2, 4) == adapted.answer(turns, 2, 4)
    with safe_open(tmp_path / "sft" / "projector.safetensors", "pt") as file:
        assert file.get_slice("out.weight").get_shape() == [64, 4 * ENCODER_DIM]


def test_its_own_sampling_settings_do_not_reach_our_answers(folder):
    llama = checkpoint.load(folder)
    assert llama.model.generation_config.do_sample
    assert len({tuple(llama.answer([example(None, "hi")], 1, 8)) for _ in range(3)}) == 1
    assert len(llama.eos_ids) == 3


def test_the_prompt_is_what_its_own_template_writes(folder):
    tokenizer = checkpoint.load(folder).tokenizer
    text = tokenizer.prompt_text(example(None, "hi"))
    messages = [{"role": "user", "content": "repeat: hi"}]
    assert text == tokenizer.apply_chat_template(
        messages, chat_template=llama3_1_chat_template, tokenize=False, add_generation_prompt=True
    )
    assert PREAMBLE in text
    assert tokenizer(text).input_ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("template", [llama3_1_chat_template, None])
def test_the_training_template_writes_the_same_text_and_marks_every_answer_with_its_end(tokenizer, template):
    chat = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": " first "},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "second"},
    ]
    tokenizer.chat_template = training_template(template, LLAMA3)
    if template:
        ours = tokenizer.apply_chat_template(chat, tokenize=False)
        own = tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False)
        assert ours == own
    plain = tokenizer.apply_chat_template(chat, tokenize=False)
    assert (PREAMBLE in plain) == (template is not None)
    out = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    marked = [i for i, mark in zip(out["input_ids"], out["assistant_masks"], strict=True) if mark]
    assert marked == tokenizer.answer_ids("first") + tokenizer.answer_ids("second")
    assert marked.count(tokenizer.eos_token_id) == 2


def test_a_template_that_marks_answers_is_kept_and_an_unknown_one_is_refused():
    assert training_template(LLAMA3.template, LLAMA3) == LLAMA3.template
    with pytest.raises(InputError, match="neither marks answers"):
        training_template("{{ messages }}", LLAMA3)


def test_a_folder_that_is_no_llama_is_refused_by_name(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        checkpoint.refer_base(tmp_path / "base", str(path))
        with pytest.raises(InputError, match=path.name):
            checkpoint.load(tmp_path / "base")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded as a Llama"):
        checkpoint.load(folder)


def test_a_tokenizer_without_llama_3s_tokens_is_refused(folder):
    text = (folder / "tokenizer.json").read_text().replace("<|eot_id|>", "<|other|>")
    (folder / "tokenizer.json").write_text(text)
    config = (folder / "tokenizer_config.json").read_text().replace('"<|eot_id|>"', '"<|end_of_text|>"')
    (folder / "tokenizer_config.json").write_text(config)
    with pytest.raises(
        InputError,
        match=r"Llama-3\.1-8B-Instruct has no known chat format: .* expected one of llama3 with .*<\|eot_id\|>",
    ):
        checkpoint.load(folder)
