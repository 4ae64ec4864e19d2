"""Every item knows its content: the same one in every wording, typed and spoken, in every split."""

from collections import defaultdict

import pytest

from posttrain.corpus import abilities, requests, world
from posttrain.corpus.types import Example, Pair
from posttrain.sections import CorpusConfig


@pytest.fixture(scope="module")
def plan() -> world.WorldPlan:
    return world.plan(CorpusConfig(), 0)


@pytest.mark.parametrize("probe", ["fact_easy", "fact_hard", "sum_easy", "order_easy"])
def test_all_wordings_of_a_question_share_a_content_across_splits(probe):
    wordings = list(abilities._contents(probe))
    for questions, _ in wordings:
        assert len({q.content for q in questions} - {""}) == 1
    train, test = ({q.content for q in abilities.bank(probe)[split]} for split in ("train", "test"))
    assert test <= train and len(test) < len(abilities.bank(probe)["test"])


def test_a_sum_and_a_comparison_are_one_content_whichever_term_comes_first():
    contents = {
        q.text: q.content for probe in ("sum_easy", "order_easy") for s in abilities.bank(probe).values() for q in s
    }
    assert contents["what is two plus nine"] == contents["please add nine and two"] == "sum 2 9"
    assert contents["which is more two or nine"] == contents["what is less nine or two"]
    assert contents["what comes after monday"] == contents["what is before tuesday"]
    assert contents["which is more two or nine"] != contents["which is more two or eight"]


def test_complaints_share_their_problem_commands_their_json_and_safety_requests_their_deed():
    help_ = {r.content for split in requests.complaints().values() for r in split}
    assert len(help_) == len(requests.HELP)
    assert all(r.content == r.answer for split in requests.commands().values() for r in split)
    for harmful in (True, False):
        by_content = defaultdict(set)
        for split in requests.safety(harmful).values():
            for request in split:
                by_content[request.content].add(request.text)
        assert {len(texts) for texts in by_content.values()} == {len(requests._FRAMES)}


def test_an_item_has_the_same_content_typed_and_spoken_and_in_every_condition(plan):
    spoken = [e for clip in plan.spoken if clip.split == "test" for e in clip.examples]
    typed = {e.text: e.content_id for e in plan.items}
    shared = [e for e in spoken if e.text in typed]
    assert len(shared) > 700
    assert all(e.content_id == typed[e.text] for e in shared)
    snrs = defaultdict(set)
    for example in spoken:
        if str(example.probe).startswith("wer/"):
            snrs[example.id.rpartition("/")[2]].add(example.content_id)
    assert {len(contents) for contents in snrs.values()} == {1} and len(snrs) == 150


def test_a_pair_has_the_content_of_the_example_it_was_made_from(plan):
    contents = {e.id: e.content_id for clip in plan.spoken for e in clip.examples}
    assert plan.pairs and all(p.content_id == contents[p.id.removeprefix("pair/")] for p in plan.pairs if p.text)


def test_without_a_content_the_text_is_the_content_and_without_words_the_id():
    example = Example("noise/1", "test", "repeat", "repeat", "", "c", "", "abstain")
    assert example.content_id == "noise/1"
    assert Pair("p", "test", "content", "", "a b", None, "x", "y", "exact").content_id == "a b"
