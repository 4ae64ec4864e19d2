"""Every bad row is told, with its line, before anything else happens."""

import numpy as np
import pytest
import soundfile

from posttrain.corpus import manifest
from posttrain.errors import InputError


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
    (row,) = manifest.read(put(root, "path,text,split,speaker\naudio/good.wav,It’s 12 O'CLOCK!,valid,s1\n"))
    assert row.text == "it's twelve o'clock"
    assert row.path == root / "audio" / "good.wav"
    assert (row.split, row.speaker, row.line, row.name) == ("valid", "s1", 2, "audio/good.wav")


def test_all_bad_lines_are_listed_with_their_numbers(root):
    (root.parent / "outside.wav").write_bytes(b"")
    path = put(
        root,
        "path,text\naudio/good.wav,fine\naudio/none.wav,hello\n../outside.wav,hello\naudio/good.wav,?!\n,hello\n",
    )
    problems = problems_of(manifest.read, path)
    assert [p.split(":")[1] for p in problems] == ["3", "4", "5", "6"]
    for problem, word in zip(problems, ("not there", "leaves", "no usable characters", "path is empty"), strict=True):
        assert word in problem


def test_a_link_out_of_the_root_is_leaving_it(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.wav"
    outside.write_bytes(b"")
    (root / "audio" / "link.wav").symlink_to(outside)
    assert "leaves" in problems_of(manifest.read, put(root, "path,text\naudio/link.wav,hello\n"))[0]


def test_a_line_that_is_not_utf8_is_named(root):
    path = put(root, b"path,text\naudio/good.wav,fine\naudio/good.wav,caf\xe9\n")
    (problem,) = problems_of(manifest.read, path)
    assert problem.startswith(f"{path}:3: not UTF-8")


@pytest.mark.parametrize(
    ("text", "word"), [("", "no rows"), ("path,text\n", "no rows"), ("file,text\na,b\n", "expected path,text")]
)
def test_an_empty_manifest_or_one_without_columns_is_refused(root, text, word):
    assert word in problems_of(manifest.read, put(root, text))[0]


def test_the_text_column_may_be_missing_where_no_text_is_asked_for(root):
    (row,) = manifest.read(put(root, "path,category\naudio/good.wav,rain\n"), None, False)
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
        manifest.audio(bad_audio(root, name))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus"])
def test_formats_channels_and_rates_come_out_as_16_khz_mono(root, suffix):
    path = root / f"tone.{suffix}"
    time = np.arange(48_000) / 48_000
    tone = 0.4 * np.sin(2 * np.pi * 440 * time)
    options = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    soundfile.write(path, np.stack([tone, tone], 1), 48_000, **options)
    waveform = manifest.audio(path)
    assert waveform.dtype == np.float32 and abs(len(waveform) - 16_000) < 100
    assert np.sqrt(np.mean(waveform[2_000:-2_000] ** 2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.03)


def test_loading_keeps_the_order_and_names_the_bad_rows(root):
    bad_audio(root, "short.wav")
    rows = manifest.read(put(root, "path,text\naudio/good.wav,one\nshort.wav,two\naudio/good.wav,three\n"))
    loaded = list(manifest.load(rows))
    assert [row.text for row, _, _ in loaded] == ["one", "two", "three"]
    assert [waveform is None for _, waveform, _ in loaded] == [False, True, False]
    assert loaded[1][2].startswith(f"{root}/manifest.csv:3: short.wav: audio is 0.062 s")
