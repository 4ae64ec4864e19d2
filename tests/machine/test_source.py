"""Which code made a stage: what changes the hash, what does not, and that nothing is imported to find out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain.config.stage_table import TABLE
from posttrain.machine.source import code_version, stage_code

PACKAGE = Path(__file__).parents[2] / "posttrain"


def codes(folder: Path) -> dict[str, str]:
    """Stage → hash, by the copy of the package in a folder."""
    code = (
        "from posttrain.machine.source import stage_code as s;"
        f"print(*(f'{{n}} {{s(n)}}' for n in {('corpus', 'evaluation', *TABLE)!r}), sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder, env=environment
    )
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.fixture
def copy(tmp_path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "posttrain", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    """The hashes of this package as it is."""
    return codes(PACKAGE.parent)


def changed(copy: Path, path: str, edit, before: dict[str, str]) -> set[str]:
    """Names whose hash an edit of one file changes; the edit is undone."""
    file = copy / "posttrain" / path
    text = file.read_text()
    file.write_text(edit(text))
    found = {name for name, code in codes(copy).items() if code != before[name]}
    file.write_text(text)
    return found


def test_every_stage_has_its_own_code_and_an_unknown_one_is_refused():
    found = [stage_code(stage) for stage in ("corpus", "evaluation", *TABLE)]
    assert len(set(found)) == len(found) and all(len(code) == 12 for code in found)
    with pytest.raises(KeyError, match="no stage sftt"):
        stage_code("sftt")


def test_a_changed_statement_changes_the_stages_that_reach_it_through_other_modules(copy, before):
    assert changed(copy, "stages/dpo.py", lambda text: text + "\nEXTRA = 1\n", before) == {"dpo"}
    reached = changed(copy, "stages/training/supervised.py", lambda text: text + "\nEXTRA = 1\n", before)
    assert {"align", "sft", "personalise"} <= reached and not {"base", "ctc", "corpus", "dpo"} & reached
    assert "corpus" in changed(copy, "corpus/speech.py", lambda text: text + "\nEXTRA = 1\n", before)


def test_comments_docstrings_and_blank_lines_do_not_count(copy, before):
    def reword(text: str) -> str:
        return text.replace('"""`dpo`', '"""Reworded `dpo`', 1).replace("\n\n\n", "\n\n\n\n# a comment\n\n", 1)

    assert changed(copy, "stages/dpo.py", reword, before) == set()


def test_options_are_part_of_a_stages_key_and_not_of_its_code(copy, before):
    assert changed(copy, "config/sections.py", lambda text: text + "\nEXTRA = 1\n", before) == set()


def test_a_data_file_that_a_module_names_counts(copy, before):
    assert changed(copy, "evals/safety/refusal_phrases.yaml", lambda text: text + "\n# more\n", before) == {
        "evaluation"
    }


def test_the_version_names_the_commit_and_whether_the_package_differs_from_it(tmp_path, copy):
    assert len(code_version().partition("+")[2]) == 12
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=copy, check=True, capture_output=True)

    def version() -> str:
        code = "from posttrain.machine.source import code_version; print(code_version())"
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=copy, env=environment
        )
        return done.stdout.strip()

    clean = version()
    assert "-dirty" not in clean
    with (copy / "posttrain" / "errors.py").open("a") as file:
        file.write("\nEXTRA = 1\n")
    assert version().partition("+")[0] == clean.partition("+")[0] + "-dirty"
    assert version().partition("+")[2] != clean.partition("+")[2]
