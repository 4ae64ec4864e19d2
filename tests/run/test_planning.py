"""What a run would do after a crash, a move, or a change of code; on folders written by hand, without any training."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from posttrain import files
from posttrain.config.recipe import StageConfig, load_recipe
from posttrain.model import origin
from posttrain.run import ledger, planning, runner
from posttrain.run.graph import corpus_key, nodes
from posttrain.run.planning import plan

STAGES = ("base", "ctc", "align")
PARENTS = {"align": {"llm": "base", "encoder": "ctc"}}


@pytest.fixture
def recipe():
    return dataclasses.replace(load_recipe("smoke"), stages=tuple(StageConfig(name, name) for name in STAGES))


@pytest.fixture
def folder(tmp_path, monkeypatch, recipe):
    """runs/one, finished: what the runner writes, without weights."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "one"
    corpus = run / "corpus"
    corpus.mkdir(parents=True)
    files.write_json(corpus / "corpus.json", {"fingerprint": "f00d", "hashes": {}})
    files.write_json(corpus / "code.json", planning.code_of("corpus"))
    files.write_text(corpus / "key", corpus_key(recipe))
    for node in nodes(recipe):
        stage(run, recipe, node)
    return run


def stage(run: Path, recipe, node) -> None:
    home = run / node.name
    home.mkdir()
    files.write_json(home / "checkpoint.json", {"stage": node.stage, "name": node.name})
    places = {"corpus": run / "corpus"} | {origin.PARENT + role: run / name for role, name in node.parents.items()}
    config = {
        "recipe": recipe.name, "stage": node.stage, "key": node.key, "seed": recipe.seed, "corpus": "runs/one/corpus",
        "options": json.loads(json.dumps(dataclasses.asdict(node.options))), "references": {},
        "links": origin.links(home, places), "code": planning.code_of(node.stage),
        "evaluation": planning.evaluation_key(recipe), "evaluation_options": dataclasses.asdict(recipe.evaluation),
    }  # fmt: skip
    trained = {"started": "2026-01-02T03:04:05+00:00", "wall_s": 1.0, "device": "cpu", "train_metrics": {"loss": 0.5}}
    row = {
        "run": run.name, "stage": node.name, "checkpoint": f"runs/one/{node.name}",
        "parents": {role: f"runs/one/{name}" for role, name in node.parents.items()},
        "config": config | {"evaluation_code": planning.code_of("evaluation")}, "code": config["code"]["version"],
        "base": "tiny", "data": "f00d", "seed": recipe.seed, **trained,
        "metrics": {"wer/clean": {"value": 0.5, "n": 3, "ci95": [0, 1]}, "cost/peak_rss_mb": {"value": 7.5}},
    }  # fmt: skip
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    files.write_json(home / "trained.json", trained | {"peak_rss_mb": 7.5})
    files.write_json_lines(home / "answers.jsonl", [{"id": "1"}])
    files.write_json(home / "metrics.json", row)
    ledger.put(run / "ledger.jsonl", row)


def actions(steps) -> dict[str, str]:
    return {step.name: step.action for step in steps}


def test_a_finished_run_is_done(recipe, folder):
    steps = plan(recipe, folder)
    assert set(actions(steps).values()) == {"done"} and not any(step.other_code or step.damage for step in steps)


BROKEN = [b"", b"\0" * 9, b'{"a": ']


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("metrics.json", "evaluate"),
        ("answers.jsonl", "evaluate"),
        ("checkpoint.json", "run"),
        ("config.yaml", "done"),  # written again from metrics.json
        ("trained.json", "done"),
    ],
)
def test_a_broken_file_counts_as_missing_and_is_named(recipe, folder, name, action, content):
    path = folder / "align" / name
    path.write_bytes(content)
    step = plan(recipe, folder)[-1]
    assert step.action == action and len(step.damage) == 1
    assert str(path) in step.damage[0] and str(path) in step.why
    assert actions(plan(recipe, folder.parent / "branch", folder))["align"] == "run"  # nothing broken is reused
    assert all(step.action == "done" for step in plan(recipe, folder)[:-1])


def test_what_metrics_json_repeats_is_written_again_as_it_was(recipe, folder, capsys):
    home = folder / "align"
    config, trained = yaml.safe_load((home / "config.yaml").read_text()), files.read_json(home / "trained.json")
    for name in ("config.yaml", "trained.json"):
        (home / name).write_bytes(b"")
    runner._restore(home)
    assert yaml.safe_load((home / "config.yaml").read_text()) == config
    assert files.read_json(home / "trained.json") == trained
    assert not any(step.damage for step in plan(recipe, folder))


