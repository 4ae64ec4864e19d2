"""Recordings come in by their card: speakers disjoint, bad ones listed or dropped and counted."""

import json

import numpy as np
import pytest
import soundfile
import yaml

from posttrain.config import assets
from posttrain.config.sections import CorpusConfig
from posttrain.corpus import build, sources, store
from posttrain.corpus.instructions import ABSTENTION
from posttrain.errors import InputError
from posttrain.tasks.plan import plan


def tone(path, hz, seconds=0.6):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * 16_000)) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hz * time), 16_000)


def make(root, name, header, rows, seconds=0.6):
    """A source of tones below `root`/`name`."""
    folder = root / name
    folder.mkdir(parents=True)
    for number, row in enumerate(rows):
        tone(folder / row.split(",")[0], 300 + number, seconds)
    (folder / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture
def root(tmp_path):
    make(
        tmp_path,
        "speechocean762",
        "path,speaker,text,split",
        [
            "train/a.wav,7001,MARK IS GOING,train",
            "train/b.wav,7001,ONE TWO THREE,train",
            "valid/c.wav,8001,ONE TWO THREE,valid",
            "valid/d.wav,8001,THE CAR IS RED,valid",
        ],
    )
    make(
        tmp_path,
        "fsdd",
        "path,speaker,text,split",
        ["g/0.wav,george,ZERO,train", "y/0.wav,yweweler,ZERO,train", "t/0.wav,theo,ZERO,test"],
    )
    make(tmp_path, "noise", "path,split", ["audio/rain.flac,train", "audio/waves.flac,train"], seconds=9)
    return tmp_path


def config(root, *names, **options):
    return CorpusConfig(sources=names, data_root=str(root), **options)


def test_speech_is_to_be_repeated_in_training_and_measured_on_test_speakers(root):
    recorded = sources.read(config(root, "speechocean762", "fsdd"), progress=False)
    splits = {clip.id: (clip.split, clip.name) for clip in recorded.clips}
    assert splits == {
        "train/speechocean762/000001": ("train", "train/a.wav"),  # b has the words of a test row
        "test/speechocean762/000003": ("test", "valid/c.wav"),
        "test/speechocean762/000004": ("test", "valid/d.wav"),
        "train/fsdd/000001": ("train", "g/0.wav"),  # ten words only: they must recur
        "test/fsdd/000002": ("test", "y/0.wav"),
    }
    probes = sorted(e.probe for e in recorded.examples if e.split == "test")
    assert probes == ["wer_real/fsdd"] + ["wer_real/speechocean762"] * 2 + ["wer_real/speechocean762_digits"]
    assert len({e.id for e in recorded.examples}) == len(recorded.examples)
    for clip, waveform in recorded.waveforms():
        assert waveform.dtype == np.int16 and len(waveform) == 9_600
        assert clip.condition == "real" and clip.speaker.startswith(clip.source)


def test_noise_is_cut_into_pieces_where_nothing_was_heard(root):
    recorded = sources.read(config(root, "noise"), progress=False)
    assert [clip.split for clip in recorded.clips] == ["train", "train", "test", "test"]
    assert all(clip.text == "" and clip.condition == "noise" for clip in recorded.clips)
    assert all(e.answer == ABSTENTION and e.grader == "abstain" for e in recorded.examples)
    assert {e.probe for e in recorded.examples if e.split == "test"} == {"hearing/noise"}


def test_bad_rows_and_audio_of_every_source_are_listed_together(root):
    (root / "speechocean762" / "valid" / "c.wav").write_bytes(b"no audio")
    with (root / "fsdd" / "manifest.csv").open("a") as file:
        file.write("g/none.wav,george,ONE,train\n")
    with pytest.raises(InputError) as caught:
        sources.check(config(root, "speechocean762", "fsdd", "missing"))
    told = "\n".join(caught.value.problems)
    assert "speechocean762/manifest.csv:4: valid/c.wav: audio cannot be read" in told
    assert "fsdd/manifest.csv:5: path g/none.wav not found" in told
    assert "missing" in told


def test_bad_audio_is_dropped_and_counted_where_asked(root):
    (root / "speechocean762" / "valid" / "c.wav").write_bytes(b"no audio")
    recorded = sources.read(config(root, "speechocean762", on_bad_audio="drop"), progress=False)
    assert recorded.dropped == {"speechocean762": 1}
    assert "valid/c.wav" not in {clip.name for clip in recorded.clips}


def test_ids_are_made_whatever_the_files_are_called(tmp_path):
    """Names that a placeholder cannot hold, or that differ by their suffix alone, are each their own clip."""
    names = [
        "clip 01.flac",
        "0.wav",
        "0.flac",
        "a/0.wav",
        "<|eot_id|>.wav",
        "日本 é.flac",
        "x|y.wav",
        "1.5.wav",
        ".wav",
    ]
    (tmp_path / "fsdd" / "a").mkdir(parents=True)
    rows = []
    for number, name in enumerate(names):
        soundfile.write(
            tmp_path / "fsdd" / name, np.full(4_000 + 100 * number, 0.1), 16_000, format=name[-4:].strip(".")
        )
        rows.append(f"{name},george,{'a' * (number + 1)},train")
    (tmp_path / "fsdd" / "manifest.csv").write_text("\n".join(["path,speaker,text,split", *rows]) + "\n")
    recorded = sources.read(config(tmp_path, "fsdd"), progress=False)
    assert [clip.name for clip in recorded.clips] == names and len({clip.id for clip in recorded.clips}) == len(names)
    written = store.write(tmp_path / "corpus", recorded.waveforms(), recorded.examples, [], [], [], {})
    for example in written.examples:
        assert written.clips[example.clip].text == example.text
        assert len(written.audio(example.clip)) == 4_000 + 100 * (len(example.text) - 1)


def test_noises_of_one_name_in_two_folders_are_two(tmp_path):
    make(tmp_path, "noise", "path,split", ["a/rain.wav,train", "b/rain.flac,train"], seconds=9)
    recorded = sources.read(config(tmp_path, "noise"), progress=False)
    assert len({clip.id for clip in recorded.clips}) == len(recorded.clips) == 4
    assert {clip.noise for clip in recorded.clips} == {"rain"}
    assert len({clip.speaker for clip in recorded.clips}) == 2


def test_a_source_that_is_named_twice_is_refused(root):
    with pytest.raises(InputError, match="names fsdd more than once"):
        sources.check(config(root, "fsdd", "noise", "fsdd"))


def test_a_speaker_in_two_splits_is_refused(root):
    path = root / "speechocean762" / "manifest.csv"
    path.write_text(path.read_text().replace("8001,THE", "7001,THE"))
    with pytest.raises(InputError, match=r"7001 \(test, train\)"):
        sources.check(config(root, "speechocean762"))


@pytest.mark.parametrize(
    ("card", "named"),
    [
        ("", "kind is None"),
        ("kind: [", "cannot be read as YAML"),
        ("kind: speech\nuse: {test: {split: test}}\nlayouts: [mine]", "layouts is ['mine']"),
        ("kind: speech\nmanifest: m.csv\nuse: {testing: {split: test}}", "expected train, rl, valid, test"),
        ("kind: speech\nmanifest: m.csv\nuse: [test]", "expected train, rl, valid, test"),
    ],
)
def test_a_card_that_is_none_is_named(tmp_path, monkeypatch, card, named):
    (tmp_path / "mine.yaml").write_text(card)
    monkeypatch.setattr(assets, "path", lambda kind, name: tmp_path / "mine.yaml")
    with pytest.raises(InputError, match=r"mine\.yaml") as refused:
        sources.card("mine")
    assert named in str(refused.value)


def test_columns_that_the_card_uses_and_speakers_are_wanted(root):
    manifest = root / "fsdd" / "manifest.csv"
    whole = manifest.read_text()
    manifest.write_text(whole.replace("path,speaker,text,split", "path,speaker,text,part"))
    with pytest.raises(InputError, match=r"fsdd: no column split, which `use` of the card fsdd names"):
        sources.check(config(root, "fsdd"))
    manifest = root / "speechocean762" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("7001", "").replace("8001", ""))
    with pytest.raises(InputError, match="name no speaker"):
        sources.check(config(root, "speechocean762"))


