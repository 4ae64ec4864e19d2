"""The posttrain command: exit status 0, 1 or 2, one message per problem, JSON alone on stdout."""

import fcntl
import json
import os
import subprocess
import sys

import pytest

from posttrain.__main__ import ENVIRONMENT, run
from posttrain.cli.early import run_folder
from tests.report.made_run import make_run


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Commands run in an empty folder."""
    monkeypatch.chdir(tmp_path)


def refused(arguments, capsys) -> str:
    """What a refused command says: status 2, nothing on stdout, no traceback."""
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    return printed.err


def test_a_dry_run_prints_the_plan_and_makes_nothing(tmp_path, capsys):
    assert run(["run", "tiny", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:9]] == "corpus base ctc align distill sft reward dpo grpo".split()
    assert any(line.startswith("✓ fit") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_as_json_is_json_alone(capsys):
    assert run(["stage", "align", "--dry-run", "--json", "--run", "mine"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["run"] == "runs/mine"
    assert [step["name"] for step in plan["plan"]] == ["corpus", "base", "ctc", "align"]
    assert {step["action"] for step in plan["plan"]} == {"run"}
    assert all(need["ok"] for need in plan["needs"])
    assert plan["about"]["world"] == "tiny" and plan["about"]["suites"]["wer/clean"] == 150


def test_the_dry_run_of_an_8b_recipe_names_smols_tasks_sources_and_suites(capsys):
    said = []
    for recipe in ("smol", "llama31_8b", "llama31_8b_qlora", "llama32_1b"):
        assert run(["run", recipe, "--dry-run"]) == 0
        lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        said.append({name: lines[name] for name in ("world", "sources", "tasks", "suites", "benchmarks")})
        assert lines["rows"].endswith("requests written by the base")
    assert all(of == said[0] for of in said) and "task/request" in said[0]["suites"]


def test_a_stage_that_stands_aside_has_a_plan_of_its_own_in_every_recipe(capsys):
    assert run(["stage", "enhance", "--recipe", "tiny", "--dry-run", "--json"]) == 0
    assert [step["name"] for step in json.loads(capsys.readouterr().out)["plan"]] == ["corpus", "enhance"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "nope"], "recipe nope not found"),
        (["run", "nope.yaml"], "nope.yaml"),
        (["run", "tiny", "--set", "sft.stepz=3"], "did you mean steps?"),
        (["run", "tiny", "--set", "sft.steps=many", "--dry-run"], "sft.steps is 'many'"),
        (["run", "tiny", "--set", "sft.adapter=lorra"], "lorra"),
        (["run", "tiny", "--set", "base.model=./nowhere"], "./nowhere"),
        (["run", "tiny", "--set", "corpus.sources=[fsdd]"], "data_root"),
        (["run", "tiny", "--set", "corpus.sources=[fsdd]", "--set", "corpus.data_root=/nowhere"], "/nowhere"),
        (["run", "tiny", "--from", "nowhere"], "nowhere"),
        (["run", "tiny", "--from", "tiny"], "--from and the run are both"),
        (["stage", "sftt"], "sftt"),
        (["evaluate", "--checkpoint", "runs/tiny/sft"], "runs/tiny/sft"),
        (["report", "nowhere"], "nowhere"),
        (["compare", "here", "there"], "here"),
        (["doctor", "nope"], "recipe nope not found"),
        (["frobnicate"], "frobnicate"),
        (["run", "--frobnicate"], "--frobnicate"),
        (["transcribe", "a.wav"], "--checkpoint"),
        (["enhance", "a.wav", "b.wav"], "a.wav"),
        (["run", "tiny", "--set", "enhance.stepz=3"], "did you mean steps?"),
    ],
)
def test_a_wrong_command_or_input_has_status_2_and_names_what_is_wrong(arguments, named, capsys, tmp_path):
    assert named in refused(arguments, capsys)
    assert not (tmp_path / "runs" / "tiny").exists()


def test_problems_of_recipe_adapter_model_and_data_come_in_one_list(capsys):
    changes = ["sft.stepz=3", "dpo.beta=-1", "sft.adapter=lorra", "base.model=./nowhere", "corpus.sources=[fsdd]"]
    error = refused(["run", "tiny", *[a for change in changes for a in ("--set", change)]], capsys)
    for named in ("sft.stepz", "dpo.beta", "lorra", "./nowhere", "data_root"):
        assert named in error
    assert len(error.splitlines()) >= 5
    assert all(line.startswith("posttrain: ") for line in error.splitlines())


@pytest.mark.parametrize("given", [["~/m.csv"], ["--manifest=~/m.csv"]])
def test_a_tilde_that_the_shell_has_left_is_the_home_folder(given, capsys, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    option = ["--manifest", *given] if len(given[0].split("=")) == 1 else given
    error = refused(["transcribe", *option, "--checkpoint", "~/runs/sft"], capsys)
    assert "/home/anna/m.csv" in error and "/home/anna/runs/sft" in error and "~" not in error


def test_a_disk_without_room_is_named_before_anything_is_made(capsys, monkeypatch, tmp_path):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    assert "GiB free" in refused(["run", "tiny"], capsys)
    assert not (tmp_path / "runs" / "tiny").exists()


def test_a_run_at_work_is_not_disturbed(capsys, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another posttrain is at work" in refused(["run", "tiny"], capsys)


def test_a_broken_ledger_is_named_by_line(capsys, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "ledger.jsonl").write_text('{"run": "tiny"}\n{"run": "tiny"}\n')
    assert "ledger.jsonl, line 1" in refused(["report", "tiny"], capsys)


def test_a_failure_that_is_not_the_users_has_status_1_and_its_traceback(tmp_path):
    code = (
        "from posttrain import __main__ as m; from posttrain.cli import early\n"
        "def broken(*_): raise RuntimeError('loss is NaN at step 3')\n"
        "early.rows = broken; import sys; sys.exit(m.run(['report', 'tiny']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "loss is NaN at step 3" in ended.stderr and ended.stdout == ""


def test_an_interrupted_command_has_status_130(monkeypatch, capsys):
    from posttrain.cli import early

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(early, "rows", interrupted)
    assert run(["report", "tiny"]) == 130
    assert "goes on from the last finished step" in capsys.readouterr().err


def test_a_run_is_a_name_below_runs_or_a_folder():
    assert str(run_folder("tiny")) == "runs/tiny"
    assert str(run_folder("runs/tiny")) == "runs/tiny"
    assert str(run_folder("/data/x")) == "/data/x"


@pytest.mark.parametrize(
    "command",
    [
        [],
        "run",
        "stage",
        "data",
        "evaluate",
        "report",
        "study",
        "compare",
        "gate",
        "transcribe",
        "enhance",
        "doctor",
        "hearing",
        "safety",
    ],
)
def test_every_command_has_help_that_shows_how_it_is_called(command, capsys):
    assert run([*([command] if command else []), "--help"]) == 0
    assert f"posttrain {command or 'run'} " in capsys.readouterr().out


def test_telemetry_is_off_for_users_and_can_be_set_by_them():
    code = (
        "import os; from posttrain import __main__ as m; m.run = lambda _: 0\ntry: m.main()\nexcept SystemExit: pass\n"
    )
    code += "print(os.environ['HF_HUB_DISABLE_TELEMETRY'], os.environ['TOKENIZERS_PARALLELISM'])"
    clean = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | {"TOKENIZERS_PARALLELISM": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == ["1", "true"]


@pytest.fixture
def finished(tmp_path):
    """A made-up run with answers, and a shorter one."""
    make_run(tmp_path / "runs" / "one", items=10, bootstrap=20)
    make_run(tmp_path / "runs" / "two", ["base", "ctc", "align"], items=10, bootstrap=20)
    return tmp_path / "runs"


def test_report_writes_three_files_and_prints_what_they_say(finished, capsys):
    assert run(["report", "one"]) == 0
    said = capsys.readouterr().out
    assert "runs/one/report.html" in said
    assert all((finished / "one" / f"report.{kind}").stat().st_size > 1000 for kind in ("html", "md", "json"))
    assert run(["report", "runs/one", "--json"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == json.loads((finished / "one" / "report.json").read_text())


def test_a_dry_report_writes_nothing(finished, capsys):
    assert run(["report", "one", "--dry-run"]) == 0
    assert "would write" in capsys.readouterr().out
    assert not list((finished / "one").glob("report.*"))


def test_compare_prints_differences_of_two_runs(finished, capsys):
    assert run(["compare", "one", "two", "--stage", "align"]) == 0
    assert "wer/clean" in capsys.readouterr().out
    assert run(["compare", "one", "two", "--stage", "align", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["wer/clean"]["delta"] == 0
    assert "sft" in refused(["compare", "one", "two", "--stage", "sft"], capsys)
