"""Greedy answers do not depend on the batch, and are what `generate` gives."""

import itertools

import pytest
import torch
from conftest import example

from posttrain.model import checkpoint
from posttrain.model.decoding import check_generation, generate_ids, left_padded, right_padded


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


def decode(llama, rows, size, ends=(), tokens=12):
    return generate_ids(llama.model, rows, llama.tokenizer.pad_token_id, list(ends), size, tokens)


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
