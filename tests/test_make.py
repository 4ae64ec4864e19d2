"""The Makefile: a variable changes what its target does, or it is refused."""

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from posttrain.config.stage_table import TABLE

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z]+):.*## ", MAKEFILE, re.MULTILINE)
VARIABLES = re.search(r"^known := (.*)$", MAKEFILE, re.MULTILINE)[1].split()  # type: ignore[index]
STAGES = re.search(r"^stages := (.*)$", MAKEFILE, re.MULTILINE)[1].split()  # type: ignore[index]
CLEAN = {name: value for name, value in os.environ.items() if name not in VARIABLES and not name.startswith("MAKE")}


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What make would do."""
    return subprocess.run(
        ["make", "-n", *arguments],
        cwd=ROOT,
        env=CLEAN | environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@cache
def plain(target: str) -> str:
    """What the target would do without a variable."""
    made = make(target)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_there_are_targets_and_variables():
    assert len(TARGETS) >= 25 and len(VARIABLES) >= 15


@pytest.mark.parametrize("target", TARGETS)
def test_a_variable_changes_what_its_target_does_or_is_refused(target):
    used = []
    for name in VARIABLES:
        made = make(target, f"{name}=changed_by_test")
        if made.returncode == 0:
            assert made.stdout != plain(target), f"make {target} takes {name} and does nothing with it"
            used.append(name)
        else:
            assert made.returncode == 2 and f"make {target} does not use {name}" in made.stderr
    listed = re.search(rf"make {target} does not use .* it uses (.*); leave", make(target, "ONLY=x", "ARMS=y").stderr)
    if used and listed:
        assert set(listed[1].split()) == set(used)


@pytest.mark.parametrize(
    "arguments",
    ["smoke RUN=two", "test RUN=two", "setup RECIPE=tiny", "report SEEDS=3", "RUN=two", "smoke RUN=", "docs ONLY=x"],
)
def test_a_variable_that_would_do_nothing_is_refused(arguments):
    assert make(*arguments.split()).returncode == 2


def test_every_goal_must_use_the_variable():
    assert make("data", "report", "RUN=two").returncode == 0
    refused = make("smoke", "report", "RUN=two")
    assert refused.returncode == 2 and "make smoke does not use RUN" in refused.stderr
    assert make("report", "smoke", "RUN=two").returncode == 2


def test_a_variable_that_another_one_replaces_is_refused():
    assert "does not use RECIPE, it uses RUN;" in make("report", "RUN=two", "RECIPE=smoke").stderr
    assert "does not use PERSON" in make("personalise", "MANIFEST=m.csv", "PERSON=3").stderr


def test_the_environment_is_not_read_but_for_the_data_root():
    made = make("report", RUN="two", RECIPE="smoke")
    assert made.stdout == plain("report")
    assert "RECIPE RUN is set in the environment, which is not read" in made.stderr
    assert "posttrain remove" not in make("clean", RUN="tiny").stdout
    assert make("-e", "report", RUN="two").stdout == plain("report")
    assert '--set "corpus.data_root=/recordings"' in make("data", DATA_ROOT="/recordings").stdout
    assert make("smoke", DATA_ROOT="/recordings").returncode == 0


def test_every_stage_of_the_table_has_a_target_with_its_summary():
    said = dict(re.findall(r"^([a-z]+):.*## (.*)$", MAKEFILE, re.MULTILINE))
    assert len(TABLE) >= 10
    assert [name for name, spec in TABLE.items() if not said.get(name, "").startswith(spec.summary)] == []
    assert {*STAGES, "personalise"} == set(TABLE)


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_target_is_that_of_make_stage(name):
    assert make("stage", f"STAGE={name}", "RUN=mine").stdout == make(name, "RUN=mine").stdout
    assert f'posttrain stage "{name}" --recipe "tiny" --run "mine"' in make(name, "RUN=mine").stdout


def test_a_study_is_of_the_recipe_that_is_named():
    assert make("study", "RECIPE=tiny").stdout == plain("study")
    assert 'run "study" --from "runs/tiny" --run "study"' in plain("study")
    made = make("study", "RECIPE=smol", "DATA_ROOT=d").stdout
    assert 'run "study_smol" --from "runs/smol" --run "study_smol"' in made and 'posttrain study "study_smol"' in made


def test_the_bench_measures_the_stages_that_a_run_has(tmp_path):
    def modules(*stages: str) -> list[str]:
        for name in stages:
            (tmp_path / name).mkdir()
            (tmp_path / name / "metrics.json").write_text("{}")
        return re.findall(r"-m posttrain\.use\.(.*\S)", make("bench", f"RUN={tmp_path}").stdout)

    assert modules() == [f'bench --checkpoint "{tmp_path}/sft"']
    assert modules("enhance") == ["bench", f'bench_denoising "{tmp_path}/enhance"']
    from_model = make("bench", f"RUN={tmp_path}", "FROM=runs/smol/sft").stdout
    assert f'bench_denoising "{tmp_path}/enhance" --model "runs/smol/sft"' in from_model
    assert modules("sft") == [f'bench --checkpoint "{tmp_path}/sft"', f'bench_denoising "{tmp_path}/enhance"']
