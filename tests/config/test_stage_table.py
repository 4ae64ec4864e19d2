"""The stage table: complete, light, and the one place that says what a stage is."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

from posttrain.config.recipe import load_recipe
from posttrain.config.stage_table import TABLE, Sections, spec_of

PACKAGE = Path(__file__).parents[2] / "posttrain"
SHARED = {"base", "reward", "ctc"}
"""Names of stages that are also names of references and of kinds of checkpoint."""


def test_every_row_has_a_section_and_a_module_and_every_section_a_row():
    assert [field.name for field in dataclasses.fields(Sections)] == list(TABLE)
    for name, spec in TABLE.items():
        assert spec.name == name and spec.summary
        assert (PACKAGE / "stages" / f"{name}.py").is_file()


def test_options_that_a_row_names_are_options_of_its_stage():
    for name, spec in TABLE.items():
        options = {field.name for field in dataclasses.fields(getattr(Sections(), name))}
        named = {*spec.reference, spec.words, *(parent.option for parent in spec.parents.values())} - {""}
        named |= {"model"} if spec.loads else set()
        named |= {"seed"} if spec.arm else set()
        rows = {"prompts_per_step", "generations"} if spec.rows == "prompts" else {"batch_size"}
        assert named | (rows if spec.trains else set()) <= options, name


def test_a_recipe_without_stages_runs_the_rows_that_are_not_on_demand():
    assert [node.stage for node in load_recipe("tiny").stages] == [n for n, s in TABLE.items() if not s.on_demand]


def test_a_name_of_another_codes_ledger_is_taken_for_a_speech_model():
    assert spec_of("unheard_of").leaves == "speech"


def test_reading_the_table_and_the_graph_loads_nothing_heavy():
    code = (
        "import sys, posttrain.config.stage_table, posttrain.run.graph;"
        "sys.exit(len({'torch', 'transformers', 'trl', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_else_compares_the_name_of_a_stage():
    names, found, files = set(TABLE) - SHARED, [], 0
    for path in PACKAGE.rglob("*.py"):
        files += 1
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                told = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and part.value in names}
                of_stage = any(isinstance(part, ast.Attribute) and part.attr == "stage" for part in ast.walk(node))
                shared = of_stage and any(
                    isinstance(part, ast.Constant) and part.value in SHARED for part in ast.walk(node)
                )
                if (told or shared) and path.parent != PACKAGE / "stages":
                    found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert files > 100
    assert found == []
