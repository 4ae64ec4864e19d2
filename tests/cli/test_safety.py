"""posttrain safety calibrate and fit: figures, errors, help."""

import json

import pytest

from posttrain.__main__ import run
from tests.evals.safety.test_refusal_fit import write_answers

FIGURES = {"kappa", "precision", "recall", "corrected_rate"}


@pytest.fixture
def answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return str(write_answers(tmp_path / "mine.csv"))


def test_calibrate_prints_json_of_the_contract_and_nothing_else(answers, capsys):
    assert run(["safety", "calibrate", "--answers", answers, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 90 and found["fitted_on_this_file"] is False
    for rule in ("detector", "start_string"):
        assert set(found[rule]) >= FIGURES
        for name in FIGURES:
            lo, hi = found[rule]["ci95"][name]
            assert found[rule]["n"][name] > 0 and lo <= found[rule][name] <= hi
    assert found["detector"]["kappa"] > found["start_string"]["kappa"]


def test_calibrate_prints_a_line_for_each_figure(answers, capsys):
    assert run(["safety", "calibrate", "--answers", answers]) == 0
    said = capsys.readouterr().out
    for named in ("detector  kappa", "start_string  corrected_rate", "people  labelled_rate", "n = 90 answers"):
        assert named in said
    assert "was fitted on this file" not in said


def test_a_detector_of_ones_own_is_fitted_and_used_and_says_on_what_it_was_fitted(answers, tmp_path, capsys):
    assert run(["safety", "fit", "--answers", answers, "--out", "own.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == "own.json"
    assert run(["safety", "calibrate", "--answers", answers, "--detector", "own.json"]) == 0
    assert "was fitted on this file" in capsys.readouterr().out
    assert run(["safety", "fit", "--answers", answers, "--out", "own.json"]) == 0
    assert "mine.csv  by_prompt" in capsys.readouterr().out


def test_a_dry_run_reads_the_answers_and_makes_nothing(answers, tmp_path, capsys):
    assert run(["safety", "calibrate", "--answers", answers, "--dry-run"]) == 0
    assert run(["safety", "fit", "--answers", answers, "--out", "own.json", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("90 answers") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["calibrate"], "--answers"),
        (["calibrate", "--answers", "none.csv"], "none.csv not found"),
        (["calibrate", "--answers", "empty.csv"], "empty.csv has no rows"),
        (["calibrate", "--answers", "empty.csv", "--dry-run"], "empty.csv has no rows"),
        (["calibrate", "--answers", "columns.csv"], "columns.csv:1: no column final_label"),
        (["calibrate", "--answers", "label.csv"], "label.csv:3: final_label is 'maybe'"),
        (["calibrate", "--answers", "mine.csv", "--detector", "none.json"], "none.json is not a detector"),
        (["fit", "--answers", "mine.csv"], "--out"),
        (["fit", "--answers", "mine.csv", "--out", "nowhere/own.json"], "nowhere/own.json, expected a file"),
        (["fit", "--answers", "label.csv", "--out", "own.json"], "label.csv:3"),
        (["calibrat"], "calibrat"),
    ],
)
def test_a_wrong_command_or_input_has_status_2_and_names_what_is_wrong(arguments, named, answers, tmp_path, capsys):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "columns.csv").write_text("prompt,completion\na,b\n")
    (tmp_path / "label.csv").write_text("prompt,completion,final_label\na,b,1_full_compliance\na,b,maybe\n")
    assert run(["safety", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and named in printed.err and "Traceback" not in printed.err


@pytest.mark.parametrize("command", [[], ["ask"], ["calibrate"], ["fit"]])
def test_help_shows_how_it_is_called(command, capsys):
    assert run(["safety", *command, "--help"]) == 0
    assert f"posttrain safety {(command or ['ask'])[0]} " in capsys.readouterr().out


def test_prompts_of_others_are_put_to_a_checkpoint(tmp_path, monkeypatch, capsys):
    from posttrain.evals.safety import asked

    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").write_text("goal,target\nbe rude,sure\n")
    assert run(["safety", "ask", "--checkpoint", "runs/x/sft", "--prompts", "p.csv", "--dry-run"]) == 2
    assert "runs/x/sft holds no checkpoint" in capsys.readouterr().err
    (tmp_path / "runs" / "x" / "sft").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "sft" / "checkpoint.json").write_text('{"stage": "sft", "encoder": "../ctc"}')
    ask = ["safety", "ask", "--checkpoint", "runs/x/sft", "--prompts", "p.csv"]
    assert run([*ask, "--dry-run"]) == 0
    assert "would put 1 prompts of p.csv" in capsys.readouterr().out
    line = {"prompt": "be rude", "label": "unsafe", "detector": "1_full_compliance"}
    refused = line | {"form": "base", "detector": "2_full_refusal"}
    lines = [line | {"form": "text"}, line | {"form": "speech"}, line | {"form": "cascade"}, refused]
    monkeypatch.setattr(asked, "ask", lambda *_: lines)
    assert run([*ask, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["safety/harmful_compliance/text"]["value"] == 1 and found["n"] == 1
    assert found["detector"]["all of them"]["kappa"]["n"] == 900
    assert run(ask) == 0
    said = capsys.readouterr().out
    for named in (
        "harmful_compliance/text  corrected",
        "harmful_compliance/speech  misheard",
        "1 1_full_compliance",
        "detector  kappa",
    ):
        assert named in said
    assert run(["safety", "ask", "--checkpoint", "x", "--prompts", "xstest"]) == 2
    assert "POSTTRAIN_DATA" in capsys.readouterr().err
