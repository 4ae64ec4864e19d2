"""One command at a time writes to a run; a killed one holds nothing; the message says who it is."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from posttrain.errors import InputError
from posttrain.machine import lock

HOLD = "import sys, time; from pathlib import Path; from posttrain.machine.lock import alone\n" + (
    "with alone(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path/run."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_command_is_refused_and_told_who_holds_the_run(tmp_path, holder):
    with pytest.raises(InputError) as error, lock.alone(tmp_path / "run"):
        pytest.fail("two commands in one run")
    said = str(error.value)
    assert f"another posttrain is at work in {tmp_path / 'run'}: process {holder.pid} (-c " in said
    assert ", since 20" in said and f"wait for it, stop it (kill {holder.pid}), or name another --run" in said


def test_a_killed_process_leaves_no_lock_behind(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.alone(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").is_file()


def test_two_threads_of_one_process_are_two_commands(tmp_path):
    seen = []

    def other():
        try:
            with lock.alone(tmp_path / "run"):
                seen.append("in")
        except InputError as error:
            seen.append(str(error))

    with lock.alone(tmp_path / "run"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(seen) == 1 and f"process {os.getpid()}" in seen[0]


def test_a_command_that_begins_nothing_leaves_no_folder_and_others_keep_theirs(tmp_path):
    with pytest.raises(RuntimeError), lock.alone(tmp_path / "run"):
        raise RuntimeError
    assert not (tmp_path / "run").exists()
    for _ in range(2):
        with lock.alone(tmp_path / "run"):
            (tmp_path / "run" / "a").touch()
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["a"]  # a second run changes no file


def test_many_commands_at_once_are_one_after_the_other_or_refused(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from posttrain.machine.lock import alone; from posttrain.errors import InputError\n"
        "run, mark = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "for _ in range(300):\n"
        "    try:\n"
        "        with alone(run):\n"
        "            mark.mkdir(); mark.rmdir()\n"
        "    except InputError: pass\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run"), str(tmp_path / "mark")]
    assert [process.wait() for process in [subprocess.Popen(command) for _ in range(3)]] == [0, 0, 0]


def test_a_lock_that_is_waited_for_leaves_no_file(tmp_path):
    with lock.waiting(tmp_path):
        pass
    assert list(Path(tmp_path).iterdir()) == []


def test_a_file_is_written_by_one_command_and_free_again_afterwards(tmp_path):
    path = tmp_path / "x.jsonl.partial"
    first = lock.held(path)
    with pytest.raises(InputError, match="another posttrain is writing"):
        lock.held(path)
    first.close()
    lock.held(path).close()


def test_a_place_that_cannot_be_written_to_is_one_message(tmp_path):
    for folder in (tmp_path / ("x" * 300), Path("/proc/x")):
        with pytest.raises(InputError, match="name another --run"), lock.alone(folder):
            pass
