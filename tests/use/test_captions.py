"""Captions: cues that can be read, the formats' own rules, and words that are said when they are shown."""

import dataclasses
import json
from itertools import pairwise, zip_longest

import numpy as np
import pytest
import torch

from posttrain.model import word_times
from posttrain.model.adapters import projector_of
from posttrain.model.frame_table import FrameTable
from posttrain.model.word_head import WordHead
from posttrain.use import captions
from posttrain.use.captions import LINE, LINES, LONGEST_S, PAUSE_S, Cue, Word


def spoken(text, start_s=0.0, word_s=0.3):
    return [Word(word, start_s + i * word_s, start_s + (i + 1) * word_s) for i, word in enumerate(text.split())]


@pytest.mark.parametrize("seed", range(5))
def test_cues_hold_every_word_once_in_order_within_the_limits(seed):
    rng = np.random.default_rng(seed)
    words, at = [], 0.0
    for _ in range(200):
        at += rng.choice([0.0, 0.0, 0.1, 2.0])
        words.append(Word("x" * int(rng.integers(1, 12)), at, at + 0.4))
        at += 0.4
    shown = captions.cues(words)
    assert " ".join(line for cue in shown for line in cue.lines) == " ".join(word.text for word in words)
    starts = {word.start_s: i for i, word in enumerate(words)}
    for cue, after in zip_longest(shown, shown[1:]):
        assert len(cue.lines) <= LINES and all(len(line) <= LINE for line in cue.lines)
        assert 0 < cue.end_s - cue.start_s <= LONGEST_S + 1e-6
        first = starts[min(starts, key=lambda s: abs(s - cue.start_s))]
        of_cue = words[first : first + sum(len(line.split()) for line in cue.lines)]
        assert all(b.start_s - a.end_s <= PAUSE_S for a, b in pairwise(of_cue))
        assert after is None or cue.end_s <= after.start_s


def test_a_short_cue_stays_for_a_second_unless_the_next_one_comes():
    assert captions.cues(spoken("yes")) == [Cue(0.0, 1.0, ("yes",))]
    words = [*spoken("yes"), *spoken("no", 0.9 + PAUSE_S)]
    assert [(cue.start_s, cue.end_s) for cue in captions.cues(words)] == [(0.0, 1.0), (1.7, 2.7)]


def test_a_word_longer_than_a_line_or_than_seven_seconds_has_a_cue_of_its_own():
    long, slow = "a" * 60, Word("well", 1.0, 10.0)
    assert [cue.lines for cue in captions.cues([Word(long, 0.0, 1.0), slow])] == [(long,), ("well",)]
    assert captions.cues([]) == [] and captions.srt([]) == "" and captions.vtt([]) == "WEBVTT\n"


def test_the_formats_have_their_own_clocks_and_escape_what_is_markup():
    shown = [Cue(3725.0625, 3726.0, ("a <b> & c", "d")), Cue(3726.0, 3727.9996, ("e",))]
    assert captions.srt(shown) == (
        "1\n01:02:05,062 --> 01:02:06,000\na <b> & c\nd\n\n2\n01:02:06,000 --> 01:02:08,000\ne\n"
    )
    assert captions.vtt(shown) == (
        "WEBVTT\n\n01:02:05.062 --> 01:02:06.000\na &lt;b&gt; &amp; c\nd\n\n01:02:06.000 --> 01:02:08.000\ne\n"
    )


def test_no_two_cues_are_shown_at_once_even_if_words_overlap():
    words = [Word("x" * 42, 0, 1), Word("y" * 42, 1, 3.2), Word("z", 3.0, 4), Word("z" * 84, 3.0, 3.0)]
    shown = captions.cues(words)
    assert all(a.end_s <= b.start_s + 0.002 and a.start_s < a.end_s for a, b in pairwise(shown))


def test_words_are_aligned_to_the_speech_tokens_that_say_them(llama):
    """Speech tokens that are the embeddings of `a`, a pause, `b`, `c c` … are those words, at those places."""
    vectors = llama.model.get_input_embeddings().weight.detach()
    unit = {letter: llama.tokenizer.word_ids(letter)[-1] for letter in "ab. "}
    head = WordHead.of(projector_of(llama.model), vectors, unit.values(), unit["."])
    said = ". . a . . . b b .".split()

    class Told(torch.nn.Module):
        """Gives the vector of the letter that a row stands for."""

        def forward(self, stacked):
            return vectors[[unit[said[int(row)]] for row in stacked[:, 0]]]

    numbers = torch.arange(len(said)).repeat_interleave(3)[:, None].expand(-1, 12).float()
    table = FrameTable(numbers.contiguous(), {"c": (0, 3 * len(said))})
    head.projector = Told()
    told = dataclasses.replace(llama, head=head).attach(table)
    found = word_times.aligned(told, "c", ["a", "b"], frame_samples=1600)  # 0.3 s a token
    assert found is not None
    (a_start, a_end), (b_start, b_end) = found
    assert a_start <= 0.6 and 0.89 < a_end == b_start <= 1.81 and 2.4 <= b_end <= 2.71
    assert word_times.aligned(told, "c", ["a", "zebra"], 1600) is None, "a word that the head lacks"
    assert word_times.aligned(told, "c", ["a", "."], 1600) is None, "the blank is no word"
    assert word_times.aligned(told, "c", ["a"] * 30, 1600) is None, "more words than there are speech tokens"
    assert word_times.aligned(dataclasses.replace(told, head=None), "c", ["a"], 1600) is None
    assert word_times.aligned(told, "c", [], 1600) is None


def test_words_that_cannot_be_aligned_share_the_time_by_their_letters():
    assert word_times.shared(["a", "bcd"], 3.0) == [(0.0, 1.0), (1.0, 3.0)]
    assert word_times.shared([], 3.0) == []


def test_files_are_written_whole_with_the_words_and_cues(tmp_path):
    captions.write(tmp_path / "sub" / "talk.v1", spoken("turn it up"))
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == [
        "talk.v1.srt", "talk.v1.vtt", "talk.v1.words.json",
    ]  # fmt: skip
    found = json.loads((tmp_path / "sub" / "talk.v1.words.json").read_text())
    assert [word["text"] for word in found["words"]] == ["turn", "it", "up"]
    assert found["cues"] == [{"start_s": 0.0, "end_s": 1.0, "lines": ["turn it up"]}]
