"""Audiograms: interpolation by hand, the standard ones, files, and errors that name the listener."""

import json

import numpy as np
import pytest

from posttrain.acoustics import audiogram
from posttrain.acoustics.audiogram import Audiogram
from posttrain.errors import InputError

MINE = Audiogram("mine", (500.0, 1000.0, 2000.0, 4000.0), (10.0, 20.0, 40.0, 60.0), (30.0, 30.0, 30.0, 30.0))
HEADER = "listener,ear,hz250,hz500,hz1000,set\n"


def test_levels_are_linear_over_log_frequency_and_flat_beyond_the_ends():
    # √2 kHz is half an octave above 1 kHz: halfway from 20 to 40
    expected = [10, 10, 20, 30, 60, 60]
    assert np.allclose(MINE.at([100, 500, 1000, 1000 * 2**0.5, 4000, 8000], "left"), expected)
    assert np.allclose(MINE.levels("left"), [10, 10, 20, 40, 40 + 20 * np.log2(1.5), 60, 60, 60])


def test_the_better_ear_has_the_lower_average_of_four_frequencies():
    assert MINE.pta_db_hl("left") == pytest.approx(32.5)
    assert MINE.pta_db_hl("right") == pytest.approx(30)
    assert MINE.better_ear == "right"
    assert audiogram.bisgaard("N3").better_ear == "left"  # equal


@pytest.mark.parametrize(
    ("name", "row_sum", "pta"),
    [
        ("N1", 165, 16.25), ("N2", 307.5, 31.25), ("N3", 455, 46.25), ("N4", 625, 62.5), ("N5", 750, 76.25),
        ("N6", 875, 88.75), ("N7", 1007.5, 102.5), ("S1", 230, 22.5), ("S2", 462.5, 48.75), ("S3", 592.5, 62.5),
    ],
)  # fmt: skip
def test_the_ten_standard_audiograms_are_whole(name, row_sum, pta):
    standard = audiogram.bisgaard(name)
    assert standard.frequencies_hz == (250, 375, 500, 750, 1000, 1500, 2000, 3000, 4000, 6000)
    assert sum(standard.left_db_hl) == row_sum and standard.left_db_hl == standard.right_db_hl
    assert standard.pta_db_hl("left") == pytest.approx(pta)


@pytest.mark.parametrize(
    ("frequencies", "left", "named"),
    [
        ((500, 1000), (10, 130), "L1, left ear, 1000 Hz: threshold is 130, expected a number from -10 to 120 dB HL"),
        ((500, 1000), (10, "loud"), "threshold is 'loud'"),
        ((500, 1000), (10, float("nan")), "threshold is nan"),
        ((500, 1000), (10,), "left ear: 1 thresholds, expected 2"),
        ((1000, 500), (10, 10), "expected ascending"),
        ((0, 500), (10, 10), "above 0 Hz"),
        ((), (), "expected one or more"),
    ],
)
def test_what_is_not_an_audiogram_is_refused_by_the_listeners_name(frequencies, left, named):
    with pytest.raises(InputError, match="listener L1") as refused:
        Audiogram("L1", frequencies, left, (0.0,) * len(frequencies))
    assert named in str(refused.value)


def test_every_bad_threshold_is_listed():
    with pytest.raises(InputError) as refused:
        Audiogram("L1", (500, 1000), (-20, 200), (0, 500))
    assert len(refused.value.problems) == 3


def test_clarity_json_and_csv_give_the_same_listeners(tmp_path):
    listener = {
        "name": "L1",
        "audiogram_cfs": [250, 500, 1000],
        "audiogram_levels_l": [10, 20, 30],
        "audiogram_levels_r": [15, 25, 35.5],
    }
    (tmp_path / "listeners.json").write_text(json.dumps({"L1": listener}))
    (tmp_path / "a.csv").write_text("\ufeff" + HEADER + "L1,l,10,20,30,x\nL1,r,15,25,35.5,x\n")
    from_json, from_csv = audiogram.read(tmp_path / "listeners.json"), audiogram.read(tmp_path / "a.csv")
    assert from_json == from_csv
    assert from_csv["L1"].right_db_hl == (15, 25, 35.5)


