"""Write files that are either whole or absent: written under another name, flushed to disk, then renamed.

Every file that a later command relies on is written here: after a crash or a full disk, it is the old one or the new.
"""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

PARTIAL = ".partial"
"""Ending of a file or folder that is being written."""


def write_text(path: Path | str, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all; returns its path."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Write a file, whole or not at all; returns its path."""
    with beside(path) as partial:
        partial.write_bytes(content)
    return Path(path)


def write_json(path: Path | str, value: Any) -> Path:
    """Write a JSON file, whole or not at all; returns its path. ValueError on NaN, which is not JSON."""
    return write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def write_json_lines(path: Path | str, rows: Iterable[Any]) -> Path:
    """Write a file of JSON lines, whole or not at all; returns its path."""
    with writing(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return Path(path)


@contextmanager
def writing(path: Path | str) -> Iterator[IO[str]]:
    """A text file to write in UTF-8; it is moved into place when the block succeeds, else removed."""
    with beside(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def beside(path: Path | str) -> Iterator[Path]:
    """A path to write to, also for a library; it is flushed and renamed when the block succeeds, else removed.

    A symbolic link is followed, and what is not a regular file, such as /dev/stdout, is written to as it is.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        yield target
        return
    partial = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL}")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(target.parent)


def move(partial: Path, path: Path) -> None:
    """Move a file that is whole and flushed to its place."""
    os.replace(partial, path)
    _sync(path.parent)


@contextmanager
def new_folder(folder: Path, keep: Path | None = None) -> Iterator[Path]:
    """An empty folder FOLDER.partial to fill; it is flushed and renamed when the block succeeds, else removed.

    An earlier FOLDER is moved to `keep`, or removed if that is None.
    """
    partial = folder.with_name(folder.name + PARTIAL)
    remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        sync_tree(partial)
    except BaseException:
        remove(partial)
        raise
    if folder.exists() and keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder, keep)
    remove(folder)
    os.replace(partial, folder)
    _sync(folder.parent)


def remove(path: Path) -> None:
    """Remove a file or folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below a folder to disk."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(place) / name)
        _sync(Path(place))


def read_json(path: Path) -> Any:
    """A JSON file's value. ValueError, with the path, if it is missing, empty or broken, as after a crash."""
    if problem := damage(path):
        raise ValueError(problem)
    return json.loads(path.read_text(encoding="utf-8"))


def json_or_empty(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty if the file is missing, empty or broken."""
    try:
        return dict(read_json(path))
    except ValueError:
        return {}


def damage(path: Path, kind: type = dict) -> str | None:
    """What is wrong with a JSON or YAML file that holds a `kind`, or with a file of JSON lines; None where it is whole.

    In a file of JSON lines only the last line is checked: a crash loses the end of a file, or all of it.
    """
    import yaml

    try:
        content = path.read_bytes() if path.suffix != ".jsonl" else _tail(path)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error})"
    if not content.strip(b"\0 \r\n\t"):
        return f"{path} is empty"
    try:
        text = content.decode("utf-8")
        value = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        return f"{path} is broken ({str(error).splitlines()[0]})"
    if not isinstance(value, kind):
        return f"{path} is broken (it holds {type(value).__name__}, expected {kind.__name__})"
    return None


def broken_tensors(path: Path) -> str | None:
    """What is wrong with a safetensors file: missing, cut off, or not one; its tensors are not read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return None
    except (OSError, SafetensorError) as error:
        return f"{path} is broken ({error})" if path.is_file() else f"{path} is missing"


def _tail(path: Path) -> bytes:
    """The last line of a file; broken JSON in its place if the line end is missing."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        step = 1 << 16
        while True:
            file.seek(max(0, size - step))
            content = file.read()
            if content and not content.endswith(b"\n"):
                return b"{ cut off"
            body = content.rstrip(b"\n")
            if b"\n" in body or step >= size:
                return body.rpartition(b"\n")[2]
            step *= 8


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(content: bytes | str | Iterable[bytes | str]) -> str:
    """The SHA-256 of bytes, of a text (as UTF-8), or of several of them one after the other, in hex."""
    digest = hashlib.sha256()
    for part in (content,) if isinstance(content, bytes | str) else content:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def value_hash(value: Any) -> str:
    """16 hex digits of the hash of a value as JSON with sorted keys; what JSON does not know counts as its text."""
    return content_hash(json.dumps(value, sort_keys=True, default=str))[:16]


def rounded(value: Any) -> Any:
    """The value with four digits of every float in it."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        with suppress(OSError):
            os.close(handle)
