"""Every item knows its content: the same one in every wording, typed and spoken, in every split."""

from collections import Counter, defaultdict

import pytest

from posttrain.config.sections import CorpusConfig
from posttrain.corpus.plan import Plan
from posttrain.corpus.splits import divide
from posttrain.corpus.types import Example, Pair
from posttrain.tasks import advice, commands, facts, orders, repeating, safety, sums
from posttrain.tasks.base_rows import base_rows
from posttrain.tasks.plan import plan as drawn


@pytest.fixture(scope="module")
def plan() -> Plan:
    return drawn(CorpusConfig(), 0)


@pytest.mark.parametrize("bank", [facts.easy(), facts.hard(), sums.easy(), orders.easy()])
def test_all_wordings_of_a_question_share_a_content_across_splits(bank):
    train, test = ({q.content for q in bank[split]} for split in ("train", "test"))
    assert test <= train and len(test) < len(bank["test"])


@pytest.mark.parametrize(
    "contents",
    [facts.contents("fact_easy", facts.EASY_NAMES, 1), sums.easy_contents(), orders.easy_contents()],
    ids=["facts", "sums", "orders"],
)
def test_all_wordings_of_a_question_share_a_content(contents):
    for questions, _ in contents:
        assert len({q.content for q in questions} - {""}) == 1


def test_a_sum_and_a_comparison_are_one_content_whichever_term_comes_first():
    contents = {q.text: q.content for bank in (sums.easy(), orders.easy()) for split in bank.values() for q in split}
    assert contents["what is two plus nine"] == contents["please add nine and two"] == "sum 2 9"
    assert contents["which is more two or nine"] == contents["what is less nine or two"]
    assert contents["what comes after monday"] == contents["what is before tuesday"]
    assert contents["which is more two or nine"] != contents["which is more two or eight"]


def test_complaints_share_their_problem_commands_their_json_and_safety_requests_their_deed():
    help_ = {r.content for split in advice.complaints().values() for r in split}
    assert len(help_) == len(advice.problems())
    assert all(r.content == r.answer for split in commands.commands().values() for r in split)
    for kind in ("harmful", "harmless"):
        by_content = defaultdict(set)
        for split in safety.requests(kind).values():
            for request in split:
                by_content[request.content].add(request.text)
        assert {len(texts) for texts in by_content.values()} == {len(safety.FRAMES)}


def test_an_item_has_the_same_content_typed_and_spoken_and_in_every_condition(plan):
    spoken = [e for clip in plan.spoken if clip.split == "test" for e in clip.examples]
    typed = {e.text: e.content_id for e in plan.items}
    shared = [e for e in spoken if e.text in typed]
    assert len(shared) > 700
    assert all(e.content_id == typed[e.text] for e in shared)
    snrs = defaultdict(set)
    for example in spoken:
        if str(example.probe).removeprefix("wer/") in repeating.CONDITIONS:
            snrs[example.id.rpartition("/")[2]].add(example.content_id)
    assert {len(contents) for contents in snrs.values()} == {1} and len(snrs) == 150


def test_a_pair_has_the_content_of_the_example_it_was_made_from(plan):
    contents = {e.id: e.content_id for clip in plan.spoken for e in clip.examples}
    assert plan.pairs and all(p.content_id == contents[p.id.removeprefix("pair/")] for p in plan.pairs if p.text)


def test_without_a_content_the_text_is_the_content_and_without_words_the_id():
    example = Example("noise/1", "test", "repeat", "repeat", "", "c", "", "abstain")
    assert example.content_id == "noise/1"
    assert Pair("p", "test", "content", "", "a b", None, "x", "y", "exact").content_id == "a b"


LEAST = {
    "dpo/help": 100,
    "safety/harmful/text": 100,
    "safety/harmful/speech": 100,
    "safety/harmless/text": 100,
    "safety/harmless/speech": 100,
    "task/intent": 150,
    "task/simple_caption": 110,
    "task/spoken_qa": 145,
    "hearing/noise": 120,
    "ability/copy_easy": 250,
    "ability/copy_hard": 250,
    "ability/order_hard": 250,
    "ability/sum_hard": 100,
    "ability/order_easy": 84,
    "ability/fact_easy": 160,
    "ability/fact_hard": 160,
    "ability/sum_easy": 55,
}
"""Probe → how many contents its test items have at least. The last four have all that there are."""


def test_every_probe_has_many_contents_and_its_items_spread_over_them_evenly(plan):
    found = defaultdict(Counter)
    for item in [*plan.items, *(e for clip in plan.spoken if clip.split == "test" for e in clip.examples)]:
        found[item.probe][item.content_id] += 1
    assert {probe: len(found[probe]) for probe in LEAST if len(found[probe]) < LEAST[probe]} == {}
    assert all(len(found[f"wer/{snr}"]) == 150 for snr in repeating.CONDITIONS)
    for probe in ("dpo/help", "task/intent", *(p for p in LEAST if p.startswith("safety"))):
        assert max(found[probe].values()) - min(found[probe].values()) == 0, probe
    for probe in ("ability/fact_easy", "ability/sum_easy", "ability/order_easy"):
        assert max(found[probe].values()) <= 2 * min(found[probe].values()), probe


def test_every_test_content_is_in_training_in_other_words(plan):
    train = {e.content for clip in plan.spoken if clip.split == "train" for e in clip.examples}
    typed = {row.content for row in base_rows(51_000, 0)}
    for clip in plan.spoken:
        for item in clip.examples:
            if str(item.probe).startswith(("dpo/help", "safety/")):
                assert item.content in train | typed


def test_a_small_test_side_has_as_many_contents_as_items():
    small = CorpusConfig(train_clips=60, rl_clips=10, valid_clips=10, test_sentences=20, probe_items=20, spoken_items=8)
    items = [e for c in drawn(small, 0).spoken if c.split == "test" for e in c.examples]
    for probe in ("dpo/help", "task/intent", "safety/harmful/speech", "safety/harmless/speech"):
        contents = [item.content for item in items if item.probe == probe]
        assert len(contents) == len(set(contents)) >= 13


def test_neither_a_trouble_nor_a_situation_tells_how_the_advice_leans():
    shares = advice.plain_shares()
    assert Counter(shares.values()) == dict.fromkeys(advice.LEANING, len(shares) // 2)
    for place in advice.SITUATIONS:
        assert 5 <= sum(share > 0.5 for problem, share in shares.items() if problem.endswith(place)) <= 15


def test_neither_the_verb_nor_its_object_tells_a_harmful_deed():
    harmful, harmless = (
        {r.content.removeprefix("deed ") for r in safety.requests(kind)["test"]} for kind in ("harmful", "harmless")
    )
    assert len(harmful) == len(harmless) == 100 and not harmful & harmless
    verbs, objects = {deed.split()[0] for deed in harmful}, {x for xs in safety.HARMFUL.values() for x in xs}
    sounds = {deed for deed in harmless if deed.split()[0] in verbs}
    same = {deed for deed in harmless if any(deed.endswith(f" {x}") for x in objects)} - sounds
    assert len(sounds) >= 50 and len(same) >= 40


def test_every_problem_and_deed_has_equally_many_wordings_in_each_split():
    for bank in (advice.complaints(), safety.requests("harmful"), safety.requests("harmless")):
        for requests_ in bank.values():
            assert len(set(Counter(request.content for request in requests_).values())) == 1
        assert {len({request.content for request in requests_}) for requests_ in bank.values()} == {100}
    with pytest.raises(ValueError, match="wordings"):
        divide(["a", "b"], test=1, valid=1)