def test_a_frequency_that_neither_ear_has_is_left_out(tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + "L1,l,10,,30,\nL1,r,15,,35,\n")
    assert audiogram.read(tmp_path / "a.csv")["L1"].frequencies_hz == (250, 1000)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "has no rows"),
        ("listener;ear;hz250\nL1;l;3\n", "separated by semicolons"),
        ("listener,ear,hz1000,1k\nL1,l,1,2\nL1,r,1,2\n", "columns hz1000 and 1k are one frequency"),
        (HEADER + "L1,l,10,20,130,\nL1,r,10,20,30,\n", ":2: listener L1, left ear, 1000 Hz: threshold is '130'"),
        (HEADER + "L1,l,10,20,30\nL1,r,10,20,30,\n", ":2: 5 cells, expected 6"),
        (HEADER + "L1,l,,,,\nL1,r,10,20,30,\n", ":2: listener L1, left ear, no threshold was measured; give both"),
        (HEADER + "L1,l,,,,\nL1,r,,,,\n", "no threshold was measured"),
        ("listener,ear\nL1,l\n", "expected listener,ear,hz250"),
        (HEADER, "no rows"),
        (HEADER + "L1,l,10,20,30,\n", "L1 lacks the right ear"),
        (HEADER + "L1,x,10,20,30,\n", ":2: listener L1: ear is 'x'"),
        (HEADER + "L1,l,1,2,3,\nL1,l,1,2,3,\n", ":3: listener L1: a second line for the left ear"),
        (HEADER + "L1,l,10,20,deaf,\nL1,r,10,20,30,\n", "threshold is 'deaf'"),
    ],
)
def test_a_bad_csv_names_line_listener_and_value(tmp_path, text, named):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError) as refused:
        audiogram.read(tmp_path / "a.csv")
    assert named in str(refused.value) and str(tmp_path / "a.csv") in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"L1": 3}',
        '{"L1": {"audiogram_cfs": [250]}}',
        '{"L1": {}, "L1": {}}',
        '{"L1": {"audiogram_cfs": [250], "audiogram_levels_l": [NaN], "audiogram_levels_r": [3]}}',
        '{"L1": {"audiogram_cfs": [250], "audiogram_levels_l": [true], "audiogram_levels_r": [3]}}',
        '{"L1": {"audiogram_cfs": [250], "audiogram_levels_l": [], "audiogram_levels_r": [3]}}',
    ],
)
def test_bad_json_is_refused(tmp_path, text):
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(InputError, match=r"l\.json"):
        audiogram.read(tmp_path / "l.json")


def test_gaps_and_no_response_are_read_by_the_rules_and_told(tmp_path, capsys):
    header = "listener,ear,250,500 Hz,1k,hz2000,hz8000\n"
    (tmp_path / "a.csv").write_text(header + 'L1,l,10,,30,NR,\nL1,r,DNT,25,"37,5",>110,\n', encoding="utf-8-sig")
    entry = {
        "audiogram_cfs": [250, 500, 1000, 2000, 8000],
        "audiogram_levels_l": [10, None, 30, "NR", None],
        "audiogram_levels_r": ["DNT", 25, 37.5, ">110", None],
    }
    (tmp_path / "a.json").write_text(json.dumps({"L1": entry}))
    for file in ("a.csv", "a.json"):
        found = audiogram.read(tmp_path / file)["L1"]
        assert found.frequencies_hz == (250, 500, 1000, 2000)
        assert found.left_db_hl == (10, 20, 30, 120) and found.right_db_hl == (25, 25, 37.5, 115)
        said = capsys.readouterr().err
        assert "left ear, 2000 Hz: NR, no response, read as 120" in said
        assert "right ear, 250 Hz: not measured, taken from its neighbours as 25" in said


def test_a_gap_more_than_an_octave_from_a_threshold_is_refused_with_what_to_write(tmp_path):
    header = "listener,ear,hz250,hz500,hz1000,hz2000,hz4000,hz8000\n"
    (tmp_path / "a.csv").write_text(header + "L1,l,10,,,30,,\nL1,r,1,2,3,4,5,6\n")
    with pytest.raises(InputError) as refused:
        audiogram.read(tmp_path / "a.csv")
    assert [problem.split(" Hz")[0].split()[-1] for problem in refused.value.problems] == ["500", "1000", "8000"]
    assert all(":2: listener L1, left ear" in p and "NR or >110" in p for p in refused.value.problems)


def test_an_audiogram_is_found_by_standard_name_file_or_listener(tmp_path):
    one, two, clarity = tmp_path / "one.csv", tmp_path / "two.csv", tmp_path / "root" / "clarity"
    one.write_text(HEADER + "A,l,1,2,3,\nA,r,1,2,3,\n")
    two.write_text(HEADER + "A,l,1,2,3,\nA,r,1,2,3,\nB,l,4,5,6,\nB,r,4,5,6,\n")
    clarity.mkdir(parents=True)
    (clarity / "audiograms.csv").write_text(two.read_text())
    assert audiogram.find("N3") == audiogram.bisgaard("N3")
    assert audiogram.find("normal").pta_db_hl("left") == 0
    assert audiogram.find(str(one)).name == "A"
    assert audiogram.find(f"{two}:B").left_db_hl == (4, 5, 6)
    assert audiogram.find("B", tmp_path / "root").name == "B"
    for which, named in (
        (str(two), f"{two}:A"),
        (f"{two}:C", "name one of A, B"),
        ("N9", "N1, N2"),
        ("x" * 300, "N1, N2"),
        ("a\0:b", "N1, N2"),
    ):
        with pytest.raises(InputError) as refused:
            audiogram.find(which)
        assert named in str(refused.value)
    with pytest.raises(InputError, match=r"clarity has no listener L9"):
        audiogram.find("L9", tmp_path / "root")
