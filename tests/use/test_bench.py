"""make bench: latencies by construction, and every pair is timed in turns."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import example

from posttrain.errors import InputError
from posttrain.stages.training import bfloat16
from posttrain.use import bench, bench_case, bench_decoding, bench_training
from posttrain.use.bench_case import Case, timed


def test_latencies_are_those_of_windows_and_filters():
    found = bench.latencies()
    assert found["enhancer, window and hop"] == 8.0
    assert found["its peer, pyclarity's linear-phase filter of 221 taps"] == pytest.approx(6.875)
    (ours,) = (value for name, value in found.items() if name.startswith("NAL-R"))
    assert 0 < ours < 2 and found["enhancer and NAL-R"] == pytest.approx(8 + ours)


def test_a_figure_is_the_median_with_the_least_and_the_greatest(monkeypatch):
    """By hand: ours takes 1, 2, 6 s, the peer 2, 2, 2 s, of 2 s of sound."""
    clock = iter([0, 1, 0, 2, 0, 2, 0, 2, 0, 6, 0, 2])
    monkeypatch.setattr(bench_case.time, "process_time", lambda: next(clock))
    found = timed(Case("a", lambda: None, "b", lambda: None, "second", 2.0), runs=3)
    assert found.entry["ratio"] == 1.0 and found.entry["spread"]["ours"] == [0.5, 3.0]
    assert found.ours == (1.0, 0.5, 3.0) and found.peers == (1.0, 1.0, 1.0) and found.ratio == (1.0, 0.5, 3.0)


def test_every_case_runs_beside_its_peer():
    pytest.importorskip("clarity", reason="pip install 'posttrain[hearing]'")
    made = list(bench.cases(seconds=0.6))
    assert len({case.name for case in made}) == len(made) >= 7
    for case in made:
        if "by pyclarity" not in case.name:  # HASPI and HASQI take seconds, and are tried in test_perception
            found = timed(case, runs=1)
            assert min(found.ours[0], found.peers[0], found.ratio[0]) > 0


def test_the_machine_is_named():
    said = "\n".join(bench.machine())
    assert "Python" in said and "pyclarity" in said and "torch " in said


@pytest.fixture
def drafted(llama):
    """The encoder has heard what the Llama answers, but for one word."""
    asked = [replace(example(f"test/{n}"), task="repeat") for n in range(4)]
    said = llama.answer(asked, 4, bench_decoding.MAX_NEW_TOKENS)
    return llama.attach(
        replace(llama.table, hypotheses={e.clip: text for e, text in zip(asked, said, strict=True)})
    ), asked


def test_transcripts_with_drafts_are_timed_beside_the_same_words_without(drafted, monkeypatch):
    made = list(bench_decoding.cases(*drafted))
    assert [case.peer_name.partition(" (")[0] for case in made] == ["word by word", "generate"] * 2
    assert all("(same text for 4 of 4 clips)" in case.peer_name and case.amount == 4 for case in made)
    assert timed(made[0], runs=1).ratio[0] > 0
    llama, asked = drafted
    monkeypatch.setattr(type(llama), "answer", lambda llama, *_: [str(llama.drafts)] * len(asked))
    monkeypatch.setattr(type(llama), "complete", lambda *_, tally: [("True", setattr(tally, "passes", 1))] * len(asked))
    with pytest.raises(InputError, match="drafts change what"):
        list(bench_decoding.cases(llama, asked))


def test_training_steps_on_speech_are_timed_beside_three_others(smoke_run, monkeypatch, capsys):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(bfloat16, "WIDE", 1)
    loaded = bench_decoding.loaded(smoke_run / "sft", bench_training.CLIPS, "train")
    assert {example.split for example in loaded[1]} == {"train"}
    seen = []
    for case in bench_training.cases(*loaded):
        assert timed(case, runs=1).ratio[0] > 0 and case.amount == 16
        seen.append(case.peer_name)
    assert seen == ["the encoder run in every step", "typed rows of as many tokens", "the same in float32"]
    assert "loss" not in capsys.readouterr().out
    with pytest.raises(InputError, match="has 15 spoken training clips, expected 16"):
        next(bench_training.cases(loaded[0], loaded[1][:15], loaded[2]))


def test_the_table_is_written_as_json_too(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        bench, "cases", lambda: iter([Case("a", lambda: None, "b", lambda: sum(range(9999)), "clip", 2)])
    )
    bench.main([])
    (entry,) = json.loads((tmp_path / "runs/bench/bench.json").read_text())["times"]
    assert {"name", "ours", "peer", "ratio", "n", "spread"} <= set(entry) and entry["n"] == 2
    assert "for a clip" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        bench.main(["--checkpoint", "nowhere"])
    assert "nowhere" in capsys.readouterr().err
