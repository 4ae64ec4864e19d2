"""Reads CTranslate2's container of named arrays, version 6: every length is checked, and nothing is executed.

Little-endian: version u32, specification (text), revision u32, number of arrays u32; for each array its name (text),
rank u8, sizes u32, type u8, bytes u32 and the bytes; number of aliases u32; for each its name and that of an array. A
text is its length u16 and its UTF-8 bytes, of which the last is zero. Source: CTranslate2, python/ctranslate2/specs/
model_spec.py.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posttrain.errors import InputError

VERSION = 6
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""Type number → dtype; bfloat16 (5), which numpy lacks, is not read."""


@dataclass(frozen=True)
class Container:
    """What a container holds."""

    specification: str
    """The architecture, such as WhisperSpec."""
    revision: int
    """Of the specification."""
    arrays: dict[str, np.ndarray]
    """Name → array, read-only."""
    aliases: dict[str, str]
    """Further names → the array's."""


@dataclass
class _Cursor:
    """A place in the file's bytes; reading past the end is an InputError."""

    path: Path
    content: bytes
    place: int = 0

    def take(self, count: int, what: str) -> bytes:
        left = len(self.content) - self.place
        if count > left:
            raise _damaged(self.path, f"{what} at byte {self.place} needs {count} bytes, and {left} are left")
        self.place += count
        return self.content[self.place - count : self.place]

    def number(self, kind: str, what: str) -> int:
        return int(struct.unpack("<" + kind, self.take(struct.calcsize(kind), what))[0])

    def text(self, what: str) -> str:
        found = self.take(self.number("H", what), what)
        try:
            if found[-1:] == b"\0" and b"\0" not in found[:-1]:
                return found[:-1].decode("utf-8")
        except UnicodeDecodeError:
            pass
        raise _damaged(
            self.path, f"{what} before byte {self.place} is {found[:40]!r}, expected UTF-8 that ends in zero"
        )


def read(path: Path) -> Container:
    """The arrays and aliases of a model.bin; InputError with path, value and fix if it is cut off or anything else."""
    cursor = _Cursor(path, path.read_bytes())
    version = cursor.number("I", "the version")
    if version != VERSION:
        raise InputError(f"{path} has version {version}, expected {VERSION}; convert the model with CTranslate2 4")
    specification, revision = cursor.text("the specification"), cursor.number("I", "the revision")
    arrays: dict[str, np.ndarray] = {}
    for number in range(cursor.number("I", "the number of arrays")):
        name = cursor.text(f"the name of array {number}")
        if name in arrays:
            raise _damaged(path, f"array {name} occurs twice")
        arrays[name] = _array(cursor, name)
    aliases = {}
    for number in range(cursor.number("I", "the number of aliases")):
        name, target = cursor.text(f"the name of alias {number}"), cursor.text(f"the array of alias {number}")
        if name in arrays or name in aliases or target not in arrays:
            raise _damaged(path, f"alias {name} stands for {target}, expected a new name for an array that is there")
        aliases[name] = target
    if left := len(cursor.content) - cursor.place:
        raise _damaged(path, f"{left} bytes follow the last alias, expected none")
    return Container(specification, revision, arrays, aliases)


def _array(cursor: _Cursor, name: str) -> np.ndarray:
    shape = [cursor.number("I", f"a size of {name}") for _ in range(cursor.number("B", f"the rank of {name}"))]
    kind, size = cursor.number("B", f"the type of {name}"), cursor.number("I", f"the length of {name}")
    if kind not in TYPES:
        known = ", ".join(f"{number} ({np.dtype(dtype).name})" for number, dtype in TYPES.items())
        raise InputError(f"{cursor.path}: array {name} has type {kind}, expected one of {known}; convert it to float16")
    dtype = np.dtype(TYPES[kind]).newbyteorder("<")
    if size != math.prod(shape) * dtype.itemsize:
        raise _damaged(
            cursor.path, f"array {name} has {size} bytes, expected {math.prod(shape)} × {dtype.itemsize} for {shape}"
        )
    return np.frombuffer(cursor.take(size, f"array {name}"), dtype).reshape(shape)


def _damaged(path: Path, problem: str) -> InputError:
    return InputError(f"{path} is not a whole CTranslate2 container: {problem}; get the file again")
