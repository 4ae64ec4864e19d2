"""A disk that fills is one line that says what is full and how to go on; nothing half-written counts."""

import errno
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from posttrain import files
from posttrain.errors import DiskFullError
from posttrain.machine import disk


def mounted(folder: Path, size: str) -> bool:
    """Whether a small file system could be mounted there, which takes root."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def small(tmp_path):
    """A file system of 1 MiB."""
    if not mounted(tmp_path / "small", "1m"):
        pytest.skip("mounting takes root")
    yield tmp_path / "small"
    subprocess.run(["umount", "-l", str(tmp_path / "small")], check=True)


def fill(folder: Path, left: int = 100_000) -> None:
    """Leave so many bytes free."""
    with (folder / "filling").open("wb") as file:
        file.write(b"x" * (os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - left))


def write_text(folder: Path) -> None:
    files.write_text(folder / "a.txt", "x" * 2_000_000)


def write_lines(folder: Path) -> None:
    files.write_json_lines(folder / "a.jsonl", ({"a": "x" * 1000} for _ in range(2000)))


def write_tensors(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    with files.new_folder(folder / "sft") as partial:
        save_file({"a": torch.zeros(500_000)}, partial / "model.safetensors")


def write_torch(folder: Path) -> None:
    import torch

    with files.beside(folder / "a.pt") as partial:
        torch.save({"a": torch.zeros(500_000)}, partial)


def write_raw(folder: Path) -> None:
    import numpy as np

    with files.beside(folder / "a.raw") as partial:
        np.zeros(2_000_000, np.int16).tofile(partial)


def write_wav(folder: Path) -> None:
    import numpy as np
    import soundfile

    with files.beside(folder / "a.wav") as partial:
        soundfile.write(str(partial), np.zeros(2_000_000, np.float32), 16_000, format="WAV", subtype="FLOAT")


WRITERS = [write_text, write_lines, write_tensors, write_torch, write_raw, write_wav]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_one_line_whatever_library_writes(small, write):
    fill(small)
    with pytest.raises(DiskFullError) as error, disk.watched(small):
        write(small)
    said = str(error.value)
    assert "\n" not in said and f"the disk is full: {small} has " in said and "of 1 MiB free" in said
    assert "give the same command again" in said
    assert [path.name for path in small.iterdir()] == ["filling"]  # nothing half-written stays
    (small / "filling").unlink()
    (small / "filling").write_bytes(b"x")
    if write is write_text:
        files.write_text(small / "a.txt", "x" * 500_000)  # and it goes on


def test_a_limit_on_the_size_of_a_file_is_told_as_such(tmp_path):
    code = (
        "import sys; from pathlib import Path; from posttrain import files; from posttrain.machine import disk\n"
        "from posttrain.errors import DiskFullError\n"
        "try:\n"
        "    with disk.watched(Path(sys.argv[1])): files.write_text(Path(sys.argv[1]) / 'a.txt', 'x' * 2_000_000)\n"
        "except DiskFullError as error: print(error)"
    )

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, preexec_fn=limited
    )
    assert "a file is larger than the file system" in done.stdout and "`ulimit -f`" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "your quota is used up"),
        (RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError("speech shard 3 failed: OSError: [Errno 28] No space left on device: 'a'"), "the disk is full"),
        (RuntimeError("Disk quota exceeded (os error 122)"), "your quota is used up"),
        (RuntimeError("database or disk is full"), "the disk is full"),
    ],
)
def test_how_libraries_tell_it(tmp_path, error, said):
    assert said in str(disk.told(error, tmp_path))
    wrapped = ValueError("could not be saved")
    wrapped.__cause__ = error
    assert said in str(disk.told(wrapped, tmp_path))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("loss is nan at step 128"),
        OSError(errno.ENOENT, "No such file or directory"),
        RuntimeError("PytorchStreamWriter failed writing file"),  # where there is room
        ValueError("expected 28 items"),
    ],
)
def test_other_errors_are_left_as_they_are(tmp_path, error):
    if shutil.disk_usage(tmp_path).free < 10 * disk.NO_ROOM:
        pytest.skip("this disk is full")
    assert disk.told(error, tmp_path) is None
    with pytest.raises(type(error), match=str(error).split("]")[-1].strip()), disk.watched(tmp_path):
        raise error


def full() -> None:
    raise DiskFullError("the disk is full")


def test_the_error_passes_from_the_process_of_a_stage_to_that_of_the_run():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool, pytest.raises(DiskFullError, match="the disk is full"):
        pool.submit(full).result()


def test_a_run_on_a_disk_that_fills_ends_in_one_line_and_goes_on_with_room(tmp_path):
    if not mounted(tmp_path / "small", "3m"):
        pytest.skip("mounting takes root")
    run = tmp_path / "small" / "run"
    code = (  # a disk that is too small from the start is refused: this one fills on the way
        "from posttrain.run import preflight; preflight.lacking = lambda *_: []\n"
        "from posttrain.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, "data", "smoke", "--run", str(run), "--set", "corpus.train_clips=60"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if line.startswith("posttrain: ")]
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert len(lines) == 1 and "the disk is full" in lines[0] and "--run FOLDER" in lines[0]
        assert not list(run.glob("corpus*"))
        subprocess.run(["mount", "-o", "remount,size=400m", str(tmp_path / "small")], check=True)
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
        assert (run / "corpus" / "key").is_file()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "small")], check=True)
