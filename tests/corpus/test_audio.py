"""Recordings are read right, or refused for a reason that is told before they are used."""

import os
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr

from posttrain.corpus import audio as reading

RATE = 16_000


def tone(seconds, rate=RATE, hz=440.0, level=0.4):
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def voice(seconds, rate=RATE, seed=0):
    """Noise that comes and goes, as speech does."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * rate)
    return (0.1 * rng.standard_normal(samples) * np.sin(np.arange(samples) / rate * 9) ** 2).astype(np.float32)


def put(path, samples, rate=RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return path


FORMATS = {
    "wav": {"subtype": "PCM_16"}, "24.wav": {"subtype": "PCM_24"}, "float.wav": {"subtype": "FLOAT"},
    "ulaw.wav": {"subtype": "ULAW"}, "flac": {}, "aiff": {}, "au": {}, "ogg": {}, "mp3": {}, "w64": {},
    "rf64": {"format": "RF64"}, "opus": {"format": "OGG", "subtype": "OPUS"},
    "wavex": {"format": "WAVEX", "subtype": "PCM_16"},
}  # fmt: skip


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_formats_and_rates_come_out_as_16_khz_mono(tmp_path, suffix, rate):
    samples = np.stack([tone(1, rate), tone(1, rate)], 1)
    path = put(tmp_path / f"tone.{suffix}", samples, rate, **FORMATS[suffix])
    waveform = reading.audio(path)
    assert waveform.dtype == np.float32 and abs(len(waveform) - RATE) < 150
    assert np.sqrt(np.mean(waveform[2_000:-2_000] ** 2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_is_cut_off_is_refused_with_both_numbers(tmp_path, suffix):
    path = put(tmp_path / f"whole.{suffix}", np.stack([voice(2, 48_000)] * 2, 1), 48_000, **FORMATS[suffix])
    whole = reading.header(path)
    cut = tmp_path / f"cut.{suffix}"
    for share in (0.5, 0.9):
        cut.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        with pytest.raises(ValueError, match=r"promises|breaks off|cannot be read") as caught:
            reading.audio(cut)
        if suffix not in ("ogg", "opus"):
            assert str(whole.frames) in str(caught.value)


def test_a_header_written_to_a_pipe_promises_nothing(tmp_path):
    path = put(tmp_path / "a.wav", tone(1))
    data = bytearray(path.read_bytes())
    assert data[36:40] == b"data"
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert len(reading.audio(path)) == RATE


@pytest.mark.parametrize("name", ["x.raw", "x.pcm", "x.gsm", "x.vox", "x.wav", "x", "x.au", "x.mp3", "x.bin"])
@pytest.mark.parametrize("content", [b"", b"path,text\na.wav,hello\n" * 99, bytes(32_000)])
def test_what_is_no_audio_file_is_refused_without_a_traceback(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        reading.audio(tmp_path / name)


def test_a_folder_a_missing_file_and_a_pipe_are_told_apart(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for name, word in ((".", "folder"), ("none.wav", "not found"), ("pipe.wav", "regular file")):
        with pytest.raises(ValueError, match=word):
            reading.header(tmp_path / name)


def test_limits_are_read_from_the_header(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_decoded", lambda found: pytest.fail("samples were decoded"))
    cases = [
        (put(tmp_path / "long.wav", np.zeros(8_000 * 61), 8_000), "61 s long, expected at most 60 s"),
        (put(tmp_path / "short.wav", np.zeros(1_000)), r"0\.062 s, expected 0\.120 s"),
        (put(tmp_path / "none.wav", np.zeros(0)), "no samples"),
        (put(tmp_path / "slow.wav", np.zeros(4_000), 4_000), "4000 Hz, expected 8000"),
        (put(tmp_path / "fast.wav", np.zeros(10**6), 500_000), "500000 Hz, expected 8000 to 384000"),
        (put(tmp_path / "many.wav", np.zeros((8_000, 17))), "17 channels, expected at most 16"),
    ]
    for path, word in cases:
        with pytest.raises(ValueError, match=word):
            reading.audio(path, longest_s=60)


def test_a_small_file_that_holds_half_a_day_is_refused_at_once(tmp_path):
    path = put(tmp_path / "huge.flac", np.zeros((8_000, 8)), 8_000)
    data = bytearray(path.read_bytes())
    data[22:26] = (12 * 3600 * 8_000).to_bytes(4)  # the number of frames in STREAMINFO
    path.write_bytes(data)
    assert reading.header(path, longest_s=1e9).duration_s == 12 * 3600
    tracemalloc.start()
    for longest_s in (reading.LONGEST_WHOLE_S, reading.LONGEST_S):
        with pytest.raises(ValueError, match="43,200 s long"):
            reading.audio(path, longest_s=longest_s)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_long_file_of_many_channels_takes_little_memory(tmp_path):
    path = tmp_path / "wide.flac"
    with soundfile.SoundFile(path, "w", 48_000, 8, format="FLAC") as file:
        for second in range(60):
            file.write(np.repeat(voice(1, 48_000, second)[:, None], 8, axis=1))
    found = reading.header(path)
    tracemalloc.start()
    samples = sum(len(block) for block in reading.blocks(found))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == found.samples == 60 * RATE
    assert peak < 45_000_000 < 60 * 48_000 * 8 * 4 / 2


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_blocks_are_resampled_as_the_whole_is(tmp_path, rate):
    """The largest difference measured is 3e-7; a join that is off by one sample would give 1e-2."""
    samples = voice(13, rate)
    path = put(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    whole = soxr.resample(samples, rate, RATE)
    pieces = list(reading.blocks(reading.header(path)))
    assert len(pieces) > 2 and abs(sum(map(len, pieces)) - len(whole)) <= 1
    joined = np.concatenate(pieces)[: len(whole)]
    assert np.abs(joined - whole[: len(joined)]).max() < 2e-6


def test_a_file_too_large_to_be_kept_is_decoded_again_to_the_same_samples(tmp_path, monkeypatch):
    path = put(tmp_path / "a.flac", np.stack([voice(12, 44_100, 1), voice(12, 44_100, 2) + 0.1], 1), 44_100)
    once = reading.audio(path)
    monkeypatch.setattr(reading, "KEPT_VALUES", 1_000)
    assert np.array_equal(once, reading.audio(path))


@pytest.mark.parametrize("gain", [-1.0, -0.8, -1.2])
@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_channels_that_cancel_each_other_are_refused(tmp_path, gain, noise):
    speech = voice(3)
    other = gain * speech + noise * np.random.default_rng(1).standard_normal(len(speech))
    path = put(tmp_path / "a.wav", np.stack([speech, other], 1), subtype="PCM_24")
    with pytest.raises(ValueError, match="channels cancel each other"):
        reading.audio(path)
    half = np.where(np.arange(len(speech)) < len(speech) // 2, speech, other)
    put(path, np.stack([speech, half], 1), subtype="PCM_24")
    with pytest.raises(ValueError, match="channels cancel each other"):
        reading.audio(path)


def test_unlike_channels_are_averaged_and_silent_ones_left_out(tmp_path):
    one, two = voice(3, seed=1), voice(3, seed=2)
    path = put(tmp_path / "a.wav", np.stack([one, two], 1), subtype="FLOAT")
    assert np.allclose(reading.audio(path), (one + two) / 2, atol=1e-6)
    put(path, np.stack([np.zeros_like(one), one, np.full_like(one, 0.2)], 1), subtype="FLOAT")
    assert np.allclose(reading.audio(path), one, atol=1e-4)
    put(path, np.stack([one, -one, two, two], 1), subtype="FLOAT")
    assert np.allclose(reading.audio(path), two / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_channels_that_stay_apart_are_those_of_the_file_each_without_its_offset(tmp_path, rate, monkeypatch):
    one, two = voice(12, rate, seed=1), voice(12, rate, seed=2)
    path = put(tmp_path / "a.wav", np.stack([one, two + 0.3, np.zeros_like(one)], 1), rate, subtype="FLOAT")
    found = reading.header(path)
    pieces = list(reading.blocks(found, apart=True))
    both = np.concatenate(pieces, axis=1)
    assert len(pieces) > 2 and both.shape == (3, found.samples) and both.dtype == np.float32 and not both[2].any()
    for mine, alone in zip(both, (one, two), strict=False):
        put(tmp_path / "b.wav", alone, rate, subtype="FLOAT")
        assert np.abs(mine - reading.audio(tmp_path / "b.wav")).max() < 1e-3
    monkeypatch.setattr(reading, "KEPT_VALUES", 1_000)
    assert np.array_equal(both, np.concatenate(list(reading.blocks(found, apart=True)), axis=1))


def test_channels_that_cancel_each_other_may_stay_apart(tmp_path):
    found = reading.header(put(tmp_path / "a.wav", np.stack([voice(3), -voice(3)], 1), subtype="FLOAT"))
    reading.check(found, apart=True)
    one, two = np.concatenate(list(reading.blocks(found, apart=True)), axis=1)
    assert np.array_equal(one, -two) and one.any()


def test_a_constant_offset_is_removed_and_anything_else_is_left_alone(tmp_path):
    speech = voice(3)
    assert np.array_equal(reading.audio(put(tmp_path / "a.wav", speech, subtype="FLOAT")), speech)
    moved = reading.audio(put(tmp_path / "b.wav", speech + 0.3, subtype="FLOAT"))
    assert np.abs(moved - speech).max() < 1e-3
    assert not reading.audio(put(tmp_path / "c.wav", np.full(RATE, 0.5), subtype="FLOAT")).any()


def test_what_is_beyond_full_scale_is_kept_and_integers_saved_as_floats_are_refused(tmp_path):
    loud = 3 * tone(1)
    assert np.array_equal(reading.audio(put(tmp_path / "a.wav", loud, subtype="FLOAT")), loud)
    with pytest.raises(ValueError, match="samples reach 3276"):
        reading.audio(put(tmp_path / "b.wav", 32_767 * tone(1, level=1), subtype="FLOAT"))
    assert np.abs(reading.int16(loud)).max() == 32_767
    assert np.corrcoef(reading.int16(loud), loud)[0, 1] > 0.9999
    assert np.array_equal(reading.int16(tone(1)), np.round(32_767 * tone(1)).astype(np.int16))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_value_in_one_channel_is_refused_with_its_place(tmp_path, value):
    samples = np.stack([voice(12), voice(12)], 1)
    samples[11 * RATE, 1] = value
    with pytest.raises(ValueError, match=r"NaN or infinite samples .*11\.000 s, channel 2"):
        reading.audio(put(tmp_path / "a.wav", samples, subtype="FLOAT"))


def test_speech_out_of_phase_under_hum_in_phase_is_refused(tmp_path):
    speech, hum = voice(3), 0.1 * np.sin(2 * np.pi * 50 * np.arange(3 * RATE) / RATE)
    for level in (1, 3):
        with pytest.raises(ValueError, match="cancel each other"):
            reading.audio(put(tmp_path / "a.wav", np.stack([speech + level * hum, level * hum - speech], 1)))
    both = np.stack([speech + hum, speech + hum], 1).astype(np.float32)
    assert np.corrcoef(reading.audio(put(tmp_path / "b.wav", both, subtype="FLOAT")), both[:, 0])[0, 1] > 0.999


@pytest.mark.filterwarnings("error")
def test_a_silent_file_of_two_channels_is_read_without_a_warning(tmp_path):
    assert not reading.audio(put(tmp_path / "a.wav", np.zeros((RATE, 2)))).any()


@pytest.mark.parametrize("container", ["NIST", "IRCAM", "AVR", "VOC", "MAT5", "PAF", "SVX"])
def test_a_container_whose_length_cannot_be_checked_is_refused(tmp_path, container):
    path = put(tmp_path / "a.x", voice(1), format=container, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="whose length cannot be checked; convert it to WAV or FLAC"):
        reading.audio(path)


@pytest.mark.parametrize("container", ["FLAC", "MP3", "OGG", "AU", "CAF", "RF64", "W64"])
def test_files_one_behind_another_are_refused(tmp_path, container):
    one, two = (put(tmp_path / name, voice(1), format=container) for name in "ab")
    assert len(reading.audio(one))
    one.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(ValueError, match=f"2 {container} files one behind another"):
        reading.audio(one)


@pytest.mark.parametrize("snr_db", [10, 3, 0])
def test_an_inverted_channel_is_refused_though_each_has_noise_of_its_own(tmp_path, snr_db):
    speech, rng = voice(3), np.random.default_rng(1)
    noise = np.std(speech) * 10 ** (-snr_db / 20)
    one, two = (gain * speech + noise * rng.standard_normal(len(speech)) for gain in (1, -1))
    with pytest.raises(ValueError, match="channels cancel each other"):
        reading.audio(put(tmp_path / "a.wav", np.stack([one, two], 1), subtype="FLOAT"))


@pytest.mark.parametrize("delay", [3, 9, 40])
def test_two_microphones_apart_are_averaged(tmp_path, delay):
    speech, rng = voice(3), np.random.default_rng(1)
    pair = np.stack([speech[delay:], speech[:-delay]], 1) + 0.01 * rng.standard_normal((len(speech) - delay, 2))
    assert np.allclose(reading.audio(put(tmp_path / "a.wav", pair, subtype="FLOAT")), pair.mean(1), atol=1e-5)


def test_a_segment_is_what_the_whole_has_there_and_one_beyond_the_end_is_refused(tmp_path):
    path = tmp_path / "long.flac"
    whole = 0.1 * np.random.default_rng(0).standard_normal((40 * 16_000, 2))
    soundfile.write(path, whole, 16_000)
    found = reading.header(path, offset_s=31.5, duration_s=2.0, channel=1)
    part = np.concatenate(list(reading.blocks(found)))
    assert np.allclose(part, whole[504_000:536_000, 1], atol=1e-4) and found.duration_s == 2.0
    rest = reading.header(path, offset_s=39.0)
    assert rest.samples == 16_000
    assert reading.header(path, offset_s=39.0, duration_s=1.01).samples == 16_000  # a rounded end
    for segment in ({"offset_s": 39.0, "duration_s": 2.0}, {"offset_s": 41.0}, {"duration_s": 0.0}):
        with pytest.raises(ValueError, match=r"expected one within the file's 40\.000 s; correct its times"):
            reading.header(path, **segment)
    with pytest.raises(ValueError, match="channel is 2, expected 0 to 1"):
        reading.header(path, channel=2)
    reading.header(path, longest_s=5, offset_s=3.0, duration_s=4.0)  # the limit is the segment's


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(ValueError, match="not a regular file"):
        reading.header(tmp_path / "pipe.wav")


def test_times_too_large_and_formats_without_seeking_are_refused(tmp_path):
    path = put(tmp_path / "tone.wav", tone(3.0))
    for offset_s, duration_s in ((1e308, None), (0.0, 1e308), (float("inf"), 1.0)):
        with pytest.raises(ValueError, match="expected one within the file's 3"):
            reading.header(path, offset_s=offset_s, duration_s=duration_s)
    phone = put(tmp_path / "phone.wav", tone(3.0, 8_000), 8_000, subtype="GSM610")
    assert reading.header(phone).frames >= 24_000
    with pytest.raises(ValueError, match="GSM610, of which no segment can be read"):
        reading.header(phone, offset_s=1.0, duration_s=1.0)
