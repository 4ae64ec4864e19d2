"""Only one command at a time writes to a run. The system releases the lock when a process ends, however it ends."""

import errno
import fcntl
import itertools
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from posttrain.errors import InputError

NAME = ".lock"
"""The lock file in a run's folder; it names the lock's holder. A file left by a killed process locks nothing."""
ATTEMPTS = 1000


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's lock while the block runs. Readers, and runs that branch from this one, need no lock.

    InputError at once, with process, command and start time, if another command holds it. The folder is created if
    missing, and removed again if the block leaves it empty.
    """
    with _opened(folder) as file:
        _sign(file)
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / NAME).unlink()
                if not any(folder.iterdir()):
                    folder.rmdir()


def _opened(folder: Path) -> IO[str]:
    """The lock file, locked; it is opened again if its last holder removed it in the meantime."""
    for attempt in itertools.count():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / NAME).open("a+", encoding="utf-8")
        except (FileExistsError, FileNotFoundError) as error:  # removed in the meantime, or it cannot be created
            if attempt >= ATTEMPTS:
                raise InputError(f"{folder} cannot be made: {error.strerror}; name another --run") from error
            continue
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise InputError(f"{folder} cannot be written to: {error.strerror}; name another --run") from error
        if not _taken(file):
            with file:
                raise InputError(_refusal(folder, file))
        if _in_place(file, folder / NAME):
            return file
        file.close()
    raise AssertionError("unreachable")


def held(path: Path) -> IO[str]:
    """A file, locked until it is closed or the process ends; InputError while another command writes it."""
    while True:
        file = path.open("a+", encoding="utf-8")
        if not _taken(file):
            file.close()
            raise InputError(f"another posttrain is writing {path}; wait for it, or name another --out")
        if _in_place(file, path):
            return file
        file.close()


@contextmanager
def waiting(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder briefly, waiting until it is free."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _taken(file: IO[str]) -> bool:
    """Take the lock if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _in_place(file: IO[str], path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _sign(file: IO[str]) -> None:
    """Write the holder into the lock file."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    who = {"pid": os.getpid(), "host": socket.gethostname(), "command": command[:200]}
    file.truncate(0)
    file.write(json.dumps(who | {"since": datetime.now().astimezone().isoformat(timespec="seconds")}))
    file.flush()


def _refusal(folder: Path, file: IO[str]) -> str:
    file.seek(0)
    try:
        who = json.loads(file.read())
        here = who["host"] == socket.gethostname()
        place = "" if here else f" on {who['host']}"
        holder = f": process {who['pid']}{place} ({who['command']}), since {who['since']}"
        stop = f", stop it (kill {who['pid']})" if here else ""
    except (ValueError, KeyError, TypeError):
        holder, stop = "", ""
    return f"another posttrain is at work in {folder}{holder}; wait for it{stop}, or name another --run"
