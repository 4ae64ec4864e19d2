"""`data check` finds what is planted, says what training does about it, and training does that."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from typer.testing import CliRunner

from posttrain.cli.app import app
from posttrain.config.sections import CorpusConfig
from posttrain.corpus import checks, data_check, sources
from posttrain.errors import InputError
from tests.corpus.layouts import reading

RATE_HZ = 16_000
TEXT = "turn it up a little please"


def speech(seed, seconds=2.0, level=0.1):
    """Noise in syllables, unlike any other seed's."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (level * rng.standard_normal(len(time)) * (np.sin(2 * np.pi * 2.5 * time) > -0.3)).astype(np.float32)


def put(root, name, waveform, rate_hz=RATE_HZ, **options):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, rate_hz, **options)


@pytest.fixture
def faulty(tmp_path):
    """A folder with one fault of each kind, and rows without any."""
    root = tmp_path / "faulty"
    rows = []

    def row(name, text=TEXT, split="train", speaker="a"):
        rows.append([name, text, split, speaker])

    for number in range(3):
        put(root, f"good{number}.wav", speech(number))
        row(f"good{number}.wav", f"{TEXT} {'abc'[number]}")
    put(root, "test.wav", speech(10))
    row("test.wav", "nobody else says this sentence", "test", "t")
    row("missing.wav")
    (root / "empty.wav").write_bytes(b"")
    row("empty.wav")
    put(root, "cut.wav", speech(11))
    (root / "cut.wav").write_bytes((root / "cut.wav").read_bytes()[:-20_000])
    row("cut.wav")
    put(root, "nan.wav", np.where(np.arange(RATE_HZ) == 50, np.nan, speech(12, 1)), subtype="FLOAT")
    row("nan.wav")
    put(root, "short.wav", speech(13, 0.05))
    row("short.wav")
    put(root, "long.flac", speech(14, 61))
    row("long.flac")
    put(root, "inverted.wav", np.stack([speech(15), -speech(15)], axis=1))
    row("inverted.wav")
    (root / "text.wav").write_text("no sound at all, only words")
    row("text.wav")
    put(root, "no_text.wav", speech(16))
    row("no_text.wav", "…!")
    put(root, "emoji.wav", speech(17))
    row("emoji.wav", "I am 😀 today")
    row("good1.wav", "the same path again")
    put(root, "silent.wav", np.zeros(2 * RATE_HZ, np.float32))
    row("silent.wav")
    put(root, "quiet.wav", speech(18, level=5e-4))
    row("quiet.wav")
    put(root, "clipped.wav", np.clip(speech(19, level=2.0), -1, 1))
    row("clipped.wav")
    put(root, "hasty.wav", speech(20, 0.5))
    row("hasty.wav", "far more words than anybody could ever say in such a short time")
    put(root, "slow.wav", speech(21, 9))
    row("slow.wav", "not enough")
    put(root, "phone.wav", speech(22)[::2], 8_000)
    row("phone.wav")
    put(root, "flac.mp3", speech(23), format="FLAC")
    row("flac.mp3")
    put(root, "copy.wav", speech(0))
    row("copy.wav", f"{TEXT} a")
    put(root, "leak.wav", speech(10))
    row("leak.wav", "a recording of the test")
    put(root, "voice.wav", speech(24))
    row("voice.wav", "the voice of the test", speaker="t")
    put(root, "said.wav", speech(25))
    row("said.wav", "nobody else says this sentence")
    put(root, "unlisted.wav", speech(26))
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "text", "split", "speaker"], *rows])
    with (root / "manifest.csv").open("ab") as file:
        file.write("good2.wav,caf\xe9,train,a\n".encode("latin-1") + b"good2.wav,one cell too many,train,a,x\n")
    return root


PLANTED = {
    "missing.wav": "row",
    "empty.wav": "audio",
    "cut.wav": "audio",
    "nan.wav": "audio",
    "short.wav": "audio",
    "long.flac": "audio",
    "inverted.wav": "audio",
    "text.wav": "audio",
    "…!": "row",
    "😀": "row",
    "path good1.wav is in line": "row",
    "silent.wav": "nothing heard",
    "quiet.wav": "quiet",
    "clipped.wav": "clipped",
    "hasty.wav": "text too long",
    "slow.wav": "text too short",
    "phone.wav": "low rate",
    "flac.mp3": "wrong ending",
    "copy.wav": "audio twice",
    "the same audio is in test": "audio in two splits",
    "speaker 't' is in": "speaker in two splits",
    "text 'nobody else says this sentence'": "text in two splits",
    "unlisted.wav": "unlisted",
    "not UTF-8": "row",
    "5 cells, expected 4": "row",
}


