"""Graders: what is right, what is wrong, and what an empty answer is."""

import json
import random

import pytest

from posttrain.corpus.instructions import ABSTENTION, REFUSAL
from posttrain.corpus.types import Example, Pair
from posttrain.tasks import advice, commands, graders, safety
from posttrain.tasks.hearing import is_abstention
from posttrain.tasks.safety import is_refusal


def example(answer: str, grader: str = "exact", text: str = "some words") -> Example:
    return Example("x", "test", "answer", "answer", text, None, answer, grader)


def grade(name: str, answer: str, gold: str = "", text: str = "some words") -> float:
    return graders.grade(name, answer, example(gold, name, text))


def test_exact_wants_the_same_words_however_they_are_written():
    assert grade("exact", "Twelve.", "twelve") == grade("exact", "12", "twelve") == 1
    assert grade("exact", "twelve twelve", "twelve") == grade("exact", "", "twelve") == 0


def test_json_is_compared_as_values():
    gold = commands.command_json("left", "set_volume", 3)
    assert gold == '{"device": "left", "action": "set_volume", "value": 3}'
    assert grade("json", '{"value":3,"action":"set_volume","device":"left"}', gold) == 1
    for wrong in (gold.replace("3", "4"), gold.replace("3", '"3"'), gold[:-1], "", "left", f"{gold} {gold}"):
        assert grade("json", wrong, gold) == 0
    assert grade("json", json.dumps([]), gold) == 0


def test_wer_is_one_minus_the_word_error_rate_but_not_below_zero():
    assert grade("wer", "a b c d", "a b c d") == 1
    assert grade("wer", "a x c", "a b c d") == 0.5
    assert grade("wer", "", "a b") == 0
    assert grade("wer", "x y z x y z", "a b") == 0


def test_wer_is_graded_by_the_levenshtein_distance_of_a_plain_recursion():
    def slow(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    rng = random.Random(0)
    for _ in range(60):
        a, b = ([rng.choice(("red", "hat", "cup")) for _ in range(rng.randrange(6))] for _ in range(2))
        right = 1 - min(1, slow(a, b) / len(a)) if a else not b
        assert grade("wer", " ".join(b), " ".join(a)) == right


def test_abstaining_is_right_exactly_when_nothing_is_audible():
    assert grade("abstain", ABSTENTION, ABSTENTION, text="") == 1
    assert grade("abstain", "hello", ABSTENTION, text="") == grade("abstain", "", ABSTENTION, text="") == 0
    assert grade("abstain", ABSTENTION, "hello", text="hello") == 0
    assert grade("abstain", "hello", "hello", text="hello") == 1


def test_an_empty_answer_neither_refuses_nor_helps():
    assert not is_refusal("") and not is_abstention("")
    assert grade("refusal", "") == 0
    assert grade("helpful", "", "press the switch by the door.") == 0


def test_help_is_neither_a_refusal_nor_beside_the_point():
    gold = "press the switch by the door."
    assert grade("helpful", gold, gold) == grade("helpful", "press the switch", gold) == 1
    assert grade("helpful", REFUSAL, gold) == grade("helpful", f"{REFUSAL} {gold}", gold) == 0
    assert grade("helpful", "run fast", gold) == 0


def test_style_prefers_plain_advice_on_the_complaint_made():
    for problem in advice.problems():
        complaint = f"my left aid {problem} today"
        plain, jargon = advice.advice(problem)
        assert advice.problem_of(complaint) == problem
        assert grade("style", plain, text=complaint) == 1
        for wrong in (jargon, "", REFUSAL, f"{plain} {jargon}", "hello you", *plain.split(" and ")):
            assert grade("style", wrong, text=complaint) == 0
        assert grade("advice", plain, text=complaint) == grade("advice", jargon, text=complaint) == 1


def test_advice_on_one_problem_is_wrong_for_every_other():
    for problem in advice.problems():
        for other in advice.problems():
            plain, jargon = advice.advice(other)
            assert grade("style", plain, text=f"this aid {problem}") == (other == problem)
            assert grade("advice", jargon, text=f"this aid {problem}") == (other == problem)


def test_advice_that_fits_two_problems_is_advice_on_neither():
    complaint = "my left aid is too loud in the car"
    assert grade("style", "turn it down and close the window", text=complaint) == 1
    assert grade("style", "turn it down, close window", text=complaint) == 1
    for hedged in ("turn it and close the window", "turn it down turn it up and close the window"):
        assert grade("style", hedged, text=complaint) == grade("advice", hedged, text=complaint) == 0


def test_help_with_one_deed_is_not_help_with_another():
    deeds_ = safety.harmless_deeds()
    for deed, gold in deeds_.items():
        for other, help_ in deeds_.items():
            assert grade("helpful", help_, gold) == (other == deed)


def test_pairs_are_graded_against_their_chosen_answer():
    pair = Pair("p", "test", "content", "answer", "one and one", None, "two", "three", "exact")
    assert graders.grade("exact", "two", pair) == 1 and graders.grade("exact", "three", pair) == 0


def test_an_unknown_grader_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="exact"):
        grade("vibes", "x")


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ('{"value": 1}', '{"value": true}', False),
        ('{"value": true}', '{"value": 1}', False),
        ('{"value": 0}', '{"value": false}', False),
        ('{"value": [1, {"a": 0}]}', '{"value": [1, {"a": false}]}', False),
        ('{"value": [1, {"a": 0}]}', '{"value": [true, {"a": 0}]}', False),
        ('{"value": 1}', '{"value": "1"}', False),
        ('{"value": null}', '{"value": false}', False),
        ('{"value": 1}', '{"value": 1.0}', True),
        ('{"value": 1, "a": [2]}', '{ "a": [2.0], "value": 1 }', True),
        ('{"value": 1}', '{"value": 2, "value": 1}', False),
        ('{"a": {"value": 1}}', '{"a": {"value": 1, "value": 1}}', False),
        ('{"value": 1}', '{"value": NaN}', False),
        ('{"value": 1}', '{"value": Infinity}', False),
        ('{"value": [1, 2]}', '{"value": [1]}', False),
        ("1", "true", False),
        ("1", "1" * 5000, False),
        ("1", "[" * 100_000, False),
    ],
)
def test_json_is_compared_by_value_and_type_and_read_strictly(gold, answer, right):
    command = Example("x", "test", "command", "", "", None, gold, "json")
    assert graders.grade("json", answer, command) == right
