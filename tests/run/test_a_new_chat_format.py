"""A new chat format is one entry of FORMATS: a run on it goes from its base to a report."""

import json

import pytest
from transformers import AutoTokenizer

from posttrain.__main__ import run as posttrain
from posttrain.config.recipe import load_recipe
from posttrain.errors import InputError
from posttrain.model import chat_format
from posttrain.model.chat_format import ChatFormat
from posttrain.run import combinations, runner
from posttrain.run.graph import nodes

SMALL = """
name: other
corpus: {train_clips: 60, rl_clips: 0, valid_clips: 8, test_sentences: 2, probe_items: 4, spoken_items: 2}
base: {chat_format: angles, vocab_size: 400, hidden_size: 32, layers: 2, heads: 4, kv_heads: 2, intermediate_size: 64,
  steps: 4, batch_size: 8}
ctc: {hidden_size: 32, layers: 1, heads: 2, subsampling_channels: 8, steps: 2, batch_size: 8}
align: {ctc_steps: 2, steps: 2, batch_size: 8}
sft: {steps: 2, batch_size: 8}
evaluation: {max_new_tokens: 8, bootstrap: 50}
report_to: []
stages: [base, ctc, align, sft]
"""
ANGLES = ChatFormat(
    begin="[text]",
    end="[over]",
    pad="[nothing]",
    document_end="[done]",
    special=("[text]", "[done]", "[nothing]", "[by]", "[over]"),
    template=(
        "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '[by]assistant ' }}"
        "{% generation %}{{ message['content'] + '[over]' }}{% endgeneration %}"
        "{% else %}{{ '[by]' + message['role'] + ' ' + message['content'] + '[over]' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[by]assistant ' }}{% endif %}"
    ),
)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setitem(chat_format.FORMATS, "angles", ANGLES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.yaml").write_text(SMALL)
    return tmp_path / "other.yaml"


def test_a_run_on_it_is_planned_checked_trained_evaluated_and_reported(recipe, capsys):
    for command in (["run", str(recipe), "--dry-run"], ["doctor", str(recipe)]):
        assert posttrain(command) == 0
    folder = recipe.parent / "runs" / "other"
    rows = runner.run(load_recipe(str(recipe)), folder)
    assert [row.stage for row in rows] == ["base", "ctc", "align", "sft"]
    assert {"ability/copy_easy", "language/perplexity"} <= rows[0].metrics.keys()
    assert {"wer/clean", "forgetting/kl_base"} <= rows[-1].metrics.keys()
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("[over]", "[nothing]", "[text]")
    said = [json.loads(line) for line in (folder / "sft" / "answers.jsonl").read_text().splitlines()]
    assert said and not any(token in str(line.get("output")) for line in said for token in ANGLES.special)
    assert posttrain(["report", str(folder)]) == 0


def test_the_option_is_for_a_base_that_is_made_here_and_names_a_known_format(recipe):
    for changes, problem in (
        (["base.chat_format=morse"], "base.chat_format is morse, expected one of llama3, chatml, angles"),
        (["base.model=some/where"], "base.chat_format is angles, but a loaded model's format is recognised"),
    ):
        loaded = load_recipe(str(recipe), changes)
        assert any(problem in found for found in combinations.problems(loaded, nodes(loaded)))


def test_without_the_option_the_keys_are_those_of_before_there_was_one():
    smoke, named = load_recipe("smoke"), load_recipe("smoke", ["base.chat_format=chatml"])
    assert nodes(smoke)[0].key == "547ce4579d9fd9ae" != nodes(named)[0].key


def test_a_tokenizer_of_no_known_format_is_refused_with_what_it_has(tokenizer):
    tokenizer.chat_template = "{{ messages }}"
    with pytest.raises(
        InputError, match=r"here has no known chat format: special tokens .*begin_of_text.*; expected .*"
    ):
        chat_format.of_tokenizer(tokenizer, "here")
