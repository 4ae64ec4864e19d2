"""Recordings to train on come once more at another speed, and single words as strings."""

import numpy as np

from posttrain.corpus.recorded_copies import SPEEDS, with_copies
from posttrain.corpus.sources import Recorded
from posttrain.corpus.types import Clip


def recorded():
    tone = (8_000 * np.sin(2 * np.pi * 300 * np.arange(8_000) / 16_000)).astype(np.int16)
    said = [("train", "a", word) for word in ("one", "two", "three", "four")]
    said += [("train", "b", "the car is red"), ("test", "c", "one"), ("test", "c", "two two")]
    clips = [
        (Clip(f"{split}/digits/{n}", text, f"digits/{speaker}", split, "digits", "real", None, 0, 0), tone)
        for n, (split, speaker, text) in enumerate(said)
    ]
    return Recorded(clips)


def test_training_recordings_come_once_more_at_another_speed_and_pitch():
    before = recorded()
    after = with_copies(before, set(), 0)
    assert after.clips[: len(before.clips)] == before.clips
    copies = {clip.id: (clip, waveform) for clip, waveform in after.clips if "@" in clip.id}
    for clip, waveform in after.clips:
        if clip.split == "train" and "@" not in clip.id:
            ((copy, sped),) = [pair for name, pair in copies.items() if name.startswith(f"{clip.id}@")]
            speed = float(copy.id.rpartition("@")[2])
            assert speed in SPEEDS and copy.speaker == f"{clip.speaker}@{speed}" and copy.text == clip.text
            assert abs(len(sped) - len(waveform) / speed) <= 1 and sped.dtype == np.int16
            if "strings" not in clip.id:
                loudest = np.abs(np.fft.rfft(sped, 16_000))[1:].argmax() + 1
                assert abs(loudest - 300 * speed) <= 3
    assert not any(clip.split == "test" for clip, _ in copies.values())


def test_single_words_become_strings_of_their_speaker_but_never_one_that_is_tested():
    strings = [clip for clip, _ in with_copies(recorded(), set(), 0).clips if "strings" in clip.id]
    assert {clip.speaker.partition("@")[0] for clip in strings} == {"digits/a"}
    assert len(strings) == 4 and all(2 <= len(clip.text.split()) <= 4 for clip in strings)
    left_out = {strings[0].text}
    kept = [clip.text for clip, _ in with_copies(recorded(), left_out, 0).clips if "strings" in clip.id]
    assert len(kept) == 2 and not left_out & set(kept)


def test_each_copy_is_to_be_repeated():
    after = with_copies(recorded(), set(), 0)
    more = [clip for clip, _ in after.clips[7:]]
    assert [(e.clip, e.answer, e.grader) for e in after.examples] == [(c.id, c.text, "wer") for c in more]
    assert len({clip.id for clip, _ in after.clips}) == len(after.clips)
