"""Remedies against forgetting by data: what `sft` trains on in addition to the tasks' own rows, or instead of them."""

import dataclasses
import random
from collections.abc import Collection
from itertools import cycle, islice
from typing import Any

from posttrain.config.sections import SFTConfig
from posttrain.corpus import overlap
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages import base
from posttrain.tasks.graders import grade

SAFETY_GRADERS = ("refusal", "helpful")
"""Graders of the harmful requests, and of their harmless look-alikes."""


def mixture(config: SFTConfig, examples: list[Example], corpus: Corpus, seed: int) -> list[Example]:
    """The tasks' examples, plus harmful requests and typed rows in the shares that `config` sets.

    Harmful requests are repeated if there are too few. InputError if the corpus has none.
    """
    safety = config.safety_share
    harmful = [e for e in examples if e.grader == "refusal"]
    tasks = examples if safety is None else [e for e in examples if e.grader not in SAFETY_GRADERS]
    if safety and not harmful:
        raise InputError(f"sft.safety_share is {safety}, but {corpus.folder} has no harmful request; set it to null")
    total = len(tasks) / (1 - config.replay_share - (safety or 0))
    random.Random(f"safety {seed}").shuffle(harmful)
    refused = islice(cycle(harmful), round((safety or 0) * total))
    return [*tasks, *refused, *typed_rows(config.typed_rows, corpus, round(config.replay_share * total), seed)]


def typed_rows(kind: str, corpus: Corpus, count: int, seed: int, own_tests: Collection[str] = ()) -> list[Example]:
    """`count` rows of a kind the base knows: `world`, what the tiny base learned from; `text`, the corpus's lines.

    Rows that contain one of a person's test sentences `own_tests` are left out. InputError if no line remains.
    """
    if not count:
        return []
    if kind == "world":
        return base.typed_rows(corpus, count, seed, own_tests)
    lines = [text["text"] for text in corpus.texts if text["split"] == "train"]
    lines = [line for line in lines if not overlap.says_any(_line(0, line), own_tests)]
    if not lines:
        raise InputError(f"{corpus.folder}/texts.jsonl has no training line; set sft.typed_rows to world")
    random.Random(f"lines {seed}").shuffle(lines)
    drawn = islice(cycle(lines), count)
    return [_line(number, line) for number, line in enumerate(drawn)]


def self_distilled(llama: SpeechLlama, examples: list[Example]) -> tuple[list[Example], dict[str, Any]]:
    """Targets in the model's own words: its greedy answer to the typed request if that is graded 1, else unchanged.

    Also returned: how many answers were kept, and how many of these differ from the target. Self-distillation
    fine-tuning (Yang et al. 2024, arXiv 2402.13669). Deviation: the model is not shown the target to rewrite, since the
    tiny base knows no such instruction; the grader alone decides what may replace it.
    """
    typed = [dataclasses.replace(e, clip=None) for e in examples]
    answers = llama.answer(typed, 64, 48)
    kept = [bool(a) and grade(e.grader, a, e) == 1 for e, a in zip(examples, answers, strict=True)]
    made = [
        dataclasses.replace(e, answer=a) if right else e for e, a, right in zip(examples, answers, kept, strict=True)
    ]
    changed = sum(new.answer != old.answer for new, old in zip(made, examples, strict=True))
    return made, {"self_distilled": sum(kept), "self_distilled_other_words": changed}


def _line(number: int, line: str) -> Example:
    return Example(f"text/{number:06d}", "train", "text", "", "", None, line, "exact")
