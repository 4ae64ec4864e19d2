"""VoiceBank-DEMAND is read in pairs: each noisy recording knows its clean twin and its words."""

import pytest

from tests.corpus.layouts.reading import entries, make, named, rows


def pairs(root, **changed):
    files = {}
    for part, name in (("trainset_28spk", "p226_001"), ("trainset_28spk", "p287_010"), ("testset", "p232_001")):
        files |= {f"{side}_{part}_wav/{name}.wav": b"RIFF" for side in ("noisy", "clean")}
        files[f"{part}_txt/{name}.txt"] = f'Please call {name[:4]}, "Stella".\r\n'
    return make(root, files | changed)


@pytest.mark.parametrize("side", ["noisy", "clean"])
def test_either_side_is_read_with_text_speaker_and_twin(tmp_path, side):
    pairs(tmp_path)
    found, problems = rows(tmp_path, "voicebank_demand", side=side, kind="noise")
    assert problems == [] and all(not r.raw for r in found)
    got, problems = entries(tmp_path, "voicebank_demand", side=side)
    assert problems == []
    first = got[0]
    assert (first.split, first.name, first.speaker, first.text, first.values["clean"]) == (
        "testset",
        f"{side}_testset_wav/p232_001.wav",
        "p232",
        'Please call p232, "Stella".',
        "clean_testset_wav/p232_001.wav",
    )
    assert [(e.split, e.id) for e in got][1:] == [("trainset_28spk", "p226_001"), ("trainset_28spk", "p287_010")]


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"noisy_testset_wav/p232_002.wav": b"RIFF"}, ("clean_testset_wav/p232_002.wav not found", "whole set")),
        ({"testset_txt/p232_009.txt": "x"}, ("p232_009.txt has no recording",)),
        ({"testset_txt/p232_001.txt": "\n"}, ("p232_001.txt is empty",)),
        ({"testset_txt/p232_001.txt": b"caf\xe9"}, ("p232_001.txt:1", "byte 0xE9")),
        ({"noisy_testset_wav/notes.txt": "x"}, ("notes.txt is not named SPEAKER_NUMBER.wav",)),
    ],
)
def test_each_fault_is_named_and_the_rest_is_read(tmp_path, changed, parts):
    found, problems = rows(pairs(tmp_path, **changed), "voicebank_demand")
    assert len(problems) == 1 and named(problems, *parts), problems
    assert {"p226_001", "p287_010"} <= {r.id for r in found}


def test_a_missing_text_and_a_missing_folder_of_texts_are_named(tmp_path):
    pairs(tmp_path)
    (tmp_path / "trainset_28spk_txt" / "p226_001.txt").unlink()
    (tmp_path / "testset_txt" / "p232_001.txt").unlink()
    (tmp_path / "testset_txt").rmdir()
    problems = rows(tmp_path, "voicebank_demand")[1]
    assert named(problems, "p226_001.txt not found") and named(problems, "testset_txt not found", "testset_txt.zip")
