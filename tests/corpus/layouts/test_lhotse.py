"""Lhotse's cuts of plain files are read, packed or not; what lhotse would make at load time is refused."""

import copy
import gzip
import json

import pytest

from posttrain.corpus.layouts import lhotse
from tests.corpus.layouts.reading import entries, make, named, rows


def cut(**changed):
    """A cut as `CutSet.to_file` writes it; keys of `recording`, `source` and `said` are changed there."""
    found = {
        "id": "c1",
        "start": 0.0,
        "duration": 2.0,
        "channel": 0,
        "supervisions": [
            {
                "id": "s1",
                "recording_id": "r1",
                "start": 0.0,
                "duration": 2.0,
                "channel": 0,
                "text": 'a "good" day',
                "language": "English",
                "speaker": "p1",
            }
        ],
        "recording": {
            "id": "r1",
            "sources": [{"type": "file", "channels": [0], "source": "wav/a.wav"}],
            "sampling_rate": 16000,
            "num_samples": 32000,
            "duration": 2.0,
            "channel_ids": [0],
        },
        "type": "MonoCut",
    }
    found = copy.deepcopy(found)
    found["recording"]["sources"][0] |= changed.pop("source", {})
    found["recording"] |= changed.pop("recording", {})
    found["supervisions"][0] |= changed.pop("said", {})
    return found | changed


def lines(*cuts):
    return "".join(json.dumps(each) + "\n" for each in cuts)


FILES = {"wav/a.wav": b"RIFF"}


def test_each_file_of_cuts_is_a_split_and_may_be_packed(tmp_path):
    make(
        tmp_path,
        FILES
        | {
            "libri_cuts_dev-clean.jsonl.gz": gzip.compress(lines(cut()).encode()),
            "cuts_train.jsonl": lines(cut(id="c2", start=2390.5, duration=1.25, recording={"duration": 2400.0})),
            "recordings.jsonl": "{}\n",
        },
    )
    found, problems = rows(tmp_path, "lhotse")
    assert problems == []
    assert [(r.split, r.speaker, r.raw, r.offset_s, r.duration_s, r.id, dict(r.values)) for r in found] == [
        ("train", "p1", 'a "good" day', 2390.5, 1.25, "c2", {"language": "English"}),
        ("dev-clean", "p1", 'a "good" day', 0.0, None, "c1", {"language": "English"}),
    ]


def test_the_channel_is_the_place_in_its_file(tmp_path):
    two = cut(channel=3, source={"channels": [2, 3]})
    apart = cut(channel=1, id="c2")
    apart["recording"]["sources"].append({"type": "file", "channels": [1], "source": f"{tmp_path}/wav/b.wav"})
    make(tmp_path, FILES | {"wav/b.wav": b"RIFF", "cuts.jsonl": lines(two, apart)})
    assert [(e.name, e.channel, e.split) for e in entries(tmp_path, "lhotse")[0]] == [
        ("wav/a.wav", 1, None),
        ("wav/b.wav", None, None),
    ]


@pytest.mark.parametrize(
    ("bad", "parts"),
    [
        (cut(type="MixedCut"), ("it is a MixedCut", "save_audios")),
        (cut(source={"type": "command", "source": "rm -rf /"}), ("its audio is a command",)),
        (cut(source={"type": "url", "source": "https://x/y.wav"}), ("its audio is a url",)),
        (cut(recording={"transforms": [{"name": "Speed"}]}), ("transforms",)),
        (cut(supervisions=[]), ("0 supervisions", "trim_to_supervisions")),
        (cut(said={"text": None}), ("text is None",)),
        (cut(said={"text": ""}), ("no usable characters",)),
        (cut(start=-1), ("start is -1",)),
        (cut(duration="2"), ("duration is '2'",)),
        (cut(source={"source": "../a.wav"}), ("leaves",)),
        ({"id": "x"}, ("cut 'x'", "'recording' is missing", "CutSet.to_file")),
        (cut(supervisions=[7]), ("not as lhotse writes it",)),
        (cut(supervisions=7), ("not as lhotse writes it",)),
        (cut(recording={"sources": []}), ("no source of its recording has",)),
        (cut(recording={"duration": None}), ("duration is None",)),
        (cut(said={"text": "other"}), ("line 1 already",)),
    ],
)
def test_each_fault_is_named_by_its_line(tmp_path, bad, parts):
    make(tmp_path, FILES | {"cuts.jsonl": lines(cut(), bad)})
    found, problems = rows(tmp_path, "lhotse")
    assert len(found) == 1 and len(problems) == 1 and named(problems, "cuts.jsonl:2", *parts), problems


def test_a_cut_off_archive_and_a_cut_off_line_are_named(tmp_path):
    packed = gzip.compress(lines(*(cut(id=str(n), start=n) for n in range(2_000))).encode())
    make(tmp_path, FILES | {"cuts_a.jsonl.gz": packed[:-100], "cuts_b.jsonl": lines(cut())[:-30]})
    problems = rows(tmp_path, "lhotse")[1]
    assert named(problems, "cuts_a.jsonl.gz cannot be unpacked")
    assert named(problems, "cuts_b.jsonl, line 1 is not a JSON object")


def test_a_channel_that_no_source_has_and_a_time_that_no_float_holds_are_refused(tmp_path):
    source = {"type": "file", "channels": [0], "source": "a.wav"}
    cut = {"id": "c", "start": 0, "duration": 2, "supervisions": [{"text": "hello", "speaker": "a"}]}
    cut["recording"] = {"duration": 2, "sources": [source]}
    lines = [json.dumps(cut | {"channel": 1}), json.dumps(cut | {"start": 10**400})]
    (tmp_path / "train_cuts.jsonl").write_text("\n".join(lines) + "\n")
    problems = []
    assert not list(lhotse.read(tmp_path, {}, problems))
    assert "channel is 1, which no source of its recording has" in problems[0] and "expected seconds" in problems[1]
