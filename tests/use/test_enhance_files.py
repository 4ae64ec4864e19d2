"""posttrain enhance: a folder or a manifest, channels, long recordings, plots, and every kind of bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from posttrain.__main__ import run
from posttrain.acoustics import enhancer
from posttrain.corpus import audio
from posttrain.use import enhance as aids
from posttrain.use import enhance_files
from tests.use.test_enhance_command import checkpoint, elsewhere

__all__ = ["checkpoint", "elsewhere"]  # its fixtures
RATE = 16_000


def noise(seconds: float, channels: int = 1, rate: int = RATE, seed: int = 0) -> np.ndarray:
    samples = 0.1 * np.random.default_rng(seed).standard_normal((int(seconds * rate), channels))
    return samples.astype(np.float32).squeeze()


def put(path: str, samples: np.ndarray, rate: int = RATE) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.endswith("wav") else None)


def enhance(source, target, folder, *options, capsys) -> dict:
    assert run(["enhance", *map(str, (source, target, "--checkpoint", folder, *options)), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(source, target, folder, *options, capsys) -> str:
    assert run(["enhance", *map(str, (source, target, "--checkpoint", folder, *options))]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    return printed.err


def written(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_a_folders_recordings_keep_their_places_and_get_the_ending_wav(checkpoint, capsys):
    put("rec/a.flac", noise(0.5))
    put("rec/deep/er/b.v2.wav", noise(1.0, 2, 48_000), 48_000)
    for name in ("notes.txt", ".hidden.wav", "deep/cover.png"):
        Path("rec", name).write_text("no sound")
    dry = enhance("rec", "out", checkpoint, "--dry-run", capsys=capsys)
    assert not Path("out").exists() and dry["latency_ms"] == 8
    assert dry["files"] == [
        {"in": "rec/a.flac", "out": "out/a.wav"},
        {"in": "rec/deep/er/b.v2.wav", "out": "out/deep/er/b.v2.wav"},
    ]
    said = enhance("rec", "out", checkpoint, capsys=capsys)
    assert written("out") == ["a.wav", "deep/er/b.v2.wav"] and "failed" not in said and "rtf" not in said
    assert [made["duration_s"] for made in said["files"]] == [0.5, 1.0] and said["in"] == "rec"
    assert all(made["levels"]["out_db_spl"] < made["levels"]["in_db_spl"] for made in said["files"])
    assert soundfile.info("out/deep/er/b.v2.wav").channels == 2 and soundfile.info("out/a.wav").frames == 8_000
    alone = enhance("rec/a.flac", "alone.wav", checkpoint, capsys=capsys)
    assert alone["levels"] == said["files"][0]["levels"] and "files" not in alone
    assert Path("alone.wav").read_bytes() == Path("out/a.wav").read_bytes()
    Path("out/a.wav").write_text("old")
    assert run(["enhance", "rec", "out", "--checkpoint", str(checkpoint)]) == 0
    assert "rec/a.flac → out/a.wav: " in capsys.readouterr().out
    assert Path("alone.wav").read_bytes() == Path("out/a.wav").read_bytes(), "what is there is replaced"


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_a_manifest_names_recordings_segments_and_channels(checkpoint, capsys, ending):
    pair = noise(2.0, 2)
    put("clinic/audio/pair.wav", pair)
    put("clinic/one.wav", noise(1.0))
    rows = [{"path": "audio/pair.wav", "offset_s": 0.5, "duration_s": 1, "channel": 1}, {"path": "one.wav"}]
    gap = "\t" if ending == "tsv" else ","
    lines = [gap.join(rows[0]), *(gap.join(str(row.get(key, "")) for key in rows[0]) for row in rows)]
    lines = [json.dumps(row) for row in rows] if ending == "jsonl" else lines
    Path(f"clinic/m.{ending}").write_text("\n".join(lines) + "\n")
    said = enhance(f"clinic/m.{ending}", "out", checkpoint, "--denoise", 0, capsys=capsys)
    assert written("out") == ["audio/pair_from0.5s_channel1.wav", "one.wav"] and len(said["files"]) == 2
    part = soundfile.read("out/audio/pair_from0.5s_channel1.wav")[0]
    assert part.shape == (RATE,) and np.abs(part - pair[8_000:24_000, 1]).max() < 1e-5


def test_everything_wrong_is_said_at_once_and_nothing_is_made(checkpoint, capsys):
    put("rec/a.wav", noise(0.5))
    put("rec/a.flac", noise(0.5))
    Path("rec/empty.wav").write_bytes(b"")
    Path("rec/text.mp3").write_text("no sound")
    put("rec/none.wav", np.zeros(0))
    put("rec/nan.wav", np.full(RATE, np.nan))
    said = refused("rec", "out", "nowhere", "--audiogram", "N9", "--plot", "p.png", capsys=capsys)
    for named in (
        "rec/empty.wav: audio cannot be read: the file is empty",
        "rec/text.mp3: audio cannot be read",
        "rec/none.wav: audio has no samples",
        "rec/nan.wav: audio holds NaN",
        "a.wav: its output would be that of a.flac (out/a.wav); rename one",
        "--plot is for one recording, and IN is rec; name one of its recordings",
        "nowhere holds no enhancer",
        "N9",
    ):
        assert named in said
    assert not Path("out").exists()


def test_outputs_that_cannot_be_are_named(checkpoint, capsys):
    put("rec/a.flac", noise(0.1))
    Path("file").write_text("")
    Path("rec.csv").write_text("path\nrec/a.flac\n")
    for source, target, named in (
        ("rec", "file", "OUT is file, expected a folder, since IN is a folder"),
        ("rec.csv", "out.wav", "expected a folder, since IN is a manifest"),
        ("rec", "no/where", "OUT is no/where, expected a folder in one that is there"),
        ("rec", "rec", "inside IN"),
        ("rec", "rec/out", "inside IN"),
        ("none.csv", "out", "none.csv not found"),
    ):
        assert named in refused(source, target, checkpoint, capsys=capsys)
    Path("none").mkdir()
    assert "a folder without recordings" in refused("none", "out", checkpoint, capsys=capsys)
    Path("out/a.wav").mkdir(parents=True)
    assert "out/a.wav is in its way" in refused("rec", "out", checkpoint, capsys=capsys)
    put("here/b.wav", noise(0.1))
    Path("here/m.csv").write_text("path,offset_s,duration_s\nb.wav,0,0.05\nb.wav,0,0.1\n")
    said = refused("here/m.csv", "here", checkpoint, capsys=capsys)
    assert "b.wav is there more than once" in said and "is a file that the command reads" in said


def test_a_recording_that_turns_out_unreadable_does_not_lose_the_others(checkpoint, capsys, monkeypatch):
    for name in "abc":
        put(f"rec/{name}.wav", noise(0.5))

    def vanishes(*options):
        Path("rec/b.wav").unlink()
        return aids.build(*options)

    monkeypatch.setattr(enhance_files, "build", vanishes)
    assert run(["enhance", "rec", "out", "--checkpoint", str(checkpoint), "--json"]) == 1
    printed = capsys.readouterr()
    said = json.loads(printed.out)
    assert [made["out"] for made in said["files"]] == ["out/a.wav", "out/c.wav"] == [f"out/{n}" for n in written("out")]
    assert "rec/b.wav: file not found" in printed.err and "rec/b.wav: file not found" in said["failed"][0]


def test_one_recording_that_turns_out_unreadable_leaves_what_was_there(checkpoint, capsys, monkeypatch):
    blocks = audio.blocks

    def breaks(*options):
        yield next(blocks(*options))
        raise ValueError("audio breaks off")

    monkeypatch.setattr(audio, "blocks", breaks)
    monkeypatch.setattr(aids, "LONG_SAMPLES", 100)
    Path("out.wav").write_text("old")
    assert "in.wav: audio breaks off" in refused("in.wav", "out.wav", checkpoint, capsys=capsys)
    assert Path("out.wav").read_text() == "old" and not list(Path().glob("*.partial"))


@pytest.mark.parametrize("options", [(), ("--audiogram", "N4", "--compression", "fast"), ("--stream",)])
def test_two_channels_stay_two_and_keep_their_difference_in_level(checkpoint, capsys, options):
    put("one.wav", sound := noise(1.0))
    put("two.wav", np.stack([sound, 0.25 * sound], 1))
    enhance("two.wav", "out.wav", checkpoint, *options, capsys=capsys)
    left, right = soundfile.read("out.wav")[0].T
    assert np.abs(left).max() > 0.01 and np.abs(right - 0.25 * left).max() < 1e-5 * max(1, np.abs(left).max())
    enhance("two.wav", "mono.wav", checkpoint, "--mono", *options, capsys=capsys)
    assert soundfile.info("mono.wav").channels == 1


def test_a_recording_of_one_channel_gets_the_enhancers_own_samples(checkpoint, capsys):
    put("one.wav", noise(1.0))
    enhance("one.wav", "out.wav", checkpoint, capsys=capsys)
    wanted = enhancer.load(checkpoint).enhance(audio.audio("one.wav"), np.zeros(8, np.float32))
    assert np.array_equal(soundfile.read("out.wav", dtype="float32")[0], wanted)


def test_more_than_two_channels_are_averaged_and_two_only_if_asked(checkpoint, capsys):
    put("three.wav", three := noise(0.5, 3))
    put("turned.wav", np.stack([three[:, 0], -three[:, 0]], 1))
    enhance("three.wav", "out.wav", checkpoint, "--denoise", 0, capsys=capsys)
    assert np.abs(soundfile.read("out.wav")[0] - three.mean(axis=1)).max() < 1e-5
    assert "channels cancel each other" in refused("turned.wav", "x.wav", checkpoint, "--mono", capsys=capsys)
    enhance("turned.wav", "x.wav", checkpoint, capsys=capsys)
    assert soundfile.info("x.wav").channels == 2


@pytest.mark.parametrize("options", [(), ("--audiogram", "N3", "--compression", "slow"), ("--stream",)])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_long_recording_is_read_and_written_in_blocks_with_the_same_samples(
    checkpoint, capsys, monkeypatch, channels, options
):
    put("long.wav", noise(6.0, channels))
    plain = [option for option in options if option != "--stream"]
    enhance("long.wav", "whole.wav", checkpoint, *plain, capsys=capsys)
    monkeypatch.setattr(aids, "LONG_SAMPLES", RATE)
    monkeypatch.setattr(audio, "KEPT_VALUES", RATE)
    monkeypatch.setattr(aids.Aid, "apply", lambda *_: pytest.fail("it was held whole"))
    write, sizes = soundfile.SoundFile.write, []
    monkeypatch.setattr(soundfile.SoundFile, "write", lambda file, data: sizes.append(len(data)) or write(file, data))
    said = enhance("long.wav", "blocks.wav", checkpoint, *options, capsys=capsys)
    whole, blocks = (soundfile.read(name)[0] for name in ("whole.wav", "blocks.wav"))
    assert len(sizes) > 2 and max(sizes) <= aids.BLOCK and sum(sizes) == 6 * RATE and said["duration_s"] == 6
    assert whole.shape == blocks.shape and np.abs(whole - blocks).max() < 1e-5 * max(1, np.abs(whole).max())


def test_another_denoiser_takes_one_channel(elsewhere, capsys):
    put("two.wav", noise(0.5, 2))
    said = refused("two.wav", "out.wav", "wiener", capsys=capsys)
    assert "two.wav has two channels, and wiener takes one; add --mono" in said
    enhance("two.wav", "out.wav", "wiener", "--mono", capsys=capsys)
    assert soundfile.info("out.wav").channels == 1


def test_recordings_may_last_hours(checkpoint, capsys):
    put("long.flac", np.zeros(int(1.5 * 3600 * 8_000), np.int16), 8_000)
    assert enhance("long.flac", "out.wav", checkpoint, "--dry-run", capsys=capsys)["in"] == "long.flac"
    data = bytearray(Path("long.flac").read_bytes())
    data[22:26] = (5 * 3600 * 8_000).to_bytes(4)  # the number of frames in STREAMINFO
    Path("long.flac").write_bytes(data)
    assert "18,000 s long, expected at most 14,400 s" in refused("long.flac", "out.wav", checkpoint, capsys=capsys)


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_other_rates_come_out_at_16_khz_and_as_long(checkpoint, capsys, rate):
    time = np.arange(rate) / rate
    put("tone.wav", (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32), rate)
    said = enhance("tone.wav", "out.wav", checkpoint, "--denoise", 0, capsys=capsys)
    samples, found = soundfile.read("out.wav")
    assert found == RATE and len(samples) == RATE and said["duration_s"] == 1
    wanted = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert np.abs(samples - wanted)[500:-500].max() < 1e-3


def test_silence_stays_silent(checkpoint, capsys):
    put("silent.wav", np.zeros(RATE))
    said = enhance("silent.wav", "out.wav", checkpoint, "--audiogram", "N4", "--plot", "p.png", capsys=capsys)
    assert not soundfile.read("out.wav")[0].any()
    assert said["levels"] == {"in_db_spl": -60, "out_db_spl": -60}, "the lowest level that is told"


@pytest.mark.parametrize("peak", [1.0, 3.0])
def test_clipped_samples_and_those_beyond_full_scale_are_kept_as_they_are(checkpoint, capsys, peak):
    put("loud.wav", loud := np.clip(50 * noise(1.0), -peak, peak))
    enhance("loud.wav", "same.wav", checkpoint, "--denoise", 0, capsys=capsys)
    assert np.abs(soundfile.read("same.wav")[0] - loud).max() < 1e-5
    enhance("loud.wav", "out.wav", checkpoint, capsys=capsys)
    assert np.isfinite(soundfile.read("out.wav")[0]).all()


@pytest.mark.parametrize(
    ("samples", "named"),
    [
        (np.full(RATE, np.nan), "NaN or infinite samples (the first at 0.000 s, channel 1)"),
        (np.append(np.zeros(RATE), np.inf), "NaN or infinite samples (the first at 1.000 s, channel 1)"),
        (np.full(RATE, 30_000.0), "integers saved as floats"),
        (np.zeros(0), "no samples"),
        (None, "the file is empty (0 bytes); record or copy it again"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(checkpoint, capsys, samples, named):
    Path("bad.wav").write_bytes(b"") if samples is None else put("bad.wav", samples)
    said = refused("bad.wav", "out.wav", checkpoint, capsys=capsys)
    assert f"bad.wav: {'audio' if samples is None else ''}" in said and named in said and not Path("out.wav").exists()


@pytest.mark.parametrize(("name", "start"), [("plot.png", b"\x89PNG"), ("plot.SVG", b"<?xml")])
def test_a_plot_is_drawn_beside_the_output(checkpoint, capsys, name, start):
    assert enhance("in.wav", "out.wav", checkpoint, "--plot", name, capsys=capsys)["plot"] == name
    assert Path(name).read_bytes().startswith(start) and Path("out.wav").is_file()


@pytest.mark.parametrize(
    ("plot", "named"), [("p.jpg", "p.jpg, expected a .png or .svg file"), ("no/p.png", "a folder that is there")]
)
def test_a_plot_that_cannot_be_is_refused(checkpoint, capsys, plot, named):
    said = refused("in.wav", "out.wav", checkpoint, "--plot", plot, capsys=capsys)
    assert named in said and not Path("out.wav").exists()
