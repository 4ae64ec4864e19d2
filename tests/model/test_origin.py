"""What a checkpoint refers to is found wherever its run lies, checked, and gives the figures of the run's own row."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import yaml

from posttrain import files
from posttrain.config.recipe import StageConfig, load_recipe
from posttrain.errors import InputError
from posttrain.evals.standalone import evaluate_checkpoint
from posttrain.model import checkpoint, origin
from posttrain.run import ledger, runner

SIZES = ["train_clips=60", "rl_clips=0", "valid_clips=8", "test_sentences=3", "probe_items=4", "spoken_items=2"]
OPTIONS = [f"corpus.{size}" for size in SIZES] + ["base.steps=20", "ctc.steps=5"]
OPTIONS += ["align.ctc_steps=2", "align.steps=2", "distill.steps=2", "sft.steps=2", "reward.steps=2"]
OPTIONS += ["align.blank_below=1", "sft.candidates=0"]
OPTIONS += ["report_to=[]", "sft.train_encoder=true", "evaluation.bootstrap=150", "evaluation.max_new_tokens=8"]
STAGES = ("base", "ctc", "align", "distill", "sft", "reward")


@pytest.fixture(scope="module")
def recipe():
    """A smoke run whose sft trains the encoder, evaluated with options of its own."""
    made = load_recipe("smoke", OPTIONS)
    return dataclasses.replace(made, stages=tuple(StageConfig(name, name) for name in STAGES))


@pytest.fixture(scope="module")
def project(recipe, tmp_path_factory):
    """A project with a finished run `runs/one`."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        runner.run(recipe, Path("runs/one"))
    return root


