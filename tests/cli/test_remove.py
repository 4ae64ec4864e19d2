"""posttrain remove: deletes a run, and nothing that is no run or that a command is writing to."""

import pytest
from typer.testing import CliRunner

from posttrain.cli.app import app
from posttrain.errors import InputError
from posttrain.machine import lock


def remove(*arguments):
    return CliRunner().invoke(app, ["remove", *map(str, arguments)])


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "mine"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "model.safetensors").write_bytes(b"weights")
    (folder / "ledger.jsonl").write_text("{}\n")
    return folder


def test_a_run_is_removed_and_a_second_call_says_that_nothing_is_there(run):
    assert "would remove" in remove(run, "--dry-run").stdout and (run / "base").is_dir()
    assert remove(run).exit_code == 0
    assert not run.exists()
    assert "nothing to remove" in remove(run).stdout


def test_a_run_that_a_command_is_writing_to_is_left_alone(run):
    with lock.alone(run):
        refused = remove(run)
        assert isinstance(refused.exception, InputError) and (run / "base" / "model.safetensors").is_file()


def test_what_a_command_that_was_killed_at_once_left_is_removed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / lock.NAME).write_text("")
    assert remove(tmp_path / "mine").exit_code == 0 and not (tmp_path / "mine").exists()


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    for name in ("corpus", "logs"):  # as many projects have
        (tmp_path / "photos" / name).mkdir()
    refused = remove(tmp_path / "photos")
    assert "is not a run" in str(refused.exception) and (tmp_path / "photos" / "cat.png").is_file()
