"""Folders of recordings without words are read as deep as they are; documents beside them are left alone."""

import pytest

from posttrain.corpus.layouts import noise
from posttrain.corpus.layouts.kinds import layout_of
from tests.corpus.layouts.reading import make, named, rows


@pytest.mark.parametrize("inside", ["", "musan"])
def test_musan_is_split_by_its_three_parts(tmp_path, inside):
    make(
        tmp_path / inside,
        {
            "README": "x",
            "music/fma/music-fma-0000.wav": b"RIFF",
            "music/fma/ANNOTATIONS": "music-fma-0000 classical N x\n",
            "music/fma/LICENSE": "x",
            "noise/free-sound/noise-free-sound-0001.wav": b"RIFF",
            "noise/free-sound/noise-free-sound-0000.wav": b"RIFF",
            "speech/librivox/speech-librivox-0000.wav": b"RIFF",
            "speech/librivox/._speech-librivox-0000.wav": b"\0",
        },
    )
    found, problems = rows(tmp_path, "noise", kind="noise")
    assert problems == []
    assert [(r.split, r.values["folder"], r.values["file"]) for r in found] == [
        ("music", "music/fma", "music-fma-0000"),
        ("noise", "noise/free-sound", "noise-free-sound-0000"),
        ("noise", "noise/free-sound", "noise-free-sound-0001"),
        ("speech", "speech/librivox", "speech-librivox-0000"),
    ]
    assert len({r.line for r in found}) == 4


def test_demand_is_split_by_place_and_a_channel_is_a_file(tmp_path):
    make(tmp_path, {f"{room}/ch{n:02d}.wav": b"RIFF" for room in ("DKITCHEN", "PRESTO") for n in (1, 2, 16)})
    found, problems = rows(tmp_path, "noise", kind="noise")
    assert problems == [] and [(r.split, r.values["file"]) for r in found][:4] == [
        ("DKITCHEN", "ch01"),
        ("DKITCHEN", "ch02"),
        ("DKITCHEN", "ch16"),
        ("PRESTO", "ch01"),
    ]


def test_recordings_in_the_folder_itself_are_in_no_split(tmp_path):
    make(tmp_path, {"Küche 1.WAV": b"RIFF", "rain, wind.mp3": b"ID3", "notes.txt": "x"})
    found, problems = rows(tmp_path, "noise", kind="noise")
    assert problems == [] and [(r.name, r.split) for r in found] == [("Küche 1.WAV", None), ("rain, wind.mp3", None)]


@pytest.mark.parametrize("name", ["a/rain.wav.part", "a/rain", "a/rain.raw", "a/rain.zip"])
def test_a_file_that_may_be_a_recording_is_not_passed_over(tmp_path, name):
    make(tmp_path, {"a/wind.wav": b"RIFF", name: b"RIFF"})
    found, problems = rows(tmp_path, "noise", kind="noise")
    assert len(found) == 1 and len(problems) == 1 and named(problems, name, "no ending of a recording")
    assert rows(tmp_path, "noise", kind="noise", unlisted="ignore")[1] == []


def test_a_folder_without_recordings_has_no_layout(tmp_path):
    assert layout_of(make(tmp_path, {"a/a.txt": "x", "b/.hidden.wav": "x"})) is None


@pytest.mark.parametrize("name", ["Room A/RIR_1.wav", "brir_R00001_t_CH1.wav", "hall/IR 1.wav", "RIRs/x/1.wav"])
def test_room_responses_are_found_by_their_names(tmp_path, name):
    [row], problems = rows(make(tmp_path, {name: b"RIFF"}), "rooms", kind="rooms")
    assert problems == [] and row.name == name


@pytest.mark.parametrize("name", ["stir.wav", "air.wav", "birds/1.wav", "first/chirp.wav"])
def test_other_names_are_noises(tmp_path, name):
    assert layout_of(make(tmp_path, {name: b"RIFF"})) == "noise"


def test_a_link_to_a_folder_above_is_not_followed(tmp_path):
    (tmp_path / "cafe").mkdir()
    (tmp_path / "cafe" / "a.wav").write_bytes(b"")
    (tmp_path / "cafe" / "again").symlink_to(tmp_path)
    (tmp_path / "street").mkdir()
    assert [entry.name for entry in noise.read(tmp_path, {"kind": "noise"}, [])] == ["cafe/a.wav"]
