"""Continuations that are read as a tree score as each of them alone, whatever the adapter, and with it switched off."""

from contextlib import nullcontext

import pytest
import torch
from conftest import example

from posttrain.model import checkpoint
from posttrain.model.adapters import adapters_off
from posttrain.model.continuations import log_likelihoods


def rows_of(llama):
    """Two prompts with several answers, of which some begin alike, one is there twice and one is empty; a bare text."""
    prompts = [llama.tokenizer.prompt_ids(example("test/1")), llama.tokenizer.prompt_ids(example(None, "hi"))]
    rows, spans = [], []
    for prompt, answers in zip(prompts, (["turn it", "turn up", "turn it", "no"], ["a", ""]), strict=True):
        for answer in answers:
            rows.append(prompt + llama.tokenizer.word_ids(answer))
            spans.append((len(prompt), len(rows[-1])))
    text = llama.tokenizer.text_ids("a plain line")
    return [*rows, text], [*spans, (1, len(text))]


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("adapter", [None, "lora", "prompt_tuning"])
def test_they_score_as_each_alone(llama, adapter, off):
    if adapter:
        llama = checkpoint.adapt(llama, adapter)
        with torch.no_grad():  # a new LoRA changes nothing
            [p.normal_() for n, p in llama.model.named_parameters() if ".lora_B." in n]
    rows, spans = rows_of(llama)
    with adapters_off(llama.model) if off else nullcontext():
        found = log_likelihoods(llama.model, rows, spans, llama.tokenizer.pad_token_id, 8)
        for row, span, (logprobs, greedy) in zip(rows, spans, found, strict=True):
            ids = torch.tensor([row])
            after = (
                llama.model(input_ids=ids).logits[0, -len(row) :].log_softmax(-1)[span[0] - 1 : span[1] - 1]
            )  # (L, V)
            targets = ids[0, slice(*span)]
            assert torch.allclose(logprobs, after.gather(-1, targets[:, None])[:, 0], atol=1e-3)
            assert greedy == bool((after.argmax(-1) == targets).all())
