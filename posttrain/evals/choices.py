"""Items with several endings: the model chooses the one with the highest log-probability, as lm-evaluation-harness."""

from typing import Any

from posttrain.corpus.choices import Choice
from posttrain.model.speech_llama import SpeechLlama


def lines(llama: SpeechLlama, items: list[Choice], batch_size: int) -> list[dict[str, Any]]:
    """One line per item: whether its right ending has the highest log-probability, summed over its tokens, in nats."""
    asked = [(item.context, ending) for item in items for ending in item.endings]
    scores = iter(log_likelihoods(llama, asked, batch_size))
    made = []
    for item in items:
        of_endings = [next(scores) for _ in item.endings]
        chosen = max(range(len(of_endings)), key=of_endings.__getitem__)
        line = {"id": item.id, "probe": item.probe, "text": item.context, "content": item.content}
        made.append(
            line | {"output": item.endings[chosen].strip(), "nats": of_endings, "score": float(chosen == item.right)}
        )
    return made


def log_likelihoods(llama: SpeechLlama, pairs: list[tuple[str, str]], batch_size: int) -> list[float]:
    """Log-probability of each ending after its context, in nats.

    The BOS token comes first if the tokenizer adds one to texts, or if the context is empty.
    """
    tokenizer = llama.tokenizer
    added = tokenizer.encode("")
    rows, spans = [], []
    for context, ending in pairs:
        start = added if context else [tokenizer.bos_token_id]
        rows.append(start + tokenizer.word_ids(context + ending))
        spans.append((len(start) + len(tokenizer.word_ids(context)), len(rows[-1])))
    return [found.sum().item() for found in llama.token_logprobs(rows, spans, batch_size)]
