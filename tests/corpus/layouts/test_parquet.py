"""Parquet files with audio inside are listed without it, and each recording's bytes are read from its row group."""

import io
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from posttrain.corpus import manifest
from posttrain.corpus.layouts import hub, parquet
from posttrain.errors import InputError
from tests.corpus.layouts.reading import entries, named, rows

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


def test_a_data_set_of_the_hub_is_streamed_into_files_that_are_read_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    """`parquet` with `data_files` takes the way of a hub id, without the network."""
    monkeypatch.setattr(hub, "SHARD_ROWS", 2)
    write(tmp_path / "hub" / "train-0.parquet", ["a", "b", "c"], speaker_id=[7, 7, 8])
    about = {"id": "parquet", "splits": ["train"], "data_files": {"train": str(tmp_path / "hub" / "*.parquet")}}
    folder = tmp_path / "mine"
    made = hub.download({"hub": about}, folder, progress=False)
    assert [str(path.relative_to(folder)) for path in made] == ["train/0000.parquet", "train/0001.parquet"]
    found, problems = entries(folder, "parquet")
    assert problems == [] and [(e.text, e.speaker, e.split, e.id) for e in found] == [
        ("a", "7", "train", "0.flac"),
        ("b", "7", "train", "1.flac"),
        ("c", "8", "train", "2.flac"),
    ]
    assert [parquet.content(folder / e.name, e.inside) for e in found] == [b"fLaCa", b"fLaCb", b"fLaCc"]
    made[1].unlink()
    assert hub.download({"hub": about}, folder, progress=False) == made[1:]
    assert hub.download({"hub": about | {"rows": 1}}, tmp_path / "one", progress=False) != []
    assert len(entries(tmp_path / "one", "parquet")[0]) == 1
    with pytest.raises(InputError, match=r"split dev: .*Available splits: \['train'\].*HF_TOKEN"):
        hub.download({"hub": about | {"splits": ["dev"]}}, folder, progress=False)


def test_a_data_set_without_a_commit_is_pinned_to_the_one_that_the_hub_has_now(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"nobody/nothing: .*check id and revision, the network"):
        hub.download({"hub": {"id": "nobody/nothing", "splits": ["train"]}}, tmp_path, progress=False)
    monkeypatch.setattr(hub.HfApi, "dataset_info", lambda self, name, revision, timeout: SimpleNamespace(sha="5" * 40))
    assert hub._pinned({"id": "a/b", "revision": "main"}) == {"id": "a/b", "revision": "5" * 40}


def test_audio_inside_a_parquet_file_becomes_a_waveform(tmp_path):
    sound = io.BytesIO()
    soundfile.write(sound, 0.1 * np.sin(np.arange(16_000)), 16_000, format="FLAC")
    audio = pa.array([{"bytes": sound.getvalue(), "path": "x.flac"}], type=AUDIO)
    pq.write_table(pa.table({"sound": audio, "text": ["hello there"]}), tmp_path / "test.parquet")
    found, problems = rows(tmp_path, "parquet", columns={"audio": "sound"})
    [(row, heard, problem)] = manifest.load(found)
    assert problems == [] and problem is None and heard is not None
    assert (row.text, row.split, heard[0].format, len(heard[1])) == ("hello there", "test", "FLAC", 16_000)


def test_a_broken_page_and_a_group_that_fills_the_memory_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", ["one", "two"])
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    (tmp_path / "b.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"row 0 cannot be read .* copy the file again"):
        parquet.content(tmp_path / "b.parquet", 0)
    monkeypatch.setattr(parquet, "LARGEST_GROUP_BYTES", 10)
    with pytest.raises(ValueError, match="bytes of audio, expected at most 10; write the file with smaller row groups"):
        parquet.content(path, 0)


def test_a_download_does_not_go_on_from_files_of_another_data_set_or_with_a_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "SHARD_ROWS", 2)
    write(tmp_path / "hub" / "train-0.parquet", ["a", "b", "c"])
    about = {"id": "parquet", "splits": ["train"], "data_files": {"train": str(tmp_path / "hub" / "*.parquet")}}
    first, second = hub.download({"hub": about}, tmp_path / "mine", progress=False)
    with pytest.raises(InputError, match=r"the card now names .*; delete .* and get it again"):
        hub.download({"hub": about | {"revision": "other"}}, tmp_path / "mine", progress=False)
    content = first.read_bytes()
    first.unlink()
    with pytest.raises(InputError, match=r"0000.parquet is missing"):
        hub.download({"hub": about}, tmp_path / "mine", progress=False)
    first.write_bytes(content)
    second.write_bytes(content[:50])
    with pytest.raises(InputError, match=r"0001.parquet is no parquet file"):
        hub.download({"hub": about}, tmp_path / "mine", progress=False)


def test_texts_that_fill_the_memory_are_refused(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", ["word " * 100] * 3)
    assert len(entries(tmp_path, "parquet")[0]) == 3
    monkeypatch.setattr(parquet, "LARGEST_BATCH_BYTES", 1_000)
    found, problems = entries(tmp_path, "parquet")
    assert not found and named(problems, "a.parquet, row 0: 3 rows have", "take out what is no text")
