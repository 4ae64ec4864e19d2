"""The base stage: a small Llama is made, trained and saved; a real one is named."""

import json
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain.config.sections import BaseConfig
from posttrain.corpus import overlap
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Clip, Example
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.model.tiny_tokenizer import train_tokenizer
from posttrain.stages import base
from posttrain.stages.training.context import StageContext
from posttrain.tasks.base_rows import base_rows, tokenizer_texts

TINY = BaseConfig(
    vocab_size=400, hidden_size=32, layers=2, heads=4, kv_heads=2, intermediate_size=64, steps=4, batch_size=8
)


def context(folder, parents=None, items=(), texts=(), clips=()) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(folder, {clip.id: clip for clip in clips}, [], list(items), [], list(texts), "toy", {})
    return StageContext(0, "cpu", folder, parents or {}, corpus)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "base"
    return folder, base.run(TINY, context(folder))


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(tokenizer_texts(base_rows(6000, 0)), 1024)


def test_the_tiny_base_is_a_plain_llama_folder(trained):
    folder, metrics = trained
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "checkpoint.json"} <= names
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    assert (config.model_type, config.num_key_value_heads, config.tie_word_embeddings) == ("llama", 2, False)
    assert config.rope_parameters["rope_type"] == "llama3"
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    assert AutoTokenizer.from_pretrained(folder).pad_token == "<|finetune_right_pad_id|>"
    assert metrics["steps"] == 4 and metrics["tokens"] > 0 and metrics["params"] == model.num_parameters()
    assert checkpoint.load(folder).answer([base_rows(1, 0)[0]], max_new_tokens=2)


def test_training_moves_every_matrix_of_the_tiny_base(trained):
    folder, _ = trained
    examples = base_rows(base.TOKENIZER_ROWS, 0)
    start = base.build_llama(TINY, train_tokenizer(tokenizer_texts(examples), TINY.vocab_size), 0).state_dict()
    for name, tensor in load_file(folder / "model.safetensors").items():
        assert not torch.equal(tensor, start[name]), name