def test_a_stage_whose_key_is_lost_is_made_again_with_what_depends_on_it(recipe, folder):
    for name in ("config.yaml", "metrics.json"):
        (folder / "base" / name).write_bytes(b"")
    steps = plan(recipe, folder)
    assert actions(steps) == {"corpus": "done", "base": "run", "ctc": "done", "align": "run"}
    assert "base is made again" in steps[-1].why


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize("name", ["corpus.json", "key"])
def test_a_broken_corpus_is_made_again_and_its_stages_wait_for_what_comes_of_it(recipe, folder, name, content):
    if (name, content) == ("key", BROKEN[-1]):
        pytest.skip("any text is a key, of another corpus")
    (folder / "corpus" / name).write_bytes(content)
    corpus, *stages = plan(recipe, folder)
    assert corpus.action == "run" and str(folder / "corpus" / name) in corpus.damage[0]
    assert {step.action for step in stages} == {"done"}
    files.write_json(folder / "corpus" / "corpus.json", {"fingerprint": "beef", "hashes": {}})
    files.write_text(folder / "corpus" / "key", corpus_key(recipe))
    corpus, *stages = plan(recipe, folder)
    assert corpus.action == "done" and {step.action for step in stages} == {"run"}
    assert "made from another corpus (f00d)" in stages[0].why


def test_a_list_of_the_corpus_that_a_crash_emptied_is_seen(recipe, folder):
    from hashlib import sha256

    hashes = {"clips": sha256(b"{}\n").hexdigest(), "texts": sha256(b"").hexdigest()}
    files.write_json(folder / "corpus" / "corpus.json", {"fingerprint": "f00d", "hashes": hashes})
    (folder / "corpus" / "texts.jsonl").touch()
    (folder / "corpus" / "clips.jsonl").write_text("{}\n")
    assert plan(recipe, folder)[0].action == "done"
    (folder / "corpus" / "clips.jsonl").write_text("")
    assert plan(recipe, folder)[0].action == "run"


def test_a_corpus_of_an_older_version_has_no_validation_items_and_is_whole(recipe, folder):
    hashes = {"valid_items": "0" * 64}
    files.write_json(folder / "corpus" / "corpus.json", {"fingerprint": "f00d", "hashes": hashes})
    assert plan(recipe, folder)[0].action == "done"
    (folder / "corpus" / "valid_items.jsonl").write_text("")
    assert plan(recipe, folder)[0].action == "run"


def test_a_parent_that_was_made_again_makes_its_children_again(recipe, folder):
    files.write_json(folder / "base" / "checkpoint.json", {"stage": "base", "name": "trained anew"})
    steps = plan(recipe, folder)
    assert actions(steps) == {"corpus": "done", "base": "done", "ctc": "done", "align": "run"}
    assert "made from another base" in steps[-1].why


def test_the_plan_names_the_option_that_changed(recipe, folder):
    changed = dataclasses.replace(recipe, align=dataclasses.replace(recipe.align, steps=11))
    assert plan(changed, folder)[-1].why == "an option has changed: steps was 10, is 11"


@pytest.fixture
def other_code(monkeypatch):
    """The code of some stages is another from now on."""

    def become(*stages: str, training: str = "000000000000") -> None:
        now = planning.code_of

        def code(stage: str) -> dict[str, str]:
            other = {"version": "fedcba987654+000000000000", "source": "000000000000", "training": training}
            return other | ({"training": now(stage)["training"]} if not training else {})

        monkeypatch.setattr(planning, "code_of", lambda stage: code(stage) if stage in stages else now(stage))

    return become


def test_changed_code_is_told_and_makes_nothing_again_by_itself(recipe, folder, other_code):
    other_code("base")
    steps = plan(recipe, folder)
    assert set(actions(steps).values()) == {"done"}
    assert [step.name for step in steps if step.other_code] == ["base"]
    assert "made by other code" in steps[1].why and "comments" not in steps[1].why
    branch = plan(recipe, folder.parent / "branch", folder)
    assert actions(branch)["base"] == "reuse" and "made by other code" in branch[1].why


def test_fresh_code_makes_it_again_with_what_depends_on_it(recipe, folder, other_code):
    other_code("base")
    assert actions(plan(recipe, folder, fresh_code=True)) == {
        "corpus": "done", "base": "run", "ctc": "done", "align": "run"
    }  # fmt: skip
    assert actions(plan(recipe, folder.parent / "branch", folder, fresh_code=True))["base"] == "run"


def test_fresh_code_evaluates_again_where_only_the_evaluation_is_other(recipe, folder, other_code):
    other_code("evaluation")
    assert "evaluated by other code" in plan(recipe, folder)[1].why
    assert actions(plan(recipe, folder, fresh_code=True)) == {"corpus": "done"} | dict.fromkeys(STAGES, "evaluate")


def test_code_that_differs_in_comments_alone_is_told_as_such(recipe, folder, other_code):
    other_code("ctc", training="")
    assert "comments or messages differ" in plan(recipe, folder)[2].why


def test_a_row_of_an_older_version_is_told_by_the_version_that_it_names(recipe, folder):
    home = folder / "base"
    config, row = yaml.safe_load((home / "config.yaml").read_text()), files.read_json(home / "metrics.json")
    for each in (config, row["config"]):
        each.pop("code")
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    files.write_json(home / "metrics.json", row)
    assert not plan(recipe, folder)[1].other_code
    files.write_json(home / "metrics.json", row | {"code": "0dbaa12277dc+123456789abc"})
    assert "made by other code (0dbaa12277dc+123456789abc)" in plan(recipe, folder)[1].why
    assert actions(plan(recipe, folder, fresh_code=True))["base"] == "run"
