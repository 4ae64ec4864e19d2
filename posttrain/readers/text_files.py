"""Reads text files from users: decodes UTF-8, or reports what the file is instead."""

import codecs
import re
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

LINE_END = re.compile(r"\r{0,2}\n|\r")
"""Unix, Windows and old Mac line ends, and `\\r\\r\\n`, which some exports write. No other character ends a line."""
MARK = "\ufeff"
"""The byte order mark that Windows programs put at the start of a UTF-8 file."""
OTHER_KINDS = {
    codecs.BOM_UTF32_LE: "is UTF-32; save it as UTF-8",
    codecs.BOM_UTF32_BE: "is UTF-32; save it as UTF-8",
    codecs.BOM_UTF16_LE: "is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)",
    codecs.BOM_UTF16_BE: "is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)",
    b"PK\x03\x04": "is a zip archive or an Excel workbook; export the table as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook; export the table as CSV UTF-8",
    b"\x1f\x8b": "is compressed; unpack it",
    b"RIFF": "is a WAV file, not text; name it where a recording is wanted",
    b"fLaC": "is a FLAC file, not text; name it where a recording is wanted",
    b"OggS": "is an Ogg file, not text; name it where a recording is wanted",
    b"%PDF": "is a PDF; export the table as CSV UTF-8",
}
"""First bytes of files that are not UTF-8 text → what they are; UTF-32 precedes UTF-16, whose mark it begins with."""
_BAD = re.compile("[\ud800-\udfff\0]")
_BAD_OR_LOST = re.compile("[\ud800-\udfff\0\ufffd]")


def read(path: Path, wanted: str, problems: list[str]) -> str | None:
    """The file's text without a byte order mark; None if it cannot be read, with the reason added to `problems`.

    `wanted` describes the expected file, for messages. Bytes that are not UTF-8 are kept as lone surrogates, which
    `bad_lines` reports.
    """
    why = None
    content = b""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        problems.append(f"{shown(path)} not found; check the path, or name {wanted}")
        return None
    except IsADirectoryError:
        why = f"it is a folder; name {wanted}"
    except (OSError, ValueError) as error:
        why = f"{getattr(error, 'strerror', None) or error}; name {wanted}"
    why = why or not_text(content[:400])
    if why is not None:
        problems.append(f"{shown(path)} cannot be read: {why}")
        return None
    return content.decode("utf-8", "surrogateescape").removeprefix(MARK)


def not_text(start: bytes) -> str | None:
    """Why a file that begins with these bytes is not UTF-8 text, and what to do; None if it may be text."""
    kind = next((kind for first, kind in OTHER_KINDS.items() if start.startswith(first)), None)
    if kind is not None:
        return f"it {kind}"
    even, odd = start[::2].count(0), start[1::2].count(0)
    if even + odd > len(start) / 4:
        return "it is not text" if even and odd else "it looks like UTF-16; save it as UTF-8"
    return None


def line_starts(text: str) -> list[int]:
    """Where each line starts, as offsets into the text."""
    return [0, *(match.end() for match in LINE_END.finditer(text))]


def bad_lines(text: str, starts: Sequence[int], lost: bool = True) -> dict[int, str]:
    """Line number → what is wrong with its first bad character: a byte that is not UTF-8, or a NUL.

    lost: also report U+FFFD, which marks a character that an earlier conversion lost.
    """
    found: dict[int, str] = {}
    for match in (_BAD_OR_LOST if lost else _BAD).finditer(text):
        number = bisect_right(starts, match.start())
        found.setdefault(number, _what(match[0], match.start() - starts[number - 1] + 1))
    return found


def shown(path: Path) -> str:
    """The path for a message; quoted if it holds characters that a terminal would act on."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _what(character: str, place: int) -> str:
    if character == "\0":
        return f"a NUL byte at character {place}; delete it, or export the file again"
    if character == "\ufffd":
        return f"U+FFFD at character {place}, where a character was lost in a conversion; write it again"
    byte = ord(character) & 0xFF
    meant = bytes([byte]).decode("cp1252", "ignore")
    guess = f" ({meant!r} in Windows-1252)" if meant else ""
    return f"not UTF-8: byte 0x{byte:02X} at character {place} cannot be read{guess}; save the file as UTF-8"
