"""Typed answers of a stage that left the Llama as the base has it: the base's own, taken from its saved answers.

A prompt without speech gives, bit for bit, what the base gives: computing it once more after every such stage would
cost time and could give nothing else.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from peft import PeftModel

from posttrain.config.sections import EvaluationConfig
from posttrain.corpus import choices
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.evals import compute
from posttrain.machine.source import code_of
from posttrain.model import checkpoint, origin
from posttrain.model.speech_llama import SpeechLlama

Line = dict[str, Any]
OF_BASE = compute.OF_BASE
SAME = ("id", "probe", "instruction", "text", "answer")
"""What a saved line and an item must have in common."""
LLAMA = ("base_revision", "dtype", "quantization", "one_format", "world")
"""Parts of a Spec, besides `base`, on which an answer to a typed item depends."""


def answers_as(base: Path, llama: SpeechLlama) -> bool:
    """Whether the checkpoint answers typed items as the base in that folder: it has no adapter, and its Llama, which is
    the same, was not trained."""
    if llama.spec.llama_trained or isinstance(llama.model, PeftModel):
        return False
    ours, theirs = llama.spec, checkpoint.read_spec(base)
    same = all(getattr(ours, name) == getattr(theirs, name) for name in LLAMA)
    return same and os.path.abspath(ours.base) == os.path.abspath(theirs.base)


def evaluated_alike(base: Path, corpus: Corpus, config: EvaluationConfig) -> bool:
    """Whether the base was evaluated by this code, with these options, on the items of this corpus."""
    try:
        made = origin.resolve(base)
        passages = [text for text in corpus.texts if "source" in text]
        return bool(
            made.row.get("data") == corpus.fingerprint
            and made.evaluation == config
            and made.row["config"].get("held_out") == choices.held_out_key(passages, corpus.choices)
            and made.row["config"]["evaluation_code"]["training"] == code_of("evaluation")["training"]
        )
    except (ValueError, KeyError, TypeError):
        return False


def taken(saved: Iterable[Line], corpus: Corpus) -> list[Line]:
    """The lines of the corpus's typed items, choices, texts and tasks among the base's saved ones, each marked as the
    base's; none if one is missing or is of another item."""
    lines = {line["id"]: line for line in saved}
    typed = [item for item in corpus.items if item.clip is None]
    wanted = [item.id for item in typed] + [item.id for item in corpus.choices]
    wanted += [name for name, line in lines.items() if corpus.texts and line["probe"].startswith(compute.PERPLEXITY)]
    wanted += [f"{compute.KL_TASK}/{item.id}" for item in tasks(corpus)]
    if not wanted or not all(name in lines for name in wanted):
        return []
    if any(lines[item.id].get(name) != getattr(item, name) for item in typed for name in SAME):
        return []
    return [lines[name] | {OF_BASE: True} for name in wanted]


def tasks(corpus: Corpus) -> list[Example]:
    """The spoken items of the new tasks, on whose right answers, typed, a stage is compared with the base."""
    return [item for item in corpus.items if item.clip and str(item.probe).startswith("task/")]
