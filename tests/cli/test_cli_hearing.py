"""posttrain hearing: status, JSON alone on stdout, a table for people."""

import json

import numpy as np
import pytest

from posttrain.__main__ import run

HEADER = "scene,listener,system,correctness,haspi_better_ear_precomputed\n"


@pytest.fixture
def clinic(tmp_path, monkeypatch):
    """Three listeners' made-up answers and audiograms."""
    monkeypatch.chdir(tmp_path)
    for name in ("POSTTRAIN_DATA", "DATA_ROOT"):
        monkeypatch.delenv(name, raising=False)
    rng = np.random.default_rng(0)
    lines = [
        f"S{i % 5},L{i % 3},E{i % 2},{100 * min(max(h + 0.1 * e, 0), 1):.1f},{h:.3f}"
        for i, (h, e) in enumerate(zip(rng.random(45), rng.standard_normal(45), strict=True))
    ]
    (tmp_path / "r.csv").write_text(HEADER + "\n".join([*lines, "S1,L9,E1,50,"]) + "\n")
    ears = [{"audiogram_cfs": [500, 4000], "audiogram_levels_l": [a, b], "audiogram_levels_r": [a, b]} for a, b in
            ((10, 40), (20, 50), (40, 70))]  # fmt: skip
    (tmp_path / "l.json").write_text(json.dumps({f"L{i}": ear for i, ear in enumerate(ears)}))
    return tmp_path


def test_validate_prints_json_alone_with_what_was_dropped(clinic, capsys):
    assert run(["hearing", "validate", "--responses", "r.csv", "--listeners", "l.json", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"rmse", "pearson", "rmse_haspi_only", "n", "dropped"} <= set(found)
    assert found["n"] == 45 and found["dropped"] == 1 and found["also_fitted_on"] == []
    assert found["ci95"]["rmse"][0] < found["rmse"] < found["ci95"]["rmse"][1]


def test_validate_finds_audiograms_in_the_data_root_that_the_environment_names(clinic, capsys, monkeypatch):
    folder = clinic / "root" / "clarity" / "metadata"
    folder.mkdir(parents=True)
    (clinic / "l.json").rename(folder / "listeners.ours.json")
    command = ["hearing", "validate", "--responses", "r.csv"]
    assert run(command) == 2
    assert "listener L0 has no audiogram" in capsys.readouterr().err
    assert run([*command, "--data-root", str(clinic / "root")]) == 0
    monkeypatch.setenv("POSTTRAIN_DATA", str(clinic / "root"))
    capsys.readouterr()
    assert run(command) == 0
    assert "45 rows of 3 listeners; 1 rows without HASPI dropped" in capsys.readouterr().out


def test_what_was_fitted_can_be_validated_and_is_named(clinic, capsys):
    given = ["--responses", "r.csv", "--listeners", "l.json"]
    assert run(["hearing", "fit", *given, "--out", "mine.json"]) == 0
    said = capsys.readouterr().out
    assert "haspi + audibility + system + scene" in said and "mine.json" in said
    assert run(["hearing", "validate", *given, "--coefficients", "mine.json"]) == 0
    assert "not new to the model: L0, L1, L2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["validate", "--responses", "nowhere.csv"], "nowhere.csv not found"),
        (["validate", "--responses", "empty.csv", "--listeners", "l.json"], "empty.csv"),
        (["validate", "--responses", "r.csv", "--listeners", "nowhere.json"], "nowhere.json not found"),
        (["validate", "--responses", "r.csv", "--listeners", "l.json", "--coefficients", "l.json"], "no coefficients"),
        (["validate"], "--responses"),
        (["fit", "--responses", "r.csv", "--listeners", "l.json", "--out", "no/where.json"], "no/where.json"),
    ],
)
def test_a_wrong_input_has_status_2_and_is_named(clinic, capsys, arguments, named):
    (clinic / "empty.csv").write_text("")
    assert run(["hearing", *arguments]) == 2
    printed = capsys.readouterr()
    assert named in printed.err and printed.out == "" and "Traceback" not in printed.err


@pytest.mark.parametrize("command", ["validate", "fit"])
def test_help_shows_how_it_is_called(command, capsys):
    assert run(["hearing", command, "--help"]) == 0
    assert f"posttrain hearing {command} --responses" in capsys.readouterr().out
