"""Saved answers hold what their items share: content and speaker, whatever kind of line it is."""

from pathlib import Path

from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Clip, Example, Pair
from posttrain.evals import evaluate, personal, ranking
from posttrain.evals.compute import compute
from posttrain.evals.units import unit
from posttrain.tasks.probe_file import read_probes

CLIPS = {
    "c0": Clip("c0", "what is nine plus two", "voice-a", "test", "made", "snr5", None, 0, 9),
    "c1": Clip("c1", "", "voice-b", "test", "made", "noise", "hum", 0, 9),
}


def corpus(pairs=()) -> Corpus:
    return Corpus(Path("toy"), CLIPS, [], [], list(pairs), [], "toy", {})


def example(clip, text, content="") -> Example:
    return Example("i", "test", "answer", "answer", text, clip, "eleven", "exact", "task/spoken_qa", content)


def test_an_answer_has_the_content_of_its_item_typed_and_spoken_and_the_voice_of_its_clip():
    spoken = evaluate._line(example("c0", CLIPS["c0"].text, "sum 2 9"), "eleven", corpus(), None)
    typed = evaluate._line(example(None, "please add two and nine", "sum 2 9"), "eleven", corpus(), None)
    assert spoken["content"] == typed["content"] == "sum 2 9"
    assert (spoken["speaker"], typed["speaker"]) == ("voice-a", None)
    assert (unit(spoken), unit(typed)) == (("sum 2 9", "voice-a"), ("sum 2 9",))
    assert evaluate._line(example("c0", "some words"), "", corpus(), None)["content"] == "some words"


def test_a_clip_in_which_nothing_is_said_has_its_kind_of_sound_for_content_and_no_voice():
    line = evaluate._line(example("c1", ""), "", corpus(), None)
    assert line["speaker"] == "voice-b" and unit(line) == ("hum",)


def test_a_ranked_pair_has_the_content_and_the_voice_of_its_prompt():
    pair = Pair("p", "test", "style", "help", "my aid is wet", "c0", "dry it", "desiccate it", "style", "problem wet")
    other = Pair("q", "test", "content", "repeat", "a b", None, "a b", "b a", "exact")
    lines = ranking.ranked(lambda answers: [float(len(text)) for _, text in answers], corpus([pair, other]))
    assert [unit(line) for line in lines] == [("problem wet", "voice-a"), ("a b",)]
    assert [line["score"] for line in lines] == [0.0, 0.0]


def test_a_persons_utterance_has_its_text_for_its_content():
    line = personal._line("adapted", {"id": "a.wav", "text": "mute tamsin", "names": ["tamsin"]}, "mute tamsin")
    assert line["content"] == "mute tamsin" and line["speaker"]


def test_probes_of_ones_own_may_name_their_content(tmp_path):
    fields = '"instruction": "answer", "answer": "two", "grader": "exact", "probe": "ability/mine"'
    rows = [f'{{"id": "{i}", {fields}, "text": "wording {i}", "content": "fact {i % 2}"}}' for i in range(4)]
    (tmp_path / "mine.jsonl").write_text("\n".join(rows))
    items = read_probes(tmp_path / "mine.jsonl")
    lines = [evaluate._line(item, "two", corpus(), None) for item in items]
    found = compute(lines)["ability/mine"]
    assert (found["n"], found["contents"]) == (4, 2)
