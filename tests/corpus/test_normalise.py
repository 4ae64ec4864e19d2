"""What counts as text."""

import re
import subprocess
import sys

import pytest

from posttrain.corpus.normalise import normalise, number_words, read_out, unreadable
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


WRITTEN = {
    "May 21st": "may twenty first",
    "the 2nd, 3rd and 112th": "the second third and one hundred twelfth",
    "$5": "five dollars",
    "$1": "one dollar",
    "$5.50": "five dollars fifty cents",
    "£3": "three pounds",
    "5 €": "five euros",
    "$3.5 million": "three point five million dollars",
    "$1,234": "one thousand two hundred thirty four dollars",
    "1999": "nineteen ninety nine",
    "1,999": "one thousand nine hundred ninety nine",
    "in 1905 and 2010": "in nineteen oh five and twenty ten",
    "2000": "two thousand",
    "1990s": "nineteen nineties",
    "10:00 o'clock": "ten o'clock",
    "the '90s": "the nineties",
    "-5": "minus five",
    "it is -5°C": "it is minus five degrees celsius",
    "\u22125.5": "minus five point five",
    "Dr. Smith": "doctor smith",
    "Elm Dr. is closed": "elm drive is closed",
    "Mr. and Mrs. Jones": "mister and missus jones",
    "St. James": "saint james",
    "12 Main St.": "twelve main street",
    "6pm": "six p m",
    "6 P.M.": "six p m",
    "6:30 p.m.": "six thirty p m",
    "6.30pm": "six thirty p m",
    "six pm": "six p m",
    "9am": "nine a m",
    "nine am": "nine a m",
    "I am": "i am",
    "7:00": "seven o'clock",
    "7:05": "seven oh five",
    "14:30": "fourteen thirty",
    "9am-5pm": "nine a m to five p m",
    "1/2": "one half",
    "3/4": "three quarters",
    "½": "one half",
    "1½ cups": "one and a half cups",
    "120/80": "one hundred twenty over eighty",
    "10%": "ten percent",
    "5kg": "five kilograms",
    "1 kg": "one kilogram",
    "65 dB": "sixty five decibels",
    "4kHz": "four kilohertz",
    "20-30": "twenty to thirty",
    "20–30%": "twenty to thirty percent",
    "1914-1918": "nineteen fourteen to nineteen eighteen",
    "555-1234": "five five five one two three four",
    "5551234": "five five five one two three four",
    "1,000": "one thousand",
    "1000000": "one million",
    "3.5": "three point five",
    "3.14": "three point one four",
    ".5": "point five",
    "#4": "number four",
    "No. 7": "number seven",
    "no. that is all": "no that is all",
    "COVID-19": "covid nineteen",
    "A&B": "a and b",
    "e.g. this": "for example this",
    "Jan. 5": "january five",
    "25th Dec": "twenty fifth december",
    "4-year-old": "four year old",
    "3 × 4": "three times four",
    "12345678901234": "one two three four five six seven eight nine zero one two three four",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_written_forms_are_read_out(text):
    assert normalise(text) == read_out(text) == WRITTEN[text]
    assert normalise(WRITTEN[text]) == WRITTEN[text]


@pytest.mark.parametrize("apostrophe", "'’‘´`′ʼ＇‛ʹ")
def test_every_apostrophe_is_one(apostrophe):
    assert read_out(f"don{apostrophe}t") == "don't"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("hello 日本", "日本"),
        ("привет all", "привет"),
        ("well done 👍🏽", "👍🏽"),
        ("[laughter] yes", "[laughter]"),
        ("<unk> yes", "<unk>"),
        ("on 5/6/24", "5/6/24"),
        ("on 2024-05-21", "2024-05-21"),
        ("at 1:05:30", "1:05:30"),
        ("Henry VIII", "VIII"),
        ("Henry Ⅷ", "Ⅷ"),
        ("C$5", "C$5"),
        ("wait 30s", "30s"),
        ("it costs 1,5", "1,5"),
        ("5 - 3", "5 - 3"),
        ("see https://a.org/x", "https://a.org/x"),
        ("about ~5", "~5"),
        ("only €", "€"),
        ("on 9/11", "9/11"),
        ("by 12/25", "12/25"),
        ("10⁵ cells", "0⁵"),
        ("a room of 5m2", "5m2"),
        ("from $5k-$10k", "$5k-$1"),
        ("pay $5/hr", "$5/hr"),
        ("use 1-1/2 cups", "1-1/2"),
        ("2/3rds", "2/3rds"),
        ("1 000 000 people", "1 000 000"),
        ("1,5000", "1,5000"),
        ("1,00,000", "1,00,000"),
        ("call +1 555 123 4567", "+1 555 123 4567"),
        ("from -5-10", "-5-1"),
        ("- 5 degrees", "- 5"),
        ("1.5e-3", "5e-3"),
        ("walk 5 m", "5 m"),
        ("100 W", "0 W"),
        ("6' tall", "6'"),
        ("90:00 left", "90:00"),
        ("in Jan. we met", "Jan."),
        ("#NAME?", "#NAME?"),
        ("=A1", "="),
        ("∞", "∞"),
    ],
)
def test_what_cannot_be_read_is_named(text, named):
    assert named in unreadable(text)
    with pytest.raises(ValueError, match=re.escape(repr(named))):
        read_out(text)


@pytest.mark.parametrize("text", ["24/7", "half of 3/4", "10am-5pm", "May 21-23", "4m people", "IIII"])
def test_forms_with_one_reading_are_still_read(text):
    assert not unreadable(text)


def test_plain_words_and_punctuation_are_readable():
    assert not unreadable("“Well,” she said (twice) – it's naïve… isn't it?! Straße; Łódź * A/B")
    assert not unreadable("THE VIXEN IS IN MY XYLOPHONE, I SAID")


def test_words_are_normalised_without_the_number_library():
    code = (
        "import sys; from posttrain.corpus.normalise import normalise; normalise('Turn it up, Dr. Smith!');"
        "sys.exit(bool({'num2words', 'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
