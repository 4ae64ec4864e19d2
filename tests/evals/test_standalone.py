import json

import pytest

from posttrain.errors import InputError
from posttrain.evals.standalone import evaluate_checkpoint, read_probes

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


def test_a_folder_that_is_no_checkpoint_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        evaluate_checkpoint(tmp_path, "cpu")
