"""Answers of a loaded base to the prompts of a file, kept beside the corpus."""

import json
from itertools import pairwise

import pytest
import torch

from posttrain.config.recipe import load_recipe
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.run import requests
from posttrain.run.graph import corpus_key
from tests.conftest import byte_tokenizer, tiny_llama

PROMPTS = [f"Name a {colour} thing." for colour in "red blue green old new big odd thin flat warm".split()]


def base(folder, says):
    """A Llama's folder that answers everything with these characters, each of which follows from the one before."""
    tokenizer = byte_tokenizer()
    model = tiny_llama(tokenizer)
    start = tokenizer.apply_chat_template(
        [{"role": "user", "content": "x"}], tokenize=False, add_generation_prompt=True
    )
    chain = [tokenizer.encode(start, add_special_tokens=False)[-1], *tokenizer.word_ids(says), tokenizer.eos_token_id]
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for before, after in pairwise(chain):
            model.lm_head.weight[after] = model.model.embed_tokens.weight[before]
    checkpoint.save_base(folder, model, tokenizer)
    return folder


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps({"prompt": p, "answer": "Of the file."}) + "\n" for p in PROMPTS))

    def made(folder, *changes):
        named = [f"base.model={folder}", f"corpus.instructions=[{file}]", "corpus.answers=teacher", "device=cpu"]
        return load_recipe("smoke", [*named, *changes])

    return made


def test_the_base_answers_the_prompts_as_they_are_typed_and_is_asked_once(tmp_path, recipe, monkeypatch):
    asked = recipe(base(tmp_path / "llama", "okay"))
    found = requests.taught(asked, tmp_path / "kept.json")
    assert set(found) <= set(PROMPTS) and len(found) > 5 and set(found.values()) == {"okay"}
    monkeypatch.setattr(requests, "_base", None)  # to load it would fail now
    assert requests.taught(asked, tmp_path / "kept.json") == found
    with pytest.raises(TypeError):
        requests.taught(recipe(tmp_path / "llama", "corpus.speak_prompts=true"), tmp_path / "kept.json")
    assert requests.taught(recipe(tmp_path / "llama", "corpus.answers=own"), tmp_path / "kept.json") == {}


def test_a_base_that_answers_nothing_in_one_line_is_named(tmp_path, recipe):
    with pytest.raises(InputError, match="answers no prompt in one line; set it to own"):
        requests.taught(recipe(base(tmp_path / "llama", "a\nbc")), tmp_path / "kept.json")


def test_the_corpus_is_another_with_another_base_only_if_that_answers(tmp_path, recipe):
    one, two = base(tmp_path / "one", "okay"), base(tmp_path / "two", "fine")
    assert corpus_key(recipe(one)) != corpus_key(recipe(two))
    own = [corpus_key(recipe(folder, "corpus.answers=own")) for folder in (one, two)]
    assert own[0] == own[1]
