"""The gain from a personal adapter: words and own names in the person's test utterances, with it and without."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from posttrain.corpus.instructions import INSTRUCTIONS, REPEAT
from posttrain.corpus.types import Example
from posttrain.evals.errors import edit_errors, lost_words
from posttrain.evals.personal_metrics import FAMILY, VARIANTS
from posttrain.model.personal import personal_off
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages.personalise import tests_of
from posttrain.tasks.hearing import is_abstention

Line = dict[str, Any]


def lines(llama: SpeechLlama, checkpoint: Path, batch_size: int, max_new_tokens: int) -> list[Line]:
    """One line per test utterance and variant; the parent is the same model without the personal adapter.

    The table that `llama` had is attached again afterwards.
    """
    before = llama.table
    items, table = tests_of(checkpoint)
    llama.attach(table)
    examples = [
        Example(item["id"], "test", REPEAT, INSTRUCTIONS[REPEAT], "", str(number), "", "wer")
        for number, item in enumerate(items)
    ]
    found = []
    for variant in VARIANTS:
        with personal_off(llama.model) if variant == "parent" else nullcontext():
            outputs = llama.answer(examples, batch_size, max_new_tokens)
        found += [_line(variant, item, output) for item, output in zip(items, outputs, strict=True)]
    llama.attach(before)
    return found


def _line(variant: str, item: dict[str, Any], output: str) -> Line:
    said = "" if is_abstention(output) else output
    names = list(item["names"])
    lost = lost_words(item["text"], said)
    errors = edit_errors(item["text"], said)
    probe = FAMILY + variant
    about: Line = {"id": f"{probe}/{item['id']}", "probe": probe, "utterance": item["id"], "text": item["text"]}
    about |= {"content": item["text"], "speaker": "the person"}
    occurrences = [word for word in item["text"].split() if word in names]
    lost_names = sum(word in names for word in lost)
    counts = {"errors": errors["errors"], "words": errors["words"], "lost_names": lost_names, "names": len(occurrences)}
    return about | {"output": output} | counts
