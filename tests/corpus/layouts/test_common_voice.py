"""Common Voice's tables are read without quoting, and each clip is known."""

import pytest

from tests.corpus.layouts.reading import make, named, rows

HEADER = "client_id\tpath\tsentence_id\tsentence\tup_votes\tage\tgender\taccents\tlocale\n"


def line(speaker, clip, sentence, age="", locale="en"):
    return f"{speaker}\t{clip}\tid\t{sentence}\t2\t{age}\t\t\t{locale}\n"


def voices(root, **changed):
    files = {
        "train.tsv": HEADER + line("aa", "c1.mp3", '"Yes, he said', "twenties") + line("aa", "c2.mp3", 'a "word" here'),
        "dev.tsv": HEADER + line("bb", "c3.mp3", "It's fine."),
        "test.tsv": HEADER + line("cc", "c4.mp3", "Good, day"),
        **{f"clips/c{n}.mp3": b"ID3" for n in range(1, 5)},
    }
    return make(root, files | changed)


@pytest.mark.parametrize("inside", ["", "en", "cv-corpus-17.0-2024-03-15/en"])
def test_quotes_are_part_of_the_sentence_and_the_client_is_the_speaker(tmp_path, inside):
    voices(tmp_path / inside)
    found, problems = rows(tmp_path, "common_voice")
    assert problems == []
    assert [(r.split, r.speaker, r.raw, r.line) for r in found] == [
        ("train", "aa", '"Yes, he said', 2),
        ("train", "aa", 'a "word" here', 3),
        ("dev", "bb", "It's fine.", 2),
        ("test", "cc", "Good, day", 2),
    ]
    assert dict(found[0].values) == {"locale": "en", "age": "twenties"}


def test_several_languages_are_read_one_after_another(tmp_path):
    voices(tmp_path / "en")
    voices(tmp_path / "cy")
    found, problems = rows(tmp_path, "common_voice")
    assert problems == [] and [r.name[:2] for r in found] == ["cy"] * 4 + ["en"] * 4


def test_windows_line_ends_a_mark_and_names_without_ending_change_nothing(tmp_path):
    test = "\ufeff" + (HEADER + line("cc", "c4", "Good, day")).replace("\n", "\r\n")
    found, problems = rows(voices(tmp_path, **{"test.tsv": test}), "common_voice")
    assert problems == [] and (found[3].name, found[3].raw, found[3].values["locale"]) == (
        "clips/c4.mp3",
        "Good, day",
        "en",
    )


@pytest.mark.parametrize(
    ("test", "parts"),
    [
        (HEADER + "cc\tc4.mp3\tid\tGood", ("test.tsv:2", "4 cells, expected 9")),
        (HEADER + line("cc", "c4.mp3", "a\ttab"), ("test.tsv:2", "10 cells, expected 9")),
        (HEADER + line("", "c4.mp3", "text"), ("test.tsv:2", "client_id is empty")),
        (HEADER + line("cc", "c4.mp3", ""), ("test.tsv:2", "no usable characters")),
        (HEADER + line("cc", "c9.mp3", "text"), ("test.tsv:2", "clips/c9.mp3 not found")),
        (HEADER + line("cc", "..\\c4.mp3", "text"), ("test.tsv:2", "leaves")),
        (HEADER + line("cc", "c4.mp3", "one") + line("cc", "c4.mp3", "two"), ("test.tsv:3", "already")),
        (HEADER + line("cc", "c4.mp3", "a\0b"), ("test.tsv:2", "NUL byte")),
        ("client_id,path,sentence\ncc,c4.mp3,hello\n", ("test.tsv:1", "separated by tabs")),
    ],
)
def test_each_fault_is_named_and_the_rest_is_read(tmp_path, test, parts):
    found, problems = rows(voices(tmp_path, **{"test.tsv": test}), "common_voice", unlisted="ignore")
    assert len(problems) == 1 and named(problems, *parts), problems
    assert [r.split for r in found][:3] == ["train", "train", "dev"]


def test_clips_in_no_table_are_named_and_those_of_the_other_tables_are_not(tmp_path):
    voices(
        tmp_path, **{"clips/c5.mp3": b"ID3", "clips/c6.mp3": b"ID3", "other.tsv": HEADER + line("dd", "c5.mp3", "x")}
    )
    assert [p.split(" is in no table")[0][-6:] for p in rows(tmp_path, "common_voice")[1]] == ["c6.mp3"]
    assert rows(tmp_path, "common_voice", unlisted="ignore")[1] == []