def test_sources_without_a_root_are_refused():
    with pytest.raises(InputError, match="data_root"):
        sources.check(CorpusConfig(sources=("fsdd",)))


def test_every_card_says_origin_licence_and_splits():
    cards = {path.stem: yaml.safe_load(path.read_text()) for path in assets.folder("data").glob("*.yaml")}
    assert {"espeak-ng", "speechocean762", "fsdd", "noise"} <= cards.keys()
    for name, card in cards.items():
        assert card["name"] == name
        assert {"title", "kind", "origin", "licence", "splits"} <= card.keys(), name
        if "manifest" in card:
            assert len(card["sha256"][card["manifest"]]) == 64 and "test" in card["use"], name


def test_made_voices_say_what_recorded_training_speakers_say_and_not_what_test_speakers_say(tmp_path):
    sizes = {
        "train_clips": 24,
        "rl_clips": 6,
        "valid_clips": 6,
        "test_sentences": 2,
        "probe_items": 2,
        "spoken_items": 1,
    }
    said = [c.text for c in plan(CorpusConfig(**sizes), 0).spoken if c.text and c.split in ("train", "rl")]
    text = next(text for text in said if text.replace(" ", "").isalpha())
    rows = ["train/a.wav,7001,MARK IS GOING,train", f"valid/b.wav,8001,{text.upper()},valid"]
    make(tmp_path, "speechocean762", "path,speaker,text,split", rows)
    options = config(tmp_path, "speechocean762", **sizes)
    corpus = build.build(plan(options, 0), options, 0, tmp_path / "corpus", progress=False)
    speakers = {(clip.split, clip.source) for clip in corpus.clips.values() if clip.text == text}
    assert speakers == {("test", "speechocean762")}
    assert text not in {example.text for example in corpus.examples} | {p.text for p in corpus.pairs}
    again = {clip.text for clip in corpus.clips.values() if clip.id.startswith("train/said/") and clip.source == "made"}
    assert "mark is going" in again
    assert again <= {example.answer for example in corpus.examples if (example.clip or "").startswith("train/said/")}


