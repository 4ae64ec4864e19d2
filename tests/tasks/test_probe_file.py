"""Probes of one's own: every bad line is named, and a line ends at a line end alone."""

import json

import pytest

from posttrain.errors import InputError
from posttrain.tasks.probe_file import read_probes

GOOD = {
    "id": "p1",
    "probe": "own/p",
    "instruction": "answer",
    "text": "one and one",
    "answer": "two",
    "grader": "exact",
}


def test_probes_are_read_as_typed_items(tmp_path):
    path = tmp_path / "probes.jsonl"
    path.write_text(json.dumps(GOOD) + "\n")
    (item,) = read_probes(path)
    assert (item.split, item.clip, item.answer, item.probe) == ("test", None, "two", "own/p")


def test_every_bad_line_is_named_in_one_error(tmp_path):
    path = tmp_path / "probes.jsonl"
    lines = [json.dumps(GOOD), "not json", json.dumps({**GOOD, "grader": "magic"}), json.dumps({"id": "x"}), "[1]"]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as error:
        read_probes(path)
    assert [int(p.split("line ")[1].split()[0].rstrip(":")) for p in error.value.problems] == [2, 3, 4, 5]
    assert "magic" in str(error.value) and "exact" in str(error.value)


def test_an_empty_file_of_probes_is_refused(tmp_path):
    path = tmp_path / "probes.jsonl"
    path.write_text("")
    with pytest.raises(InputError, match="holds no probe"):
        read_probes(path)


def test_separators_inside_a_text_a_mark_and_a_blank_last_line_are_read(tmp_path):
    path = tmp_path / "probes.jsonl"
    lines = [json.dumps({**GOOD, "id": str(n), "text": "one\u2028two\x85"}, ensure_ascii=False) for n in range(2)]
    path.write_text("\ufeff" + "\n".join(lines) + "\n\n", encoding="utf-8")
    assert [item.text for item in read_probes(path)] == ["one\u2028two\x85"] * 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"text": 3}, "lacks text"),
        ({"clip": 3}, "clip is 3"),
        ({"task": ["x"]}, "task is"),
        ({}, "id p1 is in line 1 already"),
    ],
)
def test_a_bad_field_or_an_id_that_is_there_already_is_named(tmp_path, change, named):
    path = tmp_path / "probes.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps({**GOOD, **change}) + "\n")
    with pytest.raises(InputError) as error:
        read_probes(path)
    assert len(error.value.problems) == 1 and "line 2" in str(error.value) and named in str(error.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"grader": "json", "answer": "no json"}, "its own answer 'no json' is graded wrong by grader json"),
        ({"id": ""}, "id is empty"),
        ({"probe": " "}, "probe is empty"),
        ({"instruction": ""}, "instruction is empty"),
    ],
)
def test_a_probe_that_no_answer_can_pass_or_that_has_no_name_is_refused(tmp_path, change, named):
    path = tmp_path / "probes.jsonl"
    path.write_text(json.dumps(GOOD | change) + "\n")
    with pytest.raises(InputError, match=named):
        read_probes(path)
