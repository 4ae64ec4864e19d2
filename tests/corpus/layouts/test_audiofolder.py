"""The audiofolder of Hugging Face is read from its metadata, CSV or JSON lines, one table or one a split."""

import json

import pytest

from tests.corpus.layouts.reading import make, named, rows


def test_one_table_names_files_in_folders_that_are_splits(tmp_path):
    table = '\ufefffile_name,transcription,speaker_id\r\ntrain/a 1.mp3,"Yes, ""you""",7\r\ntest/b.mp3,No,8\r\n'
    make(tmp_path, {"metadata.csv": table, "train/a 1.mp3": b"ID3", "test/b.mp3": b"ID3"})
    found, problems = rows(tmp_path, "audiofolder")
    assert problems == []
    assert [(r.split, r.name, r.raw, r.speaker, r.line) for r in found] == [
        ("train", "train/a 1.mp3", 'Yes, "you"', "7", 2),
        ("test", "test/b.mp3", "No", "8", 3),
    ]


@pytest.mark.parametrize("inside", ["", "data/"])
def test_each_split_may_have_its_own_table_in_json_lines(tmp_path, inside):
    for split in ("train", "validation"):
        row = json.dumps({"file_name": f"{split}.wav", "text": split, "age": 4, "accent": None})
        make(tmp_path, {f"{inside}{split}/metadata.jsonl": row, f"{inside}{split}/{split}.wav": b"RIFF"})
    found, problems = rows(tmp_path, "audiofolder")
    assert problems == [] and [(r.split, r.text) for r in found] == [("train", "train"), ("validation", "validation")]
    assert found[0].values["age"] == "4" and found[0].name == f"{inside}train/train.wav"


def test_the_card_may_name_the_columns(tmp_path):
    make(tmp_path, {"metadata.csv": "file_name,said,who\na.wav,hello,me\n", "a.wav": b"RIFF"})
    assert named(rows(tmp_path, "audiofolder")[1], "metadata.csv:2", "no column text", "columns: {text: …}")
    [row], problems = rows(tmp_path, "audiofolder", columns={"text": "said", "speaker": "who"})
    assert problems == [] and (row.raw, row.speaker) == ("hello", "me")


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ("file_name,text\na.wav,one\nb.wav\n", ("metadata.csv:3", "1 cells, expected 2")),
        ("file_name,text\na.wav,one\nc.wav,two\n", ("metadata.csv:3", "c.wav not found")),
        ("file_name,text\na.wav,one\n", ("b.wav is not in metadata.csv", "unlisted: ignore")),
        ("file_name,text\na.wav,one\nb.wav,\n", ("metadata.csv:3", "no usable characters")),
        ("file_name,text\na.wav,one\na.wav,two\n", ("metadata.csv:3", "already")),
        ("file_name,text\na.wav,one\n../b.wav,two\n", ("metadata.csv:3", "leaves")),
        ("name,text\na.wav,one\n", ("metadata.csv:1", "no column file_name")),
    ],
)
def test_each_fault_is_named(tmp_path, table, parts):
    make(tmp_path, {"metadata.csv": table, "a.wav": b"RIFF", "b.wav": b"RIFF"})
    assert named(rows(tmp_path, "audiofolder")[1], *parts)
