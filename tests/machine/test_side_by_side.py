"""Work that hangs on other work waits for it; what does not runs beside it; a failure stops what has not begun."""

import os
import time
from functools import partial
from pathlib import Path

import pytest

from posttrain.machine.side_by_side import run_all

WORK = {"base": set(), "left": {"base"}, "right": {"base", "made elsewhere"}, "last": {"left", "right"}}


def work(folder: Path, name: str) -> None:
    """Leaves a file with the files that it found; left and right each wait for the other."""
    (folder / f"{name}.begun").touch()
    other = {"left": "right", "right": "left"}.get(name)
    end = time.monotonic() + 60
    while other and not (folder / f"{other}.begun").exists():
        assert time.monotonic() < end, f"{other} does not run beside {name}"
        time.sleep(0.01)
    print(f"{name} says {os.environ['OMP_NUM_THREADS']}")
    (folder / f"{name}.done").write_text(" ".join(sorted(path.stem for path in folder.glob("*.done"))))


def fail(folder: Path, name: str) -> None:
    if name == "left":
        raise RuntimeError("left: loss is nan")
    (folder / f"{name}.done").touch()


def test_each_waits_for_what_it_needs_and_the_rest_runs_beside(tmp_path):
    run_all(WORK, partial(work, tmp_path), 2, tmp_path / "logs")
    assert (tmp_path / "base.done").read_text() == ""
    assert (tmp_path / "last.done").read_text() == "base left right"
    assert (tmp_path / "logs" / "right.log").read_text() == f"right says {max(1, (os.cpu_count() or 1) // 2)}\n"


def test_a_failure_is_raised_and_nothing_is_begun_after_it(tmp_path):
    with pytest.raises(RuntimeError, match="left: loss is nan"):
        run_all(WORK, partial(fail, tmp_path), 1, tmp_path / "logs")
    assert {path.stem for path in tmp_path.glob("*.done")} == {"base"}
