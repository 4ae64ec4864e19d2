"""Greedy answers in batches of similar length; an answer does not depend on its batch (up to a tolerance)."""

import itertools
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig

SHARED = 8
"""Tokens from which reading a common beginning once pays."""


@torch.no_grad()
def generate_ids(
    model: Any,
    prompts: list[list[int]],
    pad_id: int,
    eos_ids: list[int],
    batch_size: int,
    max_new_tokens: int,
) -> list[list[int]]:
    """Greedy continuation ids per prompt, in the prompts' order, without the end token.

    Prompts are sorted by length, padded on the left and decoded with a KV cache; a row leaves the batch when it ends.
    What all prompts of a batch begin with, such as the system turn, is read once.

    The result equals `generate` without sampling (tested). It is written out for three reasons: `generate` keeps every
    row until the longest answer ends and reads a common beginning in each, and there PEFT's prompt tuning puts its
    virtual tokens before the padding, so an answer depends on its batch.
    """
    answers: dict[int, list[int]] = {}
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        found = _greedy(model, [prompts[i] for i in batch], pad_id, torch.tensor(eos_ids), max_new_tokens)
        answers.update(zip(batch, found, strict=True))
    model.train(training)
    return [answers[i] for i in range(len(prompts))]


def _greedy(model: Any, rows: list[list[int]], pad_id: int, ends: torch.Tensor, max_new_tokens: int) -> list[list[int]]:
    """Greedy continuation ids of one batch."""
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    out, mask, positions = read_prompts(model, rows, pad_id)
    answers: list[list[int]] = [[] for _ in rows]
    going = list(range(len(rows)))
    last = positions[:, -1:]  # (B, 1)
    for step in range(max_new_tokens):
        words = out.logits[:, -1].argmax(-1)  # (B,)
        ended = torch.isin(words.cpu(), ends)
        for i, word, end in zip(going, words.tolist(), ended.tolist(), strict=True):
            if not end:
                answers[i].append(word)
        kept = (~ended).nonzero()[:, 0]
        if not len(kept) or step == max_new_tokens - 1:
            break
        cache = out.past_key_values
        if len(kept) < len(going):
            going = [going[k] for k in kept.tolist()]
            kept = kept.to(words.device)
            cache.batch_select_indices(kept)
            words, mask, last = words[kept], mask[kept], last[kept]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        last = last + 1
        out = llama(
            input_ids=words[:, None], attention_mask=mask, position_ids=last, past_key_values=cache, use_cache=True
        )
    return answers


def read_prompts(model: Any, rows: list[list[int]], pad_id: int) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The Llama's output after prompts, with logits (B, 1, V) and a KV cache; their mask and positions (B, L).

    Prompts are padded on the left, after what all begin with.
    """
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    cache, shared = _beginning(model, rows)
    embeddings, mask = prompt_embeddings(model, [row[shared:] for row in rows], pad_id)  # (B, L, D), (B, L)
    mask = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)  # (B, L)
    positions = (mask.cumsum(1) - 1).clamp(min=0)  # (B, L)
    out = llama(
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=positions[:, shared:],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return out, mask, positions


def _beginning(model: Any, rows: list[list[int]]) -> tuple[Any, int]:
    """Keys and values of what all rows begin with, for each row, and its length: 0 if it is short, or if virtual tokens
    come first."""
    virtual = isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning
    columns = zip(*(row[:-1] for row in rows), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda ids: len(set(ids)) == 1, columns))
    if virtual or len(rows) == 1 or shared < SHARED:
        return None, 0
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    ids = torch.tensor([rows[0][:shared]], device=model.device)
    cache = llama(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
    cache.batch_repeat_interleave(len(rows))
    return cache, shared


def prompt_embeddings(model: Any, rows: list[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (B, L, D) and mask (B, L) of prompts padded on the left, with virtual tokens right before each."""
    virtual = isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    count = model.active_peft_config.num_virtual_tokens if virtual else 0
    ids, mask = left_padded([[pad_id] * count + row for row in rows], pad_id)
    ids, mask = ids.to(model.device), mask.to(model.device)
    embeddings = llama.get_input_embeddings()(ids)  # (B, L, D)
    if virtual:
        first = ids.shape[1] - mask.sum(1, keepdim=True)  # (B, 1)
        at = first + torch.arange(count, device=ids.device)  # (B, count)
        prompts = model.get_prompt(batch_size=len(rows)).to(embeddings.dtype)  # (B, count, D)
        embeddings = embeddings.scatter(1, at[..., None].expand_as(prompts), prompts)
    return embeddings, mask


def check_generation(config: GenerationConfig | None, options: dict[str, Any]) -> None:
    """Raise ValueError for `encoder_repetition_penalty`, which indexes the logits with the speech ids and crashes.

    The repetition and n-gram penalties are safe.
    """
    asked = options.get("encoder_repetition_penalty", config and config.encoder_repetition_penalty)
    if asked not in (None, 1.0):
        raise ValueError(
            f"encoder_repetition_penalty is {asked}, expected 1.0: speech ids have no logits; "
            "use repetition_penalty or no_repeat_ngram_size"
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
