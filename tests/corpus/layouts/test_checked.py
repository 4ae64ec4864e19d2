"""Entries become rows: what a listing has shown is not looked up again, and one recording is still one."""

import os

from posttrain.corpus import manifest
from posttrain.corpus.layouts import noise
from posttrain.corpus.layouts.entry import Entry
from tests.corpus.layouts.reading import make, named


def entry(root, name, line=1, **more):
    return Entry(root / "table", line, name, "hello", "s", "train", **more)


def test_rows_of_one_parquet_file_are_different_recordings_and_the_same_row_twice_is_one(tmp_path):
    make(tmp_path, {"a.parquet": b"PAR1"})
    entries = [entry(tmp_path, "a.parquet", row, inside=row, id=f"{row}", there=True) for row in (0, 1, 1)]
    problems = []
    rows = manifest.checked(entries, tmp_path, True, problems)
    assert [(row.inside, row.id) for row in rows] == [(0, "0"), (1, "1")]
    assert len(problems) == 1 and named(problems, "a.parquet is in line 1 already")


def test_a_folder_that_is_a_link_holds_the_same_recordings(tmp_path):
    make(tmp_path, {"a/1.wav": b"RIFF"})
    (tmp_path / "b").symlink_to(tmp_path / "a")
    entries = [entry(tmp_path, "a/1.wav", there=True), Entry(tmp_path, 2, "b/1.wav", "bye", there=True)]
    problems = []
    assert len(manifest.checked(entries, tmp_path, True, problems)) == 1 and named(
        problems, "b/1.wav is in ", "table:1 already"
    )


def test_entries_of_which_no_listing_is_known_are_looked_up(tmp_path):
    problems = []
    assert manifest.checked([entry(tmp_path, "none.wav")], tmp_path, True, problems) == []
    assert named(problems, "none.wav not found")


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"x")
    problems: list[str] = []
    assert not manifest.checked(noise.read(tmp_path, {"kind": "noise"}, []), tmp_path, False, problems)
    assert problems == [rf"{tmp_path}:1: path 'caf\udce9.wav' is not UTF-8; rename the file"]


def test_a_text_longer_than_any_cell_is_refused_and_not_read_out(tmp_path):
    make(tmp_path, {"1.wav": b"RIFF"})
    problems: list[str] = []
    assert not manifest.checked([Entry(tmp_path, 1, "1.wav", "a " * 70_000, there=True)], tmp_path, True, problems)
    assert len(problems) == 1 and named(problems, "has over 131,072 characters; shorten it")
