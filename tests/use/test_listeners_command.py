"""posttrain hearing evaluate: figures in ledger, answers and report; a second run measures nothing; bad input."""

import json

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, tiny_llama

from posttrain.__main__ import run
from posttrain.acoustics import enhancer
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.corpus import store
from posttrain.corpus.types import Clip, Example
from posttrain.evals.compute import compute
from posttrain.evals.hearing import enhancement, machine_hearing, perception
from posttrain.model import checkpoint
from posttrain.model.encoders import parakeet
from posttrain.model.frame_table import FrameTable
from posttrain.report.changes import read_answers
from posttrain.report.verify import differences, recompute
from posttrain.run import ledger

RATE = 16_000
WIDTH = 16


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """In an empty folder; HASPI that takes no time, few clips, short answers of an untrained Llama."""
    monkeypatch.chdir(tmp_path)
    for name in ("POSTTRAIN_DATA", "DATA_ROOT"):
        monkeypatch.delenv(name, raising=False)
    energy = ("numpy", lambda task: float(np.tanh(np.square(task.processed).mean())))
    monkeypatch.setattr(perception, "MEASURES", dict.fromkeys(("haspi", "stoi"), energy))
    monkeypatch.setattr(perception, "NEEDED", ())
    monkeypatch.setattr(enhancement, "CLIPS", 3)
    monkeypatch.setattr(machine_hearing, "MAX_NEW_TOKENS", 4)


@pytest.fixture
def folder(tmp_path):
    """runs/toy: a corpus of three spoken clips, an align checkpoint with ears, an enhancer."""
    folder = tmp_path / "runs" / "toy"
    rng = np.random.default_rng(0)
    clips = [Clip(f"test/{i}", "two words", f"v{i}", "test", "made", "clean", None, 0, 0) for i in range(3)]
    time = np.arange(RATE)
    pieces = [np.round(9000 * np.sin(time * hz) * (rng.random(RATE) > 0.1)).astype(np.int16) for hz in (0.1, 0.2, 0.3)]
    asked = ("test", "repeat", "repeat", "two words")
    items = [Example(f"i{i}", *asked, f"test/{i}", "", "wer", "wer/snr0") for i in range(3)]
    store.write(folder / "corpus", zip(clips, pieces, strict=True), [], items, [], [], {})
    torch.manual_seed(0)
    parakeet.tiny(WIDTH, 1, 2, 4, 8, 80).save(folder / "ctc")
    tokenizer = byte_tokenizer()
    checkpoint.save_base(folder / "base", tiny_llama(tokenizer), tokenizer)
    llama = checkpoint.create(
        folder / "base", folder / "ctc", FrameTable(torch.zeros(3, WIDTH), {"a": (0, 3)}), stack=3
    )
    checkpoint.save(folder / "align", llama, "align", {"llm": folder / "base", "encoder": folder / "ctc"})
    (folder / "enhance").mkdir()
    enhancer.save(folder / "enhance", Enhancer(EnhancerSpec(width=16, sub_width=8)))
    own = [{"id": "x", "probe": "enhance/si_sdr_gain/made/snr0", "clip": "c", "speaker": "a", "value": 3.0}]
    (folder / "enhance" / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in own))
    for stage, found in (("align", {}), ("enhance", compute(own, bootstrap=1000))):
        row = dict.fromkeys(("code", "base", "data", "device"), "x") | {"run": "toy", "stage": stage, "seed": 0}
        row |= {"checkpoint": f"runs/toy/{stage}", "parents": {}, "train_metrics": {}, "wall_s": 1.0}
        row |= {"config": {"stage": stage, "recipe": "tiny", "corpus": "runs/toy/corpus"}, "metrics": found}
        row |= {"started": "2026-01-01T00:00:00+00:00"}
        (folder / stage / "metrics.json").write_text(json.dumps(row))
        ledger.put(folder / "ledger.jsonl", row)
    return folder


