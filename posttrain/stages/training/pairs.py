"""Preference pairs as the stages need them: `reward` and `dpo` train on them, evaluation ranks them."""

from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example, Pair
from posttrain.errors import InputError


def prompt_of(pair: Pair) -> Example:
    """The pair's prompt as an example whose answer is the preferred one."""
    return Example(
        id=pair.id,
        split=pair.split,
        task=pair.kind,
        instruction=pair.instruction,
        text=pair.text,
        clip=pair.clip,
        answer=pair.chosen,
        grader=pair.grader,
        content=pair.content,
    )


def train_pairs(corpus: Corpus) -> list[Pair]:
    """The pairs of the training split; InputError if there is none."""
    pairs = [pair for pair in corpus.pairs if pair.split == "train"]
    if not pairs:
        raise InputError(f"{corpus.folder}/pairs.jsonl has no pair of split train; raise corpus.train_clips")
    return pairs
