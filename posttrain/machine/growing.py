"""A safetensors file of one tensor that is written block by block, so that the tensor never has to fit in memory.

The library writes a file at once. Its format is simple: eight bytes with the header's length, the header in JSON (which
may end in spaces), and the values. Room for the header is left at the start and filled in at the end.
"""

import json
import os
from pathlib import Path

import numpy as np

HEADER = 2_040
"""Bytes left for the header."""
TYPES = {"int16": "I16", "float16": "F16"}


class Growing:
    """The file while it is written; until `finish`, it has no header and no program reads it as safetensors."""

    def __init__(self, path: Path, name: str, dtype: str, width: tuple[int, ...] = (), rows: int = 0):
        """`rows`: how many rows (R, *width) of an earlier, unfinished file to keep; with 0, a new file."""
        self.name, self.dtype, self.width, self.rows = name, np.dtype(dtype), width, rows
        self.row_bytes = self.dtype.itemsize * int(np.prod(width))
        self.file = path.open("r+b") if rows else path.open("wb")
        self.file.truncate(8 + HEADER + rows * self.row_bytes)
        self.file.seek(0, os.SEEK_END)

    def append(self, block: np.ndarray) -> None:
        """Write rows (R, *width) at the end."""
        if block.dtype != self.dtype or block.shape[1:] != self.width:
            raise ValueError(f"block is {block.dtype} {block.shape}, expected {self.dtype} (rows, {self.width})")
        self.file.write(np.ascontiguousarray(block).data)
        self.rows += len(block)

    def flush(self) -> None:
        """Bring what was appended to disk, so that a crash keeps it."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def finish(self, metadata: dict[str, str] | None = None) -> None:
        """Write the header and close the file."""
        about = {
            "dtype": TYPES[self.dtype.name],
            "shape": [self.rows, *self.width],
            "data_offsets": [0, self.rows * self.row_bytes],
        }
        header = {self.name: about} | ({"__metadata__": metadata} if metadata else {})
        text = json.dumps(header).encode().ljust(HEADER)
        if len(text) > HEADER:
            raise ValueError(f"the header takes {len(text)} bytes, expected at most {HEADER}; shorten the metadata")
        self.file.seek(0)
        self.file.write(HEADER.to_bytes(8, "little") + text)
        self.flush()
        self.close()

    def close(self) -> None:
        """Close the file, finished or not."""
        self.file.close()
