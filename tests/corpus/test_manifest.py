"""Every bad row is told, with its line, before anything else happens."""

import os
import re

import numpy as np
import pytest
import soundfile

from posttrain.corpus import audio, manifest
from posttrain.errors import InputError
from tests.corpus.layouts import reading


@pytest.fixture
def root(tmp_path):
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "good.wav", np.full(16_000, 0.1), 16_000)
    return tmp_path


def put(root, text, encoding="utf-8"):
    (root / "manifest.csv").write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return root / "manifest.csv"


def problems_of(call, *args):
    with pytest.raises(InputError) as caught:
        call(*args)
    return caught.value.problems


def test_rows_hold_normalised_text_and_absolute_paths(root):
    (row,) = reading.read(put(root, "path,text,split,speaker\naudio/good.wav,It’s 12 O'CLOCK!,valid,s1\n"))
    assert row.text == "it's twelve o'clock"
    assert row.path == root / "audio" / "good.wav"
    assert (row.split, row.speaker, row.line, row.name) == ("valid", "s1", 2, "audio/good.wav")


def test_all_bad_lines_are_listed_with_their_numbers(root):
    (root.parent / "outside.wav").write_bytes(b"")
    path = put(
        root,
        "path,text\naudio/good.wav,fine\naudio/none.wav,hello\n../outside.wav,hello\naudio/good.wav,?!\n,hello\n",
    )
    problems = problems_of(reading.read, path)
    assert [p.split(":")[1] for p in problems] == ["3", "4", "5", "6"]
    for problem, word in zip(problems, ("not found", "leaves", "no usable characters", "path is empty"), strict=True):
        assert word in problem


def test_a_link_below_the_root_is_followed_to_a_file_anywhere(root, tmp_path_factory):
    """As in a Hugging Face cache, where every file is a link to one elsewhere that has another name."""
    outside = tmp_path_factory.mktemp("blobs")
    soundfile.write(outside / "0a1b", np.full(16_000, 0.1), 16_000, format="WAV")
    (root / "audio" / "link.wav").symlink_to(outside / "0a1b")
    (root / "linked").symlink_to(outside)
    (root / "blob.csv").write_text("path,text\naudio/link.wav,hello\nlinked/0a1b,hello\n")
    (root / "manifest.csv").symlink_to(root / "blob.csv")
    rows = reading.read(root / "manifest.csv")
    assert [row.path for row in rows] == [root / "audio" / "link.wav", root / "linked" / "0a1b"]
    assert len(audio.audio(rows[0].path)) == 16_000


def test_a_text_that_cannot_be_read_out_is_refused_by_line(root):
    path = put(root, "path,text\naudio/good.wav,May 21st\naudio/good.wav,Henry VIII\naudio/good.wav,ok 👍\n")
    problems = problems_of(reading.read, path)
    assert [p.split(": ")[0] for p in problems] == [f"{path}:3", f"{path}:4"]
    assert "'VIII'" in problems[0] and "'👍'" in problems[1]


def test_a_line_that_is_not_utf8_is_named(root):
    path = put(root, b"path,text\naudio/good.wav,fine\naudio/good.wav,caf\xe9\n")
    (problem,) = problems_of(reading.read, path)
    assert problem.startswith(f"{path}:3: not UTF-8") and "'é' in Windows-1252" in problem


@pytest.mark.parametrize(
    ("text", "word"), [("", "no rows"), ("path,text\n", "no rows"), ("file,text\na,b\n", "expected path,text")]
)
def test_an_empty_manifest_or_one_without_columns_is_refused(root, text, word):
    assert word in problems_of(reading.read, put(root, text))[0]


def test_the_text_column_may_be_missing_where_no_text_is_asked_for(root):
    (row,) = reading.read(put(root, "path,category\naudio/good.wav,rain\n"), None, False)
    assert row.text == "" and row.values["category"] == "rain"


def bad_audio(root, name):
    path = root / name
    if name == "empty.wav":
        soundfile.write(path, np.zeros(0), 16_000)
    elif name == "nan.wav":
        soundfile.write(path, np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    elif name == "short.wav":
        soundfile.write(path, np.zeros(1_000), 16_000)
    elif name == "zero_bytes.wav":
        path.write_bytes(b"")
    elif name == "noise.wav":
        path.write_bytes(b"this is no audio at all")
    return path


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("empty.wav", "no samples"),
        ("nan.wav", "NaN"),
        ("short.wav", r"0\.062 s, expected 0\.120 s"),
        ("zero_bytes.wav", "cannot be read"),
        ("noise.wav", "cannot be read"),
        ("none.wav", "not found"),
    ],
)
def test_audio_that_cannot_be_used_is_refused(root, name, word):
    with pytest.raises(ValueError, match=word):
        audio.audio(bad_audio(root, name))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus"])
