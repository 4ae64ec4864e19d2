"""Silence and faint noise are trimmed, speech is not, and long audio is cut in its pauses."""

import itertools

import numpy as np
import pytest

from posttrain.acoustics import activity, scenes
from posttrain.corpus import speech

RATE = 16_000
TEXTS = ("turn the left one up please", "it is too loud in here", "stop", "call anna at six")


@pytest.fixture(scope="module")
def said():
    """Eight sentences by eight validation voices, at −28 dBFS."""
    espeak = speech.Espeak()
    spoken = [espeak.say(TEXTS[i % 4], voice, 120, 50, 50) for i, voice in enumerate(speech.voices("valid")[:16:2])]
    return [at(clip, -28) for clip in spoken]


def at(clip, level_dbfs):
    return (clip * 10 ** (level_dbfs / 20) / scenes.active_rms(clip)).astype(np.float32)


def hiss(seconds, level_dbfs, seed=0):
    noise = np.random.default_rng(seed).standard_normal(int(seconds * RATE)) * 10 ** (level_dbfs / 20)
    return noise.astype(np.float32)


@pytest.mark.parametrize("level_dbfs", [-400, -90, -70, -60, -50])
@pytest.mark.parametrize("pad_s", [0.5, 2, 10])
def test_silence_or_faint_noise_around_speech_is_trimmed_and_the_speech_is_whole(said, level_dbfs, pad_s):
    for number, clip in enumerate(said):
        pad = hiss(pad_s, level_dbfs, number)
        ((first, last),) = activity.speech_spans(np.concatenate([pad, clip, pad[::-1]]))
        assert len(pad) - 0.3 * RATE <= first <= len(pad)
        assert len(pad) + len(clip) - 0.03 * RATE <= last <= len(pad) + len(clip) + 0.3 * RATE
        assert len(activity.trim(np.concatenate([pad, clip, pad]))) == pytest.approx(last - first, abs=0.1 * RATE)


@pytest.mark.parametrize("kind", ["white", "pink", "fan", "speech_shaped", "hum", "traffic", "rain", "babble"])
@pytest.mark.parametrize("snr_db", [10, 5, 0])
def test_no_speech_is_cut_off_in_noise(said, kind, snr_db):
    rng = np.random.default_rng(0)
    for clip in said:
        around = np.pad(clip, RATE)
        noisy = around + scenes.noise(kind, len(around), rng, said) * np.float32(10 ** ((-28 - snr_db) / 20))
        spans = activity.speech_spans(noisy)
        assert spans[0][0] <= RATE + 0.1 * RATE and spans[-1][1] >= RATE + len(clip) - 0.1 * RATE


@pytest.mark.parametrize("waveform", [np.zeros(0), np.zeros(20 * RATE), np.full(3 * RATE, 0.5), hiss(20, -60)])
def test_nothing_is_active_in_silence_a_constant_or_faint_steady_noise(waveform):
    assert activity.speech_spans(waveform) == [] == activity.windows(waveform)
    assert len(activity.trim(waveform)) == 0


def test_steady_sound_that_may_hide_speech_is_kept_whole():
    assert activity.speech_spans(hiss(5, -25)) == [(0, 5 * RATE)]


def joined(clips, pause_s, noise_dbfs=-72.0):
    pause = np.zeros(int(pause_s * RATE), np.float32)
    whole = np.concatenate([piece for clip in clips for piece in (pause, clip)])
    return whole + hiss(len(whole) / RATE, noise_dbfs)[: len(whole)]


@pytest.mark.parametrize("pause_s", [0.4, 0.9, 2.5])
def test_long_speech_is_cut_in_pauses_into_windows_that_hold_every_sentence(said, pause_s):
    whole = joined(said, pause_s)
    windows = activity.windows(whole, 6)
    assert all(0 < last - first <= 6 * RATE for first, last in windows)
    end = 0
    for clip in said:
        start, end = end + int(pause_s * RATE), end + int(pause_s * RATE) + len(clip)
        held = [first <= start + 0.03 * RATE and last >= end - 0.03 * RATE for first, last in windows]
        assert sum(held) == 1, f"the sentence at {start / RATE:.2f} s is cut: {windows}"
    if pause_s > 1.5:
        assert len(windows) == len(said)


def test_speech_without_a_pause_is_cut_into_windows_that_leave_no_sample_out(said):
    whole = np.concatenate([clip[: int(0.9 * len(clip))] for clip in said * 2])
    windows = activity.windows(whole, 6)
    assert len(windows) > 1 and all(last - first <= 6 * RATE for first, last in windows)
    lost = whole.copy()
    for first, last in windows:
        lost[first:last] = 0
    assert np.square(lost).sum() < 1e-4 * np.square(whole).sum()


@pytest.mark.parametrize("block", [999, 16_000, 10**9])
def test_a_stream_gives_the_same_windows_whatever_its_blocks(said, block):
    whole = joined(said, 0.5)
    found = list(activity.stream_windows((whole[i : i + block] for i in range(0, len(whole), block)), 6))
    assert len(whole) < activity.BUFFER_S * RATE
    assert [(first, first + len(part)) for first, part in found] == activity.windows(whole, 6)
    assert all(np.array_equal(part, whole[first : first + len(part)]) for first, part in found)


def test_a_long_stream_holds_every_sentence_once_and_little_at_a_time(said):
    whole = joined(said * 12, 0.6)
    blocks = [whole[i : i + 50_000] for i in range(0, len(whole), 50_000)]
    windows = [(first, first + len(part)) for first, part in activity.stream_windows(blocks, 6)]
    assert len(whole) > 3 * activity.BUFFER_S * RATE
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(windows))
    end = cut = 0
    for clip in said * 12:
        start, end = end + int(0.6 * RATE), end + int(0.6 * RATE) + len(clip)
        cut += not any(first <= start + 0.05 * RATE and last >= end - 0.05 * RATE for first, last in windows)
    assert cut == 0


@pytest.mark.parametrize(("seconds", "gap_s", "windows"), [(5.0, 0.0, 1), (5.0, 0.3, 2), (3.5, 0.3, 1), (8.0, 0.0, 2)])
def test_a_window_over_four_seconds_is_cut_at_a_brief_pause_and_whole_without_one(seconds, gap_s, windows):
    time = np.arange(int(seconds * RATE)) / RATE
    syllables = 0.1 * (1 + 0.5 * np.sin(2 * np.pi * 4 * time))
    sound = (syllables * np.random.default_rng(0).standard_normal(len(time))).astype(np.float32)
    middle, half = len(sound) // 2, int(gap_s * RATE / 2)
    sound[middle - half : middle + half] = 0
    found = activity.windows(sound)
    assert len(found) == windows and found[0][0] <= 0.3 * RATE and found[-1][1] >= len(sound) - 0.3 * RATE
    if gap_s and windows == 2:
        assert abs(found[0][1] - middle) < 0.3 * RATE and abs(found[1][0] - middle) < 0.3 * RATE
