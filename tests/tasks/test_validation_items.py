"""Validation items: as the test asks, on texts and voices of their own."""

import dataclasses
from collections import Counter

import pytest

from posttrain.config.sections import CorpusConfig
from posttrain.corpus import overlap, speech, store
from posttrain.corpus.plan import check_disjoint
from posttrain.errors import InputError
from posttrain.stages.base import typed_rows
from posttrain.tasks import facts, orders, safety, sums
from posttrain.tasks.base_rows import base_rows
from posttrain.tasks.graders import grade
from posttrain.tasks.plan import plan as drawn

PROBES = [f"{skill}_{level}" for skill in ("sum", "fact", "copy", "order") for level in ("easy", "hard")]
CHOSEN_BY = {"wer/clean", "task/intent", "task/spoken_qa", "task/simple_caption", "hearing/noise"} | {
    f"safety/{kind}/{form}" for kind in ("harmful", "harmless") for form in ("text", "speech")
}
"""What a study chooses by, beside the typed abilities."""


@pytest.fixture(scope="module")
def plan():
    return drawn(CorpusConfig(), 0)


def spoken(plan):
    return [e for clip in plan.spoken if clip.split == "valid" for e in clip.examples if e.probe]


def test_every_figure_that_a_study_chooses_by_has_validation_items(plan):
    typed = Counter(item.probe for item in plan.valid_items)
    assert min(typed[f"ability/{probe}"] for probe in PROBES) >= 45
    found = typed | Counter(item.probe for item in spoken(plan))
    assert set(found) == {f"ability/{probe}" for probe in PROBES} | CHOSEN_BY
    assert min(found[probe] for probe in CHOSEN_BY if not probe.startswith("safety/")) >= 40
    assert sum(found.values()) < 0.25 * len(plan.spoken), "the corpus grows by little"
    ids = [item.id for item in [*plan.valid_items, *spoken(plan), *plan.items]]
    assert len(set(ids)) == len(ids)


def test_neither_the_test_nor_training_says_or_types_a_validation_text(plan):
    items = [*plan.valid_items, *spoken(plan)]
    texts = {item.text for item in items} - {""}
    assert {item.split for item in items} == {"valid"}
    test = {item.text for item in plan.items} | {clip.text for clip in plan.spoken if clip.split == "test"}
    trained = {clip.text for clip in plan.spoken if clip.split in ("train", "rl")}
    trained |= {row.text for row in base_rows(60_000, seed=3)}
    assert not texts & test and not texts & trained
    for bank in (facts.easy(), facts.hard(), sums.easy(), orders.easy()):
        banks = {split: {question.text for question in found} for split, found in bank.items()}
        assert not banks["valid"] & (banks["train"] | banks["test"])


def test_a_validation_text_planted_in_training_is_refused(plan, tmp_path):
    stolen = plan.valid_items[0]
    clip = next(clip for clip in plan.spoken if clip.split == "train")
    with pytest.raises(InputError, match=f"validation text “{stolen.text}” is also in {clip.id}"):
        planted = dataclasses.replace(clip, text=stolen.text)
        check_disjoint(dataclasses.replace(plan, spoken=[*plan.spoken, planted]))
    row = base_rows(40, 0)[-1]
    copied = dataclasses.replace(stolen, text=row.text)
    corpus = store.write(tmp_path / "corpus", [], [], [], [], [], {}, valid_items=[copied])
    assert store.Corpus.load(corpus.folder).valid_items == [copied]
    assert row.text not in {typed.text for typed in typed_rows(corpus, 40, 0)}
    with pytest.raises(InputError, match=f"says “{row.text}”, which is validation example {copied.id}"):
        overlap.check("base", [row], corpus)


def test_a_corpus_made_before_there_were_validation_items_has_none(tmp_path):
    corpus = store.write(tmp_path / "corpus", [], [], [], [], [], {})
    (corpus.folder / "valid_items.jsonl").unlink()
    assert store.Corpus.load(corpus.folder).valid_items == []


def test_validation_items_are_the_same_for_every_seed_and_their_answers_are_right(plan):
    other = drawn(CorpusConfig(), 1)
    assert other.valid_items == plan.valid_items
    assert [dataclasses.replace(e, clip=None) for e in spoken(other)] == [
        dataclasses.replace(e, clip=None) for e in spoken(plan)
    ]
    for item in [*plan.valid_items, *spoken(plan)]:
        assert grade(item.grader, item.answer, item) == 1, item
    assert not set(speech.voices("valid")) & {v for split in ("train", "test") for v in speech.voices(split)}


def test_a_small_corpus_has_few_of_them():
    made = drawn(CorpusConfig(60, 10, 10, test_sentences=8, probe_items=8, spoken_items=4), 0)
    found = Counter(item.probe for item in [*made.valid_items, *spoken(made)])
    assert set(found.values()) <= {4, min(4, len(safety.requests("harmful")["valid"]))}
