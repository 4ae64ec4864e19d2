"""Windows of several recordings are heard together, put back in order, and a bad one does not lose the others."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import soundfile

from posttrain.acoustics import SAMPLE_RATE, scenes
from posttrain.corpus import speech
from posttrain.corpus.instructions import ABSTENTION, COMMAND, REPEAT
from posttrain.model.adapters import projector_of
from posttrain.model.word_head import WordHead
from posttrain.use import listen
from posttrain.use.listen import Heard, Window
from tests.made_encoder import MadeEncoder

RATE = SAMPLE_RATE


@pytest.fixture(scope="module")
def said():
    espeak = speech.Espeak()
    texts = ("turn the left one up please", "it is too loud in here", "call anna at six")
    spoken = [
        espeak.say(text, voice, 120, 50, 50) for text, voice in zip(texts, speech.voices("valid")[:6:2], strict=True)
    ]
    return [(clip * 10 ** (-28 / 20) / scenes.active_rms(clip)).astype(np.float32) for clip in spoken]


def put(path, *pieces):
    soundfile.write(path, np.concatenate(pieces), RATE, subtype="FLOAT")
    return path


def silence(seconds):
    return np.zeros(int(seconds * RATE), np.float32)


def lengths(windows):
    return [Heard(str(len(window.sound)), "c") for window in windows]


def numbered(*counts):
    return (iter([Window(0, np.zeros(100 * n + i)) for i in range(count)]) for n, count in enumerate(counts))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_what_windows_are_heard_with_does_not_matter(batch_size):
    found = [[heard.output for heard in one] for one in listen.listen(numbered(2, 0, 5, 1), lengths, batch_size)]
    assert found == [["0", "1"], [], ["200", "201", "202", "203", "204"], ["300"]]


def test_a_recording_is_done_as_soon_as_its_windows_are_heard():
    heard = []
    results = listen.listen(numbered(2, 2, 2), lambda windows: heard.append(len(windows)) or lengths(windows), 2)
    next(results)
    assert heard == [2]


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_a_recording_that_breaks_off_does_not_lose_the_others(batch_size):
    def broken():
        yield Window(0, np.zeros(1))
        raise ValueError("gone")

    first, _, third = numbered(3, 3, 3)
    results = list(listen.listen(iter([first, broken(), third]), lengths, batch_size))
    assert [heard.output for heard in results[0]] == ["0", "1", "2"]
    assert isinstance(results[1], ValueError)
    assert [heard.output for heard in results[2]] == ["200", "201", "202"]


def test_windows_are_stitched_in_order_and_those_without_words_left_out():
    nothing = Heard(ABSTENTION, "", False)
    whole = listen.stitched([Heard("one two", "won", False), nothing, Heard("three", "tree", True)])
    assert whole == Heard("one two three", "won tree", True)
    assert listen.stitched([nothing, nothing]) == listen.stitched([]) == nothing


@pytest.mark.parametrize("with_head", [False, True])
def test_each_word_has_its_time_in_the_recording_in_order_and_inside_its_window(tmp_path, said, llama, with_head):
    path = put(tmp_path / "a.wav", silence(3), *[part for clip in said for part in (clip, silence(1.6))])
    windows = list(listen.pieces(path, None, REPEAT, listen.LONGEST_S))
    later = list(listen.pieces(path, None, REPEAT, listen.LONGEST_S, (2.0, None, None)))
    assert [window.first for window in later] == [window.first for window in windows], "also of a segment"
    vectors = llama.model.get_input_embeddings().weight.detach()
    said = "".join(one.output for one in listen.hearer(llama, MadeEncoder(), REPEAT, 8, 3)(windows))
    blank = max(set(range(256)) - set(llama.tokenizer.word_ids(f" {said}")))  # a word with the head's blank has no time
    head = WordHead.of(projector_of(llama.model), vectors, range(256), blank).frozen()
    llama = dataclasses.replace(llama, head=head if with_head else None)
    heard = listen.hearer(llama, MadeEncoder(), REPEAT, 8, 3, timed=True)(windows)  # fewer bytes than speech tokens
    assert any(one.words for one in heard)
    assert any(word.aligned for one in heard for word in one.words) == with_head
    for one, window in zip(heard, windows, strict=True):
        assert [word.text for word in one.words] == ([] if one.output == ABSTENTION else one.output.split())
        times = [time for word in one.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        first_s, length_s = window.first / RATE, len(window.sound) / RATE
        assert all(first_s - 1e-3 <= time <= first_s + length_s + 1e-3 for time in times)
    whole = listen.stitched(heard)
    assert [word.text for word in whole.words] == whole.output.split()
    assert not listen.hearer(llama, MadeEncoder(), REPEAT, 8, 3)(windows)[0].words


def test_each_sentence_of_a_long_recording_is_in_one_window_and_silence_in_none(tmp_path, said):
    path = put(tmp_path / "a.wav", silence(3), *[part for clip in said for part in (clip, silence(1.6))], silence(20))
    windows = list(listen.pieces(path, None, REPEAT, listen.LONGEST_S))
    assert len(windows) == len(said)
    at = 3 * RATE
    for window, clip in zip(windows, said, strict=True):
        assert np.correlate(window.sound, clip, "valid").max() == pytest.approx(np.square(clip).sum(), rel=1e-3)
        assert len(window.sound) < len(clip) + 0.6 * RATE
        assert at - 0.6 * RATE < window.first < at + len(clip) / 2, "where it begins in the recording"
        at += len(clip) + int(1.6 * RATE)


def test_another_task_gets_all_speech_at_once_and_no_more_than_its_limit(tmp_path, said):
    path = put(tmp_path / "a.wav", silence(5), said[0], silence(30), said[1])
    (whole,) = listen.pieces(path, None, COMMAND, listen.LONGEST_S)
    assert len(said[0]) + len(said[1]) < len(whole.sound) < len(said[0]) + len(said[1]) + RATE
    long = put(tmp_path / "b.wav", *[part for _ in range(4) for clip in said for part in (clip, silence(0.4))])
    with pytest.raises(ValueError, match="expected at most 15 s for --task command"):
        list(listen.pieces(long, None, COMMAND, listen.LONGEST_S))
    assert len(list(listen.pieces(long, None, REPEAT, listen.LONGEST_S))) > 3


@pytest.mark.parametrize("task", [REPEAT, COMMAND])
def test_nothing_is_heard_in_sound_without_speech(tmp_path, task):
    time = np.arange(20 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * hz * time[: 3 * RATE]) for hz in (262, 330, 392)) / 10
    sounds = {
        "zeros": silence(20),
        "hiss": 10**-3 * np.random.default_rng(0).standard_normal(20 * RATE),
        "constant": np.full(3 * RATE, 0.4),
        "chord": chord,
        "tone": 0.2 * np.sin(2 * np.pi * 1000 * time),
        "hum": sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 12)) / 20,
        "beeps": 0.2 * np.sin(2 * np.pi * 2000 * time) * (np.sin(2 * np.pi * 2 * time) > 0),
    }
    for name, sound in sounds.items():
        path = put(tmp_path / f"{name}.wav", sound.astype(np.float32))
        assert list(listen.pieces(path, None, task, listen.LONGEST_S)) == [], name


def test_a_long_recording_takes_little_memory(tmp_path, said):
    path = tmp_path / "long.flac"
    once = np.concatenate([part for clip in said for part in (clip, silence(0.5))])
    with soundfile.SoundFile(path, "w", RATE, 2, format="FLAC") as file:
        for _ in range(40):
            file.write(np.stack([once, once], 1))
    tracemalloc.start()
    windows = sum(1 for _ in listen.pieces(path, None, REPEAT, listen.LONGEST_S))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert windows >= 40 * len(once) / RATE / 6.5
    assert peak < 35_000_000 < 40 * len(once) * 2 * 4


def test_a_model_that_reads_transcripts_has_room_for_shorter_windows(llama):
    reading = dataclasses.replace(llama, spec=dataclasses.replace(llama.spec, transcript=True))
    plain, less = (listen.room_s(one, MadeEncoder(), REPEAT, 900) for one in (llama, reading))
    assert 1 < less < plain / 1.8  # ten tokens of transcript for each second, beside 8.3 of speech


def test_alarms_of_short_beeps_are_no_words_and_short_words_are(tmp_path, said):
    time = np.arange(20 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * hz * time) for hz in (220, 277, 330)) / 10
    alarms = {
        "every two seconds": 0.2 * np.sin(2 * np.pi * 1000 * time) * (time % 2 < 0.3),
        "short": 0.2 * np.sin(2 * np.pi * 1500 * time) * (time % 1.5 < 0.2),
        "chords": chord * (time % 3 < 0.3),
    }
    for name, sound in alarms.items():
        path = put(tmp_path / f"{name}.wav", sound.astype(np.float32))
        for task in (REPEAT, COMMAND):
            assert list(listen.pieces(path, None, task, listen.LONGEST_S)) == [], name
    espeak = speech.Espeak()
    words = [espeak.say(word, speech.voices("valid")[n], 120, 50, 50) for n, word in enumerate(["one", "stop", "six"])]
    apart = [part for word in words for part in (word / 4, silence(2))]
    assert len(list(listen.pieces(put(tmp_path / "w.wav", *apart), None, REPEAT, listen.LONGEST_S))) == 3
    assert len(list(listen.pieces(put(tmp_path / "1.wav", words[0] / 4), None, REPEAT, listen.LONGEST_S))) == 1
