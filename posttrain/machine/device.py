"""Device and memory of this machine; and the one place that prints progress."""

import ctypes
import gc
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

QUIET_S = 5.0
"""Work that takes less has no bar of its own."""


def say(text: str) -> None:
    """Print progress to stderr; stdout carries results only."""
    print(text, file=sys.stderr, flush=True)


def progress(total: int, what: str, unit: str) -> "tqdm[Any]":
    """A bar on stderr that appears after QUIET_S, and disappears when the work is done."""
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=what, unit=unit, delay=QUIET_S, leave=False, dynamic_ncols=True)


def quiet_libraries() -> None:
    """Silence the libraries' progress bars, notices and warnings; our own bars and lines are enough."""
    import logging
    import warnings

    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def pick_device(device: str) -> str:
    """The device; `auto` becomes cuda if available, else cpu."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def reset_peak_rss() -> None:
    """Reset the memory peak, so that each stage has its own; only Linux can, elsewhere it is the whole process's.

    Memory that earlier stages freed is returned to the system first, since glibc would keep it.
    """
    gc.collect()
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return


def peak_rss_mb() -> float:
    """Highest resident memory in MB since `reset_peak_rss`."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024, 1)
    except (OSError, StopIteration):
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
