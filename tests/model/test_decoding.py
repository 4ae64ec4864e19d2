"""Greedy answers do not depend on the batch, and are what `generate` gives."""

import itertools

import pytest
import torch
from conftest import example

from posttrain.model import checkpoint, decoding
from posttrain.model.decoding import Tally, by_length, check_generation, generate_ids, left_padded, right_padded


def prompts(llama):
    mixed = [example(f"test/{i}") for i in range(4)] + [
        example(None, text) for text in ("hi", "turn it up", "a b c d e")
    ]
    return [llama.tokenizer.prompt_ids(e) for e in mixed]


def shaken(llama, adapter):
    """With an adapter that matters."""
    llama = checkpoint.adapt(llama, adapter)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in llama.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return llama


def decode(llama, rows, size, ends=(), tokens=12, drafts=None, tally=None):
    return generate_ids(llama.model, rows, llama.tokenizer.pad_token_id, list(ends), size, tokens, drafts, tally)


@pytest.mark.parametrize("adapter", ["projector", "lora", "prompt_tuning"])
def test_answers_do_not_depend_on_what_they_are_batched_with(llama, adapter):
    llama = shaken(llama, adapter)
    rows = prompts(llama)
    alone = decode(llama, rows, 1)
    assert decode(llama, rows, 3) == alone
    assert decode(llama, rows, 7) == alone
    assert len(set(map(tuple, alone))) == len(rows)


@pytest.mark.parametrize("adapter", ["projector", "lora"])
def test_what_all_prompts_begin_with_is_read_once(llama, adapter):
    llama = shaken(llama, adapter)
    beginning = llama.tokenizer.word_ids("turn it up please and keep it there for all of the evening")
    rows = [beginning + row for row in prompts(llama)]
    alone, read = decode(llama, rows, 1), []
    hook = llama.model.get_input_embeddings().register_forward_hook(lambda _, args, out: read.append(args[0].numel()))
    assert decode(llama, rows, len(rows)) == alone
    hook.remove()
    longest = max(map(len, rows))
    assert len(beginning) > 8 and sum(read[:2]) <= len(rows) * longest - (len(rows) - 1) * len(beginning)


@pytest.mark.parametrize("adapter", ["projector", "lora"])
def test_answers_are_those_of_generate(llama, adapter):
    llama = shaken(llama, adapter)
    rows = prompts(llama)
    found = decode(llama, rows, len(rows))
    ids, mask = left_padded(rows, llama.tokenizer.pad_token_id)
    out = llama.model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=12, eos_token_id=None, pad_token_id=0
    )
    assert found == out[:, ids.shape[1] :].tolist()


def test_a_prompt_of_virtual_tokens_is_read_as_in_training(llama):
    llama = shaken(llama, "prompt_tuning")
    rows = prompts(llama)
    ids, mask = right_padded(rows, llama.tokenizer.pad_token_id)
    with torch.no_grad():
        logits = llama.model(input_ids=ids, attention_mask=mask).logits[:, -ids.shape[1] :]
    first = [logits[i, len(row) - 1].argmax().item() for i, row in enumerate(rows)]
    assert [answer[0] for answer in decode(llama, rows, 7)] == first


def test_a_row_that_ends_leaves_the_others_as_they_are(llama):
    rows = prompts(llama)
    free = decode(llama, rows, 7)
    ends = [free[0][2], free[3][5]]
    expected = []
    for answer in free:
        place = next((i for i, token in enumerate(answer) if token in ends), len(answer))
        expected.append(answer[:place])
    assert len({len(a) for a in expected}) > 1
    assert decode(llama, rows, 7, ends) == expected
    assert decode(llama, rows, 2, ends) == expected


WRONG = {
    "the answer": lambda answer: answer,
    "one word another": lambda answer: [*answer[:4], 7, *answer[5:]],
    "one word more": lambda answer: [*answer[:4], 7, *answer[4:]],
    "one word less": lambda answer: [*answer[:4], *answer[5:]],
    "its beginning": lambda answer: answer[:3],
    "and more": lambda answer: answer + [7] * 40,
    "other words": lambda answer: [7, 8, 9] * 5,
    "nothing": lambda answer: [],
}


@pytest.mark.parametrize("adapter", ["projector", "lora", "prompt_tuning"])
def test_answers_do_not_depend_on_their_drafts(llama, adapter, monkeypatch):
    llama = shaken(llama, adapter)
    rows = prompts(llama)
    plain = decode(llama, rows, 3, ends=(plain_end := decode(llama, rows, 3)[0][6],))
    for (name, change), size in itertools.product(WRONG.items(), (1, 3, 7)):
        drafts = [change(answer) for answer in plain]
        assert decode(llama, rows, size, (plain_end,), drafts=drafts) == plain, (name, size)
    mixed = [change(answer) for change, answer in zip(WRONG.values(), plain, strict=False)]
    for overhead in (0, 10, 1e6):
        monkeypatch.setitem(decoding.OVERHEAD, "cpu", overhead)
        assert decode(llama, rows, 7, (plain_end,), drafts=mixed) == plain


def test_a_pass_reads_as_much_of_a_draft_as_pays():
    assert decoding._width(48 / 128, 0.5) == 0, "a large batch takes as long as its words"
    assert decoding._width(48 / 128, 0.999) > 10 and decoding._width(48, 0.5) > 3
    assert decoding._width(1e6, 0.9) == decoding.PIECE and decoding._width(0, 0.9) == 0
    for batch in (1, 8, 64):
        widths = [decoding._width(48 / batch, right) for right in (0.1, 0.5, 0.8, 0.95)]
        assert widths == sorted(widths) and widths[-1] >= decoding._width(48 / (2 * batch), 0.95)