@pytest.fixture
def copy(project, tmp_path, monkeypatch):
    """A copy of the project to change, as the working folder."""
    shutil.copytree(project, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def decoy(run: Path) -> None:
    """A run of the same names with other content: every file that tells what is in a stage differs, and so do items."""
    shutil.copytree("runs/one", run)
    for spec in (*run.glob("*/checkpoint.json"), run / "sft" / "encoder" / "config.json"):
        spec.write_text(spec.read_text() + "\n")
    summary = json.loads((run / "corpus" / "corpus.json").read_text())
    files.write_json(run / "corpus" / "corpus.json", summary | {"fingerprint": "0" * 16})
    items = (run / "corpus" / "items.jsonl").read_text().splitlines()[:3]
    (run / "corpus" / "items.jsonl").write_text("\n".join(items) + "\n")
    for answers in run.glob("*/answers.jsonl"):
        answers.write_text("\n".join(answers.read_text().splitlines()[:3]) + "\n")


def row(stage: str, run: str = "runs/one") -> dict:
    """The figures of the run's ledger row, without what depends on the clock and the machine's load."""
    return {
        name: metric
        for made in ledger.read(Path(run) / "ledger.jsonl")
        if made.stage == stage
        for name, metric in made.metrics.items()
        if not name.startswith("cost/")
    }


def measured(folder: str | Path) -> dict:
    found = evaluate_checkpoint(Path(folder), "cpu")
    return json.loads(json.dumps({name: m for name, m in found.items() if not name.startswith("cost/")}))


@pytest.mark.parametrize("stage", ["base", "sft", "reward"])
def test_evaluate_gives_the_figures_of_the_runs_own_row_exactly(copy, stage):
    assert measured(f"runs/one/{stage}") == row(stage)


@pytest.mark.parametrize("where", ["runs/two", "elsewhere/deep/two"])
def test_a_renamed_run_beside_a_like_named_one_is_evaluated_on_its_own_parts(copy, where):
    wanted = row("reward")
    Path(where).parent.mkdir(parents=True, exist_ok=True)
    decoy(Path("decoy"))
    shutil.move("runs/one", where)
    shutil.move("decoy", "runs/one")
    assert measured(f"{where}/reward") == wanted
    made = origin.resolve(f"{where}/sft")
    assert made.corpus == Path(where) / "corpus" and made.parents == {"model": Path(where) / "distill"}
    assert made.references == {"base": Path(where) / "base", "ctc": Path(where) / "ctc"}
    assert made.encoder == Path(where) / "sft" / "encoder"


def test_a_copied_run_works_without_the_one_that_it_was_copied_from(copy, tmp_path, monkeypatch):
    wanted = row("sft")
    shutil.move("runs/one", tmp_path / "copied")
    monkeypatch.chdir(tmp_path)
    assert measured("copied/sft") == wanted
    assert checkpoint.load("copied/sft").spec.base == "copied/base"


def test_a_stage_without_its_run_says_what_is_missing_where(copy, tmp_path):
    shutil.move("runs/one/align", tmp_path / "align")
    shutil.rmtree("runs")
    with pytest.raises(InputError) as error:
        origin.resolve(tmp_path / "align").corpus  # noqa: B018
    assert "refers to the corpus at runs/one/corpus" in str(error.value)
    assert f"{tmp_path / 'corpus'}: missing" in str(error.value)
    with pytest.raises(InputError, match=r"refers to the base at runs/one/base.*base: missing"):
        checkpoint.load(tmp_path / "align")


def test_a_like_named_run_with_other_content_is_refused_with_both_hashes(copy, tmp_path):
    shutil.move("runs/one/align", tmp_path / "align")
    expected = files.sha256(Path("runs/one/base/checkpoint.json"))[:16]
    decoy(Path("decoy"))
    shutil.rmtree("runs/one")
    shutil.move("decoy", "runs/one")
    found = files.sha256(Path("runs/one/base/checkpoint.json"))[:16]
    with pytest.raises(InputError, match=f"sha256 is {found}, expected {expected}"):
        checkpoint.load(tmp_path / "align")
    with pytest.raises(InputError, match=f"sha256 is {'0' * 16}, expected "):
        origin.resolve(tmp_path / "align").corpus  # noqa: B018


def test_a_branch_finds_the_run_that_it_branches_from(copy, recipe):
    changed = dataclasses.replace(recipe, dpo=recipe.dpo, sft=dataclasses.replace(recipe.sft, rank=2))
    runner.run(changed, Path("runs/branch"), Path("runs/one"), until="sft")
    wanted = row("sft", "runs/branch")
    assert not Path("runs/branch/base").exists()
    shutil.move("runs/one", "runs/renamed")  # found by its content
    assert origin.resolve("runs/branch/sft").references["base"] == Path("runs/renamed/base")
    assert measured("runs/branch/sft") == wanted
    decoy_of("runs/renamed", "runs/one")
    with pytest.raises(InputError, match=r"sha256 is .* expected "):
        measured("runs/branch/sft")


def decoy_of(run: str, to: str) -> None:
    shutil.copytree(run, to)
    for spec in Path(to).glob("*/checkpoint.json"):
        spec.write_text(spec.read_text() + "\n")


@pytest.mark.parametrize("moved", [False, True])
def test_a_folder_without_links_of_an_older_version_is_resolved_too(copy, moved):
    wanted = row("reward")
    for stage in STAGES:
        home = Path("runs/one") / stage
        config = yaml.safe_load((home / "config.yaml").read_text())
        made = files.read_json(home / "metrics.json")
        for each in (config, made["config"]):
            for name in ("links", "code", "evaluation_options", "evaluation_code"):
                each.pop(name, None)
            each["evaluation"] = origin._old_hash(load_recipe("smoke", OPTIONS).evaluation)
        (home / "config.yaml").write_text(yaml.safe_dump(config))
        files.write_json(home / "metrics.json", made)
        spec = files.read_json(home / "checkpoint.json")
        spec.pop("links", None)
        if stage != "reward":  # whose hash the stages after it record
            continue
        files.write_json(home / "checkpoint.json", spec)
    if moved:
        decoy(Path("decoy"))
        shutil.move("runs/one", "runs/two")
        shutil.move("decoy", "runs/one")
    run = "runs/two" if moved else "runs/one"
    made = origin.resolve(f"{run}/reward")
    assert made.parents == {"model": Path(run) / "sft"} and made.corpus == Path(run) / "corpus"
    with pytest.raises(InputError, match="options that it does not record"):  # these options are no recipe's
        made.evaluation  # noqa: B018
    _, figures, _ = standalone_measure(made)
    assert figures == wanted


def standalone_measure(made):
    from posttrain.corpus.store import Corpus
    from posttrain.evals import standalone

    options = load_recipe("smoke", OPTIONS).evaluation
    answers, figures, costs = standalone.measure(made, Corpus.load(made.corpus), options, "cpu")
    return answers, json.loads(json.dumps(figures)), costs


def test_a_renamed_run_is_finished_and_its_ledger_names_it_as_it_is(copy, recipe):
    shutil.move("runs/one", "runs/two")
    assert {step.action for step in runner.plan(recipe, Path("runs/two"))} == {"done"}
    rows = runner.run(recipe, Path("runs/two"))
    assert [made.checkpoint for made in rows] == [f"runs/two/{stage}" for stage in STAGES]
    assert rows[-1].parents == {"model": "runs/two/sft"} and rows[-1].config["corpus"] == "runs/two/corpus"
    assert all(Path(made.checkpoint).is_dir() for made in rows)
