"""Report a full disk in one line: which disk is full and how to continue."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posttrain.errors import DiskFullError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SAID = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|disk is full"
    r"|os error (28|122|27)\b|\[Errno (28|122|27)\]",
    re.IGNORECASE,
)
"""Messages for a full disk of libraries that raise their own errors (safetensors, tokenizers, pyarrow, sqlite)."""
PERHAPS = re.compile(
    r"requested and \d+ written|PytorchStreamWriter failed|unexpected pos \d+|write(_| )(failed|error)|System error",
    re.IGNORECASE,
)
"""Messages of numpy, torch and libsndfile for any failed write: a full disk if less than NO_ROOM bytes are free."""
NO_ROOM = 4 << 20
MIB = 2**20


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Raise DiskFullError, with one line that names the disk, if the block fails because a disk is full."""
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if message := told(error, folder):
            raise DiskFullError(message) from error
        raise


def told(error: BaseException, folder: Path) -> str | None:
    """One line about the full disk; None for any other error. `folder`: where the command writes."""
    chain = list(_chain(error))
    places = [_existing(Path(p)) for e in chain if isinstance(e, OSError) and isinstance(p := e.filename, str)]
    tight = min([_existing(folder), _existing(Path(tempfile.gettempdir())), *places], key=_free)
    numbers = {e.errno for e in chain if isinstance(e, OSError)}
    text = " ".join(str(e) for e in chain)
    found = SAID.search(text)
    if not numbers & FULL and not found and not (PERHAPS.search(text) and _free(tight) < NO_ROOM):
        return None
    again = "give the same command again: it goes on from the last finished step"
    said = found.group(0).lower() if found else ""
    if errno.EFBIG in numbers or any(part in said for part in ("too large", "27")):
        return (
            f"a file is larger than the file system of {_existing(folder)}, or `ulimit -f`, allows;"
            f" raise the limit or put the run on another disk with --run FOLDER, then {again}"
        )
    quota = errno.EDQUOT in numbers or any(part in said for part in ("quota", "122"))
    usage = shutil.disk_usage(tight)
    room = f"{usage.free / MIB:,.1f} MiB of {usage.total / MIB:,.0f} MiB free"
    if hasattr(os, "statvfs") and (state := os.statvfs(tight)).f_files and not state.f_favail:
        room += ", but no room for another file (no inodes left)"
    what = "your quota is used up" if quota else "the disk is full"
    return f"{what}: {tight} has {room}; free some, or put the run on another disk with --run FOLDER, then {again}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _existing(path: Path) -> Path:
    """The path if it is a folder, else the nearest existing folder above it."""
    path = Path(os.path.abspath(path))
    return next((p for p in (path, *path.parents) if p.is_dir()), Path(os.sep))


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 1 << 62