def test_the_same_seed_gives_the_same_weights(trained, tmp_path):
    folder, _ = trained
    base.run(TINY, context(tmp_path / "again"))
    one, two = (load_file(f / "model.safetensors") for f in (folder, tmp_path / "again"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_hub_id_is_pinned_to_the_commit_that_it_is_now(base_folder, tmp_path, monkeypatch):
    """The cache is laid out as the hub's client does; its newest commit moves on after the stage has run."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cached = tmp_path / "models--someone--llama"
    commits = [digit * 40 for digit in "ab"]
    for commit in commits:
        shutil.copytree(base_folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commits[0])
    base.run(BaseConfig(model="someone/llama"), context(tmp_path / "named"))
    (cached / "refs" / "main").write_text(commits[1])
    (cached / "snapshots" / commits[1] / "model.safetensors").unlink()
    assert checkpoint.read_spec(tmp_path / "named").base_revision == commits[0]
    assert checkpoint.load(tmp_path / "named").model.num_parameters() > 0


def test_a_named_model_is_referred_to_and_not_copied(base_folder, tmp_path):
    folder = tmp_path / "named"
    metrics = base.run(BaseConfig(model=str(base_folder)), context(folder))
    assert metrics["steps"] == 0 and metrics["params"] > 0
    assert [path.name for path in folder.iterdir()] == ["checkpoint.json"]
    assert checkpoint.load(folder).model.num_parameters() == metrics["params"]


def test_a_model_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="nowhere/llama"):
        base.run(BaseConfig(model="nowhere/llama"), context(tmp_path / "x"))


def test_four_bits_need_a_base_in_full_precision(base_folder, tmp_path):
    with pytest.raises(InputError, match="full precision"):
        base.run(BaseConfig(quantization="nf4"), context(tmp_path / "x"))
    folder = tmp_path / "nf4"
    base.run(BaseConfig(quantization="nf4"), context(folder, {"full_precision": base_folder}))
    assert json.loads((folder / "checkpoint.json").read_text())["quantization"] == "nf4"


def test_no_training_row_says_a_test_text_in_its_words_its_answer_or_a_sentence_of_either(tmp_path):
    rows = base_rows(2_000, 0)
    copied = next(row.text for row in rows if row.task == "repeat")
    line = next(row.answer for row in rows if row.task == "text" and row.answer.count(". ") == 2)
    held_out = {copied, line.split(". ")[1], line.removesuffix(".").split(". ")[2]}
    assert len(held_out) == 3 and all(any(overlap.says_any(row, [text]) for row in rows) for text in held_out)
    items = [Example(text, "test", "repeat", "repeat", text, None, text, "exact", "wer/clean") for text in held_out]
    made = base.typed_rows(context(tmp_path / "x", items=items).corpus, 2_000, 0)
    assert len(made) == 2_000 and not any(overlap.says_any(row, held_out) for row in made)


def test_loss_is_on_answers_and_on_running_text_only(tokenizer):
    examples = base_rows(300, 0)
    for row, example in zip(base.rows(tokenizer, examples), examples, strict=True):
        asked = [i for i, counted in zip(row["input_ids"], row["completion_mask"], strict=True) if counted]
        end = "<|end_of_text|>" if example.task == "text" else "<|eot_id|>"
        assert tokenizer.decode(asked) == example.answer + end
        assert row["input_ids"][0] == tokenizer.bos_token_id and row["input_ids"].count(tokenizer.bos_token_id) == 1
        assert row["length"] == len(row["input_ids"])


def test_batches_hold_rows_of_like_length_and_every_row_once():
    rng = random.Random(0)
    rows = [{"id": n, "length": rng.randint(10, 60)} for n in range(1000)]
    ordered = base.by_length(rows, 16, seed=0)
    assert sorted(row["id"] for row in ordered) == list(range(1000))
    batches = [ordered[i : i + 16] for i in range(0, 1000, 16)]
    padded = sum(len(batch) * max(row["length"] for row in batch) for batch in batches)
    shuffled = sum(16 * max(row["length"] for row in rows[i : i + 16]) for i in range(0, 1000, 16))
    assert padded < 1.15 * sum(row["length"] for row in rows) < shuffled
    means = [sum(row["length"] for row in batch) / len(batch) for batch in batches]
    assert means != sorted(means) and means != sorted(means, reverse=True)


def test_the_chat_format_is_llama_31s_without_its_date(tokenizer):
    example = Example("e", "train", "answer", "answer", "what is one plus one", None, "two", "exact")
    assert tokenizer.prompt_text(example) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nanswer: what is one plus one<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_the_assistant_mask_covers_the_answer_and_its_end(tokenizer):
    chat = [{"role": "user", "content": "repeat: hello"}, {"role": "assistant", "content": "hello"}]
    made = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    marked = [i for i, m in zip(made["input_ids"], made["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(marked) == "hello<|eot_id|>"


def test_spoken_words_are_mostly_one_token_and_any_text_survives_a_round_trip(tokenizer):
    rows = base_rows(500, 1)
    words = [word for row in rows if row.task == "repeat" for word in row.text.split()]
    counts = [len(tokenizer.word_ids(f" {word}")) for word in words]
    assert sum(counts) / len(counts) < 1.1
    for text in ("naïve “quotes” 123 日本 \n tab\t", '{"device": "left", "action": "mute", "value": null}'):
        assert tokenizer.decode(tokenizer.word_ids(text)) == text


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="vocab_size"):
        train_tokenizer(["a"], 200)


def test_what_a_recorded_test_speaker_says_is_not_asked_about(tmp_path):
    row = next(row for row in base_rows(base.TOKENIZER_ROWS, 0) if row.text)
    item = Example("i", "test", "repeat", "repeat", row.text, "c", row.text, "wer", "wer_real/fsdd")
    assert base.run(TINY, context(tmp_path / "base", items=[item]))["steps"] == 4


def test_a_base_beside_recordings_knows_the_words_of_people_but_not_those_of_test_speakers(tmp_path):
    def clip(split, text):
        return Clip(f"{split}/a", text, f"fsdd/{split}", split, "fsdd", "real", None, 0, 1)

    clips = [clip("train", "xylophonic quizzers"), clip("test", "vexing jukeboxes")]
    item = Example("i", "test", "repeat", "repeat", clips[1].text, clips[1].id, clips[1].text, "wer", "wer_real/fsdd")
    base.run(TINY, context(tmp_path / "base", items=[item], clips=clips))
    vocabulary = AutoTokenizer.from_pretrained(tmp_path / "base").get_vocab()
    assert "Ġxylophonic" in vocabulary and not {"Ġvexing", "Ġjukeboxes"} & vocabulary.keys()
