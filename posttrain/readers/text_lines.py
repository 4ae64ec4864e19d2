"""Reads text files line by line, plain or packed with gzip, so that a million rows do not fill the memory.

What a line end is, and which files are not text, is as in `text_files`.
"""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, cast

from posttrain.readers import text_files

BLOCK_BYTES = 1 << 20
LONGEST_LINE = 1 << 22
"""Characters; a longer line means that the file is something else."""
PACKED_BYTES, LARGEST_RATIO = 1 << 26, 200
"""A gzip file that gets larger than the first when unpacked may not be this many times as large as the file: tables
shrink to a tenth or a thirtieth, and what shrinks more is made to fill the memory."""


def read(path: Path, wanted: str, problems: list[str], lost: bool = True) -> Iterator[tuple[int, str, str | None]]:
    """(number, line, what is wrong with a character of it or None) of every line that is not blank.

    A file that cannot be read, or not to its end, is added to `problems`; `wanted` describes the file, for messages.
    lost: U+FFFD is wrong too.
    """
    name = text_files.shown(path)
    try:
        packed = path.suffix.lower() == ".gz"
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if packed else nullcontext(raw) as file:
            most = max(PACKED_BYTES, LARGEST_RATIO * path.stat().st_size) if packed else None
            yield from _lines(cast(IO[bytes], file), most, lost)
    except FileNotFoundError:
        problems.append(f"{name} not found; check the path, or name {wanted}")
    except IsADirectoryError:
        problems.append(f"{name} cannot be read: it is a folder; name {wanted}")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problems.append(f"{name} cannot be unpacked: {error}; copy it again")
    except (OSError, ValueError) as error:
        problems.append(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}")


def _lines(file: IO[bytes], most: int | None, lost: bool) -> Iterator[tuple[int, str, str | None]]:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    number, done, rest, more = 0, 0, "", True
    while more:
        block = file.read(BLOCK_BYTES)
        if not done and (what := text_files.not_text(block[:400])):
            raise ValueError(what)
        text = decoder.decode(block, final=not block)
        text = rest + (text if done else text.removeprefix(text_files.MARK))
        done += len(block)
        more = bool(block)
        if most is not None and done > most:
            raise ValueError(f"it is over {most:,} bytes unpacked; unpack it yourself if that is right")
        whole = text.rstrip("\r") if more else text  # the line feed after a carriage return may be in the next block
        lines = text_files.LINE_END.split(whole) if "\r" in whole else whole.split("\n")
        rest = lines.pop() + text[len(whole) :] if more else ""
        if len(rest) > LONGEST_LINE:
            raise ValueError(
                f"line {number + len(lines) + 1} has over {LONGEST_LINE:,} characters; write shorter lines"
            )
        plain = whole.isascii() and "\0" not in whole
        for line in lines:
            number += 1
            if line and not line.isspace():
                yield number, line, None if plain else text_files.bad_lines(line, [0], lost).get(1)
