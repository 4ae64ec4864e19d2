"""Checkable instructions: each check passes what keeps its rule alone; items typed and spoken, of the test alone."""

from collections import Counter

import pytest

from posttrain.config.sections import CorpusConfig
from posttrain.corpus.instructions import ABSTENTION, REFUSAL
from posttrain.corpus.normalise import normalise
from posttrain.tasks import instructions
from posttrain.tasks.instructions import CHECKS, asks
from posttrain.tasks.plan import plan

RIGHT_AND_WRONG = [
    (
        "number_words: ",
        "Tea is hot water with leaves in it.",
        "Tea is hot water with leaves in it, and many people like to have it hot.",
    ),
    ("number_sentences: ", "Boil it at 3.5 degrees, then wait!", "Boil it. Then wait."),
    ("number_sentences: ", 'Say "boil it" twice (or more).', "Boil it and then"),
    ("number_sentences: ", 'She says "boil it."', "1. Boil it"),
    ("number_bullet_lists: ", "Do this:\n* boil\n- wait\n3. drink", "* boil\n* wait"),
    ("english_capital: ", "BOIL THE WATER, THEN WAIT.", "Boil the WATER."),
    ("existence: umbrella", "Take an umbrella.", "Take umbrellas."),
    ("forbidden_words: water", "It falls from clouds.", "Water falls."),
    ("order: pocket yellow", "A pocket is yellow.", "Yellow is the pocket."),
    ("order: pocket yellow", "Pocket, yellow, pocket", "A pocket is red."),
    ("no_comma: ", "Boil it.", "Boil it, then wait."),
    ("end_checker: ", "Boil it. Good luck!", "Good luck with it."),
    ("json_format: name age", '```json\n{"Name": "Anna", "age": 40, "job": ""}\n```', '{"name": "Anna"}'),
    ("json_format: name age", '{"name": "Anna", "age": "forty"}', '{"name": Anna, "age": 40}'),
    ("constrained_response: ", "No.", "No, it is warm."),
]


@pytest.mark.parametrize("gold, right, wrong", RIGHT_AND_WRONG)
def test_a_check_passes_what_keeps_its_rule_alone(gold, right, wrong):
    assert instructions.followed(right, gold, "") and not instructions.followed(wrong, gold, "")


def test_every_check_is_tried_above_and_asked_for():
    assert {gold.partition(":")[0] for gold, _, _ in RIGHT_AND_WRONG} == set(CHECKS)
    assert {ask.answer.partition(":")[0] for ask in asks()} == set(CHECKS)


@pytest.mark.parametrize("answer", ["", " ... ", ABSTENTION, REFUSAL])
@pytest.mark.parametrize("gold", ["number_words: ", "forbidden_words: water", "no_comma: "])
def test_no_answer_a_refusal_and_nothing_heard_follow_no_instruction(answer, gold):
    assert not instructions.followed(answer, gold, "")


def test_prompts_are_many_different_short_and_can_be_said():
    assert len(asks()) == len(instructions.texts()) > 120
    assert all(len(text.split()) <= 25 and text.replace(" ", "").isalpha() for text in instructions.texts())


def test_the_words_that_a_rule_names_are_in_the_prompt_and_odd_ones_are_not_in_the_request():
    for ask in asks():
        check, _, named = ask.answer.partition(": ")
        said = normalise(ask.text).split()
        assert set(named.split()) <= set(said), ask
        if check in ("existence", "order"):
            assert all(said.count(word) == 1 for word in named.split()), ask


def test_they_are_test_items_typed_and_spoken_of_the_general_world_and_never_trained_on():
    made = plan(CorpusConfig(world="general", train_clips=200, test_sentences=30), 0)
    typed = {item.text: item.content for item in made.items if item.probe == "instruction/text"}
    spoken = [e for s in made.spoken for e in s.examples if e.probe == "instruction/speech"]
    assert {e.text: e.content for e in spoken} == {normalise(text): of for text, of in typed.items()}
    assert len(typed) == 30 and len(set(typed.values())) == 30, "one of each content, before a second one"
    conditions = Counter(s.condition for s in made.spoken if s.examples and s.examples[0].probe == "instruction/speech")
    assert conditions == {"clean": 30}
    assert not {normalise(text) for text in typed} & {s.text for s in made.spoken if s.split != "test"}
    tiny = plan(CorpusConfig(train_clips=50, test_sentences=20), 0)
    assert not any(str(item.probe).startswith("instruction") for item in tiny.items)
