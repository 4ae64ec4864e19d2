"""Whatever lives in folders is found and tried: recipes, adapters, cards, make targets, commands in the documents."""

import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from posttrain.__main__ import run
from posttrain.config import assets
from posttrain.config import recipe as config
from posttrain.run import runner

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "posttrain" / "recipes").rglob("*.yaml"))
CARDS = sorted((ROOT / "data").glob("*.yaml"))
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z]+):.*## ", MAKEFILE, re.MULTILINE)
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONTRACT = (
    "help setup pipeline data base ctc align distill sft reward dpo grpo enhance report gate test check smoke clean"
).split()


def commands() -> list[tuple[str, str]]:
    """(document, command) for each make and posttrain line in a block of shell."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.removeprefix("$ ").split("#")[0].strip()
                if line.startswith(("make", "posttrain", ".venv/bin/posttrain")):
                    found.append((document.name, line))
    return found


def dry(command: str) -> list[list[str]]:
    """The posttrain commands that a line comes to, each with --dry-run where it takes one."""
    if command.startswith("make"):
        made = subprocess.run(
            ["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
        joined = made.stdout.replace("\\\n", " ")
        lines = [line for line in joined.splitlines() if line.startswith(".venv/bin/posttrain")]
    else:
        lines = [command]
    found = [shlex.split(line)[1:] for line in lines]
    return [a if "--dry-run" in a or a[0] in ("compare", "doctor", "gate") else [*a, "--dry-run"] for a in found]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_is_valid_and_has_a_plan(path, tmp_path):
    recipe = config.load_recipe(path.stem)
    assert recipe.name == path.stem
    steps = runner.plan(recipe, tmp_path / "run")
    assert steps[0].name == "corpus"
    assert {step.action for step in steps} == {"run"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_can_be_asked_for_its_plan_anywhere(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["run", path.stem, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "corpus " in printed and "runs/" in printed
    assert list(tmp_path.iterdir()) == []


def test_there_are_recipes_adapters_and_cards():
    assert {"tiny", "smoke", "real_speech", "smol", "llama32_1b", "llama31_8b", "llama31_8b_qlora"} <= {
        path.stem for path in RECIPES
    }
    assert {"projector", "lora", "qlora", "dora", "prompt_tuning", "full"} <= set(assets.names("adapters"))
    assert len(CARDS) >= 4


@pytest.mark.parametrize("name", assets.names("adapters"))
def test_every_adapter_can_be_named_in_a_recipe(name):
    from posttrain.model import adapters

    assert adapters.read(name).summary
    assert config.load_recipe("tiny", [f"sft.adapter={name}"]).sft.adapter == name


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.stem)
def test_every_card_says_origin_licence_splits_and_checksums(path):
    card = yaml.safe_load(path.read_text())
    assert card["name"] == path.stem
    assert all(card.get(key) for key in ("title", "kind", "origin", "licence", "splits"))
    assert card.get("sha256") or card.get("checksums")


def test_fixtures_are_small():
    files = [path for path in (ROOT / "data").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000


def test_help_lists_every_target_of_the_contract():
    assert set(CONTRACT) <= set(TARGETS)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(re.search(rf"^  {target} ", shown, re.MULTILINE) for target in TARGETS)
    stages, phony = (re.search(rf"^{name} (.*)$", MAKEFILE, re.MULTILINE) for name in ("stages :=", r"\.PHONY:"))
    assert stages and phony and set(phony[1].replace("$(stages)", stages[1]).split()) == set(TARGETS)


def test_a_misspelt_variable_stops_make_before_anything_is_made():
    asked = subprocess.run(["make", "-n", "sft", "ADAPTOR=full"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert asked.returncode == 2 and "ADAPTOR is no variable of this Makefile" in asked.stderr


def test_stage_targets_pass_their_variables_on():
    [arguments] = dry('make sft ADAPTER=full FROM=runs/tiny RUN=tiny_full SET="sft.steps=3 seed=2" DATA_ROOT=d')
    assert arguments[:4] == ["stage", "sft", "--recipe", "tiny"]
    pairs = list(pairwise(arguments))
    for pair in (("--run", "tiny_full"), ("--from", "runs/tiny")):
        assert pair in pairs
    changes = [value for option, value in pairs if option == "--set"]
    assert changes == ["sft.adapter=full", "corpus.data_root=d", "sft.steps=3", "seed=2"]


def test_the_gate_goes_by_the_runs_own_recipe_unless_one_is_named():
    assert dry("make gate RUN=mine") == [["gate", "runs/mine"]]
    [named] = dry('make gate RECIPE=smoke STAGE=sft SET="gate.forgetting=0.1"')
    assert named == ["gate", "runs/smoke", "--recipe", "smoke", "--stage", "sft", "--set", "gate.forgetting=0.1"]


def test_the_documents_show_commands():
    assert len(commands()) >= 8


@pytest.mark.parametrize(("document", "command"), commands())
def test_every_command_in_the_documents_is_one_that_posttrain_knows(document, command):
    """Those that need a finished run may say that it not found (status 2); none may be misspelt."""
    from typer.main import get_command

    from posttrain.cli.app import app

    for name, *arguments in dry(command):
        known = get_command(app).commands[name]  # type: ignore[attr-defined]
        with known.make_context(name, list(arguments)):
            pass
        recipe = next((a for a in arguments if a in [p.stem for p in RECIPES]), None)
        changes = [value for option, value in pairwise(arguments) if option == "--set"]
        if recipe:
            config.load_recipe(recipe, changes)