def test_every_planted_fault_is_found_and_nothing_else(faulty):
    checked = data_check.check(str(faulty), None, progress=False)
    for words, kind in PLANTED.items():
        assert any(fault.kind == kind and words in fault.what for fault in checked.faults), words
    assert len(checked.faults) == len(PLANTED)
    assert set(checked.counts) == set(PLANTED.values()) == set(checks.KINDS) - {"another count"}
    assert not checked.usable


def test_training_refuses_what_it_is_said_to_refuse_and_counts_the_rest(faulty, tmp_path):
    (faulty.parent / "fsdd").symlink_to(faulty)
    config = CorpusConfig(sources=("fsdd",), data_root=str(tmp_path))
    use = {"test": {"split": "test"}, "train": {"split": "train"}}
    card = {"kind": "speech", "use": use, "manifest": "manifest.csv", "layouts": {"table": None}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "card", lambda name: card)
        with pytest.raises(InputError, match=r"speakers in two splits: t \(test, train\)"):
            sources.check(config)
        data_check.write_clean(data_check.check(str(faulty), None, progress=False), faulty / "clean.csv")
        card["manifest"] = "clean.csv"
        recorded = sources.read(config, progress=False)
        list(recorded.waveforms())
    counted = {"nothing heard", "quiet", "clipped", "text too long", "text too short", "low rate"}
    assert set(recorded.counted["fsdd"]) == counted


def test_a_clean_manifest_has_no_fault_that_training_refuses(faulty):
    checked = data_check.check(str(faulty), None, progress=False)
    kept = data_check.write_clean(checked, faulty / "clean.csv")
    rows = reading.read(faulty / "clean.csv")
    names = [row.name for row in rows]
    assert len(names) == kept and "test.wav" in names and "good0.wav" in names
    assert not {"leak.wav", "voice.wav", "said.wav", "cut.wav"} & set(names)
    again = data_check.check(str(faulty / "clean.csv"), None, progress=False)
    assert again.usable and not {"row", "audio", "text in two splits"} & set(again.counts)
    with pytest.raises(InputError, match="paths in a manifest are below its folder"):
        data_check.write_clean(checked, faulty.parent / "elsewhere" / "clean.csv")


def test_the_command_writes_a_page_and_ends_with_status_2(faulty, tmp_path):
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["data", "check", str(faulty), "--page", str(page), "--json"])
    assert done.exit_code != 0 and isinstance(done.exception, InputError)
    found = json.loads(done.stdout)
    assert found["counts"]["audio"] == 7 and not found["usable"] and found["speakers"] == 2
    assert "Training would refuse it" in page.read_text() and "<svg" in page.read_text()


def test_texts_of_a_corpus_are_escaped_on_the_page(tmp_path):
    from posttrain.report import data_page

    put(tmp_path, "a.wav", speech(1))
    put(tmp_path, "<b>x</b>.wav".replace("/", "_"), speech(2))
    (tmp_path / "manifest.csv").write_text("path,text\na.wav,fine words here\n")
    page = data_page.write(data_check.check(str(tmp_path), None, progress=False), tmp_path / "page.html")
    assert "<b>x" not in page.read_text() and "&lt;b&gt;x" in page.read_text()


def test_what_cannot_be_found_is_named(tmp_path):
    with pytest.raises(InputError, match="is no folder, no table and no source"):
        data_check.check("nothing-such", tmp_path)
    with pytest.raises(InputError, match="none is given; set DATA_ROOT"):
        data_check.check("fsdd", None)
    with pytest.raises(InputError, match="has none of the layouts"):
        data_check.check(str(tmp_path), None)


