"""Scenes of the Clarity challenges are read with their prompts, rooms and interferers."""

import json

import pytest

from tests.corpus.layouts.reading import make, named, rows

SECOND = {
    "dataset": "dev",
    "room": "R06001",
    "scene": "S06001",
    "target": {"name": "T010_G0N_02468", "time_start": 78260, "time_end": 243635},
    "duration": 287735,
    "interferers": [{"position": 1, "type": "noise", "name": "CIN_fan_014.wav"}, {"position": 3, "type": "speech"}],
    "SNR": 2.558,
}
FIRST = {
    "room": {"name": "R00001", "dimensions": "5.9x3.4186x2.9"},
    "target": {"name": "T037_EFJ_01324"},
    "interferer": {"name": "CIN_fan_014", "type": "noise"},
    "scene": "S00001",
    "SNR": 0.976,
}
TARGETS = [
    {"prompt": "‘Do you want me to?’", "speaker": "T010", "wavfile": "T010_G0N_02468", "dataset": "dev"},
    {"prompt": "Don't look, Nick said.", "speaker": "T037", "wavfile": "T037_EFJ_01324", "dataset": "train"},
]


def scenes(root, **changed):
    files = {
        "metadata/scenes.dev.json": json.dumps([SECOND]),
        "metadata/scenes.train.json": json.dumps([FIRST]),
        "metadata/target_speech_list.json": json.dumps(TARGETS),
        "metadata/listeners.json": "{}",
        "dev/scenes/S06001_mix_CH1.wav": b"RIFF",
        "dev/scenes/S06001_target_anechoic_CH1.wav": b"RIFF",
        "train/scenes/S00001_mixed_CH1.wav": b"RIFF",
    }
    return make(root, files | changed)


@pytest.mark.parametrize("inside", ["", "clarity_data", "clarity_CEC2_data/clarity_data"])
def test_scenes_of_both_challenges_have_words_speaker_room_and_interferers(tmp_path, inside):
    scenes(tmp_path / inside)
    before = f"{inside}/" if inside else ""
    found, problems = rows(tmp_path, "clarity_scenes")
    assert problems == []
    assert [(r.split, r.speaker, r.raw, r.id, dict(r.values)) for r in found] == [
        (
            "dev",
            "T010",
            "‘Do you want me to?’",
            "S06001",
            {
                "room": "R06001",
                "target": "T010_G0N_02468",
                "snr_db": "2.558",
                "interferers": "noise speech",
                "clean": f"{before}dev/scenes/S06001_target_anechoic_CH1.wav",
            },
        ),
        (
            "train",
            "T037",
            "Don't look, Nick said.",
            "S00001",
            {"room": "R00001", "target": "T037_EFJ_01324", "snr_db": "0.976", "interferers": "noise"},
        ),
    ]


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"metadata/scenes.dev.json": "[{"}, ("scenes.dev.json is not JSON",)),
        ({"metadata/scenes.dev.json": "{}"}, ("scenes.dev.json holds", "expected a list of objects")),
        ({"metadata/scenes.dev.json": '[{"scene": "S1"}]'}, ("scenes.dev.json, scene 1 has no",)),
        ({"metadata/scenes.dev.json": json.dumps([SECOND | {"scene": "S9"}])}, ("S9_mix_CH1.wav not found",)),
        ({"metadata/target_speech_list.json": json.dumps(TARGETS[1:])}, ("no usable characters",)),
    ],
)
def test_each_fault_is_named_and_the_other_set_is_read(tmp_path, changed, parts):
    found, problems = rows(scenes(tmp_path, **changed), "clarity_scenes")
    assert len(problems) == 1 and named(problems, *parts), problems
    assert [r.id for r in found] == ["S00001"]


def test_a_set_that_was_not_unpacked_is_named_or_left_out_by_the_card(tmp_path):
    scenes(tmp_path)
    (tmp_path / "train" / "scenes" / "S00001_mixed_CH1.wav").unlink()
    assert named(rows(tmp_path, "clarity_scenes")[1], "scenes.train.json:1", "not found")
    found, problems = rows(tmp_path, "clarity_scenes", unlisted="ignore")
    assert problems == [] and [r.id for r in found] == ["S06001"]
