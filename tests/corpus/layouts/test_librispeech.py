"""LibriSpeech and LibriTTS are read as they are unpacked: subset, reader, chapter."""

import pytest

from tests.corpus.layouts.reading import entries, make, named, rows

SPEAKERS = """; comment
;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | train-clean-100  | 25.03 | |CBW|Simon
61   | M | test-other       | 8.03  | B
"""
A = "train-clean-100/14/208"
B = "test-other/61/70968"


def libri(root, **changed):
    files = {
        "SPEAKERS.TXT": SPEAKERS,
        f"{A}/14-208.trans.txt": "14-208-0000 CHAPTER ONE\n14-208-0001 IT'S A TRUTH\n",
        f"{A}/14-208-0000.flac": b"fLaC",
        f"{A}/14-208-0001.flac": b"fLaC",
        f"{B}/61-70968.trans.txt": "61-70968-0000 HE BEGAN\n",
        f"{B}/61-70968-0000.flac": b"fLaC",
    }
    return make(root, files | changed)


@pytest.mark.parametrize("inside", ["", "LibriSpeech"])
def test_reader_subset_and_sex_come_from_folders_and_the_table_of_readers(tmp_path, inside):
    libri(tmp_path / inside)
    found, problems = rows(tmp_path, "librispeech")
    assert problems == []
    assert [(r.split, r.speaker, r.raw, r.values["sex"], r.values["chapter"], r.line) for r in found] == [
        ("test-other", "61", "HE BEGAN", "M", "70968", 1),
        ("train-clean-100", "14", "CHAPTER ONE", "F", "208", 1),
        ("train-clean-100", "14", "IT'S A TRUTH", "F", "208", 2),
    ]
    assert found[0].path == tmp_path / inside / B / "61-70968-0000.flac"
    assert entries(tmp_path, "librispeech")[0][0].id == "61-70968-0000"


def test_libritts_has_one_text_beside_each_recording(tmp_path):
    folder = "LibriTTS/dev-clean/84/121123"
    make(
        tmp_path,
        {
            "LibriTTS/SPEAKERS.txt": "84 | F | dev-clean | 8 | C\n",
            f"{folder}/84_121123_000007_000001.wav": b"RIFF",
            f"{folder}/84_121123_000007_000001.normalized.txt": 'Maximilian, "and listen," he said.\r\n',
            f"{folder}/84_121123_000007_000001.original.txt": "Maximilian",
            f"{folder}/84_121123.book.tsv": "a\tb\n",
            f"{folder}/84_121123.trans.tsv": "a\tb\n",
        },
    )
    [row], problems = rows(tmp_path, "librispeech")
    assert problems == []
    assert (row.raw, row.speaker, row.split, row.values["sex"]) == (
        'Maximilian, "and listen," he said.',
        "84",
        "dev-clean",
        "F",
    )


def test_a_mark_windows_line_ends_and_another_format_change_nothing(tmp_path):
    libri(tmp_path, **{f"{B}/61-70968.trans.txt": "\ufeff61-70968-0000 HE BEGAN\r\n", f"{B}/61-70968-0000.mp3": b"ID3"})
    (tmp_path / B / "61-70968-0000.flac").unlink()
    found, problems = rows(tmp_path, "librispeech")
    assert problems == [] and (found[0].name, found[0].raw) == (f"{B}/61-70968-0000.mp3", "HE BEGAN")


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({f"{B}/61-70968.trans.txt": "61-70968-0000\n"}, (f"{B}/61-70968.trans.txt:1", "no usable characters")),
        ({f"{B}/61-70968.trans.txt": "61-70968-0000 HE\n61-70968-0001 X\n"}, ("trans.txt:2", "0001.flac not found")),
        ({f"{B}/61-70968.trans.txt": "61-70968-0000 A\n61-70968-0000 B\n"}, ("trans.txt:2", "has a text already")),
        ({f"{B}/61-70968.trans.txt": b"61-70968-0000 CAF\xe9\n"}, ("trans.txt:1", "byte 0xE9")),
        ({f"{B}/61-70968.trans.txt": b"61-70968-0000 A\0B\n"}, ("trans.txt:1", "NUL byte")),
        ({f"{B}/61-70968-0007.flac": b"fLaC"}, ("61-70968-0007.flac has no text beside it", "unlisted: ignore")),
        ({f"{B}/61-70968-0000.wav": b"RIFF"}, ("two recordings of one text",)),
        ({"test-other/61/notes/a.txt": "x"}, ("notes is no READER/CHAPTER",)),
        ({"SPEAKERS.TXT": "61 F test-other\n"}, ("SPEAKERS.TXT:1", "expected READER | F or M | SUBSET")),
    ],
)
def test_each_fault_is_named_and_the_rest_is_read(tmp_path, changed, parts):
    libri(tmp_path, **changed)
    found, problems = rows(tmp_path, "librispeech")
    assert len(problems) >= 1 and named(problems, *parts), problems
    assert {"14-208-0000.flac", "14-208-0001.flac"} <= {r.path.name for r in found}


def test_an_empty_text_beside_a_recording_is_named(tmp_path):
    make(tmp_path, {"d/1/2/1_2_3_4.wav": b"RIFF", "d/1/2/1_2_3_4.normalized.txt": " \n"})
    assert named(rows(tmp_path, "librispeech")[1], "1_2_3_4.normalized.txt is empty")


def test_recordings_without_text_may_be_left_out_by_the_card(tmp_path):
    libri(tmp_path, **{f"{B}/61-70968-0007.flac": b"fLaC"})
    found, problems = rows(tmp_path, "librispeech", unlisted="ignore")
    assert problems == [] and len(found) == 3


def test_a_link_to_a_recording_is_followed_and_a_broken_one_named(tmp_path):
    libri(tmp_path)
    place = tmp_path / B / "61-70968-0000.flac"
    place.rename(tmp_path / "kept")
    place.symlink_to(tmp_path / "kept")
    assert len(rows(tmp_path, "librispeech")[0]) == 3
    (tmp_path / "kept").unlink()
    assert named(rows(tmp_path, "librispeech")[1], "is a link to")
