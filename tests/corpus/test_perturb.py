"""Training recordings once more: other sound, same words, training only, one seed one sound."""

import numpy as np

from posttrain.corpus.perturb import again
from posttrain.corpus.sources import Recorded
from posttrain.corpus.types import Clip, Example


def recorded() -> Recorded:
    time = np.arange(16_000) / 16_000
    tone = (9_000 * np.sin(2 * np.pi * 300 * time) * (time > 0.2)).astype(np.int16)
    made = Recorded()
    for split, text in (("train", "a b"), ("train", "c"), ("train", ""), ("valid", "d"), ("test", "e")):
        clip_id = f"{split}/fsdd/{text or 'rain'}"
        made.clips.append((Clip(clip_id, text, f"fsdd/{split}", split, "fsdd", "real", None, 0, 0), tone))
        made.examples.append(Example(f"repeat/{clip_id}", split, "repeat", "repeat", text, clip_id, text, "wer"))
    return made


def test_only_training_speech_comes_again_with_its_words_and_another_sound():
    source = recorded()
    made = again(source, 0, progress=False)
    assert [(c.split, c.text, c.speaker, c.source) for c, _ in made.clips] == [
        ("train", "a b", "fsdd/train", "fsdd"),
        ("train", "c", "fsdd/train", "fsdd"),
    ]
    assert not {c.id for c, _ in made.clips} & {c.id for c, _ in source.clips}
    assert [(e.clip, e.answer) for e in made.examples] == [(c.id, c.text) for c, _ in made.clips]
    assert all(waveform.dtype == np.int16 for _, waveform in made.clips)
    assert any(not np.array_equal(waveform, source.clips[0][1]) for _, waveform in made.clips)


def test_one_seed_one_sound():
    one, same, other = (again(recorded(), seed, progress=False).clips for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for (_, a), (_, b) in zip(one, other, strict=True))


def test_without_recordings_there_is_nothing_to_say_again():
    assert again(Recorded(), 0, progress=False) == Recorded()
