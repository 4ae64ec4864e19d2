"""Requests that a language model writes itself: what it puts into the user's turn when it is given only its beginning.

Magpie (Xu et al. 2024, arXiv 2406.08464). Deviations: 1. the turn begins with one of OPENINGS, since people who speak
ask short things; 2. only requests that can be read aloud are kept: one short sentence, letters alone; 3. each is
answered as `answer` asks, greedily, in normalised words as a person's speech would be transcribed; 4. answers that
are cut at the limit, empty or the request itself are left out; 5. no reward model filters them; 6. a request is drawn
from the likeliest tokens alone (TOP_K, TOP_P). A request is in the split that its words determine, so no request is in
two.
"""

import itertools

import torch
from tqdm import tqdm

from posttrain.corpus.aloud import aloud
from posttrain.corpus.instructions import ANSWER, INSTRUCTIONS
from posttrain.corpus.normalise import normalise
from posttrain.corpus.splits import split_of
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model.speech_llama import SpeechLlama

OPENINGS = (
    "What is", "What are", "What does", "Why do", "Why is", "How do", "How can I", "How long", "Where", "When", "Who",
    "Which", "Is it", "Do", "Should I", "Name", "Tell me", "Give me", "Explain", "Describe",
)  # fmt: skip
MAX_REQUEST_TOKENS, MAX_ANSWER_TOKENS = 20, 48
BATCH = 128
TOP_K, TOP_P = 50, 0.95
"""A token is drawn from the likeliest ones: at most so many, with this much of their probability."""
MOST_TRIES = 20
"""How many times as many requests are drawn as are wanted, before it is an error that so few can be kept."""


def written(llama: SpeechLlama, count: int, seed: int, progress: bool = True) -> dict[str, list[tuple[str, str]]]:
    """Split → `count` different requests in all, in normalised words, each with the model's own answer.

    InputError if the model writes too few that can be read aloud.
    """
    found: dict[str, str] = {}
    with tqdm(total=count, desc="requests", unit="request", disable=not progress) as bar:
        for number in itertools.count():
            said = map(aloud, _requests(llama, OPENINGS[number % len(OPENINGS)], seed * 2**31 + number))
            new = [text for text in dict.fromkeys(said) if text and text not in found]
            found |= answered(llama, new[: count - len(found)])
            bar.update(len(found) - bar.n)
            if len(found) == count:
                break
            if number >= len(OPENINGS) and number * BATCH > MOST_TRIES * count:
                raise InputError(
                    f"{llama.spec.base} wrote {len(found)} requests that can be read aloud, expected {count}; set "
                    "corpus.written to fewer, or to 0"
                )
    splits: dict[str, list[tuple[str, str]]] = {"train": [], "valid": [], "test": []}
    for text, answer in found.items():
        splits[split_of(text)].append((text, answer))
    return splits


def answered(llama: SpeechLlama, texts: list[str]) -> dict[str, str]:
    """Request → the model's answer, for those that it answers in one line within the limit."""
    instruction = INSTRUCTIONS[ANSWER]
    asked = [Example(text, "train", ANSWER, instruction, text, None, "", "agreement") for text in texts]
    answers = llama.complete(asked, BATCH, MAX_ANSWER_TOKENS)
    return {
        text: answer
        for text, (answer, cut) in zip(texts, answers, strict=True)
        if not cut and "\n" not in answer and normalise(answer) not in ("", text)
    }


@torch.no_grad()
def _requests(llama: SpeechLlama, opening: str, seed: int) -> list[str]:
    """User's turns that begin with `opening` and that the model finishes and ends."""
    mark = "\x00"
    chat = llama.tokenizer.apply_chat_template([{"role": "user", "content": mark}], tokenize=False).partition(mark)[0]
    start = torch.tensor([llama.tokenizer.encode(chat + opening, add_special_tokens=False)])  # (1, L)
    drawn = [opening + llama.tokenizer.decode(ids) for ids in _sampled(llama, start, seed)]
    return [text.strip() for text in drawn]


def _sampled(llama: SpeechLlama, start: torch.Tensor, seed: int) -> list[list[int]]:
    """Those of BATCH continuations of `start` (1, L) that end within the limit, without their end.

    As `generate` samples, but `start` is read once, and a row that has ended leaves the batch.
    """
    generator, ends = torch.Generator().manual_seed(seed), torch.tensor(llama.eos_ids)
    out = llama.model(start.to(llama.model.device), use_cache=True, logits_to_keep=1)
    cache, logits = out.past_key_values, out.logits[:, -1].expand(BATCH, -1)
    cache.batch_repeat_interleave(BATCH)
    rows: list[list[int]] = [[] for _ in range(BATCH)]
    going, whole = list(range(BATCH)), []
    for _ in range(MAX_REQUEST_TOKENS):
        values, likeliest = logits.float().cpu().topk(min(TOP_K, logits.shape[-1]))
        shares = values.softmax(-1)  # (B, K), falling
        drawn = torch.multinomial(shares * (shares.cumsum(-1) - shares < TOP_P), 1, generator=generator)
        ids = likeliest.gather(-1, drawn)  # (B, 1)
        ended = torch.isin(ids[:, 0], ends)
        whole += [rows[i] for i, end in zip(going, ended.tolist(), strict=True) if end]
        kept = (~ended).nonzero()[:, 0]
        if not len(kept):
            break
        going, ids = [going[k] for k in kept.tolist()], ids[kept]
        for i, word in zip(going, ids[:, 0].tolist(), strict=True):
            rows[i].append(word)
        cache.batch_select_indices(kept.to(llama.model.device))
        logits = llama.model(ids.to(llama.model.device), past_key_values=cache, use_cache=True).logits[:, -1]
    return whole
