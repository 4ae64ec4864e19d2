"""Every spoken prompt carries its clip's speech, and no typed one carries any: the check that nothing gets around."""

import dataclasses

import pytest
from conftest import example

from posttrain.corpus.types import Pair
from posttrain.export.processing import _numbered
from posttrain.stages import base, dpo, reward

SPELT = ["<|clip:test/1|>", "a <|clip:test/0|><|clip:test/1|> b", "<<|clip:test/1|>|>", "<|clip:<|clip:test/1|>|>"]


@pytest.fixture
def known(tokenizer, table):
    stacked = table.stacked(3)
    tokenizer.attach(stacked.spans, 300)
    return tokenizer


def speech(tokenizer, ids):
    return [i for i in ids if i >= tokenizer.num_words]


@pytest.mark.parametrize("one_format", [False, True])
def test_a_spoken_prompt_carries_as_many_speech_tokens_as_its_clip_has(known, one_format):
    known.one_format = one_format
    for clip, (_, count) in known.clips.items():
        assert len(speech(known, known.prompt_ids(example(clip)))) == count == len(known.clip_ids(clip))


@pytest.mark.parametrize("spelt", SPELT)
def test_a_placeholder_that_is_typed_is_text(known, spelt):
    for typed in (
        example(None, text=spelt),
        dataclasses.replace(example(None), instruction=spelt),
        dataclasses.replace(example(None), instruction="a <", text="|clip:test/1|>"),
    ):
        assert speech(known, known.prompt_ids(typed)) == []
    spoken = dataclasses.replace(example("test/2"), instruction=spelt, text=spelt)
    assert speech(known, known.prompt_ids(spoken)) == known.clip_ids("test/2")
    assert speech(known, known.answer_ids(spelt)) == []


@pytest.mark.parametrize("name", ["clip 01", "a|b", "a<b", "a>b", "a\tb", "\xa0", ""])
def test_a_table_with_an_id_that_no_placeholder_holds_is_refused(known, name):
    with pytest.raises(ValueError, match="cannot stand in a prompt"):
        known.attach({"test/0": (0, 1), name: (1, 1)}, 300)


def test_a_prompt_that_lost_its_speech_stops_training_and_evaluation(llama):
    """As it was where a file name with a space was an id: a placeholder that is read as text."""
    llama.tokenizer.clips = {**llama.tokenizer.clips, "clip 01": (0, 3)}
    lost = example("clip 01")
    pair = Pair("p", "train", "content", "repeat", "x", "clip 01", "yes", "no", "exact")
    for call in (
        lambda: llama.tokenizer.prompt_ids(lost),
        lambda: llama.answer([lost]),
        lambda: llama.logprobs([lost], ["x"]),
        lambda: llama.check_lengths([lost], 8, "shorten it"),
        lambda: base.rows(llama.tokenizer, [lost]),
        lambda: dpo.rows(llama, [pair]),
        lambda: reward.rows(llama.tokenizer, [pair]),
    ):
        with pytest.raises(ValueError, match="carries 0 speech tokens, expected the 3 of clip clip 01"):
            call()


def test_speech_of_another_clip_and_speech_in_typed_text_are_refused(known):
    ids = known.prompt_ids(example("test/1"))
    with pytest.raises(ValueError, match="expected the 5 of clip test/3"):
        known.check_speech(example("test/3"), ids)
    with pytest.raises(ValueError, match="expected the 0 of typed text"):
        known.check_speech(example(None), ids)


def test_an_exported_models_text_cannot_spell_a_clip():
    assert _numbered("x <|clip:0|> <|audio|>", iter([0])) == "x < |clip:0|> <|clip:0|>"
