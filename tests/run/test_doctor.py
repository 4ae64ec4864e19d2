"""posttrain doctor: what it looks at, and how it says what is missing."""

import json

import pytest

from posttrain.__main__ import run
from posttrain.config import recipe as config
from posttrain.run import doctor


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_this_machine_can_run_the_tiny_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["doctor", "tiny", "--json"]) == 0
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert {"python", "packages", "torch and torchaudio", "devices", "memory", "disk", "espeak-ng", "fit"} <= set(found)
    assert all(finding["ok"] and finding["message"] for finding in found.values())
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_had_is_named_with_the_mend(tmp_path):
    recipe = config.load_recipe("tiny", ["base.model=nobody/nothing", f"ctc.model={tmp_path}"])
    found = by_name(doctor.needs(recipe, tmp_path / "run", []))
    assert not found["base.model"].ok and "nobody/nothing" in found["base.model"].message
    assert "--set base.model=" in found["base.model"].message
    assert not found["ctc.model"].ok and "config.json" in found["ctc.model"].message


def test_recordings_without_a_folder_are_named(tmp_path):
    recipe = config.load_recipe("tiny", ["corpus.sources=[fsdd]"])
    assert not by_name(doctor.needs(recipe, tmp_path, []))["recordings"].ok
    recipe = config.load_recipe("tiny", ["corpus.sources=[fsdd]", f"corpus.data_root={tmp_path}"])
    finding = by_name(doctor.needs(recipe, tmp_path, []))["fsdd"]
    assert not finding.ok and str(tmp_path / "fsdd") in finding.message


def test_the_status_is_1_where_a_part_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["doctor", "tiny", "--set", "base.model=nobody/nothing"]) == 1
    assert "✗ base.model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("torch", "fits"), [("2.10.0", False), ("2.11.0", True), ("2.14.1+cu130", True), ("2.15.0", False)]
)
def test_a_torch_that_torchaudio_does_not_fit_is_named(torch, fits):
    assert doctor._audio_pair({"torch": torch, "torchaudio": "2.11.0"}).ok is fits