def test_a_split_that_is_not_whole_is_told(tmp_path):
    for number in range(2):
        put(tmp_path / "fsdd" / "recordings", f"{number}_george_0.wav", speech(number, 0.5))
    card = sources.card("fsdd")
    card["layouts"]["fsdd"] = {"published": {None: {"clips": 3000}}, "use": {"train": {"speaker": "george"}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "card", lambda name: card)
        checked = data_check.check("fsdd", tmp_path, progress=False)
    assert checked.counts == {"another count": 1} and "has 2 recordings, published are 3,000" in checked.faults[0].what


def table(root, *rows, name="manifest.csv", header="path,text,split,speaker"):
    (root / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root / name


def test_a_folder_of_noises_needs_no_words(tmp_path):
    put(tmp_path, "cafe/a.wav", speech(1))
    put(tmp_path, "street/b.wav", speech(2))
    checked = data_check.check(str(tmp_path), None, progress=False)
    assert checked.usable and checked.layout == "noise" and not checked.faults


def test_rows_of_two_splits_without_a_speaker_are_told_as_training_refuses_them(tmp_path):
    for name in "ab":
        put(tmp_path, f"{name}.wav", speech(ord(name)))
    table(tmp_path, "a.wav,one thing,train,", "b.wav,another thing,test,")
    checked = data_check.check(str(tmp_path), None, progress=False)
    assert checked.counts == {"speaker in two splits": 1} and "name no speaker" in checked.faults[0].what
    assert not checked.usable
    assert data_check.write_clean(checked, tmp_path / "clean.csv") == 1
    assert [row.split for row in reading.read(tmp_path / "clean.csv")] == ["test"]


def test_a_name_written_in_two_ways_is_one_speaker(tmp_path):
    for name in "ab":
        put(tmp_path, f"{name}.wav", speech(ord(name)))
    composed, apart = "Zo\u00eb", "Zoe\u0308"
    table(tmp_path, f"a.wav,one thing,train,{composed}", f"b.wav,another thing,test,{apart}")
    assert data_check.check(str(tmp_path), None, progress=False).counts == {"speaker in two splits": 1}


def test_a_recording_that_cannot_be_read_means_status_2(tmp_path):
    put(tmp_path, "a.wav", speech(1))
    (tmp_path / "b.wav").write_bytes(b"")
    table(tmp_path, "a.wav,one thing,train,a", "b.wav,another thing,train,a")
    assert not data_check.check(str(tmp_path), None, progress=False).usable


def test_a_clean_manifest_keeps_times_to_the_sample_and_no_overlap_and_no_voice_of_two_splits(tmp_path):
    put(tmp_path, "long.wav", speech(1, 1240), 16_000, subtype="PCM_U8")
    header = "path,text,split,speaker,offset_s,duration_s"
    rows = [
        "long.wav,the first words,train,a,1234.56789,2.0625",
        "long.wav,the second words,other,b,100,3",
        "long.wav,some third words,train,b,200,3",
        "long.wav,some fourth words,train,c,300,3",
        "long.wav,some fifth words,test,d,302,3",
    ]
    table(tmp_path, *rows, header=header)
    checked = data_check.check(str(tmp_path), None, progress=False)
    assert checked.counts["audio in two splits"] == 1 and checked.counts["speaker in two splits"] == 1
    data_check.write_clean(checked, tmp_path / "clean.tsv")
    kept = reading.read(tmp_path / "clean.tsv")
    assert [(row.raw, row.offset_s, row.duration_s) for row in kept] == [
        ("the first words", 1234.56789, 2.0625),
        ("some third words", 200, 3),
        ("some fifth words", 302, 3),
    ]
    assert data_check.check(str(tmp_path / "clean.tsv"), None, progress=False).usable


def test_a_clean_manifest_does_not_replace_the_table_that_was_read(tmp_path):
    put(tmp_path, "a.wav", speech(1))
    checked = data_check.check(str(table(tmp_path, "a.wav,one thing,train,a")), None, progress=False)
    with pytest.raises(InputError, match="is the table that was read"):
        data_check.write_clean(checked, tmp_path / "manifest.csv")


def test_recordings_inside_parquet_files_are_checked_and_not_written_to_a_manifest(tmp_path):
    put(tmp_path, "a.flac", speech(1))
    audio = [{"bytes": (tmp_path / "a.flac").read_bytes(), "path": "a.flac"}]
    (tmp_path / "a.flac").unlink()
    pq.write_table(pa.table({"audio": audio, "text": ["one thing"]}), tmp_path / "train.parquet")
    checked = data_check.check(str(tmp_path), None, progress=False)
    assert checked.usable and not checked.faults
    with pytest.raises(InputError, match="inside parquet files"):
        data_check.write_clean(checked, tmp_path / "clean.csv")


def test_a_page_is_drawn_of_values_that_differ_by_a_rounding(tmp_path):
    from posttrain.report import data_page

    for name in "ab":
        put(tmp_path, f"{name}.wav", speech(ord(name)))
    table(tmp_path, "a.wav,one thing,train,a", "b.wav,another thing,train,a")
    checked = data_check.check(str(tmp_path), None, progress=False)
    first, second = checked.sounds.values()
    object.__setattr__(second, "duration_s", first.duration_s + 4e-16)
    assert "<svg" in data_page.write(checked, tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [
        ("--page", "a.wav", "ends in .html"),
        ("--write", "a.wav", "ends in .csv or .tsv"),
        ("--write", "none/clean.csv", "a folder that is there"),
    ],
)
def test_no_recording_is_overwritten_and_a_missing_folder_is_told_before_anything_is_read(tmp_path, option, name, said):
    put(tmp_path, "a.wav", speech(1))
    before = (tmp_path / "a.wav").read_bytes()
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path), option, str(tmp_path / name)])
    assert isinstance(done.exception, InputError) and said in str(done.exception)
    assert (tmp_path / "a.wav").read_bytes() == before
