"""Printing never ends a command: whatever the terminal's encoding is, and whoever stops reading."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain.__main__ import run
from posttrain.cli import show
from posttrain.machine import streams
from tests.report.made_run import make_run

ENCODINGS = ("ascii", "cp1252", "latin-1", "utf-8")
COMMANDS = ("report one", "gate one", "compare one two --stage align", "run smoke --dry-run", "doctor smoke", "--help")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two made-up runs, in whose folder the commands are given."""
    folder = tmp_path_factory.mktemp("project")
    make_run(folder / "runs" / "one", ["base", "ctc", "align", "sft"], items=10, bootstrap=20)
    make_run(folder / "runs" / "two", ["base", "ctc", "align"], items=10, bootstrap=20)
    return folder


@pytest.fixture(scope="module")
def first():
    """Command → its JSON in the first encoding."""
    return {}


def printed(arguments: list[str], encoding: str, monkeypatch) -> tuple[int, str, str]:
    """Status, stdout and stderr of a command whose terminal has that encoding."""
    written = {}
    for name in ("stdout", "stderr"):
        written[name] = io.BytesIO()
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written[name], encoding=encoding, errors="strict"))
    status = run(arguments)
    found = [written[name].getvalue().decode(encoding) for name in ("stdout", "stderr")]
    assert isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict"  # as it was
    return status, found[0], found[1]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_alike_in_every_encoding(command, encoding, runs, monkeypatch):
    monkeypatch.chdir(runs)
    status, out, err = printed(command.split(), encoding, monkeypatch)
    assert status in (0, 1) and "Traceback" not in err and out.strip()
    if command.startswith(("run", "doctor")):
        assert ("✓ " if encoding == "utf-8" else "\nok ") in out or out.startswith("ok ")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command", ["report one --json", "compare one two --stage align --json", "run smoke --dry-run --json"]
)
def test_json_is_the_same_in_every_encoding(command, encoding, runs, first, monkeypatch):
    monkeypatch.chdir(runs)
    status, out, _ = printed(command.split(), encoding, monkeypatch)
    found = json.loads(out)
    same = first.setdefault(command, found)
    assert status == 0 and found.keys() == same.keys()
    assert command.startswith("run") or found == same  # a plan tells the memory that is free


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_error_that_quotes_any_text_has_status_2(encoding, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, out, err = printed(["report", "Zoë→音\udcff"], encoding, monkeypatch)
    assert status == 2 and out == "" and "no ledger.jsonl" in err
    assert "\\xff" in err and ("Zoë→音" in err if encoding == "utf-8" else "->?" in err)


def test_letters_lose_their_accents_and_signs_are_spelled_out(monkeypatch):
    assert "✗ Ω".encode("ascii", errors=_handler()).decode() == "x ?"
    assert "Zoë – 3 × 4 ≥ −2 …".encode("ascii", errors=_handler()).decode() == "Zoe - 3 x 4 >= -2 ..."
    assert "Zoë – “a”".encode("cp1252", errors=_handler()).decode("cp1252") == "Zoë – “a”"


def _handler() -> str:
    with streams.patient():
        return streams.HANDLER


def test_what_is_quoted_cannot_steer_the_terminal(capsys):
    hostile = "a\x1b[2Jb\x9b31mc\rd\u202ee\x07"
    show.line(hostile)
    show.print_json({"said": hostile, "name": "\udcff"})
    shown = capsys.readouterr().out
    assert not streams.CONTROL.search(shown)
    assert json.loads(shown.partition("\n")[2]) == {"said": hostile, "name": "\udcff"}
    with pytest.raises(SystemExit):
        sys.exit(run(["report", hostile]))
    assert not streams.CONTROL.search(capsys.readouterr().err)


@pytest.mark.parametrize("name", ["cp1252", "ascii"])
def test_the_command_itself_prints_where_the_terminal_is_not_unicode(name, runs):
    ended = subprocess.run(
        [sys.executable, "-m", "posttrain", "report", "one"],
        cwd=runs, capture_output=True, check=False, env=_environment() | {"PYTHONIOENCODING": name},
    )  # fmt: skip
    assert ended.returncode == 0 and b"report.html" in ended.stdout and b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("command", "redirected", "status"),
    [
        ("report one", "| true", 0),
        ("report one --json", "| head -c 1", 0),
        ("--help", "| true", 0),
        ("report nowhere", "2>&1 | true", 2),
        ("report one", ">&-", 0),
        ("report nowhere", "2>&-", 2),
        ("report one", ">&- 2>&-", 0),
    ],
)
def test_a_reader_who_has_gone_does_not_end_the_command(command, redirected, status, runs):
    line = f"{sys.executable} -m posttrain {command} {redirected}; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", line], cwd=runs, env=_environment(), capture_output=True, encoding="utf-8", check=False
    )
    assert ended.returncode == status, ended.stderr
    assert "Traceback" not in ended.stderr and "BrokenPipe" not in ended.stderr


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
