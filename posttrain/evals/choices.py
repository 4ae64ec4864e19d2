"""Items with several endings: the model chooses the one with the highest log-probability, as lm-evaluation-harness."""

from collections.abc import Sequence
from typing import Any

from posttrain.corpus.choices import Choice
from posttrain.corpus.types import Example
from posttrain.model import continuations
from posttrain.model.speech_llama import SpeechLlama


def lines(llama: SpeechLlama, items: list[Choice], batch_size: int) -> list[dict[str, Any]]:
    """One line per item, graded as lm-evaluation-harness' acc (`score`) and, where it has that, acc_norm (`normed`).

    acc: whether the right ending has the highest log-probability, summed over its tokens, in nats; of a single ending,
    whether greedy decoding gives it. acc_norm: the same for log-probabilities divided by the endings' characters.
    """
    scores = iter(log_likelihoods(llama, [pair for item in items for pair in item.pairs], batch_size))
    made = []
    for item in items:
        nats, greedy = zip(*(next(scores) for _ in item.endings), strict=True)
        chosen = _highest(nats)
        right = chosen == item.right if len(nats) > 1 else greedy[0]
        output = "".join(item.pairs[chosen] if item.contexts else item.endings[chosen]).strip()
        line: dict[str, Any] = {"id": item.id, "probe": item.probe, "text": item.context, "content": item.content}
        line |= {"output": output, "nats": list(nats), "score": float(right)}
        if item.lengths:
            line["normed"] = float(_highest([n / c for n, c in zip(nats, item.lengths, strict=True)]) == item.right)
        made.append(line)
    return made


def chosen(llama: SpeechLlama, items: list[Example], batch_size: int) -> list[str]:
    """Of each item's endings the one with the highest log-probability as an answer, its end included, after the chat
    prompt, typed or spoken."""
    rows, spans = [], []
    for item in items:
        prompt = llama.tokenizer.prompt_ids(item)
        for ending in item.endings:
            rows.append(prompt + llama.tokenizer.answer_ids(ending))
            spans.append((len(prompt), len(rows[-1])))
    nats = (found.sum().item() for found in llama.token_logprobs(rows, spans, batch_size))
    return [item.endings[_highest([next(nats) for _ in item.endings])] for item in items]


def log_likelihoods(llama: SpeechLlama, pairs: list[tuple[str, str]], batch_size: int) -> list[tuple[float, bool]]:
    """Log-probability of each ending after its context, in nats, and whether greedy decoding gives it.

    As in lm-evaluation-harness, the BOS token comes first if the tokenizer adds one to texts, or if the context is
    empty; spaces at a context's end belong to the ending; what is longer than the model's positions loses its start.
    """
    rows, spans = [], []
    for context, ending in pairs:
        row, start = _encoded(llama, context, ending)
        rows.append(row)
        spans.append((start, len(row)))
    found = continuations.log_likelihoods(llama.model, rows, spans, llama.tokenizer.pad_token_id, batch_size)
    return [(logprobs.sum().item(), greedy) for logprobs, greedy in found]


def _encoded(llama: SpeechLlama, context: str, ending: str) -> tuple[list[int], int]:
    """Ids of context and ending, and where the ending begins in them."""
    tokenizer, stripped = llama.tokenizer, context.rstrip()
    context, ending = stripped, context[len(stripped) :] + ending
    start = tokenizer.encode("") if context else [tokenizer.bos_token_id]
    row = start + tokenizer.word_ids(context + ending)
    begins = len(start) + len(tokenizer.word_ids(context))
    dropped = max(0, len(row) - llama.model.config.max_position_embeddings - 1)
    return row[dropped:], max(1, begins - dropped)


def _highest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
