"""Blocks of figures in the documents say which command printed them, at which commit, and whether they are stale."""

import dataclasses
import json
import shutil
import warnings
from pathlib import Path

import pytest
from conftest import script

from posttrain.errors import InputError
from posttrain.machine.source import stage_code
from posttrain.report.study import seeds_page
from posttrain.run import ledger
from posttrain.use import bench, bench_denoising, scale
from posttrain.use.bench_case import Case

figures = script("docs/figures.py")
BLOCKS = [block for document in figures.documents() for block in figures.blocks(document)]


def test_no_measured_figure_is_outside_of_a_block():
    assert len(figures.documents()) > 10
    found = {str(document): figures.unstamped(document.read_text(encoding="utf-8")) for document in figures.documents()}
    assert {document: lines for document, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "It surely forgets less (−4.3 points [−7.2, −1.4]).",
        "| SI-SDR at 0 dB | +3.7 dB |",
        "| `make pipeline` | 26 min |",
        "```text\nHears   word errors clean 2.7 %\n```",
        "| commands | 93.3 % |",
    ],
)
def test_a_figure_without_a_block_is_found_and_one_in_a_block_is_not(line):
    assert figures.unstamped(f"Before.\n\n{line}\n")
    stamp = "<!-- figures: run; from=runs/x; command=make x; commit=abc; code= -->"
    assert figures.unstamped(f"Before.\n\n{stamp}\n\n{line}\n\n<!-- /figures -->\n") == []


def test_what_is_no_measured_figure_needs_no_block():
    assert figures.unstamped("| `dpo.beta` | `0.1` | Strength |\n\nIntervals are 95 %, such as [lo, hi].\n") == []


def test_no_block_is_older_than_the_code_of_its_stages_without_saying_so():
    assert len(BLOCKS) >= 8
    stale = [block.where for block in BLOCKS if "stale" in block.fields and block.kind != figures.RECORD]
    if stale:
        warnings.warn(f"{len(stale)} of {len(BLOCKS)} blocks of figures are stale: {', '.join(stale)}", stacklevel=1)
    assert [said for block in BLOCKS if (said := figures.problem(block))] == []


