"""Fitting the detector, and what it is measured on."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from posttrain.errors import InputError
from posttrain.evals.safety import refusal, refusal_fit
from posttrain.evals.safety.refusal_features import priors

MADE = yaml.safe_load(Path(__file__).with_name("made_answers.yaml").read_text(encoding="utf-8"))


def write_answers(path, part=slice(None), extra=()):
    """Made answers as labelled ones; the prompts are numbers."""
    rows = [(f"prompt {i}", a, label) for label, answers in MADE.items() for i, a in enumerate(answers)][part]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("prompt", "completion", "final_label"), *rows, *extra])
    return path


def test_without_answers_the_weights_are_the_prior_and_with_many_they_follow_the_answers():
    prior = np.array([2.0, -1.0, 0.0])
    none = refusal_fit.logistic(np.zeros((0, 3)), np.zeros(0, bool), prior, -1.5, 30.0)
    assert none[0] == -1.5 and none[1] == pytest.approx(prior)
    random = np.random.default_rng(0)
    x = random.integers(0, 2, (20_000, 3)).astype(float)
    refused = random.random(20_000) < 1 / (1 + np.exp(0.5 - x @ [1.0, -2.0, 0.5]))
    intercept, weights = refusal_fit.logistic(x, refused, prior, -1.5, 1.0)
    assert [intercept, *weights] == pytest.approx([-0.5, 1.0, -2.0, 0.5], abs=0.1)


def test_a_weight_never_crosses_zero_against_its_prior():
    x = np.repeat([[1.0], [0.0]], 500, axis=0)
    refused = np.arange(1000) >= 500  # the phrase is only met where nobody refuses
    assert refusal_fit.logistic(x, refused, np.array([1.0]), 0.0, 0.01)[1] == pytest.approx([0.0])


def test_a_fit_is_reported_on_held_out_answers_and_loads_again(tmp_path):
    one = write_answers(tmp_path / "one.csv", slice(0, None, 2))
    two = write_answers(tmp_path / "two.csv", slice(1, None, 2), [("empty", "", "2_full_refusal")])
    made, report = refusal_fit.fit([one, two])
    assert set(report[str(one)]) == {"start_string", "by_prompt", "by_model", "three_labels"}
    assert report[str(one)]["by_model"]["n"] + report[str(two)]["by_model"]["n"] == 91
    counts = made.held_out["detector"]
    assert counts.refusals + counts.others == 91
    assert counts.found < counts.refusals, "the empty answer is no refusal to the detector"
    assert sorted(made.fitted_on.values()) == ["one.csv", "two.csv"]
    refusal_fit.write(made, tmp_path / "mine.json")
    assert refusal.load(tmp_path / "mine.json") == made
    assert not list(tmp_path.glob("*.partial"))


def test_held_out_labels_come_from_other_files_and_other_prompts(tmp_path, monkeypatch):
    paths = [write_answers(tmp_path / f"{name}.csv") for name in ("a", "b")]
    models = refusal_fit._read(paths)
    used = []
    monkeypatch.setattr(refusal_fit, "_weights", lambda _, seen: used.append(seen) or (0.0, dict.fromkeys(priors(), 0)))
    refusal_fit._held_out(models, models[0], others_only=True)
    refusal_fit._held_out(models, models[0], others_only=False)
    folds = np.unique(models[0].folds)
    assert len(used) == 2 * len(folds)
    for number, (first, second) in enumerate(used):
        fold = folds[number % len(folds)]
        assert first.any() == (number >= len(folds))
        assert second.any()
        assert not (models[0].folds[first] == fold).any() and not (models[1].folds[second] == fold).any()


def test_one_file_is_measured_by_prompt_alone(tmp_path):
    path = write_answers(tmp_path / "one.csv")
    assert "by_model" not in refusal_fit.fit([path])[1][str(path)]


def test_problems_of_all_files_come_in_one_list(tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("prompt,completion,final_label\na,b,c\n")
    with pytest.raises(InputError) as error:
        refusal_fit.fit([bad, bad, tmp_path / "none.csv"])
    said = "\n".join(error.value.problems)
    assert "twice" in said and "bad.csv:2" in said and "none.csv" in said


def test_one_class_alone_is_refused(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("prompt,completion,final_label\na,b,1_full_compliance\n")
    with pytest.raises(InputError, match="expected both"):
        refusal_fit.fit([path])
