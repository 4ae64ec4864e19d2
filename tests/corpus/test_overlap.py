"""What is held out is not trained on: said as a text, as a sentence of a line, or as an answer, right or wrong."""

import dataclasses
import random
from pathlib import Path

import pytest

from posttrain.config.sections import CorpusConfig
from posttrain.corpus import grammar, overlap
from posttrain.corpus.instructions import SIMPLIFY
from posttrain.corpus.plan import Plan
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Clip, Example, Pair
from posttrain.errors import InputError
from posttrain.tasks.base_rows import base_rows, paused, with_pauses
from posttrain.tasks.plan import plan

TEST = "the red book is on the table"


def clip(id: str, text: str, split: str = "train", source: str = "made") -> Clip:
    return Clip(id, text, "voice", split, source, "clean", None, 0, 1)


def row(
    text: str = "", answer: str = "", task: str = "repeat", clip: str | None = None, split: str = "train"
) -> Example:
    return Example(f"{split}/{text or answer}", split, task, task, text, clip, answer, "exact")


def corpus(*clips: Clip, **lists: list) -> Corpus:
    lists = {"examples": [], "items": [], "pairs": [], "texts": []} | lists
    return Corpus(Path("toy"), {clip.id: clip for clip in clips}, **lists, fingerprint="toy", counts={})


def of_plan(planned: Plan) -> Corpus:
    """A corpus of the plan's texts, nothing spoken."""
    asked = [example for said in planned.spoken for example in said.examples]
    return corpus(
        *(clip(said.id, said.text, said.split) for said in planned.spoken),
        examples=[example for example in asked if example.split != "test"],
        items=planned.items + [example for example in asked if example.split == "test"],
        pairs=planned.pairs,
        texts=[{"split": split, "text": text} for split, text in planned.general],
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_that_the_world_trains_on_says_what_it_holds_out(seed):
    """Sentences of running text, simplified captions and misheard transcripts were not looked into before."""
    made = of_plan(plan(CorpusConfig(), seed))
    train = ("train", "rl")
    rows = [e for e in made.examples if e.split in train] + [p for p in made.pairs if p.split in train]
    rows += [c for c in made.clips.values() if c.split in train]
    rows += [row(answer=line["text"], task="text") for line in made.texts if line["split"] == "train"]
    assert len(rows) > 20_000
    overlap.check("world", rows, made)
    held_out = overlap.held_out(made)
    assert len(held_out) > 3_000
    assert {grammar.without_fillers(e.text) for e in made.items if e.task == SIMPLIFY and e.text} <= held_out.keys()
    overlap.check("base", with_pauses(base_rows(20_000, seed, held_out), seed), made)
    overlap.check_validation(made)


@pytest.mark.parametrize(
    "planted",
    [
        row(TEST),
        row("um well " + TEST),
        row(paused(TEST, random.Random(0))),
        row("which words are these", TEST, "answer"),
        row(answer=f"anna has a dog. {TEST}. it is cold.", task="text"),
        row(answer=f"{TEST}: {{}}", task="text"),
        row("", "", clip="said"),
        Pair("p", "train", "content", "repeat", "a", None, TEST, "b", "wer"),
        Pair("p", "train", "content", "repeat", "a", None, "b", TEST, "wer"),
        clip("train/9", TEST),
    ],
)
@pytest.mark.parametrize("split", ["test", "valid"])
def test_a_planted_text_is_refused_with_its_row_and_where_it_is_held_out(planted, split):
    held = corpus(clip("held", TEST, split), clip("said", TEST))
    with pytest.raises(InputError, match=f"sft: row .* says “{TEST}”, which is {split}.* clip held"):
        overlap.check("sft", [row("turn it up"), planted], held)
    overlap.check("sft", [row("turn it up")], held)


@pytest.mark.parametrize("kind", ["items", "examples", "pairs", "texts"])
def test_every_list_of_a_corpus_is_held_out(kind):
    held = {
        "items": row(TEST, split="test"),
        "examples": row(TEST, split="valid"),
        "pairs": Pair("p", "test", "content", "repeat", TEST, None, "a", "b", "wer"),
        "texts": {"split": "test", "text": TEST},
    }[kind]
    with pytest.raises(InputError, match="sft: row train"):
        overlap.check("sft", [row(TEST)], corpus(**{kind: [held]}))


def test_a_person_s_test_sentences_are_held_out_and_a_row_on_a_test_clip_is_refused():
    with pytest.raises(InputError, match="test sentence of the person"):
        overlap.check("personalise", [row("call tamsin now")], corpus(), ["call tamsin now"])
    with pytest.raises(InputError, match="clip held of split test"):
        overlap.check("sft", [row("", "i did not hear any words.", clip="held")], corpus(clip("held", "", "test")))


def test_single_digits_and_closed_vocabularies_recur_and_other_texts_of_recordings_do_not():
    shared = corpus(clip("test/1", "one", "test", "speechocean762"), clip("test/2", "yes", "test", "fsdd"))
    overlap.check("ctc", [clip("train/1", "one"), clip("train/2", "yes", source="fsdd")], shared)
    shared = corpus(clip("test/1", "one two", "test", "speechocean762"))
    with pytest.raises(InputError, match="one two"):
        overlap.check("ctc", [clip("train/1", "one two")], shared)


def test_validation_that_says_a_test_text_is_refused_and_training_texts_in_it_are_not():
    test = row(TEST, split="test")
    with pytest.raises(InputError, match="validation: row"):
        overlap.check_validation(corpus(items=[test], examples=[row(TEST, split="valid")]))
    overlap.check_validation(corpus(items=[test], examples=[row("turn it up", split="valid"), row("turn it up")]))


def test_a_wording_is_what_is_left_without_names_numbers_things_and_the_person_s_own_words():
    own = {"tamsin"}
    said = overlap.wording("please call tamsin today", own)
    assert said == ("please", "call") == overlap.wording("um please call my boss this morning", own)
    assert said != overlap.wording("please ask tamsin today", own)


def test_many_problems_are_told_shortly():
    held = corpus(items=[dataclasses.replace(row(f"text {n} is here", split="test"), id=f"{n}") for n in range(50)])
    with pytest.raises(InputError) as caught:
        overlap.check("sft", [row(f"text {n} is here") for n in range(50)], held)
    assert len(caught.value.problems) == overlap.LISTED + 1 and "30 more" in caught.value.problems[-1]


@pytest.mark.parametrize("inside", ["please call tamsin now the pet is loud", "good day call tamsin now"])
def test_a_person_s_test_sentence_within_a_row_of_sentences_is_refused(inside):
    with pytest.raises(InputError, match="says “call tamsin now”, which is test sentence of the person"):
        overlap.check("personalise", [row(inside)], corpus(), ["call tamsin now"])
    overlap.check("personalise", [row("please call tamsin nowhere")], corpus(), ["call tamsin now", "tamsin"])


def test_a_held_out_word_may_be_an_answer_and_may_not_be_what_is_asked():
    held = corpus(clip("held", "monday", "test"))
    overlap.check("base", [row("what comes after sunday", "monday", "answer")], held)
    overlap.check("dpo", [Pair("p", "train", "content", "answer", "a", None, "monday", "ten", "exact")], held)
    overlap.check_validation(
        corpus(clip("held", "monday", "test"), examples=[row("what", "monday", "answer", "valid")])
    )
    for planted in (row("monday"), row("um monday"), row(answer="monday", task="text"), clip("train/1", "monday")):
        with pytest.raises(InputError, match="says “monday”"):
            overlap.check("base", [planted], held)