def test_of_drafts_that_prove_wrong_less_is_read_and_of_right_ones_more(llama, monkeypatch):
    rows, asked = prompts(llama), []
    plain = decode(llama, rows, 7)
    width = decoding._width
    monkeypatch.setattr(decoding, "_width", lambda overhead, right: asked.append(right) or width(overhead, right))
    for change, sign in (("the answer", 1), ("other words", -1)):
        asked.clear()
        assert decode(llama, rows, 7, drafts=[WRONG[change](answer) for answer in plain]) == plain
        assert len(asked) > 1 and all(sign * (b - a) >= 0 for a, b in itertools.pairwise(asked))
        assert sign * (asked[-1] - asked[0]) > 0


def test_a_right_draft_takes_one_pass(llama, monkeypatch):
    monkeypatch.setitem(decoding.OVERHEAD, "cpu", 1e6)
    rows = prompts(llama)
    plain = decode(llama, rows, 7)
    for draft, passes in (("the answer", 1), ("nothing", 12)):
        tally = Tally()
        assert decode(llama, rows, 3, drafts=[WRONG[draft](answer) for answer in plain], tally=tally) == plain
        assert (tally.passes, tally.words) == (passes * len(rows), 12 * len(rows))


SAID = list(range(100, 140))
"""What a Llama says, no word twice."""


@pytest.mark.parametrize(
    ("draft", "passes"),
    [
        (SAID, 2),  # a piece is shorter than this
        (SAID[:20], 20),
        ([], 40),
        ([*SAID[:9], 7, *SAID[10:]], 3),
        ([*SAID[:9], *SAID[10:]], 4),
        ([*SAID[:9], 7, *SAID[9:]], 3),
        ([7, *SAID[:9], *SAID[12:20], 8, 9, *SAID[22:]], 11),
    ],
)
def test_after_a_wrong_word_a_draft_is_taken_up_again(draft, passes):
    row, taken = decoding._Row([], [], draft), 0
    while not row.ended:
        piece = row.piece(decoding.PIECE, len(SAID))
        before = len(row.answer)
        said = SAID[before:][: len(piece) + 1]
        right = row.take(piece, said, frozenset(), len(SAID))
        assert piece[:right] == SAID[before:][:right] and len(row.answer) == before + min(right + 1, len(said))
        taken += 1
    assert row.answer == SAID and taken == passes


def test_a_draft_of_which_nothing_is_right_is_given_up():
    row, read = decoding._Row([], [], [1, 2, 3] * 10), []
    for word in SAID[:6]:
        read.append(len(row.piece(40, 40)))
        row.take(row.piece(40, 40), [word] * 40, frozenset(), 40)
    assert read == [24, 4, 4, 0, 0, 0]


def test_a_close_call_is_decided_by_the_row_alone_whatever_it_is_batched_with(llama, monkeypatch):
    rows = prompts(llama)
    plain, alone = decode(llama, rows, 7), []
    monkeypatch.setattr(decoding, "TIE", 1e9)
    read = decoding._alone
    monkeypatch.setattr(decoding, "_alone", lambda model, row, pad: alone.append(row) or read(model, row, pad))
    assert decode(llama, rows, 7, tokens=3) == [answer[:3] for answer in plain]
    assert sorted(alone) == sorted(row + answer[:k] for row, answer in zip(rows, plain, strict=True) for k in range(3))
    monkeypatch.setattr(decoding, "_alone", lambda model, row, pad: len(row) % 5)
    said = decode(llama, rows, 7, tokens=3)
    assert said == decode(llama, rows, 1, tokens=3, drafts=said) == decode(llama, rows, 3, tokens=3, drafts=plain)
    assert said != [answer[:3] for answer in plain]


def test_no_answer_is_longer_than_asked(llama):
    assert {len(a) for a in decode(llama, prompts(llama), 4, tokens=3)} == {3}


def test_answers_never_hold_a_speech_id(llama):
    assert max(max(a) for a in decode(llama, prompts(llama), 4)) < llama.spec.num_words


def test_repetition_and_ngram_penalties_work_on_prompts_with_speech(llama):
    ids, mask = left_padded(prompts(llama)[:3], llama.tokenizer.pad_token_id)
    out = llama.model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=12,
        eos_token_id=None,
        repetition_penalty=1.3,
        no_repeat_ngram_size=2,
    )
    for row in out[:, ids.shape[1] :].tolist():
        assert len(set(itertools.pairwise(row))) == 11


def test_the_encoder_repetition_penalty_is_refused():
    check_generation(None, {"repetition_penalty": 1.3})
    with pytest.raises(ValueError, match=r"encoder_repetition_penalty is 1\.5, expected 1\.0"):
        check_generation(None, {"encoder_repetition_penalty": 1.5})


def test_padding_goes_where_it_is_asked_for():
    assert left_padded([[1], [2, 3]], 9)[0].tolist() == [[9, 1], [2, 3]]
    assert right_padded([[1], [2, 3]], 9)[0].tolist() == [[1, 9], [2, 3]]
    assert right_padded([[1], [2, 3]], 9)[1].tolist() == [[1, 0], [1, 1]]


def test_rows_are_scored_in_batches_of_like_length_and_of_bounded_logits(monkeypatch):
    lengths = [9, 1, 4, 4, 30, 2]
    assert list(by_length(lengths, 4, 10)) == [[1, 5, 2, 3], [0, 4]] and list(by_length([], 4, 10)) == []
    monkeypatch.setattr(decoding, "LOGITS_BYTES", 4 * 12 * 10)
    assert list(by_length(lengths, 4, 10)) == [[1, 5, 2], [3], [0], [4]], "one row always goes"