def test_a_train_text_that_validation_or_the_made_test_says_is_left_out(root):
    made = plan(config(root, test_sentences=4), 0)
    test = next(s.text for s in made.spoken if s.split == "test" and s.text)
    folder = root / "speechocean762"
    for number, name in enumerate("efg"):
        tone(folder / f"{name}.wav", 500 + number)
    with (folder / "manifest.csv").open("a") as file:
        file.write(f"e.wav,0006,MARK IS GOING,train\nf.wav,7001,{test},train\ng.wav,7001,HOLD IT,train\n")
    recorded = sources.read(config(root, "speechocean762"), progress=False)
    kept = {(clip.text, clip.split) for clip in recorded.clips if clip.split != "test"}
    assert kept == {("mark is going", "valid"), (test, "train"), ("hold it", "train")}
    left = sources.without(recorded, {test, "mark is going", "one"})
    assert {clip.text for clip in left.clips if clip.split != "test"} == {"hold it"}
    assert {e.text for e in left.examples if e.split != "test"} == {"hold it"}


def card_of(monkeypatch, **cards):
    monkeypatch.setattr(
        sources, "card", lambda name: {"kind": "speech", "use": USE, "layouts": {"table": None}} | cards.get(name, {})
    )


USE = {"test": {"split": "test"}, "train": {"split": "train"}}


def test_what_a_layout_says_of_split_and_speaker_has_precedence_over_a_row_s_further_columns(tmp_path, monkeypatch):
    tone(tmp_path / "mine" / "a.wav", 300)
    tone(tmp_path / "mine" / "b.wav", 400)
    for split, name in (("train", "a"), ("test", "b")):
        row = {"audio_filepath": f"{name}.wav", "text": f"only {name} says so", "speaker": name, "split": "other"}
        (tmp_path / "mine" / f"{split}_manifest.json").write_text(json.dumps(row))
    card_of(monkeypatch, mine={"layouts": {"nemo": None}})
    clips = sources.read(config(tmp_path, "mine"), progress=False).clips
    assert {clip.name: clip.split for clip in clips} == {"a.wav": "train", "b.wav": "test"}


