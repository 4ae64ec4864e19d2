import json
import math
import multiprocessing
import os
import subprocess
import sys

import pytest

from posttrain.errors import InputError
from posttrain.run import ledger


def row(stage="base", **changed):
    fields = {
        "run": "tiny",
        "stage": stage,
        "checkpoint": f"runs/tiny/{stage}",
        "parents": {},
        "config": {"stage": stage},
        "code": "abc",
        "base": "tiny",
        "data": "f00d",
        "seed": 0,
        "device": "cpu",
        "started": "2026-01-02T03:04:05+00:00",
        "wall_s": 1.5,
        "train_metrics": {"loss": 0.5},
        "metrics": {"wer/clean": {"value": 0.1, "n": 10, "ci95": [0.0, 0.2], "delta_vs_base": None}},
    }
    return {**fields, **changed}


def test_a_row_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger.put(path, row())
    ledger.put(path, ledger.Row(**row("ctc")))
    assert [r.as_dict() for r in ledger.read(path)] == [row(), row("ctc")]
    assert ledger.read(tmp_path / "none.jsonl") == []


def test_a_line_torn_anywhere_is_left_out_and_healed(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger.put(path, row())
    one = path.read_bytes()
    ledger.put(path, row("ctc", code="naïve"))
    both = path.read_bytes()
    cuts = {*range(len(one), len(both), 29), both.index("ï".encode()) + 1, len(both) - 1}
    for cut in sorted(cuts):
        path.write_bytes(both[:cut])
        want = ["base", "ctc"] if cut == len(both) - 1 else ["base"]
        assert [r.stage for r in ledger.read(path)] == want
        ledger.put(path, row("align"))
        assert [r.stage for r in ledger.read(path)] == [*want, "align"]
        assert path.read_bytes().startswith(one)


def test_a_broken_line_before_the_last_is_named(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger.put(path, row())
    path.write_text("{broken\n" + path.read_text())
    before = path.read_bytes()
    for act in (lambda: ledger.read(path), lambda: ledger.put(path, row("ctc"))):
        with pytest.raises(InputError, match=r"ledger\.jsonl, line 1 is not a ledger row"):
            act()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "changed",
    [
        {"code": 3},
        {"seed": True},
        {"wall_s": -1.0},
        {"wall_s": math.nan},
        {"train_metrics": {"losses": [0.1, math.inf]}},
        {"metrics": {"a": {"value": math.nan}}},
        {"metrics": {"a": {"n": 3}}},
        {"metrics": {"a": {"value": 0.1, "n": -1}}},
        {"metrics": {"a": {"value": 0.1, "ci95": [0.2, 0.1]}}},
        {"metrics": {"a": {"value": 0.1, "delta_ci95": [0.2]}}},
        {"metrics": {"a": 0.1}},
        {"unheard_of": 1},
    ],
)
def test_a_row_that_is_not_one_is_refused_and_the_file_untouched(tmp_path, changed):
    path = tmp_path / "ledger.jsonl"
    ledger.put(path, row())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"expected|unknown|missing"):
        ledger.put(path, row("ctc", **changed))
    assert path.read_bytes() == before
    path.write_text(json.dumps(row(**changed)) + "\n")
    with pytest.raises(InputError, match="line 1"):
        ledger.read(path)


def test_a_missing_field_is_refused_and_extra_keys_of_a_metric_are_kept(tmp_path):
    short = row()
    del short["code"]
    with pytest.raises(ValueError, match="missing: code"):
        ledger.put(tmp_path / "ledger.jsonl", short)
    ledger.put(tmp_path / "ledger.jsonl", row(metrics={"a": {"value": 1, "speakers": 4}, "cost/rtf": {"value": 0.1}}))
    assert ledger.read(tmp_path / "ledger.jsonl")[0].metrics["a"]["speakers"] == 4


def test_put_replaces_the_row_of_its_stage_where_it_stands(tmp_path):
    path = tmp_path / "ledger.jsonl"
    assert ledger.put(path, row())
    assert ledger.put(path, row("ctc"))
    stat = path.stat()
    assert not ledger.put(path, row())
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (stat.st_mtime_ns, stat.st_ino)
    assert ledger.put(path, row(seed=7))
    assert [(r.stage, r.seed) for r in ledger.read(path)] == [("base", 7), ("ctc", 0)]


