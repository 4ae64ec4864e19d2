"""Responses: what is read, what is refused by line, where audiograms are looked for."""

from pathlib import Path

import pytest

from posttrain.errors import InputError
from posttrain.evals.hearing import responses

HEADER = "signal,scene,listener,system,correctness,haspi_better_ear_precomputed,prompt\n"
AUDIOGRAMS = "listener,ear,hz500,hz4000\nL1,l,10,50\nL1,r,20,60\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_row_says_who_heard_what_and_how_much_of_it(tmp_path):
    text = HEADER + 'x,S1,L1,E1,25.0,0.5,"come, here"\nx,S2,L1,,100,,a\n\n'
    first, second = responses.read(write(tmp_path / "r.csv", text))
    assert first == responses.Response(2, "L1", 0.25, 0.5, "E1", "S1")
    assert second == responses.Response(3, "L1", 1.0, None, "", "S2")


def test_aid_and_scene_need_not_be_known(tmp_path):
    text = "listener,correctness,haspi_better_ear_precomputed\nL1,50,0.5\n"
    assert responses.read(write(tmp_path / "r.csv", text)) == [responses.Response(2, "L1", 0.5, 0.5, "", "")]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "has no rows"),
        (HEADER, "no rows"),
        ("listener,correctness\nL1,5\n", "no column haspi_better_ear_precomputed"),
        (HEADER + "x,S1,L1,E1,25,0.5,a\nx,S1,L1,E1,lots,0.5,a\n", ":3: correctness is 'lots'"),
        (HEADER + "x,S1,L1,E1,,0.5,a\n", ":2: correctness is ''"),
        (HEADER + "x,S1,L1,E1,101,0.5,a\n", "from 0 to 100%"),
        (HEADER + "x,S1,L1,E1,nan,0.5,a\n", "correctness is 'nan'"),
        (HEADER + "x,S1,L1,E1,25,1.5,a\n", "is '1.5', expected a number from 0 to 1"),
        (HEADER + "x,S1,,E1,25,0.5,a\n", "listener is empty"),
        (HEADER + "x,S1,L1,E1,25\n", ":2: 5 cells, expected 7"),
        (HEADER + "x,S1,L1,E1,25,,a\n", "empty in all 1 rows"),
        (HEADER + 'x,S1,L1,E1,"44,4",0.5,a\n', "write it with a point: 44.4"),
        (HEADER + "x,S1,L1,E1,44%,0.5,a\n", "write it without %"),
        (HEADER + "x,S1,L1,E1,1_0,0.5,a\n", "correctness is '1_0'"),
        (HEADER + "x,S1,L1,E1,10,NA,a\n", "leave it empty where HASPI is not known"),
        (HEADER + "x,S1,L1,E1,25,0.5,come, here\n", ":2: 8 cells, expected 7"),
        (HEADER + "x,S1,L1,E1,25,0.5,a\n" * 2, ":3: the same as line 2"),
        (HEADER.replace(",", ";") + "x;S1;L1;E1;25;0.5;a\n", "separated by semicolons, expected commas"),
        (HEADER.replace("prompt", "system") + "x,S1,L1,E1,25,0.5,a\n", "column system is there 2 times"),
        (HEADER.replace("prompt", "") + "x,S1,L1,E1,25,0.5,a\n", "column 7 has no name"),
    ],
)
def test_what_is_not_a_response_is_refused_by_line_and_value(tmp_path, text, named):
    path = write(tmp_path / "r.csv", text)
    with pytest.raises(InputError) as refused:
        responses.read(path)
    assert named in str(refused.value) and str(path) in str(refused.value)


def test_all_bad_lines_are_listed_with_bad_listeners(tmp_path):
    path = write(tmp_path / "r.csv", HEADER + "x,S1,L1,E1,-1,2,a\nx,S1,L1,E1,5,x,a\n")
    with pytest.raises(InputError) as refused:
        responses.load(path, [tmp_path / "nowhere.json"])
    assert len(refused.value.problems) == 4


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "a.csv", tmp_path / "b.csv"):
        with pytest.raises(InputError, match=path.name):
            responses.read(path)


def test_audiograms_come_from_files_the_data_root_or_beside_the_responses(tmp_path):
    rows = write(tmp_path / "one" / "r.csv", HEADER + "x,S1,L1,E1,25,0.5,a\nx,S1,L2,E1,25,,a\n")
    with pytest.raises(InputError, match=r"r\.csv:2: listener L1 has no audiogram .*--listeners FILE\.json"):
        responses.load(rows)
    write(tmp_path / "one" / "audiograms.csv", AUDIOGRAMS)
    _, audiograms = responses.load(rows)
    assert list(audiograms) == ["L1"]  # L2, whose rows are all dropped, needs none
    write(tmp_path / "root" / "clarity" / "audiograms.csv", AUDIOGRAMS.replace("50", "70"))
    assert responses.load(rows, [], tmp_path / "root")[1]["L1"].left_db_hl == (10, 70)
    given = write(tmp_path / "mine.csv", AUDIOGRAMS.replace("50", "80"))
    assert responses.load(rows, [given], tmp_path / "root")[1]["L1"].left_db_hl == (10, 80)