def evaluate(*arguments, capsys) -> dict:
    assert run(["hearing", "evaluate", "toy", "--clips", "2", "--jobs", "1", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_figures_go_into_ledger_answers_and_report_beside_the_stages_own(folder, capsys):
    said = evaluate("--listener", "N3", "--listener", "N1", "--snr", "0", capsys=capsys)
    row = ledger.read(folder / "ledger.jsonl")[1]
    assert row.stage == "enhance" and row.metrics["enhance/si_sdr_gain/made/snr0"]["value"] == 3.0
    for who in ("N1", "N3"):
        for measure, n in (("haspi", 2), ("words", 2), ("stoi", 2), ("wer", 3)):
            metric = row.metrics[f"listener/{measure}/made/{who}/snr0/enhanced_nalr"]
            assert metric["n"] == n and metric["ci95"][0] <= metric["value"] <= metric["ci95"][1]
            assert metric["delta_vs_without"] is not None
    assert row.metrics["wer_enhanced/snr0"]["n"] == row.metrics["wer_unenhanced/snr0"]["n"] == 3
    assert row.config["listeners"]["model"] == "runs/toy/align" and row.config["listeners"]["clips"] == 2
    assert set(said) == {name for name in row.metrics if not name.startswith("enhance/")}
    kept = json.loads((folder / "enhance" / "metrics.json").read_text())
    assert kept == row.as_dict()
    assert "Listener by listener" in (folder / "report.html").read_text()
    assert (folder / "listeners" / "N1.html").is_file() and (folder / "listeners" / "N3.html").is_file()


def test_the_figures_are_those_of_the_saved_answers(folder, capsys):
    evaluate("--listener", "N3", capsys=capsys)
    rows = ledger.read(folder / "ledger.jsonl")
    answers = read_answers(folder, rows)
    assert not list(differences(rows[1], recompute(rows[1], rows, answers, 1000), resampled=True))


def test_a_second_run_measures_nothing_anew_and_replaces_its_own_figures_alone(folder, capsys, monkeypatch):
    evaluate("--listener", "N3", capsys=capsys)
    first = (folder / "ledger.jsonl").read_bytes()

    def never(task):
        raise AssertionError("measured again")

    monkeypatch.setattr(perception, "MEASURES", dict.fromkeys(("haspi", "stoi"), ("numpy", never)))
    evaluate("--listener", "N3", capsys=capsys)
    assert (folder / "ledger.jsonl").read_bytes() == first
    monkeypatch.undo()


def test_without_a_model_the_ears_alone_are_measured(folder, capsys):
    ledger.drop(folder / "ledger.jsonl", ["align"])
    said = evaluate("--listener", "N3", capsys=capsys)
    assert "listener/haspi/made/N3/snr5/nalr" in said
    assert not any("wer" in name for name in said)


def test_a_run_without_a_model_is_heard_by_that_of_the_run_whose_corpus_it_shares(folder, capsys):
    ledger.drop(folder / "ledger.jsonl", ["align"])
    (folder.parent / "branch").mkdir()
    (folder / "ledger.jsonl").rename(folder.parent / "branch" / "ledger.jsonl")
    (folder / "enhance").rename(folder.parent / "branch" / "enhance")
    assert run(["hearing", "evaluate", "branch", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] is None
    align = json.loads((folder / "align" / "metrics.json").read_text())
    ledger.put(folder / "ledger.jsonl", align)
    assert run(["hearing", "evaluate", "branch", "--listener", "N3", "--clips", "2", "--jobs", "1"]) == 0
    told = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "  difference " in told["wer_enhanced/snr0"] and "difference" not in told["wer_unenhanced/snr0"]


def test_clarity_listeners_come_from_the_data_root(folder, tmp_path, capsys):
    ears = {"audiogram_cfs": [500, 4000], "audiogram_levels_l": [20, 40], "audiogram_levels_r": [30, 50]}
    place = tmp_path / "root" / "clarity" / "metadata"
    place.mkdir(parents=True)
    (place / "listeners.ours.json").write_text(json.dumps({"L0002": ears, "L0001": ears}))
    assert run(["hearing", "evaluate", "toy", "--data-root", "root", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["listeners"] == ["N1", "N3", "S2", "L0001"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere has no finished enhance stage"),
        (["toy", "--listener", "N9", "--model", "gone"], "N9"),
        (["toy", "--listener", "N9", "--model", "gone"], "gone"),
        (["toy", "--listener", "odd.json"], "a/b"),
        (["toy", "--source", "fsdd"], "fsdd"),
        (["toy", "--data-root", "empty"], "empty/clarity"),
        (["toy", "--clips", "0"], "--clips"),
    ],
)
def test_a_wrong_input_has_status_2_and_is_named(folder, arguments, named, capsys, tmp_path):
    ears = {"audiogram_cfs": [500], "audiogram_levels_l": [20], "audiogram_levels_r": [30]}
    (tmp_path / "odd.json").write_text(json.dumps({"a/b": ears}))
    before = (folder / "ledger.jsonl").read_bytes()
    assert run(["hearing", "evaluate", *arguments]) == 2
    printed = capsys.readouterr()
    assert named in printed.err and printed.out == "" and "Traceback" not in printed.err
    assert (folder / "ledger.jsonl").read_bytes() == before


def test_an_enhancer_of_another_run_is_measured_there(folder, capsys):
    (folder / "enhance" / "metrics.json").unlink()
    assert run(["hearing", "evaluate", "toy"]) == 2
    assert "evaluate that run" in capsys.readouterr().err
