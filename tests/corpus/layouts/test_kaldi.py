"""Kaldi's folders are read as they are, and everything that does not fit is named with its line."""

import unicodedata

import pytest

from tests.corpus.layouts.reading import entries, make, named, rows

WAV = b"RIFF"


def small(root, **changed):
    files = {
        "wav.scp": "u1 audio/a.wav\nu2 audio/b 2.wav\n",
        "text": 'u1 HELLO "YOU", THERE\nu2\tGOOD DAY\n',
        "utt2spk": "u1 s1\nu2 s2\n",
        "audio/a.wav": WAV,
        "audio/b 2.wav": WAV,
    }
    return make(root, files | changed)


def test_texts_speakers_and_their_values_are_joined_by_utterance(tmp_path):
    small(tmp_path, spk2gender="s1 f\ns2 m\n", spk2age="s1 6\n")
    found, problems = rows(tmp_path, "kaldi")
    assert problems == []
    assert [(r.name, r.raw, r.speaker, r.split, dict(r.values)) for r in found] == [
        ("audio/a.wav", 'HELLO "YOU", THERE', "s1", None, {"gender": "f", "age": "6"}),
        ("audio/b 2.wav", "GOOD DAY", "s2", None, {"gender": "m"}),
    ]
    assert [e.id for e in entries(tmp_path, "kaldi")[0]] == ["u1", "u2"]


@pytest.mark.parametrize("inside", ["", "data/"])
def test_folders_of_splits_are_read_one_after_another_with_paths_below_the_corpus(tmp_path, inside):
    for split in ("train", "test"):
        make(
            tmp_path,
            {
                f"{inside}{split}/wav.scp": f"{split}1 wav/{split}1.wav\n",
                f"{inside}{split}/text": f"{split}1 WORDS\n",
                f"{inside}{split}/utt2spk": f"{split}1 {split}er\n",
                f"wav/{split}1.wav": WAV,
            },
        )
    found, problems = rows(tmp_path, "kaldi")
    assert problems == [] and [(r.split, r.name) for r in found] == [
        ("test", "wav/test1.wav"),
        ("train", "wav/train1.wav"),
    ]


def test_a_long_recording_is_read_by_its_segments(tmp_path):
    small(
        tmp_path,
        **{
            "wav.scp": "r1 audio/a.wav\n",
            "segments": "u1 r1 0.0 2.5\nu2 r1 2399.25 -1\n",
        },
    )
    found, problems = rows(tmp_path, "kaldi")
    assert problems == []
    assert [(r.offset_s, r.duration_s, r.line) for r in found] == [(0.0, 2.5, 1), (2399.25, None, 2)]


def test_byte_order_mark_windows_line_ends_and_blank_lines_change_nothing(tmp_path):
    small(tmp_path)
    before = [(r.name, r.raw, r.speaker) for r in rows(tmp_path, "kaldi")[0]]
    for name in ("wav.scp", "text", "utt2spk"):
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    found, problems = rows(tmp_path, "kaldi")
    assert problems == [] and [(r.name, r.raw, r.speaker) for r in found] == before


def test_absolute_paths_below_the_folder_are_read_and_others_are_refused(tmp_path):
    small(tmp_path, **{"wav.scp": f"u1 {tmp_path}/audio/a.wav\nu2 /elsewhere/b.wav\n"})
    found, (problem,) = rows(tmp_path, "kaldi")
    assert [r.name for r in found] == ["audio/a.wav"]
    assert "wav.scp:2: path /elsewhere/b.wav leaves" in problem


@pytest.mark.parametrize(
    ("file", "line", "parts"),
    [
        ("wav.scp", "u2 sph2pipe -f wav b.sph |", ("wav.scp:2", "is a command, which is not run", "> u2.wav")),
        ("wav.scp", "u2 raw.ark:1234", ("wav.scp:2", "inside an archive")),
        ("wav.scp", "u2 C:\\data\\b.wav", ("wav.scp:2", "absolute Windows path")),
        ("wav.scp", "u2 audio\\b 2.wav", ("wav.scp:2", "write audio/b 2.wav")),
        ("wav.scp", "u2 audio/c.wav", ("wav.scp:2", "not found")),
        ("wav.scp", "u2", ("wav.scp:2", "stands alone")),
        ("wav.scp", "u1 audio/b 2.wav", ("wav.scp:2", "'u1' is there already")),
        ("wav.scp", "u2 audio/b\0.wav", ("wav.scp:2", "NUL byte")),
        ("text", "u2", ("text:2", "'u2' stands alone", "its text")),
        ("text", "u3 GOOD DAY", ("text:2", "'u3' has no line in", "wav.scp")),
        ("text", "u3 GOOD DAY", ("wav.scp:2", "'u2' has no line in", "text")),
        ("text", "u2 caf\udce9", ("text:2", "not UTF-8: byte 0xE9")),
        ("text", "u2 ...", ("wav.scp:2", "no usable characters")),
        ("utt2spk", "u3 s2", ("wav.scp:2", "'u2' has no speaker in")),
        ("segments", "u2 u2 1.0", ("segments:2", "expected an utterance, its recording, start and end")),
        ("segments", "u2 u9 1.0 2.0", ("segments:2", "recording 'u9' has no usable line in")),
        ("segments", "u2 u2 2.0 1.0", ("segments:2", "from 2.0 to 1.0 s")),
        ("segments", "u2 u1 1.0 2.0", ("wav.scp", "recording 'u2' has no segment in")),
    ],
)
def test_each_fault_is_named_by_file_and_line_and_the_other_row_is_read(tmp_path, file, line, parts):
    small(tmp_path)
    if file == "segments":
        make(tmp_path, {"segments": "u1 u1 0 1\n"})
    lines = (tmp_path / file).read_text().splitlines()[:1]
    (tmp_path / file).write_bytes("\n".join([*lines, line, ""]).encode("utf-8", "surrogateescape"))
    found, problems = rows(tmp_path, "kaldi")
    assert named(problems, *parts), problems
    assert found[0].name == "audio/a.wav"


def test_all_faults_are_listed_together_and_a_missing_table_is_one_of_them(tmp_path):
    small(tmp_path, **{"wav.scp": "u1 cat a.wav |\nu2 audio/none.wav\n"})
    (tmp_path / "utt2spk").unlink()
    problems = rows(tmp_path, "kaldi")[1]
    assert named(problems, "is a command") and named(problems, "utt2spk not found", "its speaker on each line")


def test_recordings_without_text_may_be_left_out_by_the_card(tmp_path):
    small(tmp_path, text="u1 HELLO\n")
    assert named(rows(tmp_path, "kaldi")[1], "let the card say `unlisted: ignore`")
    found, problems = rows(tmp_path, "kaldi", unlisted="ignore")
    assert problems == [] and len(found) == 1


def test_noise_needs_neither_text_nor_speaker(tmp_path):
    make(tmp_path, {"wav.scp": "n1 n.wav\n", "n.wav": WAV})
    found, problems = rows(tmp_path, "kaldi", kind="noise")
    assert problems == [] and [r.name for r in found] == ["n.wav"]


def test_a_name_in_another_unicode_form_is_explained(tmp_path):
    composed = unicodedata.normalize("NFC", "café.wav")
    small(tmp_path, **{"wav.scp": f"u1 audio/a.wav\nu2 audio/{unicodedata.normalize('NFD', composed)}\n"})
    make(tmp_path, {f"audio/{composed}": WAV})
    assert named(rows(tmp_path, "kaldi")[1], "wav.scp:2", "another Unicode form")
