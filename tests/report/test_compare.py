import json

import pytest
from made_run import make_run

from posttrain.errors import InputError
from posttrain.report import compare
from posttrain.run import ledger


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "a", ["base", "ctc", "align", "distill"], items=40, bootstrap=20)
    make_run(folder / "b", ["base", "ctc", "align", "distill", "sft"], items=60, bootstrap=20)
    return folder


def test_runs_are_compared_on_the_items_they_share(runs):
    found = compare(runs / "b", runs / "b", bootstrap=20)
    assert (found["a"], found["b"]) == ("b/sft", "b/sft")
    make_run(runs / "c", ["sft"], items=40, bootstrap=20)
    found = compare(runs / "a", runs / "c", bootstrap=200)
    assert (found["a"], found["b"]) == ("a/distill", "c/sft")
    assert "these are different stages; --stage names one that both runs have" in found["table"]
    intent = found["metrics"]["task/intent"]
    assert intent["n"] == 40 and intent["delta"] > 0.4 and intent["ci95"][0] > 0 and intent["holm"] < 0.05
    assert found["metrics"]["wer/clean"]["delta"] < 0
    line = next(line for line in found["table"] if line.startswith("task/intent"))
    assert line.endswith("*") and "+" in line


def test_a_branch_is_compared_by_the_last_stage_that_both_made_themselves(runs, tmp_path):
    make_run(tmp_path / "branch", ["base", "ctc", "align", "distill"], items=40, bootstrap=20)
    path = tmp_path / "branch" / "ledger.jsonl"
    taken = ledger.read(runs / "b" / "ledger.jsonl")[:3]
    own = ledger.read(path)[3:]
    path.write_text("".join(json.dumps(row.as_dict()) + "\n" for row in [*taken, *own]))
    found = compare(runs / "b", tmp_path / "branch", bootstrap=50)
    assert (found["a"], found["b"]) == ("b/distill", "branch/distill")
    assert not any("different stages" in line for line in found["table"])


def test_a_stage_against_itself_differs_by_nothing(runs):
    found = compare(runs / "b", runs / "b", "align", bootstrap=50)
    assert found["a"] == found["b"] == "b/align"
    assert {m["delta"] for m in found["metrics"].values()} == {0.0}
    assert not any(line.endswith("*") for line in found["table"])


def test_differences_turn_round_with_the_order(runs):
    there, back = (compare(runs / x, runs / y, "distill", bootstrap=50)["metrics"] for x, y in ("ab", "ba"))
    assert set(there) == set(back)
    assert all(there[n]["delta"] == pytest.approx(-back[n]["delta"]) for n in there)


def test_what_is_missing_is_named(runs, tmp_path):
    with pytest.raises(InputError, match="no finished stage sft"):
        compare(runs / "a", runs / "b", "sft")
    with pytest.raises(InputError, match="no finished stage"):
        compare(tmp_path, runs / "b")
    make_run(tmp_path / "c", ["base"], items=5, bootstrap=20)
    (tmp_path / "c" / "base" / "answers.jsonl").unlink()
    with pytest.raises(InputError, match=r"answers\.jsonl not found"):
        compare(tmp_path / "c", runs / "b")


def test_where_one_run_has_no_model_it_is_the_last_stage_of_both(runs, tmp_path):
    """As for two enhancers, of which one was trained in a run of its own."""
    make_run(tmp_path / "alone", ["base", "ctc"], items=20, bootstrap=20)
    found = compare(tmp_path / "alone", runs / "b", bootstrap=20)
    assert (found["a"], found["b"]) == ("alone/ctc", "b/ctc")
    assert (found["metrics"]["wer/clean"]["n"], found["metrics"]["wer/clean"]["delta"]) == (20, 0.0)
