"""Files are whole or not there, whatever stops a command; what a crash broke is seen."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from posttrain import files


def test_what_is_written_is_there_and_nothing_beside_it(tmp_path):
    files.write_text(tmp_path / "a.txt", "naïve\n")
    files.write_json(tmp_path / "a.json", {"a": [1, "ü"]})
    files.write_json_lines(tmp_path / "a.jsonl", [{"a": 1}, {"b": "\u2028"}])
    with files.writing(tmp_path / "b.txt") as file:
        file.write("one\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "naïve\n"
    assert files.read_json(tmp_path / "a.json") == {"a": [1, "ü"]}
    lines = (tmp_path / "a.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == [{"a": 1}, {"b": "\u2028"}] and lines[-1] == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.jsonl", "a.txt", "b.txt"]


def test_the_file_is_flushed_before_it_is_renamed_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(os.readlink(f"/proc/self/fd/{handle}")))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("renamed"), replace(a, b)))
    files.write_text(tmp_path / "a.txt", "new")
    assert len(done) == 3 and done[0].endswith(".partial")
    assert done[1:] == ["renamed", str(tmp_path)]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_error_in_the_middle_leaves_the_old_file_alone(tmp_path, error):
    path = files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(error), files.writing(path) as file:
        file.write("new")
        raise error
    with pytest.raises(error), files.beside(path) as partial:
        partial.write_text("new")
        raise error
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "old")
    code = (
        "import sys, time; from posttrain import files\n"
        "with files.writing(sys.argv[1]) as file:\n"
        "    file.write('new'); file.flush(); print('going', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"going\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.read_text() == "old"


def test_two_writers_at_once_each_write_a_whole_file(tmp_path):
    code = (
        "import sys; from posttrain import files\nfor _ in range(60): files.write_text(sys.argv[1], sys.argv[2] * 9999)"
    )
    path = tmp_path / "a.txt"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        if path.is_file():
            assert len(set(path.read_text())) == 1
        time.sleep(0.01)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_is_followed_and_a_device_is_written_to(tmp_path):
    (tmp_path / "real").mkdir()
    target = files.write_text(tmp_path / "real" / "a.txt", "old")
    (tmp_path / "link.txt").symlink_to(target)
    files.write_text(tmp_path / "link.txt", "new")
    assert target.read_text() == "new" and (tmp_path / "link.txt").is_symlink()
    files.write_text("/dev/null", "gone")
    assert not Path("/dev/null").is_file()


def test_a_folder_takes_its_name_only_when_it_is_whole(tmp_path):
    folder, kept = tmp_path / "sft", tmp_path / "replaced" / "sft-1"
    for content in ("old", "new"):
        with files.new_folder(folder, kept) as partial:
            assert not folder.exists() or (folder / "a").read_text() == "old"
            (partial / "a").write_text(content)
    assert (folder / "a").read_text() == "new" and (kept / "a").read_text() == "old"
    with pytest.raises(RuntimeError), files.new_folder(folder) as partial:
        (partial / "a").write_text("half")
        raise RuntimeError
    assert (folder / "a").read_text() == "new" and not partial.exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"", "is empty"),
        ("a.json", b"\0" * 40, "is empty"),
        ("a.json", b'{"a": 1', "is broken"),
        ("a.json", b"[1]", "it holds list, expected dict"),
        ("a.json", b"\xff\xfe", "is broken"),
        ("a.json", b"[" * 100_000, "is broken"),
        ("a.yaml", b"", "is empty"),
        ("a.yaml", b"key: [a", "is broken"),
        ("a.yaml", b"key", "it holds str"),
        ("a.jsonl", b'{"a": 1}\n{"a"', "is broken"),
        ("a.jsonl", b'{"a": 1}\n{"a": 2}', "is broken"),
        ("a.jsonl", b'{"a": 1}\n' + b"\0" * 9, "is broken"),
        ("a.jsonl", b"", "is empty"),
    ],
)
def test_what_a_crash_broke_is_seen_and_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in str(files.damage(tmp_path / name)) and str(tmp_path / name) in str(files.damage(tmp_path / name))


def test_whole_files_are_whole_however_long_their_last_line(tmp_path):
    for name, content in (("a.json", "{}"), ("a.yaml", "a: 1"), ("a.jsonl", '{"a": 1}\n'), ("b.jsonl", '{"a": 1}\n')):
        (tmp_path / name).write_text(content)
        assert files.damage(tmp_path / name) is None
    for size in (60_000, 70_000, 700_000):
        (tmp_path / "a.jsonl").write_text('{"a": 1}\n' + json.dumps({"a": "x" * size}) + "\n")
        assert files.damage(tmp_path / "a.jsonl") is None
    assert "cannot be read" in str(files.damage(tmp_path / "none.json"))


def test_every_file_of_the_package_is_written_by_this_module():
    allowed = {"files.py", "lock.py", "machine.py"}
    package = Path(files.__file__).parent
    text = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py") if path.name not in allowed}
    assert len(text) > 80
    by_hand = ("os.replace(", "partial.replace(", ".replace(path)", "os.rename(", ".rename(")
    hits = [f"{path.name}: {mark}" for path, content in text.items() for mark in by_hand if mark in content]
    assert hits == ["checkpoint.py: os.replace("]  # entries of a checkpoint, flushed, then its spec
