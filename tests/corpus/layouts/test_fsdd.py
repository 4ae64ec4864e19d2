"""The Free Spoken Digit Dataset is read from the names of its files, in the order of the manifest of a copy."""

import pytest

from tests.corpus.layouts.reading import make, named, rows


def test_digit_speaker_and_take_come_from_the_name_and_takes_are_in_numeric_order(tmp_path):
    names = ["7_theo_10.wav", "7_theo_9.wav", "0_theo_1.wav", "0_george_49.wav", "9_george_0.wav"]
    make(tmp_path, {f"recordings/{name}": b"RIFF" for name in names} | {"README.md": "x", "recordings/.DS_Store": "x"})
    found, problems = rows(tmp_path, "fsdd")
    assert problems == []
    assert [(r.path.name, r.speaker, r.text, r.values["take"]) for r in found] == [
        ("0_george_49.wav", "george", "zero", "49"),
        ("9_george_0.wav", "george", "nine", "0"),
        ("0_theo_1.wav", "theo", "zero", "1"),
        ("7_theo_9.wav", "theo", "seven", "9"),
        ("7_theo_10.wav", "theo", "seven", "10"),
    ]


@pytest.mark.parametrize("name", ["10_theo_1.wav", "x_theo_1.wav", "7_theo.wav", "7_theo_1.txt", "acquire 7.wav"])
def test_a_file_whose_name_does_not_say_the_digit_is_named(tmp_path, name):
    make(tmp_path, {"recordings/7_theo_0.wav": b"RIFF", f"recordings/{name}": b"RIFF"})
    found, problems = rows(tmp_path, "fsdd")
    assert len(found) == 1 and len(problems) == 1 and named(problems, name, "is not named DIGIT_SPEAKER_TAKE.wav")
    assert rows(tmp_path, "fsdd", unlisted="ignore")[1] == []
