"""Transcripts that head and Llama choose together: what the head proposes, and both scores, by other ways."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from conftest import example

from posttrain.corpus.instructions import ABSTENTION
from posttrain.model import checkpoint, together
from posttrain.model.adapters import projector_of
from posttrain.model.together import Candidate, Weights
from posttrain.model.word_head import WordHead
from posttrain.stages.training import together as choosing

BLANK = 2


@pytest.fixture
def hearing(llama):
    """A Llama with a head over its lower-case letters and the space."""
    torch.manual_seed(5)
    vectors = llama.model.get_input_embeddings().weight.detach()
    words = {word for letter in "abcdefgh " for word in llama.tokenizer.word_ids(letter)}
    head = WordHead.of(projector_of(llama.model), vectors, words, llama.tokenizer.word_ids(".")[-1]).frozen()
    return dataclasses.replace(llama, head=head)


def by_enumeration(log_probs):
    """Every unit sequence with its log-probability, over all paths."""
    found = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        units = tuple(unit for unit, _ in itertools.groupby(path) if unit != BLANK)
        score = sum(row[unit] for row, unit in zip(log_probs, path, strict=True))
        found[units] = np.logaddexp(found.get(units, -np.inf), score)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_beam_proposes_the_likeliest_sequences_in_order(seed):
    log_probs = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)).mul(2).log_softmax(-1).numpy()
    every = by_enumeration(log_probs)
    wanted = sorted(every, key=lambda units: -every[units])[:6]
    assert together.prefix_beam(log_probs, BLANK, 6) == wanted


def test_a_surely_blank_token_ends_a_repeated_unit():
    said = torch.full((3, 3), -20.0)
    said[0, 1] = said[1, BLANK] = said[2, 1] = 20.0
    assert together.prefix_beam(said.log_softmax(-1).numpy(), BLANK, 1) == [(1, 1)]


@pytest.mark.parametrize("adapter", [None, "lora", "prompt_tuning"])
def test_the_llamas_score_equals_that_of_one_row_at_a_time(hearing, adapter):
    llama = checkpoint.adapt(hearing, adapter) if adapter else hearing
    asked = [example(f"test/{i}", id=f"e{i}") for i in (1, 3, 2)]
    own = ["a b", "hello", ""]
    scored = together.scored(llama, asked, own, batch_size=8, count=3)
    assert [len(clip) for clip in scored] == [len({c.text for c in clip}) for clip in scored]
    for item, greedy, candidates in zip(asked, own, scored, strict=True):
        assert candidates[0].text == greedy
        for candidate in candidates:
            mean = llama.logprobs([item], [candidate.text])[0]
            assert candidate.llama == pytest.approx(mean * len(llama.tokenizer.answer_ids(candidate.text)), rel=1e-4)


def test_the_heads_score_is_over_all_alignments_and_minus_infinity_for_a_word_it_lacks(hearing):
    scored = together.scored(hearing, [example("test/1")], ["zebra"], 8, count=6)[0]
    assert scored[0].ctc == -np.inf and scored[0].score(Weights(0.0, 0.0)) == scored[0].llama
    stacked = hearing.table.stacked(hearing.spec.stack)
    first, tokens = stacked.spans["test/1"]
    log_probs = hearing.head(stacked.rows(torch.arange(first, first + tokens))).log_softmax(-1).detach()
    unit = {word: number for number, word in enumerate(hearing.head.ids.tolist())}
    for candidate in scored[1:]:
        units = [unit[word] for word in hearing.tokenizer.word_ids(f" {candidate.text}")]
        paths = [
            path
            for path in itertools.product({*units, hearing.head.blank}, repeat=tokens)
            if [u for u, _ in itertools.groupby(path) if u != hearing.head.blank] == units
        ]
        total = np.logaddexp.reduce([sum(log_probs[i, u].item() for i, u in enumerate(path)) for path in paths])
        assert candidate.ctc == pytest.approx(total, abs=1e-3) or (not paths and candidate.ctc < -1e6)


def test_a_model_without_a_head_is_told_so(llama):
    with pytest.raises(ValueError, match=r"has no word head; train align with align\.ctc_steps above 0"):
        together.scored(llama, [example()], ["a"], 8, 3)


def test_weights_are_those_with_the_fewest_word_errors():
    def clip(right, wrong):  # the head hears the right one, the Llama likes the wrong one
        return [Candidate(wrong, -1.0, -9.0, 1), Candidate(right, -3.0, -2.0, 1)]

    scored = [clip("turn it up", "turn it cup"), clip("call me", "call mean")]
    weights, errors = choosing.choose(scored, ["turn it up", "call me"])
    assert errors == 0 and weights == Weights(0.3)
    assert together.best(scored[0], weights).text == "turn it up"
    assert choosing.choose([[Candidate("a", -1.0, -np.inf, 1)]], ["a"]) == (Weights(), 0)


def test_weights_are_kept_only_where_they_make_fewer_errors_than_the_llama_alone(hearing):
    hearing.attach(dataclasses.replace(hearing.table, hypotheses={"test/3": "fed"}))
    asked = dataclasses.replace(example("test/3"), text="fed")
    own = together.scored(hearing, [asked], ["bee"], 8, 2)[0]
    assert {"bee", "fed"} <= {candidate.text for candidate in own}
    chosen, found = choosing.deciding(hearing, [(asked, "bee")], 2)
    assert found["together_wer"] == 0 and found["alone_wer"] == 1
    assert chosen.spec.candidates == 2 and together.decided(chosen, [asked], ["bee"], 8) == ["fed"]
    again, _ = choosing.deciding(chosen, [(asked, "fed")], 2)
    assert again.spec.together is None
    nothing, found = choosing.deciding(chosen, [(asked, ABSTENTION)], 2)
    assert nothing.spec.together is None and found == {"words": 0}


def test_the_encoders_own_transcript_is_a_candidate_and_can_be_preferred(hearing):
    table = dataclasses.replace(hearing.table, hypotheses={"test/1": "Bad egg."})
    asked = [example("test/1"), example("test/2")]
    first, second = together.scored(hearing.attach(table), asked, ["a", "b"], 8, count=2)
    assert [c.text for c in first if c.encoders] == ["bad egg"] and not any(c.encoders for c in second)
    assert together.best(first, Weights(encoder=1e6)).text == "bad egg"


def test_a_checkpoint_decides_by_its_weights_but_not_where_it_heard_nothing(hearing, tmp_path):
    hearing.attach(dataclasses.replace(hearing.table, hypotheses={"test/1": "egg", "test/2": "egg"}))
    spec = dataclasses.replace(hearing.spec, together=(0.0, 0.0, 1e6), candidates=2)
    checkpoint.save(tmp_path / "sft", dataclasses.replace(hearing, spec=spec), "sft")
    read = checkpoint.load(tmp_path / "sft", table=hearing.table)
    asked = [example("test/1"), example("test/2"), example("test/3")]
    assert together.decided(read, asked, ["a", ABSTENTION, "c"], 8) == ["egg", ABSTENTION, "c"]
    assert together.decided(hearing, asked, ["a", ABSTENTION, "c"], 8) == ["a", ABSTENTION, "c"]
