"""make bench on a run's denoiser: every denoiser meets the same mixtures, figures by hand, harm is marked."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from posttrain.acoustics import enhancer, peers
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.corpus import store
from posttrain.corpus.types import Clip
from posttrain.errors import InputError
from posttrain.use import bench_denoising as bench
from posttrain.use import bench_recognition as recognition
from tests.acoustics.test_wiener import voiced

CONDITIONS = ["-5 dB", "0 dB", "5 dB", "10 dB", "20 dB", "clean"]


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A finished enhance stage, with a corpus of two people, a recorded noise and a synthetic voice."""
    rng = np.random.default_rng(0)
    voice = np.round(30_000 * voiced()).astype(np.int16)
    hiss = np.round(3_000 * rng.standard_normal(8_000)).astype(np.int16)
    clips = [
        Clip("test/people/0", "one", "people/a", "test", "people", "real", None, 0, 0),
        Clip("test/people/1", "two", "people/b", "test", "people", "real", None, 0, 0),
        Clip("test/made/2", "one", "c", "test", "made", "clean", None, 0, 0),
        Clip("test/noise/hiss/00", "", "noise/hiss", "test", "noise", "noise", "hiss", 0, 0),
    ]
    pieces = [voice, voice[::-1].copy(), voice, hiss]
    store.write(tmp_path / "corpus", zip(clips, pieces, strict=True), [], [], [], [], {})
    folder = tmp_path / "enhance"
    folder.mkdir()
    enhancer.save(folder, Enhancer(EnhancerSpec(width=16, sub_width=8)))
    (folder / "config.yaml").write_text(yaml.safe_dump({"stage": "enhance", "seed": 0, "corpus": "../corpus"}))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The Wiener filter, and a peer whose package is nowhere."""
    absent = replace(peers.PEERS["rnnoise"], package="nowhere_to_be_found")
    monkeypatch.setattr(bench, "PEERS", {"wiener": peers.PEERS["wiener"], "rnnoise": absent})
    monkeypatch.setattr(bench, "TIMED", 1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_ours_and_its_peers_are_compared_on_recordings_and_written_as_json(stage, capsys):
    pytest.importorskip("clarity", reason="pip install 'posttrain[hearing]'")
    bench.main([str(stage), "--clips", "2"])
    made = json.loads(bench.OUT.read_text())
    assert made["checkpoint"] == str(stage) and {"version", "training"} <= set(made["code"])
    ours, _, wiener = made["denoisers"]
    assert (ours["name"], wiener["name"]) == ("ours", "wiener") and ours["params"] > 1_000
    assert 7.5 < ours["latency_ms"] <= 8 and 31 < wiener["latency_ms"] <= 32
    assert ours["seconds"][0] > 0 and wiener["seconds"][0] > 0 and ours["ratio"] == [1, 1, 1]
    figures = made["figures"]
    assert {f["source"] for f in figures} == {"people"} and {f["bad"] for f in figures} == {0}
    assert [f["condition"] for f in figures if (f["denoiser"], f["measure"]) == ("ours", "stoi")] == CONDITIONS
    assert len(figures) == 5 * 2 * len(CONDITIONS) and {(f["n"], f["speakers"]) for f in figures} == {(2, 2)}
    by = {(f["denoiser"], f["measure"], f["condition"]): f for f in figures}
    assert abs(by["ours − ours, int8", "si_sdr", "0 dB"]["value"]) < 0.2
    assert by["wiener", "si_sdr", "0 dB"]["value"] > 3 and by["wiener", "si_sdr", "clean"]["value"] > 15
    said = capsys.readouterr().out
    assert "rnnoise is left out: rnnoise takes the package nowhere_to_be_found" in said
    assert "SI-SDR gain" in said and "clean (n=2)" in said


def test_a_folder_that_is_no_stage_is_refused(tmp_path, capsys):
    for arguments in (["nowhere"], [str(tmp_path), "--clips", "0"]):
        with pytest.raises(SystemExit):
            bench.main(arguments)
    assert "nowhere holds no enhancer" in (said := capsys.readouterr().err) and "--clips is 0" in said


def line(clip: str, value: float, condition: str = "0 dB", **more) -> dict:
    about = {"source": "people", "measure": "si_sdr", "condition": condition, "denoiser": "ours", "value": value}
    return about | {"clip": clip, "content": clip, "speaker": clip} | more


def test_a_figure_is_a_mean_and_what_cannot_be_measured_is_counted():
    (found,) = bench.figures([line("a", 1.0), line("b", 3.0), line("c", float("nan"))])
    assert (found["value"], found["n"], found["bad"], found["speakers"]) == (2.0, 2, 1, 2)
    assert found["ci95"][0] < 2 < found["ci95"][1] and not found["harm"]
    (none,) = bench.figures([line("c", float("nan"))])
    assert "value" not in none and bench._cell(none) == "–"


def test_harm_is_an_interval_below_the_noisy_input_and_never_of_clean_speech():
    values = (-2.0, -2.5, -3.0, -2.2, -2.3)
    harm, unsure, clean = bench.figures(
        [line(str(n), value) for n, value in enumerate(values)]
        + [line(str(n), value + 2.4, "5 dB") for n, value in enumerate(values)]
        + [line(str(n), value, bench.CLEAN) for n, value in enumerate(values)]
    )
    assert (harm["harm"], unsure["harm"], clean["harm"]) == (True, False, False)
    assert bench._cell(harm).endswith("] harm") and bench._cell(harm).startswith("−2.4 [")


def test_ours_is_compared_with_each_other_on_the_same_clips():
    values = {"a": (1.0, 3.0), "b": (5.0, 6.0)}
    lines = [line(clip, ours) for clip, (ours, _) in values.items()]
    lines += [line(clip, theirs, denoiser="rnnoise") for clip, (_, theirs) in values.items()]
    by = {figure["denoiser"]: figure for figure in bench.figures(lines)}
    assert by["ours − rnnoise"]["value"] == -1.5 and not by["ours − rnnoise"]["harm"]


def test_synthetic_speech_is_taken_where_nothing_is_recorded(stage):
    corpus = store.Corpus.load(stage.parent / "corpus")
    assert bench._sources(corpus) == ["people"]
    only = [clip for clip in corpus.clips.values() if clip.source == "made"]
    kept = replace(corpus, clips={clip.id: clip for clip in only})
    assert bench._sources(kept) == ["made"]


def test_word_errors_of_a_model_behind_each_denoiser_and_without(stage, smoke_run):
    corpus = store.Corpus.load(stage.parent / "corpus")
    alone, behind = recognition.load(smoke_run / "sft", stage, corpus)
    hears = {"wiener": (peers.PEERS["wiener"].enhance, alone), "ours": (lambda sound: sound, behind)}
    lines = list(recognition.lines(hears, alone, corpus, "people", 2))
    assert len(lines) == 3 * 3 * 2 * 2  # denoisers, SNRs, clips, measures
    by = {(f["denoiser"], f["measure"], f["condition"]): f for f in bench.figures(lines)}
    assert {condition for *_, condition in by} == {"0 dB", "5 dB", "10 dB"}
    before, same = by["unprocessed", "encoder_wer", "0 dB"], by["ours", "encoder_wer", "0 dB"]
    assert before["value"] == same["value"] and before["n"] == 2 and not before["harm"]
    nothing = by["ours − unprocessed", "wer", "5 dB"]
    assert nothing["value"] == 0 and nothing["ci95"][0] == -nothing["ci95"][1] < 0
    found = {"denoisers": [], "figures": [*by.values(), *bench.figures([line("a", 1.0)])], "missing": {}}
    shown = dict(bench.tables(found))
    assert [cells[0] for cells in shown["word errors of the model, percent, people"]][1] == "unprocessed"
    assert shown["SI-SDR gain, dB; clean speech: SI-SDR to the input, people"][1][0] == "ours"


def test_word_errors_are_all_errors_over_all_words():
    lines = [line(clip, errors, measure="wer", of=words) for clip, errors, words in (("a", 1, 2), ("b", 0, 8))]
    (found,) = bench.figures(lines)
    assert found["value"] == pytest.approx(0.1)


def test_a_model_that_was_trained_on_a_test_speaker_is_refused(stage, smoke_run):
    speaker = next(clip.speaker for clip in store.Corpus.load(smoke_run / "corpus").clips_of("train") if clip.text)
    corpus = store.Corpus.load(stage.parent / "corpus")
    clips = {name: replace(clip, speaker=speaker) if clip.text else clip for name, clip in corpus.clips.items()}
    with pytest.raises(InputError, match=f"trained on test speakers of .* such as {re.escape(speaker)}"):
        recognition.load(smoke_run / "sft", stage, replace(corpus, clips=clips))
