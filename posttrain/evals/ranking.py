"""Held-out preference pairs: whether a model ranks the preferred answer higher."""

import math
from collections.abc import Callable
from typing import Any

from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example, Pair
from posttrain.evals.compute import PAIRS
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages.training.pairs import prompt_of
from posttrain.tasks.rows import PAIR

Line = dict[str, Any]


def ranked(score: Callable[[list[tuple[Example, str]]], list[float]], corpus: Corpus) -> list[Line]:
    """Per held-out preference pair, whether the preferred answer scores higher."""
    test = [pair for pair in corpus.pairs if pair.split == "test"]
    prompts = [prompt_of(pair) for pair in test]
    both = [(e, answer) for e, p in zip(prompts, test, strict=True) for answer in (p.chosen, p.rejected)]
    scores = score(both)  # side by side, since a prompt with two answers is read once
    return [
        {"id": f"pair/{p.id}", "probe": _ranking(p), "kind": p.kind, "content": p.content_id}
        | heard(corpus, p.clip)
        | {"score": float(a > b)}
        for p, a, b in zip(test, scores[::2], scores[1::2], strict=True)
    ]


def _ranking(pair: Pair) -> str:
    """The probe of a pair: `reward/pairs`, or of a file's pairs `reward/pairs/NAME`."""
    kind, _, name = pair.kind.partition("/")
    return f"{PAIRS}/{name}" if f"{kind}/" == PAIR else PAIRS


def likelihoods(llama: SpeechLlama, answers: list[tuple[Example, str]], batch_size: int) -> list[float]:
    """Mean log-probability per token: how a model without a reward head ranks answers."""
    means = llama.logprobs([e for e, _ in answers], [a for _, a in answers], batch_size)
    return [value if math.isfinite(value) else -math.inf for value in means]


def heard(corpus: Corpus, clip: str | None) -> Line:
    """The clip and its speaker, for items that are scored without an answer."""
    return {"clip": clip, "speaker": corpus.clips[clip].speaker if clip else None}