def test_every_stale_block_shows_that_it_is_from_an_earlier_commit():
    for block in BLOCKS:
        visible = block.text.split("-->", 1)[1]
        said = "From an earlier commit" in visible or "has not been run on this code yet" in visible
        assert said == ("stale" in block.fields), block.where


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A finished run whose ledger says which code made it, and a document with a block from it."""
    from tests.report.made_run import make_run

    monkeypatch.chdir(tmp_path)
    folder = Path("runs/toy")
    rows = make_run(folder, items=12, bootstrap=20)
    (folder / "ledger.jsonl").unlink()
    for row in rows:
        code = {
            "code": {"training": stage_code(row["stage"])},
            "evaluation_code": {"training": stage_code("evaluation")},
        }
        ledger.put(folder / "ledger.jsonl", row | {"code": "abc1234+f00", "config": row["config"] | code})
    (folder / "corpus").mkdir()
    (folder / "corpus" / "code.json").write_text(json.dumps({"training": stage_code("corpus")}))
    return folder


def document(folder: Path, kind: str = "run", runs: str = "runs/toy", more: str = "") -> Path:
    path = folder / "page.md"
    path.write_text(
        f"# Page\n\n<!-- figures: {kind}; from={runs}; command=make pipeline RUN=toy; commit=old; code={more} -->\n\n"
        "old figures\n\n<!-- /figures -->\n\nAfter.\n"
    )
    return path


def filled(path: Path):
    [block] = figures.blocks(path)
    path.write_text(path.read_text().replace(block.text, figures.fill(block)))
    [block] = figures.blocks(path)
    return block


def test_a_block_is_filled_from_its_run_with_commit_and_code_and_is_not_stale(finished, tmp_path):
    block = filled(document(tmp_path))
    assert figures.problem(block) == "" and block.fields["commit"] == "abc1234"
    assert "*By `make pipeline RUN=toy` at commit `abc1234`.*" in block.text and "old figures" not in block.text
    assert "Hears   word errors clean" in block.text and block.code.keys() == set(figures.ALL)
    assert block.document.read_text().endswith("<!-- /figures -->\n\nAfter.\n")


def test_a_run_up_to_a_stage_has_a_block_that_says_so_and_depends_on_no_later_one(finished, tmp_path, monkeypatch):
    rows = [row.as_dict() for row in ledger.read(finished / "ledger.jsonl")]
    (finished / "ledger.jsonl").unlink()
    for row in rows[:-1]:
        ledger.put(finished / "ledger.jsonl", row)
    path = document(tmp_path)
    with pytest.raises(InputError, match="does not say which code made grpo"):
        filled(path)
    path.write_text(path.read_text().replace("; code=", "; until=dpo; code="))
    block = filled(path)
    assert figures.problem(block) == "" and block.fields["until"] == "dpo" and "grpo" not in block.code
    monkeypatch.setattr(figures, "stage_code", lambda stage: "other" if stage == "grpo" else stage_code(stage))
    assert figures.problem(block) == ""
    monkeypatch.setattr(figures, "stage_code", lambda stage: "other" if stage == "dpo" else stage_code(stage))
    assert "other code of dpo;" in figures.problem(block)


def test_changed_code_of_a_stage_makes_its_blocks_stale_until_they_say_so(finished, tmp_path, monkeypatch):
    block = filled(document(tmp_path))
    monkeypatch.setattr(figures, "stage_code", lambda stage: "other" if stage == "dpo" else stage_code(stage))
    said = figures.problem(block)
    assert "page.md, block `run`" in said and "other code of dpo;" in said and "`make pipeline RUN=toy`" in said
    fields = block.fields | {"stale": "dpo learned more"}
    marked = dataclasses.replace(block, fields=fields, text=f"{block.text}{figures._said(fields)}")
    assert figures.problem(marked) == "" and "From an earlier commit (`abc1234`)" in figures._said(fields)
    silent = dataclasses.replace(block, fields=fields)
    assert "the line that says where it is from" in figures.problem(silent)
    monkeypatch.undo()
    assert "marked stale" in figures.problem(marked)


def test_rows_of_several_versions_are_stale_and_rows_without_a_record_are_refused(finished, tmp_path):
    path = finished / "ledger.jsonl"
    rows = [row.as_dict() for row in ledger.read(path)]
    rows[-1]["config"]["evaluation_code"] = {"training": "other"}
    path.unlink()
    for row in rows:
        ledger.put(path, row)
    assert "other code of evaluation;" in figures.problem(filled(document(tmp_path)))
    del rows[-1]["config"]["code"]
    ledger.put(path, rows[-1])
    [block] = figures.blocks(document(tmp_path))
    with pytest.raises(InputError, match="does not say which code made grpo"):
        figures.fill(block)
    [block] = figures.blocks(document(tmp_path, runs="runs/none"))
    with pytest.raises(InputError, match="runs/none has no ledger; run `make pipeline RUN=toy`"):
        figures.fill(block)


def test_a_block_without_an_end_or_a_field_is_refused(tmp_path):
    path = document(tmp_path)
    path.write_text(path.read_text().replace("<!-- /figures -->", ""))
    with pytest.raises(InputError, match="has no end"):
        list(figures.blocks(path))
    path.write_text("<!-- figures: run; from=runs/x -->\n<!-- /figures -->")
    with pytest.raises(InputError, match="lacks command, commit, code"):
        list(figures.blocks(path))


def test_what_seeds_and_a_run_took_are_filled_too(finished, tmp_path):
    other = finished.with_name("toy_seed1")
    shutil.copytree(finished, other)
    path = other / "ledger.jsonl"
    rows = [row.as_dict() | {"seed": 1, "checkpoint": f"runs/toy_seed1/{row.stage}"} for row in ledger.read(path)]
    path.unlink()
    for row in rows:
        ledger.put(path, row)
    seeds_page.build({0: finished, 1: other}, finished.with_name("toy_seeds"))
    block = filled(document(tmp_path, "seeds", "runs/toy,runs/toy_seed1"))
    assert "### Which findings survive" in block.text and "items, seed 0" in block.text and figures.problem(block) == ""
    took = filled(document(tmp_path, "takes", "runs/toy"))
    assert "| `runs/toy` | 8 |" in took.text and figures.problem(took) == ""


def test_a_person_a_column_with_the_difference_to_the_model_without_the_adapter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def metric(value: float, **more: object) -> dict:
        return {"value": value, "n": 100, "ci95": [value - 0.1, value + 0.1]} | more

    without = {"delta_vs_without": -0.5, "delta_without_ci95": [-0.6, -0.4]}
    parent = {"delta_vs_parent": 0.01, "delta_parent_ci95": [-0.02, 0.04]}
    for person in "23":
        measured = {"personal/names": metric(0.4, **without), "personal/wer": metric(0.2, **without)}
        measured |= {name: metric(0.3, **parent) for name in figures.PERSONAL[2:]}
        row = {
            "run": f"p{person}", "stage": "personalise", "checkpoint": f"runs/p{person}/personalise", "parents": {},
            "config": {"stage": "personalise", "options": {"manifest": f"runs/person/{person}/manifest.csv"}},
            "code": "abc+1", "base": "tiny", "data": "d", "seed": 0, "device": "cpu", "started": "s", "wall_s": 1.0,
            "train_metrics": {}, "metrics": measured,
        }  # fmt: skip
        ledger.put(Path(f"runs/p{person}/ledger.jsonl"), row)
    told = figures.KINDS["personalise"].render([Path("runs/p2"), Path("runs/p3")])
    assert "person 2: with, and difference" in told and "person 3" in told
    assert "own names lost, with the personal adapter, 100" in told
    assert "40.0 % [30.0, 50.0]; −50.0 points [−60.0, −40.0]" in told and "+1.0 points [−2.0, 4.0]" in told


def test_the_command_checks_all_documents(capsys):
    assert figures.main(["--check"]) == 0
    assert f"{len(BLOCKS)} blocks of figures" in capsys.readouterr().out


def test_a_studys_advice_panel_and_page_are_filled(tmp_path, monkeypatch):
    from posttrain.report.study import study_page
    from tests.report.study.made_study import arm, read

    monkeypatch.chdir(tmp_path)
    run = Path("runs/study")
    read(run, arm("lora"), arm("kl", forgot=0.02, kl_weight=1.0), arm("replay_1", replay_share=0.01))
    study_page.build(run)
    panel, page = (figures.KINDS[kind].render([run]) for kind in ("study_panel", "study"))
    assert panel.startswith("| finding | source | in the tiny world |") and "1 % replay holds abilities" in panel
    assert "### Reproduced in shape" in page and "| kl | kl_weight 1.0 |" in page and not page.startswith("#")


def test_times_of_the_bench_and_of_growth_are_filled_from_their_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "cases", lambda: iter([Case("ours", lambda: None, "theirs", dict, "clip", 2)]))
    bench.main([])
    with pytest.raises(InputError, match=r"bench\.json is of old code or of no run; run `make pipeline RUN=toy`"):
        filled(document(tmp_path, "bench", "runs/bench"))
    path = Path("runs/bench/bench.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"checkpoint": "runs/toy/sft"}))
    block = filled(document(tmp_path, "bench", "runs/bench"))
    assert figures.problem(block) == "" and block.code == {"bench": stage_code("bench")}
    assert "| ours | theirs | clip |" in block.text and bench.machine()[0] in block.text
    monkeypatch.setattr(scale, "STEPS", ("list",))  # each is a process; tests/use/test_scale.py does all
    monkeypatch.setattr("sys.argv", ["scale", "3"])
    scale.main()
    block = filled(document(tmp_path, "scale", "runs/bench"))
    assert figures.problem(block) == "" and block.code == {"scale": stage_code("scale")}
    assert "| 3 | list |" in block.text


def test_denoisers_are_filled_from_their_file_with_costs_and_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cost = {"latency_ms": 8.0, "seconds": [0.1, 0.1, 0.2], "ratio": [1, 1, 1]}
    known = [
        {"name": "ours", "identity": "ours", "params": 1234} | cost,
        {"name": "x", "identity": "x 2", "params": None} | cost,
    ]
    lines = [
        {"source": "people", "measure": "si_sdr", "condition": "0 dB", "denoiser": one["name"], "clip": str(n)}
        | {"content": str(n), "speaker": str(n), "value": sign * (n + 1)}
        for one, sign in zip(known, (1, -1), strict=True)
        for n in range(5)
    ]
    made = {"machine": ["a machine"], "checkpoint": "runs/toy/enhance", "denoisers": known, "missing": {}}
    made |= {"code": {"version": "abc1234+f00", "training": stage_code("denoising")}}
    Path("runs/bench").mkdir(parents=True)
    Path("runs/bench/denoising.json").write_text(json.dumps(made | {"figures": bench_denoising.figures(lines)}))
    block = filled(document(tmp_path, "denoising", "runs/bench"))
    assert figures.problem(block) == "" and block.code == {"denoising": stage_code("denoising")}
    assert "| ours | 1,234 | 8.0 | 0.1 [0.1, 0.2] |" in block.text and "| x 2 | – | 8.0 |" in block.text
    assert "|  | 0 dB (n=5) |" in block.text and "| x | −3.0 [" in block.text and "harm |" in block.text
