"""Run stages that do not depend on each other in parallel: one process each, with the processor's cores shared.

For most stages the training of a small model is bound by one core, so running branches in parallel takes less time.
Each stage's output goes to logs/NAME.log in the run's folder; the ledger still has the recipe's order.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from tqdm.auto import tqdm

from posttrain.machine.device import say


def run_all(
    work: Mapping[str, set[str]], make: Callable[[str], None], jobs: int, logs: Path, what: str = "stages"
) -> None:
    """Call `make(name)` for every name of `work` (name → names that must be finished before), at most `jobs` at a time.

    `make` is pickled and runs in a separate process. After the first failure nothing new starts; its error is raised
    when the calls that are still running have ended.
    """
    waiting = {name: needs & work.keys() for name, needs in work.items()}
    going: dict[Future[None], str] = {}
    failed: BaseException | None = None
    logs.mkdir(parents=True, exist_ok=True)
    with (
        _threads(max(1, (os.cpu_count() or 1) // jobs)),
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool,
        tqdm(total=len(work), desc=what, unit=what.removesuffix("s"), dynamic_ncols=True) as bar,
    ):
        while going or (waiting and not failed):
            ready = [] if failed else [name for name, needs in waiting.items() if not needs]
            for name in ready[: jobs - len(going)]:
                del waiting[name]
                say(f"■ {name}: begun, see {logs / name}.log")
                going[pool.submit(_logged, make, name, logs / f"{name}.log")] = name
            for future in wait(going, return_when=FIRST_COMPLETED).done:
                name = going.pop(future)
                say(f"■ {name}: {f'failed, see {logs / name}.log' if future.exception() else 'done'}")
                failed = failed or future.exception()
                for needs in waiting.values():
                    needs.discard(name)
                bar.update()
    if failed:
        raise failed


def _logged(make: Callable[[str], None], name: str, log: Path) -> None:
    """Runs in the process of one stage: output goes to a file, and the process ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        make(name)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes started in this block compute with `count` threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
