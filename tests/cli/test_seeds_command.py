"""`posttrain seeds`: which runs it makes, with which seed, and what it refuses before anything is made."""

import json
from pathlib import Path

import pytest

from posttrain.__main__ import run
from posttrain.cli import pipeline, seeds
from posttrain.errors import InputError


@pytest.mark.parametrize(
    ("text", "first", "wanted"),
    [("3", 0, [0, 1, 2]), ("2", 5, [5, 6]), ("0,1,2", 0, [0, 1, 2]), ("4 0  7", 0, [4, 0, 7]), ("1, 0", 0, [1, 0])],
)
def test_seeds_are_a_number_or_a_list(text, first, wanted):
    assert seeds.numbers(text, first) == wanted


@pytest.mark.parametrize("text", ["", "1", "0", "a", "0,0", "-1,2", "1.5", "2,x", "³"])
def test_anything_else_is_refused(text):
    with pytest.raises(InputError, match="--seeds is"):
        seeds.numbers(text, 0)


def test_the_recipes_own_seed_is_the_plain_run():
    assert seeds.folder_of(Path("runs/tiny"), 0, 0) == Path("runs/tiny")
    assert seeds.folder_of(Path("runs/tiny"), 2, 0) == Path("runs/tiny_seed2")
    assert seeds.folder_of(Path("runs/mine"), 5, 5) == Path("runs/mine")


def test_a_dry_run_says_what_each_seed_would_do_and_makes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["seeds", "smoke", "--seeds", "0,3", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "seed 0: runs/smoke\n" in told and "seed 3: runs/smoke_seed3\n" in told and told.count("grpo") >= 2
    assert run(["seeds", "smoke", "--run", "mine", "--dry-run", "--json"]) == 0
    plans = json.loads(capsys.readouterr().out)["seeds"]
    assert {seed: plan["run"] for seed, plan in plans.items()} == {
        "0": "runs/mine", "1": "runs/mine_seed1", "2": "runs/mine_seed2"
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_two_ways_to_choose_the_seed_and_a_wrong_option_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["seeds", "smoke", "--set", "seed=4"]) == 2
    assert "leave out --set seed" in capsys.readouterr().err
    assert run(["seeds", "smoke", "--set", "sft.stepz=4"]) == 2
    assert run(["seeds", "smoke", "--seeds", "1"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_every_seed_is_run_whole_with_its_own_seed_and_the_changes(tmp_path, monkeypatch):
    """What a run does is the pipeline's matter; here the pipeline is asked for each seed, one after the other."""
    asked = []
    monkeypatch.setattr(pipeline, "run", lambda *arguments: asked.append(arguments))
    folders = {0: tmp_path / "toy", 4: tmp_path / "toy_seed4"}
    seeds._Each("smoke", ("sft.steps=1",), folders).run_all(1, tmp_path / "logs")
    assert [(a[0], a[1], a[2]) for a in asked] == [
        ("smoke", ["sft.steps=1", "seed=0"], str(folders[0])),
        ("smoke", ["sft.steps=1", "seed=4"], str(folders[4])),
    ]


def test_two_seeds_side_by_side_are_two_finished_runs_and_one_by_one_there_is_nothing_left_to_make(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text(
        "name: toy\nstages: [base]\nreport_to: []\n"
        "corpus: {train_clips: 8, rl_clips: 4, valid_clips: 4, test_sentences: 4, probe_items: 4, spoken_items: 1}\n"
        "base: {vocab_size: 400, hidden_size: 32, layers: 1, heads: 2, kv_heads: 2, intermediate_size: 32, steps: 2}\n"
        "evaluation: {bootstrap: 20, max_new_tokens: 4}\n"
    )
    command = ["seeds", "toy.yaml", "--seeds", "0,1", "--jobs", "2", "--json"]
    assert run(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"] == {"0": "runs/toy", "1": "runs/toy_seed1"}
    perplexity = next(f for f in told["figures"] if f["metric"] == "language/perplexity")
    assert perplexity["values"]["0"] != perplexity["values"]["1"] and perplexity["low"] < perplexity["mean"]["value"]
    assert "base" in Path("runs/toy_seeds/logs/toy_seed1.log").read_text()
    weights = [Path(f"runs/{name}/base/model.safetensors") for name in ("toy", "toy_seed1")]
    before = [path.stat().st_mtime_ns for path in weights]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    assert run([*command, "--jobs", "1"]) == 0 and [path.stat().st_mtime_ns for path in weights] == before
    assert json.loads(capsys.readouterr().out) == told
