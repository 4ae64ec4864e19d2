"""A person's recordings: what is read, which words are their own, and every bad line at once."""

import numpy as np
import pytest
import soundfile

from posttrain.corpus import personal
from posttrain.corpus.types import CLIP_ID
from posttrain.errors import InputError


def manifest(folder, lines: list[str], header: str = "path,text,split"):
    rng = np.random.default_rng(0)
    for line in lines:
        soundfile.write(folder / line.split(",")[0], 0.1 * rng.standard_normal(16_000), 16_000)
    path = folder / "mine.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_utterances_have_split_words_names_and_sound(tmp_path):
    lines = ["a.wav,Call Tamsin,train,Tamsin", "b.wav,tamsin is late,test,"]
    first, second = personal.load(manifest(tmp_path, lines, "path,text,split,names"))
    assert (first.name, first.text, first.split, first.names) == ("a.wav", "call tamsin", "train", ("tamsin",))
    assert second.names == () and len(second.waveform) == 16_000


def test_without_names_the_words_that_were_never_learned_are_the_persons_own(tmp_path):
    first, _ = personal.load(manifest(tmp_path, ["a.wav,call tamsin now tamsin,train", "b.wav,x,test"]))
    assert first.names is None
    assert personal.own_words(first, {"call", "now"}) == ("tamsin",)


def test_everything_wrong_is_said_at_once(tmp_path):
    lines = ["a.wav,one,train,two", "b.wav,one,test,", "c.wav,three,valid,", "d.wav,four,test,"]
    path = manifest(tmp_path, lines, "path,text,split,names")
    soundfile.write(tmp_path / "d.wav", np.zeros(10), 16_000)
    with pytest.raises(InputError) as caught:
        personal.load(path)
    said = "\n".join(caught.value.problems)
    for named in (":2: names are two", ":3: text 'one' is in train too", ":4: split is 'valid'", ":5: d.wav"):
        assert named in said
    assert len(caught.value.problems) == 4


def test_there_is_something_to_learn_from_and_not_too_much(tmp_path):
    with pytest.raises(InputError, match="no row of split test"):
        personal.load(manifest(tmp_path, ["a.wav,one,train"]))
    many = [f"{i}.wav,number {i},train" for i in range(personal.MOST + 1)]
    with pytest.raises(InputError, match=r"21 rows of split train, expected at most 20"):
        personal.load(manifest(tmp_path, [*many, "t.wav,last,test"]))


def test_ids_are_made_whatever_the_files_are_called(tmp_path):
    lines = ["clip 01.flac,one,train", "0.wav,two,train", "0.flac,three,train", "<|clip:0|>.wav,four,test"]
    found = personal.load(manifest(tmp_path, lines))
    assert [u.name for u in found] == [line.split(",")[0] for line in lines]
    assert len({u.id for u in found}) == 4 and all(CLIP_ID.fullmatch(u.id) for u in found)