def test_formats_channels_and_rates_come_out_as_16_khz_mono(root, suffix):
    path = root / f"tone.{suffix}"
    time = np.arange(48_000) / 48_000
    tone = 0.4 * np.sin(2 * np.pi * 440 * time)
    options = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    soundfile.write(path, np.stack([tone, tone], 1), 48_000, **options)
    waveform = audio.audio(path)
    assert waveform.dtype == np.float32 and abs(len(waveform) - 16_000) < 100
    assert np.sqrt(np.mean(waveform[2_000:-2_000] ** 2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.03)


def test_loading_keeps_the_order_and_names_the_bad_rows(root):
    bad_audio(root, "short.wav")
    soundfile.write(root / "third.wav", np.full(16_000, 0.1), 16_000)
    rows = reading.read(put(root, "path,text\naudio/good.wav,one\nshort.wav,two\nthird.wav,three\n"))
    loaded = list(manifest.load(rows))
    assert [row.text for row, _, _ in loaded] == ["one", "two", "three"]
    assert [heard is None for _, heard, _ in loaded] == [False, True, False]
    assert loaded[1][2].startswith(f"{root}/manifest.csv:3: short.wav: audio is 0.062 s")


def test_a_quote_that_never_closes_swallows_no_row(root):
    for number in range(8):
        soundfile.write(root / f"c{number}.wav", np.full(16_000, 0.1), 16_000)
    lines = [f"c{number}.wav,clip {number}" for number in range(8)]
    for broken, named in (
        ({1: 'c1.wav,"clip'}, [":3: the quote that opens here is never closed"]),
        ({1: 'c1.wav,"clip', 5: 'c5.wav,clip"'}, [":3: the quote that opens here is not closed", ":7: a quote inside"]),
        ({1: 'c1.wav,"clip', 5: 'c5.wav,"clip"'}, [":3: the quote that opens here is not closed"]),
    ):
        rows = [broken.get(number, line) for number, line in enumerate(lines)]
        good, problems = manifest.scan(put(root, "\n".join(["path,text", *rows, ""])))
        assert len(good) == 8 - len(broken) + (len(broken) > len(named)) and len(problems) == len(named)
        assert all(want in problem for want, problem in zip(named, problems, strict=True))


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("audio/good.wav,i have, an appointment", "3 cells, expected 2 .*put quotes around"),
        ("audio/good.wav", "1 cells, expected 2 .*add what is missing"),
        ("audio/good.wav;hello", "separated by semicolons, expected commas"),
        ("audio/good.wav\thello", "separated by tabs, expected commas"),
        ('audio/good.wav,he said "hi" to me', "a quote inside a cell.*write each quote twice"),
        ('audio/good.wav,"he said "hi" to me"', "text follows a closing quote"),
        ("# a remark", "comments are not read, delete this line"),
        ("#audio/good.wav,hello", "#audio/good.wav not found"),
        ("path,text", "the header again"),
        ("audio/good.wav,he\0llo", "a NUL byte at character 18"),
        ("audio/go\0od.wav,hello", "a NUL byte"),
        ("audio/good.wav,caf\ufffd", r"U\+FFFD at character 19"),
        ("audio\\good.wav,hello", "Windows backslashes; write audio/good.wav"),
        ("..\\good.wav,hello", r"may not hold \.\."),
        (r"C:\clips\good.wav,hello", "an absolute Windows path"),
        (r"\\server\good.wav,hello", "an absolute Windows path"),
        ("/etc/hostname,hello", "leaves .*it is absolute"),
        ("audio/../audio/good.wav,hello", "leaves .* or might"),
        ("~/good.wav,hello", "begins with ~"),
        ("https://example.org/good.wav,hello", "is an address"),
        ("audio/good.WAV,hello", "the same name in another case"),
        ("Audio/good.wav,hello", "'audio', the table 'Audio': the same name in another case"),
        ("audio/good.flac,hello", "has 'good.wav'; write that"),
        ("sounds/good.wav,hello", "has no folder 'sounds'"),
        ("audio,hello", "is a folder, expected a file"),
        (f"{'x' * 300}.wav,hello", "File name too long"),
        (f"audio/good.wav,{'x' * 140_000}", "text has over 131,072 characters"),
        ("audio/good.wav,hello\n./audio/good.wav,there", ":3: path ./audio/good.wav is in line 2 already"),
    ],
)
def test_each_kind_of_fault_is_named_with_line_and_fix(root, row, named):
    (problem,) = problems_of(reading.read, put(root, f"path,text\n{row}\n"))
    assert re.search(named, problem), problem
    assert problem.startswith(f"{root}/manifest.csv:") and ";" in problem


