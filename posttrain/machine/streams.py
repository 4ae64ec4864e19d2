"""Printing never ends a command: characters that a terminal cannot show are spelled out, a closed pipe is ignored."""

import codecs
import io
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

SPELLED = {
    "✓": "ok", "✗": "x", "→": "->", "←": "<-", "■": "*", "–": "-", "—": "-", "−": "-", "‑": "-", "…": "...", "×": "x",
    "·": "*", "±": "+-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "‖": "||", "Δ": "delta ", "κ": "kappa",
    "α": "alpha", "β": "beta", "‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "•": "*", "█": "#", "│": "|", "─": "-",
    "━": "-", "ß": "ss", "æ": "ae", "ø": "o", "œ": "oe", "ł": "l",
}  # fmt: skip
"""Replacements for terminals without these characters; other accented letters lose their accents."""
HANDLER = "posttrain.spelled"
CONTROL = re.compile("[\x05\x07\x08\x0b-\x0f\x1b\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters with which text moves the cursor, changes colour or direction, rings the bell, or queries the terminal."""
DEFAULT_ERRORS = ("strict", "surrogateescape", "backslashreplace")


@contextmanager
def patient() -> Iterator[None]:
    """Make standard output and error accept any text in this block. What cannot be encoded is spelled out, and what
    nobody reads any more (`| head`) is dropped."""
    codecs.register_error(HANDLER, _spelled)
    before = sys.stdout, sys.stderr
    nowhere = open(os.devnull, "w", encoding="utf-8") if None in before else None  # noqa: SIM115
    undo = [_lenient(stream) for stream in before]
    sys.stdout, sys.stderr = (Patient(stream or nowhere) for stream in before)  # type: ignore[assignment, arg-type]
    try:
        yield
    finally:
        for patient_stream in (sys.stdout, sys.stderr):
            if isinstance(patient_stream, Patient):
                patient_stream.flush()
        sys.stdout, sys.stderr = before
        for stream, errors in zip(before, undo, strict=True):
            if isinstance(stream, io.TextIOWrapper) and errors is not None and not stream.closed:
                stream.reconfigure(errors=errors)
        if nowhere:
            nowhere.close()


def visible(text: str) -> str:
    """Untrusted text for a terminal: control characters are shown, not executed."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def is_unicode(stream: TextIO) -> bool:
    """Whether the stream can take every character."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").replace("_", "").startswith("utf")


class Patient(io.TextIOBase):
    """A text stream that still accepts text after its reader has gone."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Like the stream's own."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            _to_nowhere(self._stream)
            return len(text)

    def flush(self) -> None:
        """Like the stream's own."""
        try:
            if not self._stream.closed:
                self._stream.flush()
        except BrokenPipeError:
            _to_nowhere(self._stream)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _lenient(stream: TextIO | None) -> str | None:
    """Spell out what the stream cannot encode, unless the user chose another handler; returns the previous handler."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors in DEFAULT_ERRORS:
        before = stream.errors
        stream.reconfigure(errors=HANDLER)
        return before
    return None


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """An error handler for `codecs` that replaces each character with ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ascii(character) for character in error.object[error.start : error.end]), error.end


def _ascii(character: str) -> str:
    if character in SPELLED:
        return SPELLED[character]
    if "\udc80" <= character <= "\udcff":  # a byte in a file's name that is not text
        return f"\\x{ord(character) - 0xDC00:02x}"
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or "?"


def _to_nowhere(stream: TextIO) -> None:
    """Send everything that is still written to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
