"""posttrain enhance: what it writes and says; a stream gives the same samples; every bad input is refused."""

import json

import numpy as np
import pytest
import soundfile
import torch

from posttrain.__main__ import run
from posttrain.acoustics import enhancer, peers
from posttrain.acoustics.audiogram import bisgaard
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.acoustics.fitting import NALR
from posttrain.corpus import audio
from posttrain.use import enhance as use_enhance

STANDARD = ("N1", "N2", "N3", "N4", "N5", "N6", "N7", "S1", "S2", "S3")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Commands run in an empty folder with one recording, stereo at 44.1 kHz."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    soundfile.write("in.wav", 0.1 * rng.standard_normal((44_100, 2)), 44_100)


@pytest.fixture
def checkpoint(tmp_path):
    """An untrained enhancer."""
    folder = tmp_path / "aid"
    folder.mkdir()
    torch.manual_seed(0)
    enhancer.save(folder, Enhancer(EnhancerSpec(width=16, sub_width=8)))
    return folder


def enhance(*arguments, capsys) -> dict:
    assert run(["enhance", "in.wav", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_writes_a_recording_as_long_and_says_levels_latency_and_time(checkpoint, capsys):
    said = enhance("out.wav", "--checkpoint", checkpoint, capsys=capsys)
    samples, rate = soundfile.read("out.wav")
    assert rate == 16_000 and samples.shape == (16_000, 2) and np.abs(samples).max() > 0.01
    assert said["latency_ms"] == said["latency_parts_ms"]["enhancer"] <= 8
    assert said["latency_parts_ms"]["fitting"] == 0 and said["audiogram"] == "normal"
    assert said["levels"]["out_db_spl"] < said["levels"]["in_db_spl"] and said["rtf"] > 0
    assert said["checkpoint"] == str(checkpoint)


def test_an_audiogram_gives_gain_and_the_whole_stays_within_10_ms(checkpoint, capsys):
    plain = enhance("plain.wav", "--checkpoint", checkpoint, capsys=capsys)
    fitted = enhance("fitted.wav", "--checkpoint", checkpoint, "--audiogram", "N4", capsys=capsys)
    assert fitted["levels"]["out_db_spl"] > plain["levels"]["out_db_spl"] + 5
    assert fitted["latency_parts_ms"]["fitting"] > 0 and fitted["latency_ms"] <= 10


@pytest.mark.parametrize("name", STANDARD)
def test_the_total_latency_is_at_most_10_ms_for_every_standard_audiogram(name):
    assert Enhancer().latency_ms + NALR(bisgaard(name)).delay_ms <= 10


@pytest.mark.parametrize(
    "audiogram",
    [(), ("--audiogram", "S2"), *(("--audiogram", "N4", "--compression", speed) for speed in ("slow", "fast"))],
)
def test_a_stream_gives_the_same_samples(checkpoint, audiogram, capsys):
    enhance("whole.wav", "--checkpoint", checkpoint, *audiogram, capsys=capsys)
    assert enhance("stream.wav", "--checkpoint", checkpoint, *audiogram, "--stream", capsys=capsys)["stream"]
    whole, stream = (soundfile.read(name)[0] for name in ("whole.wav", "stream.wav"))
    assert len(whole) == len(stream) and np.abs(whole - stream).max() < 1e-5


def test_compression_is_by_option_adds_no_delay_and_changes_nothing_else(checkpoint, capsys):
    options = ("--checkpoint", checkpoint, "--audiogram", "N4")
    plain = enhance("plain.wav", *options, capsys=capsys)
    none = enhance("none.wav", *options, "--compression", "none", capsys=capsys)
    slow, fast = (enhance(f"{s}.wav", *options, "--compression", s, capsys=capsys) for s in ("slow", "fast"))
    assert plain["compression"] == none["compression"] == "none" and plain["levels"] == none["levels"]
    assert plain["latency_ms"] == slow["latency_ms"] == fast["latency_ms"]
    heard = [soundfile.read(f"{name}.wav")[0] for name in ("plain", "none", "slow", "fast")]
    assert np.array_equal(heard[0], heard[1])
    assert all(np.abs(heard[a] - heard[b]).max() > 0.01 for a, b in ((0, 2), (0, 3), (2, 3)))


def test_no_strength_is_no_change(checkpoint, capsys):
    enhance("none.wav", "--checkpoint", checkpoint, "--denoise", 0, capsys=capsys)
    enhance("all.wav", "--checkpoint", checkpoint, capsys=capsys)
    read = np.concatenate(list(audio.blocks(audio.header("in.wav"), apart=True)), axis=1)
    assert np.abs(soundfile.read("none.wav")[0].T - read).max() < 1e-5
    assert np.abs(soundfile.read("none.wav")[0] - soundfile.read("all.wav")[0]).max() > 0.01


def test_a_persons_file_and_the_other_ear(checkpoint, capsys):
    levels = {
        "audiogram_cfs": [500, 1000, 4000],
        "audiogram_levels_l": [60, 60, 70],
        "audiogram_levels_r": [20, 30, 40],
    }
    with open("listeners.json", "w") as file:
        json.dump({"L1": levels}, file)
    better = enhance("a.wav", "--checkpoint", checkpoint, "--audiogram", "listeners.json:L1", capsys=capsys)
    worse = enhance(
        "b.wav", "--checkpoint", checkpoint, "--audiogram", "listeners.json", "--ear", "left", capsys=capsys
    )
    assert (better["ear"], worse["ear"], worse["audiogram"]) == ("right", "left", "L1")
    assert worse["levels"]["out_db_spl"] > better["levels"]["out_db_spl"]


def test_a_dry_run_says_what_it_would_use_and_writes_nothing(checkpoint, capsys, tmp_path):
    said = enhance("out.wav", "--checkpoint", checkpoint, "--dry-run", capsys=capsys)
    assert said["latency_ms"] == 8.0 and not (tmp_path / "out.wav").exists()


def test_everything_wrong_is_said_at_once_with_status_2(checkpoint, capsys, tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    assert run(["enhance", "bad.wav", "nowhere/out.wav", "--checkpoint", "nowhere", "--audiogram", "N9"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    for named in ("bad.wav", "nowhere/out.wav", "nowhere holds no enhancer", "N9"):
        assert named in printed.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["in.wav", "in.wav"], "name another OUT"),
        (["in.wav", "out.mp3"], "out.mp3"),
        (["gone.wav", "out.wav"], "gone.wav"),
        (["in.wav", "out.wav", "--denoise", "2"], "--denoise"),
        (["in.wav", "out.wav", "--ear", "both"], "both"),
        (["in.wav", "out.wav", "--compression", "slow"], "add --audiogram"),
        (["in.wav"], "OUT"),
    ],
)
def test_a_wrong_argument_is_named(checkpoint, arguments, named, capsys):
    assert run(["enhance", *arguments, "--checkpoint", str(checkpoint)]) == 2
    assert named in capsys.readouterr().err


def test_every_peer_can_be_named():
    assert tuple(peers.PEERS) == use_enhance.PEERS


def test_a_peer_takes_the_enhancers_place_and_the_fitting_after_it_stays(capsys):
    plain = enhance("plain.wav", "--checkpoint", "wiener", "--mono", capsys=capsys)
    fitted = enhance("fitted.wav", "--checkpoint", "wiener", "--mono", "--audiogram", "N4", capsys=capsys)
    assert plain["checkpoint"] == "wiener" and plain["latency_ms"] == fitted["latency_parts_ms"]["enhancer"] == 32
    assert fitted["levels"]["out_db_spl"] > plain["levels"]["out_db_spl"] + 5
    assert plain["levels"]["out_db_spl"] < plain["levels"]["in_db_spl"] - 5


def test_a_long_recording_is_the_same_in_blocks(monkeypatch, capsys):
    enhance("whole.wav", "--checkpoint", "wiener", "--mono", capsys=capsys)
    monkeypatch.setattr(use_enhance, "LONG_SAMPLES", 8_000)
    monkeypatch.setattr(use_enhance, "BLOCK", 3_000)
    enhance("blocks.wav", "--checkpoint", "wiener", "--mono", capsys=capsys)
    whole, blocks = (soundfile.read(name)[0] for name in ("whole.wav", "blocks.wav"))
    assert whole.shape == blocks.shape and np.abs(whole - blocks).max() < 1e-6


def test_a_peer_does_not_stream_and_one_that_is_not_installed_is_named(monkeypatch, capsys):
    assert run(["enhance", "in.wav", "out.wav", "--checkpoint", "wiener", "--stream"]) == 2
    assert "leave out --stream" in capsys.readouterr().err
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    assert run(["enhance", "in.wav", "out.wav", "--checkpoint", "deepfilternet3"]) == 2
    assert "pip install 'posttrain[peers]'" in capsys.readouterr().err


def test_a_folder_that_holds_an_enhancer_goes_before_a_peer_of_its_name(checkpoint, capsys):
    checkpoint.rename("wiener")
    assert enhance("out.wav", "--checkpoint", "wiener", "--stream", capsys=capsys)["latency_ms"] == 8