def test_missing_and_empty_speakers_are_both_unnamed(tmp_path, monkeypatch):
    tone(tmp_path / "mine" / "a.wav", 300)
    tone(tmp_path / "mine" / "b.wav", 400)
    (tmp_path / "mine" / "train_manifest.json").write_text('{"audio_filepath": "a.wav", "text": "one thing"}\n')
    (tmp_path / "mine" / "test_manifest.json").write_text(
        '{"audio_filepath": "b.wav", "text": "another thing", "speaker": ""}\n'
    )
    card_of(monkeypatch, mine={"layouts": {"nemo": None}})
    with pytest.raises(InputError, match="rows of several splits name no speaker"):
        sources.read(config(tmp_path, "mine"), progress=False)


def test_a_sentence_of_one_source_s_test_is_not_trained_on_from_another(tmp_path, monkeypatch):
    make(tmp_path, "one", "path,speaker,text,split", ["a.wav,a,red cars go,train", "b.wav,b,zebras are nice,test"])
    make(tmp_path, "two", "path,speaker,text,split", ["c.wav,c,zebras are nice,train", "d.wav,d,blue cars,test"])
    card_of(monkeypatch)
    recorded = sources.read(config(tmp_path, "one", "two"), progress=False)
    assert {clip.name for clip in recorded.clips} == {"a.wav", "b.wav", "d.wav"}
    assert {example.clip for example in recorded.examples} == {clip.id for clip in recorded.clips}


def test_segments_of_one_file_that_overlap_may_not_be_in_two_splits(tmp_path, monkeypatch):
    tone(tmp_path / "mine" / "long.wav", 300, seconds=9)
    table, header = tmp_path / "mine" / "manifest.csv", "path,split,offset_s,duration_s,channel\n"
    card_of(monkeypatch, mine={"kind": "noise"})
    table.write_text(header + "long.wav,train,0,6,\nlong.wav,test,4,5,0\n")
    with pytest.raises(InputError, match=r"manifest.csv:3: long.wav from 4 s is in test, and a part of it in train"):
        sources.read(config(tmp_path, "mine"), progress=False)
    table.write_text(header + "long.wav,train,0,4.2,\nlong.wav,test,4,5,\n")  # rounded times
    assert sources.read(config(tmp_path, "mine"), progress=False).clips


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"kind": ["speech"]}, "kind is"),
        ({"layouts": [["table"]]}, "layouts is"),
        ({"layouts": {"table": "x"}}, "layouts is"),
        ({"use": {"train": {"split": True}}}, "use has split True"),
        ({"use": {"train": None}}, "use is"),
        ({"columns": "text"}, "columns is 'text'"),
        ({"manifest": 5}, "manifest is 5"),
        ({"published": {"train": 5}}, "published is"),
        ({"hub": {"id": "x"}}, "hub is"),
        ({"hub": {"id": "x", "splits": "train"}}, "hub is"),
    ],
)
def test_a_card_that_is_not_as_it_should_be_is_refused(tmp_path, monkeypatch, entry, named):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"kind": "speech", "use": USE} | entry))
    monkeypatch.setattr(assets, "folder", lambda kind: tmp_path)
    with pytest.raises(InputError, match=named):
        sources.card("mine")


def test_a_speaker_whose_zeros_yaml_drops_is_told(tmp_path, monkeypatch):
    make(tmp_path, "mine", "path,speaker,text,split", ["a.wav,0006,one thing,train", "b.wav,0010,some things,train"])
    for number in (6, 8, 10):
        card_of(monkeypatch, mine={"use": {"test": {"speaker": number}, "train": {"split": "train"}}})
        with pytest.raises(InputError, match=rf"speaker is .* in the card the number {number}; put it in"):
            sources.read(config(tmp_path, "mine"), progress=False)
