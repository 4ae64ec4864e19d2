"""NeMo's JSON lines are read with their segments, and each bad line is named."""

import json

import pytest

from tests.corpus.layouts.reading import make, named, rows

A = {"audio_filepath": "wav/a.wav", "duration": 2.0, "text": 'she said "no", twice', "speaker": "s1", "lang": "en"}
FILES = {"wav/a.wav": b"RIFF", "wav/b 1.wav": b"RIFF"}


def lines(*objects):
    return "".join(json.dumps(each) + "\n" for each in objects)


def test_each_manifest_is_a_split_and_further_keys_are_values(tmp_path):
    b = {"audio_filepath": f"{tmp_path}/wav/b 1.wav", "text": "ja\u2028so", "duration": 3}
    make(
        tmp_path, FILES | {"train_manifest.json": lines(A), "test.jsonl": "\ufeff" + lines(b), "info.json": '{"a": 1}'}
    )
    found, problems = rows(tmp_path, "nemo")
    assert problems == []
    assert [(r.split, r.name, r.raw, r.speaker, r.duration_s, dict(r.values)) for r in found] == [
        ("test", "wav/b 1.wav", "ja\u2028so", None, None, {}),
        ("train", "wav/a.wav", 'she said "no", twice', "s1", None, {"lang": "en"}),
    ]


def test_an_offset_makes_a_segment(tmp_path):
    make(tmp_path, FILES | {"train.jsonl": lines(A | {"offset": 0}, A | {"offset": 2380.5, "speaker": 7})})
    found, problems = rows(tmp_path, "nemo")
    assert problems == []
    assert [(r.offset_s, r.duration_s, r.speaker) for r in found] == [(0.0, 2.0, "s1"), (2380.5, 2.0, "7")]


@pytest.mark.parametrize(
    ("second", "parts"),
    [
        ('{"audio_filepath": "wav/b 1.wav", "te', ("train.jsonl, line 2 is not a JSON object",)),
        (lines(A | {"text": None}), ("train.jsonl:2", "text is 'None'")),
        (lines(A | {"text": ""}), ("train.jsonl:2", "no usable characters")),
        (lines({"text": "x"}), ("train.jsonl:2", "audio_filepath is 'None'")),
        (lines(A | {"offset": -1}), ("train.jsonl:2", "offset is '-1', expected seconds")),
        (lines(A | {"duration": "2 s"}), ("train.jsonl:2", "duration is '2 s'")),
        (lines(A | {"audio_filepath": "wav/none.wav"}), ("train.jsonl:2", "not found")),
        (lines(A | {"audio_filepath": "wav\\b 1.wav"}), ("train.jsonl:2", "write wav/b 1.wav")),
        (lines(A | {"text": "other words"}), ("train.jsonl:2", "is in line 1 already")),
        (lines(A | {"text": "a\0b"}), ("train.jsonl, line 2", "NUL")),
    ],
)
def test_each_fault_is_named_by_its_line_and_the_first_row_is_read(tmp_path, second, parts):
    make(tmp_path, FILES | {"train.jsonl": lines(A) + second})
    found, problems = rows(tmp_path, "nemo")
    assert len(found) == 1 and len(problems) == 1 and named(problems, *parts), problems


def test_a_manifest_whose_first_line_is_cut_is_not_passed_over(tmp_path):
    make(tmp_path, FILES | {"train.jsonl": lines(A), "test_manifest.json": '{"audio_file'})
    assert named(rows(tmp_path, "nemo")[1], "test_manifest.json, line 1 is not a JSON object")
