"""Greedy answers in batches of like length, the same whatever they are batched with (to a tolerance)."""

from typing import Any

import torch
from transformers import GenerationConfig


@torch.no_grad()
def generate_ids(
    model: Any,
    prompts: list[list[int]],
    pad_id: int,
    eos_ids: list[int],
    batch_size: int,
    max_new_tokens: int,
) -> list[list[int]]:
    """Greedy continuation ids per prompt, in the prompts' order, without end or padding tokens.

    Prompts are sorted by length, padded on the left and decoded with a KV cache. A batch stops when all have ended.
    """
    config = greedy_config(pad_id, eos_ids, max_new_tokens)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: dict[int, list[int]] = {}
    training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        ids, mask = left_padded([prompts[i] for i in batch], pad_id)
        out = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
        )
        for i, row in zip(batch, out[:, ids.shape[1] :].tolist(), strict=True):
            answers[i] = until(row, {*eos_ids, pad_id})
    model.train(training)
    return [answers[i] for i in range(len(prompts))]


def greedy_config(pad_id: int, eos_ids: list[int], max_new_tokens: int, **options: Any) -> GenerationConfig:
    """Generation settings that owe nothing to the model folder's own (8B's samples).

    Raises ValueError for `encoder_repetition_penalty`, which looks speech ids up in the logits and crashes.
    """
    if options.get("encoder_repetition_penalty", 1.0) != 1.0:
        raise ValueError(
            f"encoder_repetition_penalty is {options['encoder_repetition_penalty']}, expected 1.0: "
            "speech ids have no logits; use repetition_penalty or no_repeat_ngram_size"
        )
    chosen = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return GenerationConfig(
        max_new_tokens=max_new_tokens, pad_token_id=pad_id, eos_token_id=eos_ids, **{**chosen, **options}
    )


def left_padded(rows: list[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask (B, L), padded on the left."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad_id)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, longest - len(row) :] = torch.tensor(row)
        mask[i, longest - len(row) :] = 1
    return ids, mask  # (B, L), (B, L)


def right_padded(rows: list[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask (B, L), padded on the right."""
    ids, mask = left_padded([row[::-1] for row in rows], pad_id)
    return ids.flip(1), mask.flip(1)  # (B, L), (B, L)


def until(ids: list[int], ends: set[int]) -> list[int]:
    """The ids before the first of `ends`."""
    for place, token in enumerate(ids):
        if token in ends:
            return ids[:place]
    return ids
