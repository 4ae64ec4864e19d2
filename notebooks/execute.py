"""Executes notebooks and writes each as a page: `make notebooks`; the tests do the same at smoke size."""

import argparse
import sys
import time
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from posttrain.machine import streams

FOLDER = Path(__file__).parent


def main() -> int:
    """Status 1 where a notebook failed; its page shows how far it came, and the others are executed all the same."""
    parser = argparse.ArgumentParser(description="execute notebooks and write them as pages")
    parser.add_argument("names", nargs="*", help="such as 01_listen; all where none is named")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"), help="the recipe's run; what it lacks is made")
    given = parser.parse_args()
    known = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}
    if unknown := [name for name in given.names if name not in known]:
        print(f"{', '.join(unknown)} is not there; name one of {', '.join(known)}", file=sys.stderr)
        return 2
    pages = given.run.parent / "notebooks" / given.run.name
    pages.mkdir(parents=True, exist_ok=True)
    failed = [name for name in given.names or known if not _page(known[name], given.recipe, given.run, pages)]
    print(f"failed: {', '.join(failed)}" if failed else f"all pages are in {pages}")
    return int(bool(failed))


def read(path: Path, recipe: str, run: Path) -> NotebookNode:
    """The notebook, its cell tagged `parameters` set to that recipe and run."""
    notebook = nbformat.read(path, as_version=4)
    parameters = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = f"recipe, run = {recipe!r}, {str(run)!r}"
    return notebook


def execute(notebook: NotebookNode, kernel: AsyncKernelManager | None = None) -> None:
    """Run every cell in the project's folder, in a kernel of its own or in `kernel`; outputs go into the notebook.

    Raises CellExecutionError with the cell and its traceback at the first that fails.
    """
    NotebookClient(
        notebook,
        km=kernel,
        timeout=None,
        coalesce_streams=True,
        resources={"metadata": {"path": str(FOLDER.parent)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    ).execute()


def _page(path: Path, recipe: str, run: Path, pages: Path) -> bool:
    """Execute, write the page without progress bars and notices, print how long it took; False where a cell failed."""
    clock, problem = time.monotonic(), ""
    notebook = read(path, recipe, run)
    try:
        execute(notebook)
    except CellExecutionError as error:
        problem = f"\n{error}"
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    page = pages / f"{path.stem}.html"
    page.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
    print(f"{path.stem:<24}  {time.monotonic() - clock:5.0f} s  {page}{problem}", flush=True)
    return not problem


if __name__ == "__main__":
    with streams.patient():
        status = main()
    sys.exit(status)
