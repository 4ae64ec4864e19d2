"""What is written is read back, and only whole corpora are read."""

import dataclasses

import numpy as np
import pytest
import torch

from posttrain.corpus import store
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Clip, Example, Pair
from posttrain.errors import InputError

CLIPS = [
    Clip("train/0", "turn it up", "a", "train", "made", "clean", None, 0, 0),
    Clip("test/0", "", "b", "test", "made", "noise", "rain", 0, 0),
]
PIECES = [np.arange(-800, 800, dtype=np.int16), np.full(400, 16_384, np.int16)]
EXAMPLE = Example("e0", "train", "repeat", "repeat", "turn it up", "train/0", "turn it up", "wer")
PAIR = Pair("p0", "train", "content", "repeat", "turn it up", "train/0", "turn it up", "no", "wer")


def write(folder, pieces=PIECES):
    texts = [{"split": "test", "text": "a line"}]
    return store.write(folder, zip(CLIPS, pieces, strict=True), [EXAMPLE], [], [PAIR], texts, {"seed": 0})


def test_a_corpus_comes_back_as_it_was_written(tmp_path):
    write(tmp_path / "corpus")
    corpus = Corpus.load(tmp_path / "corpus")
    assert list(corpus.clips) == ["train/0", "test/0"]
    assert corpus.clips["test/0"].start == 1600
    assert corpus.examples == [EXAMPLE] and corpus.items == [] and corpus.pairs == [PAIR]
    assert corpus.texts == [{"split": "test", "text": "a line"}]
    assert corpus.counts["seed"] == 0
    assert corpus.audio("train/0").dtype == torch.float32
    assert torch.equal(corpus.audio("train/0") * 32_768, torch.arange(-800.0, 800.0))
    assert torch.all(corpus.audio("test/0") == 0.5)


def test_the_fingerprint_changes_with_one_sample_and_only_then(tmp_path):
    first = write(tmp_path / "a").fingerprint
    assert write(tmp_path / "b").fingerprint == first
    changed = [PIECES[0].copy(), PIECES[1]]
    changed[0][7] += 1
    assert write(tmp_path / "c", changed).fingerprint != first


def test_a_corpus_that_was_not_finished_is_refused(tmp_path):
    write(tmp_path / "corpus")
    (tmp_path / "corpus" / "corpus.json").unlink()
    with pytest.raises(InputError, match="no finished corpus"):
        Corpus.load(tmp_path / "corpus")


def test_audio_that_does_not_fit_its_clips_is_refused(tmp_path):
    write(tmp_path / "corpus")
    write(tmp_path / "other", [PIECES[0][:100], PIECES[1]])
    (tmp_path / "other" / "audio.safetensors").replace(tmp_path / "corpus" / "audio.safetensors")
    with pytest.raises(InputError, match="holds 500 samples, expected 2000"):
        Corpus.load(tmp_path / "corpus")


@pytest.mark.parametrize("name", ["clip 01", "a|b", "<x>", "é", "", "a\nb"])
def test_an_id_that_no_prompt_can_hold_is_refused(name):
    with pytest.raises(ValueError, match="id of clip"):
        dataclasses.replace(CLIPS[0], id=name)


def test_ids_that_two_share_and_clips_that_are_not_there_are_refused(tmp_path):
    twice = [CLIPS[0], dataclasses.replace(CLIPS[1], id="train/0")]
    with pytest.raises(ValueError, match="shared by several clips, such as train/0"):
        store.write(tmp_path / "a", zip(twice, PIECES, strict=True), [], [], [], [], {})
    with pytest.raises(ValueError, match="shared by several examples, such as e0"):
        store.write(tmp_path / "a", zip(CLIPS, PIECES, strict=True), [EXAMPLE, EXAMPLE], [], [], [], {})
    lost = dataclasses.replace(PAIR, clip="train/1")
    with pytest.raises(ValueError, match="does not have, such as train/1"):
        store.write(tmp_path / "a", zip(CLIPS, PIECES, strict=True), [EXAMPLE], [], [lost], [], {})
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0c", "\x1e", "\r"])
def test_texts_hold_any_separator_of_lines(tmp_path, separator):
    texts = [{"split": "test", "text": f"a{separator}line"}]
    corpus = store.write(tmp_path / "corpus", zip(CLIPS, PIECES, strict=True), [EXAMPLE], [], [PAIR], texts, {})
    assert corpus.texts == texts


BROKEN = [(name, None) for name in ("corpus.json", "clips.jsonl", "items.jsonl", "texts.jsonl", "audio.safetensors")]
BROKEN += [(name, content) for name in ("corpus.json", "audio.safetensors") for content in (b"", b"{")]


@pytest.mark.parametrize(("name", "content"), BROKEN)
def test_a_missing_or_broken_part_is_named(tmp_path, name, content):
    write(tmp_path / "corpus")
    path = tmp_path / "corpus" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=name if name != "corpus.json" else "corpus"):
        Corpus.load(tmp_path / "corpus")
