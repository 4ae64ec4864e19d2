"""Rows of several versions of the code are marked in the report and told by the gate."""

import json
import shutil

import pytest
from made_run import make_run

from posttrain.report import build, code_versions
from posttrain.report.gate import judge
from posttrain.run import ledger

SAME = ["evaluation.bootstrap=100"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "made"
    make_run(folder, items=40)
    return folder


@pytest.fixture
def mixed(made, tmp_path):
    """Stages by three versions: two commits of one source, another source, and an evaluation by a third."""
    copy = shutil.copytree(made, tmp_path / "made")
    path = copy / "ledger.jsonl"
    rows = [json.loads(line) for line in path.read_text().replace(str(made), str(copy)).splitlines()]
    code = {"base": "aaa+111", "ctc": "bbb+111", "align": "ccc+222"}
    for row in rows:
        row["code"] = code.get(row["stage"], "ddd+222")
    rows[-1]["config"]["evaluation_code"] = {"version": "eee+333"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return copy


def test_one_version_is_not_spoken_of(made):
    rows = ledger.read(made / "ledger.jsonl")
    assert code_versions.said(rows) == "" and code_versions.marks(rows) == {}
    build(made)
    assert "versions of the code" not in (made / "report.md").read_text()


def test_the_report_names_the_versions_and_marks_every_row(mixed):
    build(mixed)
    text, page = (mixed / "report.md").read_text(), (mixed / "report.html").read_text()
    for written in (text, page):
        assert "Made by 3 versions of the code: A aaa" in written and "(base, ctc)" in written
    assert "| base (A) | ctc (A) | align (B) |" in text and "grpo (BC)" in text
    assert page.count('<sup title="version of the code">') == 8
    found = json.loads((mixed / "report.json").read_text())["code_versions"]
    assert found["aaa+111"] == ["base", "ctc"] and found["eee+333"] == ["grpo"]


def test_the_gate_tells_them_and_fails_where_the_recipe_allows_fewer(mixed):
    told = judge(mixed, changes=SAME)
    assert not told.mixed and any("Made by 3 versions" in note for note in told.notes)
    few, enough = (judge(mixed, changes=[*SAME, f"gate.code_versions={n}"]) for n in (2, 3))
    assert any(reason.startswith("gate.code_versions: at most 2. Made by 3") for reason in few.reasons)
    assert not enough.mixed and not any("versions" in reason for reason in enough.reasons)
