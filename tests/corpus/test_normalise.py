"""What counts as text."""

import pytest

from posttrain.corpus.normalise import normalise, number_words
from posttrain.corpus.vocabulary import is_critical


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Turn it UP, please!", "turn it up please"),
        ("don’t  stop", "don't stop"),
        ("'quoted' words", "quoted words"),
        ("12 of 1,250 at 3.5%", "twelve of one thousand two hundred fifty at three point five percent"),
        ("room 07", "room zero seven"),
        ("Café Zoë, Straße", "cafe zoe strasse"),
        ("left-right", "left right"),
        ("日本 …", ""),
        ("", ""),
    ],
)
def test_text_becomes_lower_case_words(text, words):
    assert normalise(text) == words


def test_normalising_twice_changes_nothing():
    for text in ("It's 12:30 & we're late", "A1 B2", "–—'"):
        assert normalise(normalise(text)) == normalise(text)


def test_numbers_are_read_out():
    assert number_words(0) == "zero"
    assert number_words(118) == "one hundred eighteen"
    assert number_words(1_000_020) == "one million twenty"
    with pytest.raises(ValueError, match="-1"):
        number_words(-1)


def test_numbers_names_and_negations_are_critical():
    assert all(map(is_critical, ("seven", "anna", "paris", "monday", "not", "hundred")))
    assert not any(map(is_critical, ("the", "red", "aid")))
