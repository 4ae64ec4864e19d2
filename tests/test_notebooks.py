"""The notebooks: how they are built, and that each runs at smoke size and keeps its promises."""

import ast
from pathlib import Path

import nbformat
import pytest
from conftest import script
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from posttrain.cli.notebook import finished

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STEPS = ("look", "measure", "train", "measure again", "what you learned")
LONGEST_DEFINITION = 5
FEW = {
    "05_enhance": "from posttrain.evals.hearing import enhancement\nenhancement.CLIPS, enhancement.TIMED = 20, 1",
}
"""Run first: the notebook's promises show with 20 clips, too."""
each = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code(notebook: NotebookNode, tag: str | None = None) -> list[str]:
    """Sources of its code cells, or of those with that tag."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell.source for cell in cells if tag is None or tag in cell.metadata.get("tags", [])]


def called(sources: list[str]) -> set[str]:
    """Names of what cells call."""
    calls = [node.func for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {ast.unparse(call).rpartition(".")[2] for call in calls}


def below(notebook: NotebookNode) -> dict[str, list[str]]:
    """Heading of the second level, in small letters → the code cells below it."""
    found: dict[str, list[str]] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            found[cell.source.splitlines()[0].removeprefix("## ").lower()] = []
        elif cell.cell_type == "code" and found:
            found[list(found)[-1]].append(cell.source)
    return found


def test_there_are_seven():
    assert [path.stem[:2] for path in PATHS] == ["01", "02", "03", "04", "05", "06", "07"]


@each
def test_outputs_are_stripped_and_ids_are_stable(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    left = [c.id for c in notebook.cells if c.cell_type == "code" and (c.outputs or c.execution_count)]
    assert not left, f"{path.name} has outputs in {left}; make format strips them"


@each
def test_it_begins_with_a_promise_in_three_bullets_and_its_parameters(path):
    notebook = read(path)
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert sum(line.startswith("- ") for line in first.source.splitlines()) == 3
    [parameters] = code(notebook, "parameters")
    own = "smol" if path.stem == "07_real" else "tiny"
    assert parameters == code(notebook)[0] == f'recipe, run = "{own}", "runs/{own}"'


@each
def test_it_goes_from_looking_to_measuring_the_same_way_again(path):
    steps = below(read(path))
    found = [next(heading for heading in steps if heading.startswith(step)) for step in STEPS]
    assert [heading for heading in steps if heading in found] == found
    before, after = (called(steps[heading]) for heading in (found[1], found[3]))
    assert before & after & {"measure", "alignment", "judge", "chart"}, "nothing is measured in the same way twice"


@each
def test_it_defines_nothing_long(path):
    for source in code(read(path)):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
                assert (node.end_lineno or 0) - node.lineno < LONGEST_DEFINITION, ast.unparse(node)


@each
def test_one_cell_does_the_same_on_llama_31_8b(path):
    [cell] = code(read(path), "gpu")
    assert "on_gpu" in called([cell]) and "llama31_8b" in cell


@each
def test_its_last_words_hold_it_to_its_promises(path):
    notebook = read(path)
    last = [source for source in code(notebook) if source not in code(notebook, "gpu")][-1]
    checks = [node for node in ast.walk(ast.parse(last)) if isinstance(node, ast.Assert)]
    assert len(checks) >= 3 and all(check.msg for check in checks)


@pytest.fixture(scope="module")
def kernel():
    """One process for all notebooks, so that the libraries are loaded once; each begins without the names of others."""
    manager = AsyncKernelManager(kernel_name="python3")
    yield manager
    run_sync(manager.shutdown_kernel)(now=True)


@each
def test_it_runs_at_smoke_size_and_keeps_its_promises(path, smoke_run, kernel, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the cell for a GPU shows its plan
    monkeypatch.delenv("DATA_ROOT", raising=False)
    execute = script("notebooks/execute.py")
    before = {file: file.stat().st_mtime_ns for file in smoke_run.rglob("*") if file.is_file()}
    notebook = execute.read(path, "smoke", smoke_run)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f\n" + FEW.get(path.stem, "")))
    execute.execute(notebook, kernel)
    assert {file: file.stat().st_mtime_ns for file in smoke_run.rglob("*") if file.is_file()} == before


def test_a_broken_promise_fails_the_notebook():
    cell = nbformat.v4.new_code_cell('assert 0.3 <= 0.1, "WER is 0.3, promised 0.1"')
    with pytest.raises(CellExecutionError, match=r"WER is 0\.3, promised 0\.1"):
        script("notebooks/execute.py").execute(nbformat.v4.new_notebook(cells=[cell]))


def test_a_run_that_is_not_finished_is_one_line_that_says_what_to_run(tmp_path):
    with pytest.raises(SystemExit) as ended:
        finished("smol", tmp_path / "nothing")
    said = str(ended.value)
    assert "first run make weights && make pipeline RECIPE=smol DATA_ROOT=folder" in said and "\n" not in said