def test_drop_takes_out_the_named_rows_alone(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger.drop(path, ["base"])
    assert not path.exists()
    for stage in ("base", "ctc", "align"):
        ledger.put(path, row(stage))
    ledger.drop(path, ["ctc", "sft"])
    assert [r.stage for r in ledger.read(path)] == ["base", "align"]


def test_a_kill_before_the_rename_leaves_the_old_ledger(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    ledger.put(path, row())
    before = path.read_bytes()

    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        ledger.put(path, row("ctc"))
    monkeypatch.undo()
    assert path.read_bytes() == before
    ledger.put(path, row("ctc"))
    assert [r.stage for r in ledger.read(path)] == ["base", "ctc"]
    assert not list(tmp_path.glob("*.partial"))


def _put_ten(path, writer):
    for i in range(10):
        ledger.put(path, row(f"w{writer}_{i}"))


def test_two_writers_lose_no_row(tmp_path):
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_put_ten, args=(path, w)) for w in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len({r.stage for r in ledger.read(path)}) == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ledger.jsonl"]


def test_the_ledger_needs_no_heavy_library():
    code = "import sys, posttrain.run.ledger; print([m for m in ('torch', 'numpy', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_rows_are_arranged_in_the_order_of_the_stages(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for stage in ("sft", "base", "other"):
        ledger.put(path, row(stage))
    ledger.arrange(path, ["base", "ctc", "sft"])
    assert [made.stage for made in ledger.read(path)] == ["base", "sft", "other"]


def stage(run, name, **changed):
    """A finished stage's own copy of its row."""
    (run / name).mkdir()
    (run / name / "metrics.json").write_text(json.dumps(row(name, run="as it was called", **changed)))


@pytest.fixture
def run(tmp_path):
    """Three finished stages and their ledger."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for number, name in enumerate(("base", "ctc", "align")):
        stage(folder, name, started=f"2026-01-02T03:04:0{number}+00:00")
        ledger.put(folder / "ledger.jsonl", row(name, started=f"2026-01-02T03:04:0{number}+00:00"))
    return folder


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: b"",
        lambda lines: b"\0" * 99,
        lambda lines: b"garbage",
        lambda lines: b"{}\n" * 3,
        lambda lines: lines[0] + b"\n" + lines[1][:50],
        lambda lines: lines[0] + b"\n" + lines[1][:50] + b"\n" + lines[2] + b"\n",
        lambda lines: b"\0" * 30 + b"\n" + lines[1] + b"\n" + lines[2] + b"\n",
    ],
)
def test_what_a_crash_broke_is_rebuilt_from_the_stages_with_a_message(run, damage, capsys):
    path = run / "ledger.jsonl"
    path.write_bytes(damage(path.read_bytes().split(b"\n")))
    broken = path.read_bytes()
    assert [made.stage for made in ledger.read(path)] == ["base", "ctc", "align"]
    assert str(path) in capsys.readouterr().err and path.read_bytes() == broken  # a reader writes nothing
    ledger.repair(path)
    assert str(path) in capsys.readouterr().err
    assert [(made.stage, made.run) for made in ledger.read(path)] == [(n, "tiny") for n in ("base", "ctc", "align")]
    assert capsys.readouterr().err == ""
    whole = path.read_bytes()
    ledger.repair(path)
    assert path.read_bytes() == whole


def test_a_broken_stage_gives_no_row_and_a_line_that_nothing_replaces_is_named(run):
    (run / "base" / "metrics.json").write_bytes(b"")
    path = run / "ledger.jsonl"
    path.write_bytes(b"{broken\n" + b"\n".join(path.read_bytes().split(b"\n")[1:]))
    with pytest.raises(InputError, match=r"ledger\.jsonl, line 1 is not a ledger row"):
        ledger.read(path)
    ledger.repair(path)  # by the run, which makes that stage again
    assert [made.stage for made in ledger.read(path)] == ["ctc", "align"]


def test_a_ledger_without_rows_is_no_file(run):
    ledger.drop(run / "ledger.jsonl", ["base", "ctc", "align"])
    assert not (run / "ledger.jsonl").exists()
