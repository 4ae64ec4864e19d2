"""Advice: complaints about a hearing aid, a trouble in a situation; plain advice is preferred to jargon."""

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from posttrain.corpus.instructions import HELP
from posttrain.corpus.splits import divide
from posttrain.tasks.compare import fit, words
from posttrain.tasks.family import Ask, Family, HeldOut, Item, spread

TEST_ITEMS = 200
Style = tuple[str, str]
"""The same advice in the plain and in the jargon style."""
TROUBLES: dict[str, Style] = {
    "whistles": ("push it in", "acoustic feedback exceeds the gain margin"),
    "is too loud": ("turn it down", "the compression threshold surpasses your tolerance"),
    "is too quiet": ("turn it up", "insufficient amplification indicates occlusion"),
    "is dead": ("put in a new battery", "the supply voltage is below specification"),
    "hurts my ear": ("take it out", "mechanical pressure irritates the epithelium"),
    "crackles": ("use a soft brush", "intermittent contact impedance produces transients"),
    "has an echo": ("start program one", "late reverberation escapes slow attenuation"),
    "is wet": ("dry it with a cloth", "moisture ingress degrades the diaphragm"),
    "is dirty": ("wash the dome", "cerumen obstructs the acoustic outlet"),
    "falls out": ("ask for a smaller one", "retention of the coupling is inadequate"),
    "does not connect": ("turn your phone off", "the wireless handshake is incomplete"),
    "hears only wind": ("turn on the wind filter", "turbulent airflow saturates the microphone"),
    "is too cold": ("hold it in your hand", "thermal conditions inhibit the electrolyte"),
    "does not start": ("press the red key", "the bootstrap firmware remains unresponsive"),
    "beeps": ("charge it now", "the accumulator signals imminent depletion"),
    "has no sound": ("change the tube", "the output transducer is electrically silent"),
    "stops": ("close its door", "the enclosure interlock opens sporadically"),
    "is lost": ("look in your bag", "the proximity beacon is presently untraceable"),
    "is broken": ("bring it to the shop", "structural fracture necessitates refurbishment"),
    "is old": ("buy another one", "component ageing precludes calibration"),
}
SITUATIONS: dict[str, Style] = {
    "in the car": ("close the window", "stabilise cabin aerodynamics"),
    "in the garden": ("go to the house", "seek architectural shielding"),
    "in the kitchen": ("open the door", "facilitate steam evacuation"),
    "at work": ("tell your boss", "notify occupational administration"),
    "at the station": ("wait for the train", "anticipate locomotive departure"),
}
SUBJECTS = ("my left aid", "my right aid", "the left aid", "the right aid", "my new aid", "this aid")
TIMES = ("", "again", "today", "now", "this morning", "this evening")
LEANING = (0.7, 0.3)
"""Share of plain advice in the data before preference training: for problems that lean to plain, and for the rest."""


def items(held: HeldOut) -> Iterator[Item]:
    """`dpo/help`, each with a pair; the test's only."""
    for number, ask in enumerate(spread(complaints()["test"], held.size(TEST_ITEMS)) if held.test else ()):
        yield Item("dpo/help", number, ask, "any")


def draw(split: str, rng: random.Random) -> Ask:
    """A complaint with advice as the base model learns it: plain with the problem's share, else jargon."""
    ask = rng.choice(complaints()[split])
    plain = rng.random() < plain_shares()[problem_of(ask.text) or ""]
    return replace(ask, answer=ask.answer if plain else ask.wrong, preferred=ask.answer)


@cache
def problems() -> dict[str, tuple[str, str]]:
    """Problem, such as "whistles in the car" → its trouble and its situation."""
    return {f"{trouble} {place}": (trouble, place) for trouble in TROUBLES for place in SITUATIONS}


@cache
def complaints() -> dict[str, tuple[Ask, ...]]:
    """Split → every complaint, with plain advice as the answer and jargon as the wrong one."""
    made: dict[str, list[Ask]] = {"train": [], "valid": [], "test": []}
    for problem in problems():
        plain, jargon = advice(problem)
        texts = [f"{subject} {problem} {time}".strip() for subject in SUBJECTS for time in TIMES]
        splits = divide(texts, test=12, valid=3)
        for text in texts:
            made[splits[text]].append(Ask(HELP, text, plain, "style", jargon, f"problem {problem}"))
    return {split: tuple(asks) for split, asks in made.items()}


def advice(problem: str) -> Style:
    """The advice on a problem in the plain and in the jargon style; KeyError for an unknown problem."""
    (plain, jargon), (plain_here, jargon_here) = _parts(problem)
    return f"{plain} and {plain_here}.", f"{jargon}, so {jargon_here}."


@cache
def problem_of(complaint: str) -> str | None:
    """The problem that a complaint is about; None if there is none."""
    return next((problem for problem in problems() if f" {problem} " in f" {complaint} "), None)


@cache
def plain_shares() -> dict[str, float]:
    """Problem → share of plain advice in the base model's data. A random half of the problems leans each way, so that
    neither the trouble nor the situation predicts the style."""
    leaning = [LEANING[place % 2] for place in range(len(problems()))]
    random.Random("leaning").shuffle(leaning)
    return dict(zip(problems(), leaning, strict=True))


def plain(answer: str, gold: str, text: str) -> float:
    """Whether the answer is plain advice on the complaint: at most ten words, none of them jargon."""
    said, problem = words(answer), problem_of(text)
    if problem is None or len(said) > 10 or jargon_words() & set(said):
        return False
    return _advises(set(said), problem, 0)


def in_either_style(answer: str, gold: str, text: str) -> float:
    """Whether the answer is advice on the complaint, plain or jargon."""
    said, problem = set(words(answer)), problem_of(text)
    return problem is not None and any(_advises(said, problem, style) for style in (0, 1))


@cache
def jargon_words() -> frozenset[str]:
    """Words of the jargon advice that no plain advice has."""
    simple, technical = ({word for p in problems() for word in words(advice(p)[style])} for style in (0, 1))
    return frozenset(technical - simple)


def _advises(said: set[str], problem: str, style: int) -> bool:
    """Whether the words are the advice on that problem, not on another: they have more than half of both parts, and no
    other trouble or situation fits as well. `style` is 0 for plain, 1 for jargon."""
    for table, own in zip((TROUBLES, SITUATIONS), problems()[problem], strict=True):
        fits = {name: fit(said, styles[style]) for name, styles in table.items()}
        if fits[own] <= 0.5 or any(value >= fits[own] for name, value in fits.items() if name != own):
            return False
    return True


def _parts(problem: str) -> tuple[Style, Style]:
    trouble, place = problems()[problem]
    return TROUBLES[trouble], SITUATIONS[place]


FAMILY = Family(items, {"help": draw}, {"style": plain, "advice": in_either_style})
