"""Asks: a task on some words, its right answer and grader; and the share of each kind."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from posttrain.corpus import abilities, complaints, deeds, grammar, requests
from posttrain.corpus.instructions import ABSTENTION, ANSWER, COMMAND, HELP, INSTRUCTIONS, REPEAT, SIMPLIFY
from posttrain.corpus.requests import Request
from posttrain.corpus.types import Example

SPOKEN_SHARES = {
    "repeat": 0.375,
    "joined": 0.05,
    "answer": 0.15,
    "command": 0.12,
    "simplify": 0.065,
    "help": 0.06,
    "safety": 0.05,
}
"""Kinds of spoken training clips; the rest have no speech. `joined` is two to four sentences in a row."""
RL_SHARES = {"repeat": 0.2, "answer": 0.2, "command": 0.14, "simplify": 0.14, "help": 0.1, "safety": 0.14}
"""The same for reinforcement learning, which takes kinds in turn and must not run out of one: otherwise it would learn
to refuse without examples of what not to refuse."""
QUESTION_SHARES = {
    "sum_easy": 0.19,
    "sum_hard": 0.13,
    "fact_easy": 0.28,
    "fact_hard": 0.09,
    "order_easy": 0.18,
    "order_hard": 0.13,
}
DIGITS_SHARE = 0.1
"""Share of digit strings among the spoken texts that are only to be repeated."""
JOINED_SENTENCES = {"train": (2, 4), "test": (2, 5)}
"""Fewest and most sentences in a row."""


@dataclass(frozen=True)
class Ask:
    """A task on some words, with a wrong answer for its preference pair ("" for no pair)."""

    task: str
    text: str
    answer: str
    grader: str
    wrong: str = ""
    content: str = ""
    in_a_row: tuple[str, ...] = ()


def as_example(id_: str, split: str, ask: Ask, probe: str | None = None) -> Example:
    """The ask as an example; an item of `probe` if that is given."""
    return Example(
        id_, split, ask.task, INSTRUCTIONS[ask.task], ask.text, None, ask.answer, ask.grader, probe, ask.content
    )


def of_question(probe: str, question: abilities.Question) -> Ask:
    """The ask for a question of that probe, or for words to copy."""
    if probe.startswith("copy"):
        return Ask(REPEAT, question.text, question.answer, "exact", question.wrong)
    return Ask(ANSWER, question.text, question.answer, "exact", question.wrong, question.content)


def of_request(task: str, request: Request) -> Ask:
    """The ask for a request, with the grader for its task and harmfulness."""
    grader = {COMMAND: "json", HELP: "style", ANSWER: "refusal" if request.harmful else "helpful"}[task]
    return Ask(task, request.text, request.answer, grader, request.rejected, request.content)


def nothing_said(rng: random.Random) -> Ask:
    """A random task on a clip without speech."""
    task = rng.choice([REPEAT, REPEAT, REPEAT, *INSTRUCTIONS])
    return Ask(task, "", ABSTENTION, "abstain", grammar.sentence("train", rng))


def to_simplify(text: str) -> Ask:
    """The ask for a sentence in simple words."""
    plain = grammar.simplify(text)
    return Ask(SIMPLIFY, text, plain, "exact", content=plain)


def in_a_row(sentences: Sequence[str]) -> Ask:
    """The ask to repeat sentences spoken one after the other."""
    text = " ".join(sentences)
    return Ask(REPEAT, text, text, "wer", in_a_row=tuple(sentences))


def spoken(split: str, count: int, rng: random.Random, shares: dict[str, float] = SPOKEN_SHARES) -> Iterator[Ask]:
    """Asks for `count` clips, kinds in their shares; the rest are `nothing_said`."""
    for kind in in_shares(shares | {"silent": 1 - sum(shares.values())}, count, rng):
        yield nothing_said(rng) if kind == "silent" else spoken_of_kind(kind, split, rng)


def spoken_of_kind(kind: str, split: str, rng: random.Random) -> Ask:
    """Draw an ask of that kind and split."""
    if kind == "repeat":
        probe = "copy_hard" if rng.random() < DIGITS_SHARE else "copy_easy"
        return replace(of_question(probe, abilities.draw(probe, split, rng)), grader="wer")
    if kind == "joined":
        return in_a_row(
            [spoken_of_kind("repeat", split, rng).text for _ in range(rng.randint(*JOINED_SENTENCES["train"]))]
        )
    if kind == "answer":
        probe = rng.choices(list(QUESTION_SHARES), list(QUESTION_SHARES.values()))[0]
        return of_question(probe, abilities.draw(probe, split, rng))
    if kind == "command":
        return of_request(COMMAND, requests.command(split, rng))
    if kind == "simplify":
        return to_simplify(grammar.hard_sentence(split, rng))
    if kind == "help":
        request = rng.choice(complaints.complaints()[split])
        return replace(of_request(HELP, request), answer=complaints.leaning_advice(request, rng))
    return of_request(ANSWER, rng.choice(deeds.safety(rng.random() < 0.5)[split]))


def in_shares(shares: dict[str, float], count: int, rng: random.Random) -> list[str]:
    """`count` kinds in their shares (rounded, each at least one), shuffled."""
    wanted = Counter({kind: max(1, round(share * count)) for kind, share in shares.items()})
    most = wanted.most_common(1)[0][0]
    wanted[most] = max(0, wanted[most] + count - wanted.total())
    kinds = list(wanted.elements())
    rng.shuffle(kinds)
    return kinds[:count]