def test_names_in_another_unicode_form_and_with_other_spaces_are_told_apart(root):
    for name in ("caf\u0065\u0301.wav", "clip\xa001.wav"):
        soundfile.write(root / name, np.full(16_000, 0.1), 16_000)
    problems = problems_of(reading.read, put(root, "path,text\ncaf\u00e9.wav,one\nclip 01.wav,two\n"))
    assert "another Unicode form (NFD in the folder, NFC in the table)" in problems[0]
    assert "'clip\\xa001.wav'" in problems[1] and "look alike" in problems[1]


def test_a_broken_link_a_loop_and_a_pipe_are_named(root):
    (root / "gone.wav").symlink_to(root / "nowhere.wav")
    (root / "loop.wav").symlink_to(root / "loop.wav")
    os.mkfifo(root / "pipe.wav")
    lines = "".join(f"{name}.wav,hello\n" for name in ("gone", "loop", "pipe"))
    gone, loop, pipe = problems_of(reading.read, put(root, "path,text\n" + lines))
    assert "is a link to" in gone and "is a link to" in loop and "is not a regular file" in pipe


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named_with_the_fix(root, encoding):
    (problem,) = problems_of(reading.read, put(root, "path,text\naudio/good.wav,fine\n" * 9, encoding))
    assert "UTF-" in problem and "save it as UTF-8" in problem


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_line_ends_marks_blank_lines_and_spaces_around_cells_are_accepted(root, end):
    lines = ["path , Text", "", " audio/good.wav\xa0,\u2003it is\u2028on\x0b \x85", ",", "   "]
    (row,) = reading.read(put(root, "\ufeff" + end.join(lines)))
    assert (row.name, row.text, row.line) == ("audio/good.wav", "it is on", 3)


def test_tabs_are_read_in_a_file_that_is_named_tsv(root):
    text = "path\ttext\naudio/good.wav\tone, two\n"
    (root / "manifest.tsv").write_text(text)
    assert reading.read(root / "manifest.tsv")[0].text == "one two"
    (problem,) = problems_of(reading.read, put(root, text))
    assert "separated by tabs" in problem and "name the file .tsv" in problem
    (root / "manifest.tsv").write_text(text.replace("\t", ","))
    assert "name the file .csv" in problems_of(reading.read, root / "manifest.tsv")[0]


def test_json_lines_are_read_as_a_table_and_each_bad_line_is_named(root):
    path = root / "manifest.jsonl"
    path.write_text(
        '{"path": "audio/good.wav", "text": "Fine, 2", "channel": 0, "offset_s": 0.25, "duration_s": 0.5, "x": [1]}\n'
        '{"path": "audio/good.wav", "text": "whole", "speaker": 7, "offset_s": null}\n'
    )
    part, whole = reading.read(path)
    assert (part.text, part.segment[:3], whole.segment[:3]) == ("fine two", (0.25, 0.5, 0), (0.0, None, None))
    assert whole.speaker == "7" and part.line == 1 and "x" not in part.values
    path.write_text('{"text": "a"}\n{"path": ["x"], "text": "b"}\n[1]\n{"path": "audio/good.wav", "channel": "x"}\n')
    problems = problems_of(reading.read, path, None, False)
    for line, word in enumerate(("path is missing", "path is \"['x']\"", "not a JSON object", "channel is 'x'"), 1):
        assert any(re.search(rf"\b{line}\b", problem) and word in problem for problem in problems), (line, problems)
    path.write_text("\n")
    assert "has no rows, expected an object with path, text" in problems_of(reading.read, path)[0]
    assert "not found" in problems_of(reading.read, root / "none.jsonl")[0]


def test_one_recording_under_two_names_is_refused(root):
    (root / "audio" / "link.wav").symlink_to(root / "audio" / "good.wav")
    rows = "path,text\naudio/good.wav,turn it up\naudio/link.wav,turn it {}\n"
    with pytest.raises(InputError, match=r"link\.wav is in line 2 already"):
        reading.read(put(root, rows.format("down")))
    assert len(reading.read(put(root, rows.format("up")))) == 2
