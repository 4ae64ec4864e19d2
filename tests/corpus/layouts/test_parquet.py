"""Parquet files with audio inside are listed without it, and each recording's bytes are read from its row group."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from posttrain.corpus.layouts import hub, parquet
from tests.corpus.layouts.reading import entries, named

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path, texts, group=2, **columns):
    """A file with a recording `b"fLaC" + text` a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = [{"bytes": b"fLaC" + (t or "").encode(), "path": f"{n}.flac"} for n, t in enumerate(texts)]
    table = pa.table({"audio": pa.array(audio, type=AUDIO), "text": texts} | columns)
    pq.write_table(table, path, row_group_size=group)
    return path


def test_shards_are_splits_and_every_row_gives_its_own_bytes(tmp_path):
    write(tmp_path / "data" / "train-00000-of-00002.parquet", ["a", "b", "c", "d", "e"], speaker_id=[1, 2, 3, 4, 5])
    write(tmp_path / "data" / "train-00001-of-00002.parquet", ["f"])
    write(tmp_path / "data" / "test-00000-of-00001.parquet", ["g"], gender=["f"])
    found, problems = entries(tmp_path, "parquet")
    assert problems == []
    assert [(e.split, e.text, e.inside, e.speaker, e.id) for e in found] == [
        ("test", "g", 0, None, "0.flac"),
        *(("train", text, row, str(row + 1), f"{row}.flac") for row, text in enumerate("abcde")),
        ("train", "f", 0, None, "0.flac"),
    ]
    assert dict(found[0].values) == {"gender": "f"}
    for entry in reversed(found):
        assert parquet.content(tmp_path / entry.name, entry.inside) == b"fLaC" + entry.text.encode()


def test_folders_of_configurations_and_splits_are_read_and_the_card_may_choose(tmp_path):
    write(tmp_path / "clean" / "test" / "0000.parquet", ["a"])
    write(tmp_path / "other" / "test" / "0000.parquet", ["b"])
    assert [(e.split, e.text) for e in entries(tmp_path, "parquet")[0]] == [("test", "a"), ("test", "b")]
    assert [e.text for e in entries(tmp_path, "parquet", config="other")[0]] == ["b"]


def test_columns_with_other_names_are_named_by_the_card_and_those_of_use_are_kept(tmp_path):
    path = write(tmp_path / "x.parquet", ["a"], said=["hello"], who=["me"], room=["hall"])
    card = {"columns": {"text": "said", "speaker": "who"}, "use": {"test": {"room": "hall"}}}
    [entry], problems = entries(tmp_path, "parquet", **card)
    assert problems == [] and (entry.text, entry.speaker, dict(entry.values)) == ("hello", "me", {"room": "hall"})
    assert named(entries(tmp_path, "parquet", columns={"text": "none"})[1], str(path), "no column none among")


def test_faults_of_files_and_rows_are_named(tmp_path):
    write(tmp_path / "a.parquet", ["one", None])
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    pq.write_table(pa.table({"audio": ["a.wav"], "text": ["x"]}), tmp_path / "c.parquet")
    found, problems = entries(tmp_path, "parquet")
    assert [e.text for e in found] == ["one"]
    assert named(problems, "a.parquet, row 1: text is null")
    assert named(problems, "b.parquet cannot be read as parquet")
    assert named(problems, "c.parquet: column audio is string, expected a struct of bytes and path")


def test_a_row_without_bytes_and_one_beyond_the_end_are_refused(tmp_path):
    audio = pa.array([{"bytes": None, "path": "elsewhere.wav"}], type=AUDIO)
    pq.write_table(pa.table({"audio": audio, "text": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="row 0 has no bytes"):
        parquet.content(tmp_path / "a.parquet", 0)
    with pytest.raises(ValueError, match="row 1 is beyond the 1 rows"):
        parquet.content(tmp_path / "a.parquet", 1)


def test_a_data_set_is_streamed_as_from_the_hub_with_its_bytes(tmp_path):
    """`parquet` with `data_files` takes the way of a hub id, without the network."""
    write(tmp_path / "train-0.parquet", ["a", "b", "c"], speaker_id=[7, 7, 8])
    about = {"id": "parquet", "splits": ["train", "dev"], "data_files": {"train": str(tmp_path / "*.parquet")}}
    problems = []
    found = list(hub.stream({"hub": about}, problems))
    assert [(e.name, e.text, e.speaker, e.split, e.id, content) for e, content in found] == [
        ("hub/parquet/default/train/00000000", "a", "7", "train", "0.flac", b"fLaCa"),
        ("hub/parquet/default/train/00000001", "b", "7", "train", "1.flac", b"fLaCb"),
        ("hub/parquet/default/train/00000002", "c", "8", "train", "2.flac", b"fLaCc"),
    ]
    assert len(problems) == 1 and named(problems, "hub/parquet/default/dev", "Available splits: ['train']")
