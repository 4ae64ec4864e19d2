"""A run at toy size, from speech to ledger: what it leaves and reuses; a kill costs only the step it hit."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from posttrain.__main__ import run as command
from posttrain.config.recipe import Recipe, StageConfig, load_recipe
from posttrain.errors import InputError
from posttrain.evals import metrics
from posttrain.evals.standalone import evaluate_checkpoint
from posttrain.model import checkpoint
from posttrain.run import ledger, runner
from posttrain.run.graph import nodes
from tests.corpus.made_text import SENTENCE, hold_out

TEXT_METRICS = ("ability/", "language/", "forgetting/", "safety/harmful_compliance/text", "safety/over_refusal/text")


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("smoke", ["report_to=[]"])


@pytest.fixture(scope="module")
def finished(recipe, smoke_run, tmp_path_factory):
    folder = shutil.copytree(smoke_run, tmp_path_factory.mktemp("runs") / "toy")
    return folder, runner.run(recipe, folder)


def test_every_figure_of_a_finished_run_has_a_row_in_the_metric_table(finished):
    _, rows = finished
    names = {name for row in rows for name in row.metrics}
    assert len(names) > 60
    assert {name for name in names if metrics.of(name) not in metrics.TABLE} == set()


def test_every_stage_leaves_a_row_and_its_files(finished):
    folder, rows = finished
    assert [row.stage for row in rows] == [node.name for node in Recipe(name="all").stages]
    for row in rows:
        home = folder / row.stage
        written = {path.name for path in home.iterdir()}
        assert {"config.yaml", "answers.jsonl", "metrics.json", "trained.json"} <= written
        assert list(home.rglob("*.safetensors"))
        assert yaml.safe_load((home / "config.yaml").read_text())["key"] == row.config["key"]
        assert not home.with_name(home.name + ".partial").exists()


def test_text_metrics_after_align_and_distill_equal_row_zero_exactly(finished):
    _, rows = finished
    by_stage = {row.stage: row.metrics for row in rows}
    names = [name for name in by_stage["base"] if name.startswith(TEXT_METRICS)]
    assert len(names) >= 12
    for stage in ("align", "distill"):
        assert {n: by_stage[stage][n]["value"] for n in names} == {n: by_stage["base"][n]["value"] for n in names}
        assert all(by_stage[stage][n]["delta_vs_base"] == 0 for n in names)


def test_their_typed_answers_are_taken_from_the_base_and_a_moved_stage_without_it_computes_the_same(finished, tmp_path):
    folder, rows = finished
    by_stage = {row.stage: row.metrics for row in rows}
    marked = {stage: {name for name, m in by_stage[stage].items() if m.get("of_base")} for stage in by_stage}
    assert marked["align"] == marked["distill"] and not marked["base"] | marked["ctc"] | marked["sft"]
    assert {"language/perplexity", "forgetting/kl_base"} <= marked["align"] and "wer/clean" not in marked["align"]
    shutil.copytree(folder, tmp_path / "moved")
    (tmp_path / "moved" / "base" / "answers.jsonl").unlink()
    alone = evaluate_checkpoint(tmp_path / "moved" / "align", "cpu")
    typed = marked["align"] & alone.keys()
    assert {"language/perplexity", "ability/sum_easy", "safety/over_refusal/text"} <= typed
    assert {name: alone[name]["value"] for name in typed} == {n: by_stage["align"][n]["value"] for n in typed}
    assert not any(m.get("of_base") for m in alone.values())


def test_sft_moves_the_text_side_so_that_the_zero_control_could_have_failed(finished):
    _, rows = finished
    assert next(row for row in rows if row.stage == "sft").metrics["forgetting/kl_base"]["value"] > 0


def test_every_row_from_align_on_has_the_same_metrics(finished):
    _, rows = finished
    measured_once = {"forgetting/mean", "cost/rtf", "cost/linear_mb", "cost/linear_share_of_bfloat16"}  # not on reward
    sets = [{name for name in row.metrics if not name.startswith("together_")} - measured_once for row in rows[2:]]
    assert all(found == sets[0] for found in sets)
    for row in rows[2:]:
        decides = checkpoint.read_spec(row.checkpoint).together is not None
        assert any(name.startswith("together_") for name in row.metrics) == decides
    assert {"distill/kl_teacher", "reward/accuracy", "dpo/preferred", "grpo/reward", "wer/clean"} <= sets[0]


def test_a_second_run_with_nothing_changed_does_nothing(recipe, finished):
    folder, rows = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert runner.run(recipe, folder) == rows
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    assert all(step.action == "done" for step in runner.plan(recipe, folder))


def test_a_changed_option_reruns_what_hangs_on_it_and_nothing_else(finished):
    folder, _ = finished
    changed = load_recipe("smoke", ["report_to=[]", "dpo.beta=0.2"])
    actions = {step.name: step.action for step in runner.plan(changed, folder)}
    assert {name for name, action in actions.items() if action == "run"} == {"dpo", "grpo"}


def test_a_branch_shares_what_it_did_not_change(finished, tmp_path):
    folder, rows = finished
    changed = load_recipe("smoke", ["report_to=[]", "sft.rank=4"])
    steps = runner.plan(changed, tmp_path / "branch", branch_from=folder, until="sft")
    assert {s.name: s.action for s in steps} == {
        "corpus": "reuse", "base": "reuse", "ctc": "reuse", "align": "reuse", "distill": "reuse", "sft": "run"
    }  # fmt: skip
    made = runner.run(changed, tmp_path / "branch", branch_from=folder, until="sft")
    assert [row.stage for row in made] == ["base", "ctc", "align", "distill", "sft"]
    assert made[0].metrics == rows[0].metrics
    assert not (tmp_path / "branch" / "base").exists()


def test_arms_with_looks_answer_validation_items_and_a_study_chooses_by_them(finished, tmp_path, capsys):
    folder, rows = finished
    assert "validation" not in next(row for row in rows if row.stage == "sft").train_metrics, "no choice, no answers"
    stages = [{"name": name, "stage": name} for name in ("base", "ctc", "align", "distill")]
    stages += [{"name": "lora", "stage": "sft", "options": {"looks": 1}}]
    half = {"steps": 0, "looks": 1, "keep_change": 0.5}
    stages += [{"name": "half", "stage": "sft", "parents": {"model": "lora"}, "options": half}]
    recipe = load_recipe("smoke", ["report_to=[]", "seeds=2", f"stages={json.dumps(stages)}"])
    made = runner.run(recipe, tmp_path / "arms", branch_from=folder)
    found = {row.stage: row.train_metrics["validation"] for row in made if "validation" in row.train_metrics}
    assert set(found) == {"lora", "lora@1", "half", "half@1"}
    abilities = {f"ability/{skill}_{how}" for skill in ("sum", "fact", "copy", "order") for how in ("easy", "hard")}
    assert abilities <= found["lora"]["metrics"].keys()
    knows = "forgetting/mean" in found["lora"]["metrics"]  # a base of 60 steps may have nothing right yet
    kept = found["lora"]["scores"].keys()
    assert kept == found["half@1"]["zero"].keys() and kept <= abilities and bool(kept) == knows
    for name in ("wer/clean", "task/intent", "hearing/abstain_recall", "safety/over_refusal/speech"):
        assert name in found["lora"]["metrics"]
    lines = (tmp_path / "arms" / "half" / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["id"].partition("/")[0] for line in lines} == {"valid"}
    assert len(list((tmp_path / "arms" / "validation").iterdir())) == 1, "the base is asked once"
    test = {json.loads(line)["id"] for line in (folder / "sft" / "answers.jsonl").read_text("utf-8").splitlines()}
    assert not test & {json.loads(line)["id"] for line in lines}
    assert command(["study", str(tmp_path / "arms")]) == 0
    said = (
        "Stay with lora: on validation items"
        if knows
        else "No arm is chosen: the base had none of the validation items"
    )
    assert said in capsys.readouterr().out


def test_arms_on_a_corpus_without_validation_items_are_refused_before_anything_trains(finished, tmp_path):
    folder, _ = finished
    shutil.copytree(folder / "corpus", tmp_path / "old" / "corpus")
    (tmp_path / "old" / "corpus" / "valid_items.jsonl").unlink()
    with pytest.raises(InputError, match="no validation items, by which a choice between sft is made"):
        runner.run(load_recipe("smoke", ["report_to=[]", "sft.looks=2"]), tmp_path / "old")
    assert not (tmp_path / "old" / "base").exists()


def test_a_parent_that_is_no_run_is_answered_with_those_there_are(finished):
    folder, _ = finished
    with pytest.raises(InputError, match=rf"name one of {folder.name} after --from"):
        runner.plan(load_recipe("smoke"), folder.parent / "branch", branch_from=folder.parent / "misspelt")


def test_a_data_root_with_held_out_text_adds_its_figures_and_changes_no_other(finished, tmp_path, monkeypatch):
    folder, rows = finished
    copy = shutil.copytree(folder, tmp_path / "toy")
    data_root = hold_out(tmp_path / "data", "\n".join(f"{SENTENCE * 12}{i}" for i in range(5)), monkeypatch)
    bare, given = (load_recipe("smoke", ["report_to=[]", f"corpus.data_root={root}"]) for root in (tmp_path, data_root))
    assert {step.action for step in runner.plan(bare, copy)} == {"done"}
    assert [step.action for step in runner.plan(given, copy)] == ["done"] + ["evaluate"] * len(given.stages)
    branch = runner.plan(given, tmp_path / "branch", branch_from=folder)
    assert {step.action for step in branch} == {"reuse"}  # as it is: nothing is trained again for a figure
    found = {row.stage: row.metrics for row in runner.run(given, copy, until="align")}
    for recipe in (bare, given):  # more figures than asked for are enough
        assert {step.action for step in runner.plan(recipe, copy, until="align")} == {"done"}
    before = {row.stage: row.metrics for row in rows}
    names = {f"{name}/wikitext" for name in ("language/perplexity", "forgetting/kl_base", "forgetting/ce_base")}
    for stage in ("base", "align"):
        assert set(found[stage]) - set(before[stage]) == names and {found[stage][n]["n"] for n in names} == {5}
        assert found[stage]["forgetting/kl_base/wikitext"]["value"] == 0  # nothing of the Llama has moved
        kept = {n for n in before[stage] if not n.startswith("cost/")}
        assert {n: found[stage][n] for n in kept} == {n: before[stage][n] for n in kept}
    assert found["align"]["language/perplexity/wikitext"]["delta_vs_base"] == 0
    assert found["align"]["language/perplexity/wikitext"]["value"] > before["base"]["language/perplexity"]["value"]


def test_a_lost_evaluation_is_made_again_with_the_same_figures_and_without_training(recipe, finished):
    folder, rows = finished
    trained = (folder / "sft" / "trained.json").stat().st_mtime_ns
    (folder / "sft" / "metrics.json").unlink()
    assert {s.name: s.action for s in runner.plan(recipe, folder)}["sft"] == "evaluate"
    again = runner.run(recipe, folder)
    assert (folder / "sft" / "trained.json").stat().st_mtime_ns == trained
    assert _figures(again) == _figures(rows)


def test_a_killed_run_goes_on_from_the_last_finished_step_and_ends_with_the_same_figures(finished, tmp_path):
    folder, rows = finished
    killed = tmp_path / "killed"
    for name in ("corpus", "base"):
        shutil.copytree(folder / name, killed / name)
    stamp = (killed / "base" / "metrics.json").stat().st_mtime_ns
    arguments = ["stage", "ctc", "--recipe", "smoke", "--run", str(killed), "--set", "report_to=[]"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-m", "posttrain", *arguments], **silent)
    _wait((killed / "ctc.partial").exists, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (killed / "ctc.partial").is_dir() and not (killed / "ctc").exists()
    assert command(arguments) == 0
    assert (killed / "base" / "metrics.json").stat().st_mtime_ns == stamp and not (killed / "ctc.partial").exists()
    assert _figures(ledger.read(killed / "ledger.jsonl")) == _figures(rows[:2])
    weights = [load_file(run / "ctc" / "model.safetensors") for run in (folder, killed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_quantised_base_gets_a_row_before_the_first_qlora():
    names = [node.name for node in nodes(load_recipe("smoke", ["sft.adapter=qlora"]))]
    assert names.index("base@nf4") == names.index("sft") - 1


def test_a_base_in_4_bits_is_its_own_reference():
    names = [node.name for node in nodes(load_recipe("smoke", ["sft.adapter=qlora", "base.quantization=nf4"]))]
    assert "base@nf4" not in names


def test_a_graph_that_makes_no_sense_is_refused_with_every_reason():
    with pytest.raises(InputError) as error:
        nodes(load_recipe("smoke", ["stages=[base, sft, dpo]"]))
    assert "sft needs distill or align" in str(error.value)


def _figures(rows: list[ledger.Row]) -> list[dict]:
    return [
        {name: m["value"] for name, m in json.loads(json.dumps(row.metrics)).items() if not name.startswith("cost/")}
        for row in rows
    ]


def _wait(reached, process: subprocess.Popen, limit_s: float = 300) -> None:
    until = time.monotonic() + limit_s
    while not reached():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.05)


def test_partial_folders_are_never_taken_for_finished_ones(recipe, tmp_path: Path):
    (tmp_path / "sft.partial").mkdir(parents=True)
    assert all(step.action == "run" for step in runner.plan(recipe, tmp_path))


def test_branches_side_by_side_are_what_they_are_one_by_one(recipe, finished, tmp_path):
    folder, _ = finished
    stages = [StageConfig(name=n, stage=n) for n in ("base", "ctc", "align", "distill")]
    arms = [StageConfig(name="again", stage="sft"), StageConfig(name="rank0", stage="sft", options={"rank": 0})]
    rows = runner.run(dataclasses.replace(recipe, stages=(*stages, *arms)), tmp_path / "arms", folder, jobs=2)
    assert [row.stage for row in rows] == ["base", "ctc", "align", "distill", "again", "rank0"]
    assert (tmp_path / "arms" / "logs" / "again.log").stat().st_size
    alone, beside = (
        load_file(f / "adapter" / "adapter_model.safetensors") for f in (folder / "sft", tmp_path / "arms" / "again")
    )
    assert alone.keys() == beside.keys()
    assert all(torch.allclose(alone[name], beside[name], atol=1e-5) for name in alone)


def test_a_gpu_trains_one_stage_at_a_time(recipe, finished, monkeypatch, capsys):
    folder, _ = finished
    rows = ledger.read(folder / "ledger.jsonl")  # a test above may have evaluated a stage again, which takes other time
    monkeypatch.setattr(runner, "pick_device", lambda _: "cuda")
    monkeypatch.setattr(runner, "run_all", lambda *_: pytest.fail("stages ran side by side"))
    assert runner.run(recipe, folder, jobs=2) == rows
    assert "one stage at a time, not 2: the device is cuda" in capsys.readouterr().err
