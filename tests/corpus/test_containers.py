"""M4A, WebM and raw AAC are read as any other recording, and nothing else is."""

import sys

import av
import numpy as np
import pytest
import soundfile

from posttrain.corpus import audio, containers

RATE_HZ = 48_000
TONE = 0.3 * np.sin(2 * np.pi * 400 * np.arange(2 * RATE_HZ) / RATE_HZ).astype(np.float32)
KINDS = {"m4a": ("ipod", "aac"), "webm": ("webm", "libopus"), "aac": ("adts", "aac"), "mka": ("matroska", "flac")}


def encode(path, channels=(TONE,), tracks=1):
    """A file of these channels, in the format of its suffix."""
    name, codec = KINDS[path.suffix[1:]]
    layout = {1: "mono", 2: "stereo"}[len(channels)]
    with av.open(str(path), "w", format=name) as container:
        streams = [container.add_stream(codec, rate=RATE_HZ, layout=layout) for _ in range(tracks)]
        for stream in streams:
            size = 960 if codec == "libopus" else 1024
            for start in range(0, len(TONE) // size * size, size):
                block = np.stack([channel[start : start + size] for channel in channels])
                kind = "fltp" if codec == "aac" else "flt" if codec == "libopus" else "s32"
                if kind == "s32":
                    block = (block * 2**31).astype(np.int32)
                packed = block if kind == "fltp" else block.T.reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format=kind, layout=layout)
                frame.sample_rate, frame.pts = RATE_HZ, start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", KINDS)
def test_a_recording_in_each_format_has_its_length_and_its_sound(tmp_path, suffix):
    waveform = audio.audio(encode(tmp_path / f"tone.{suffix}"))
    assert abs(len(waveform) / 16_000 - 2) < 0.1
    middle = np.abs(np.fft.rfft(waveform[8_000:24_000]))
    assert middle.argmax() == 400
    assert np.sqrt(np.mean(waveform[8_000:24_000] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_a_channel_can_be_chosen_and_a_segment_too(tmp_path):
    path = encode(tmp_path / "two.mka", (TONE, np.zeros_like(TONE)))
    silent = np.concatenate(list(audio.blocks(audio.header(path, channel=1))))
    assert not silent.any()
    found = audio.header(path, offset_s=0.5, duration_s=1.0, channel=0)
    assert len(np.concatenate(list(audio.blocks(found)))) == 16_000


def test_the_temporary_file_goes_with_the_header(tmp_path):
    found = audio.header(encode(tmp_path / "tone.m4a"))
    place = found.path
    assert place != tmp_path / "tone.m4a" and place.is_file()
    del found
    assert not place.exists()


def test_a_file_that_is_cut_off_or_holds_two_tracks_is_refused(tmp_path):
    path = encode(tmp_path / "tone.mka")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cut off"):
        audio.header(path)
    path = encode(tmp_path / "tone.m4a")
    path.write_bytes(path.read_bytes()[:-2_000])
    with pytest.raises(ValueError, match="audio cannot be read"):
        audio.header(path)
    with pytest.raises(ValueError, match="2 tracks of sound, expected one"):
        audio.header(encode(tmp_path / "two.mka", tracks=2))


def test_a_playlist_that_names_another_file_is_not_followed(tmp_path):
    soundfile.write(tmp_path / "secret.wav", TONE, RATE_HZ)
    for name, text in {
        "list.m3u8": "#EXTM3U\n#EXTINF:2,\nsecret.wav\n",
        "list.m4a": "ffconcat version 1.0\nfile secret.wav\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert containers.format_of(tmp_path / name) is None
        with pytest.raises(ValueError, match="audio cannot be read"):
            audio.header(tmp_path / name)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    path = encode(tmp_path / "tone.webm")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"WebM or Matroska, which takes PyAV.*posttrain\[audio\]"):
        audio.header(path)


def test_a_file_with_several_segments_is_decoded_once_and_one_that_fills_the_disk_is_refused(tmp_path, monkeypatch):
    path = encode(tmp_path / "two.mka", (TONE, TONE))
    first, second = (audio.header(path, offset_s=offset_s, duration_s=0.5) for offset_s in (0.0, 1.0))
    assert first.path == second.path
    monkeypatch.setattr(containers, "LARGEST_VALUES", 100_000)
    with pytest.raises(ValueError, match="fill the disk when decoded"):
        audio.header(path)
    with pytest.raises(ValueError, match="audio is over 1 s long, expected at most that"):
        audio.header(path, longest_s=1.0)
