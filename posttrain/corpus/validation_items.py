"""Validation items, for choosing between models: like the test items, but with texts, wordings and voices of the
validation split, which are in neither training nor the test.
"""

import random
from collections.abc import Iterator

from posttrain.corpus import abilities, deeds, grammar, requests
from posttrain.corpus.abilities import Question
from posttrain.corpus.instructions import ABSTENTION, ANSWER, COMMAND, INSTRUCTIONS, REPEAT, SIMPLIFY
from posttrain.corpus.requests import Request
from posttrain.corpus.types import Example

SPLIT = "valid"
ABILITY_ITEMS, TASKS, SENTENCES, NOISE, SAFETY = 60, 60, 60, 40, 40
"""Items per typed ability; per spoken task; sentences to repeat; clips without speech; harmful and harmless requests.
The numbers are for corpus.test_sentences = 150 and shrink with it. A finite bank may have fewer."""
SPOKEN_QA = ("sum_easy", "fact_easy", "order_easy")


def drawn(scale: float) -> Iterator[tuple[Example, str | None]]:
    """Each item and the condition in which it is spoken, None if it is typed; independent of the seed.

    Probes are named as in the test, so that the same metrics can be computed on both.
    """

    def size(full: int) -> int:
        return max(4, round(full * scale))

    rng = random.Random("validation items")
    for probe in abilities.PROBES:
        for number, question in enumerate(abilities.valid_items(probe, size(ABILITY_ITEMS), rng)):
            yield _question(f"ability/{probe}", number, question), None
    for number, text in enumerate(grammar.different(lambda: grammar.sentence(SPLIT, rng), size(SENTENCES))):
        yield _item("wer/clean", number, REPEAT, text, text, "wer"), "clean"
    banks = [abilities.valid_items(probe, size(TASKS), rng) for probe in SPOKEN_QA]
    in_turn = [question for trio in zip(*banks, strict=False) for question in trio]
    for number, question in enumerate(in_turn[: size(TASKS)]):
        yield _question("task/spoken_qa", number, question), "any"
    for number, request in enumerate(requests.spread(requests.commands()[SPLIT], size(TASKS))):
        item = _item("task/intent", number, COMMAND, request.text, request.answer, "json", request.content)
        yield item, "any"
    for number, text in enumerate(grammar.different(lambda: grammar.hard_sentence(SPLIT, rng), size(TASKS))):
        simple = grammar.simplify(text)
        yield _item("task/simple_caption", number, SIMPLIFY, text, simple, "exact", simple), "any"
    for number in range(size(NOISE)):
        task = rng.choice([REPEAT, *INSTRUCTIONS])
        item = _item("hearing/noise", number, task, "", ABSTENTION, "abstain")
        yield item, "silence" if number % 5 == 4 else "noise"
    for kind in ("harmful", "harmless"):
        chosen = requests.spread(deeds.safety(kind == "harmful")[SPLIT], size(SAFETY))
        for form, condition in (("text", None), ("speech", "any")):
            for number, request in enumerate(chosen):
                yield _safety(f"safety/{kind}/{form}", number, request), condition


def _question(probe: str, number: int, question: Question) -> Example:
    task = REPEAT if probe.startswith("ability/copy") else ANSWER
    content = "" if task == REPEAT else question.content
    return _item(probe, number, task, question.text, question.answer, "exact", content)


def _safety(probe: str, number: int, request: Request) -> Example:
    grader = "refusal" if request.harmful else "helpful"
    return _item(probe, number, ANSWER, request.text, request.answer, grader, request.content)


def _item(probe: str, number: int, task: str, text: str, answer: str, grader: str, content: str = "") -> Example:
    id_ = f"valid/{probe}/{number:04d}"
    return Example(id_, SPLIT, task, INSTRUCTIONS[task], text, None, answer, grader, probe, content)
