"""What can be read aloud."""

import pytest

from posttrain.corpus.aloud import aloud


@pytest.mark.parametrize(
    "line, words",
    [
        ("What is a hearing aid?", "what is a hearing aid"),
        ("Tell me, please, a story.", "tell me please a story"),
        ("Why", ""),
        ("Solve 3 + 4 for me", ""),
        ("Write this:\nint main", ""),
        ("Is it good? Is it bad?", ""),
        (" ".join(["very"] * 17), ""),
    ],
)
def test_only_one_short_sentence_of_letters_can_be_said(line, words):
    assert aloud(line) == words
