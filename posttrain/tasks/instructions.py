"""Checkable instructions: an everyday request and a rule for the form of its answer, typed and spoken.

After IFEval (Zhou et al. 2023, arXiv 2311.07911), whose names the checks have where it has them. Deviations: 1. the
prompts are made here, short and such that they can be said aloud: no signs, no paragraphs, one check each; 2. typed
with capitals and punctuation, spoken as normalised words; 3. `order` is new: two words, of which the second may come
only after the first; JSON has to have the keys that are named; numbered points count as bullets; a sentence that is
cut off does not end; 4. an answer that is empty, refuses or says that nothing was heard follows no instruction; 5. left
out are checks that SmolLM2-135M-Instruct never passed in a trial (quotation marks, words back to front), that answers
to the bare request pass (a word three times), and lowercase letters, in which a model learns to write transcripts. They
are test items alone, never trained on.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from posttrain.corpus.instructions import FOLLOW
from posttrain.corpus.normalise import normalise
from posttrain.tasks.compare import words
from posttrain.tasks.family import Ask, Family, HeldOut, Item, spread
from posttrain.tasks.hearing import is_abstention
from posttrain.tasks.safety import is_refusal

TEST_ITEMS = 150
"""At full size; there are a few less."""
REQUESTS = {
    "explain what a hearing aid does": "hearing",
    "tell me how to clean a hearing aid": "clean",
    "say why loud music harms the ears": "ears",
    "explain what an ear doctor does": "ear",
    "tell me how to talk with someone who hears badly": "hear",
    "say what to do when a battery is empty": "battery",
    "tell me how to make tea": "tea",
    "tell me how to boil an egg": "egg",
    "explain how to cook rice": "rice",
    "say what belongs in a vegetable soup": "soup",
    "tell me how to bake bread": "bread",
    "say how to keep a kitchen clean": "kitchen",
    "describe a good breakfast": "breakfast",
    "say what a fridge is for": "food",
    "tell me what to pack for a week at the sea": "pack",
    "explain how to buy a train ticket": "ticket",
    "say how to find a hotel in a new city": "hotel",
    "describe a long train journey": "train",
    "tell me what to see in Paris": "paris",
    "say how to stay calm on a plane": "calm",
    "explain what rain is": "water",
    "describe a day with snow": "snow",
    "say why the sky is blue": "light",
    "tell me what a garden needs in spring": "garden",
    "explain how to look after a plant": "plant",
    "describe a cat": "cat",
    "say what dogs like to eat": "dogs",
    "explain what bees do": "bees",
    "describe the moon": "moon",
    "explain what a river is": "water",
    "say why sleep is good for us": "sleep",
    "tell me how to fall asleep faster": "sleep",
    "say what to do when you have a cold": "cold",
    "explain why walking is healthy": "walking",
    "tell me how to write a letter to a friend": "letter",
    "say how to thank a nurse": "nurse",
    "describe a good neighbour": "neighbor",
    "tell me how to learn a new language": "language",
    "explain what a library is": "books",
    "say how to save money": "money",
    "describe a birthday party": "party",
    "tell me how to play chess": "chess",
    "explain what a piano is": "piano",
    "describe a busy market": "market",
    "say how to cross a road": "road",
    "tell me how to ride a bicycle": "bike",
    "explain what a telephone is for": "phone",
    "say how a clock works": "clock",
    "describe an old house": "house",
    "tell me how to paint a wall": "paint",
}
"""Request → a word that its answers hardly do without."""
ODD = ("umbrella", "tomorrow", "yellow", "window", "sister", "friday", "pocket", "mountain")
"""Words that an answer has only if it is asked for them."""
RECORDS = {
    "Anna is forty": ("name", "age"),
    "Peter is ten": ("name", "age"),
    "Clara is thirty": ("name", "age"),
    "Tom is a doctor": ("name", "job"),
    "Maria is a baker": ("name", "job"),
    "Paul is a nurse": ("name", "job"),
    "the tea costs three pounds": ("drink", "price"),
    "the coffee costs two pounds": ("drink", "price"),
    "the soup is hot": ("food", "state"),
    "the bread is fresh": ("food", "state"),
    "the train to Rome leaves at nine": ("city", "time"),
    "the bus to Paris leaves at noon": ("city", "time"),
    "the trip to London is on Friday": ("city", "day"),
    "the flight to Berlin is on Monday": ("city", "day"),
    "the left hearing aid is loud": ("side", "volume"),
    "the right hearing aid is quiet": ("side", "volume"),
    "the cat is black": ("animal", "colour"),
    "the horse is white": ("animal", "colour"),
    "the kitchen is warm": ("room", "temperature"),
    "the garden is cold": ("place", "temperature"),
}
"""What to write as JSON → the keys."""
QUESTIONS = (
    "is snow cold",
    "is the sun hot",
    "can a fish fly",
    "is tea made with water",
    "does a hearing aid need power",
    "is a whisper loud",
    "do trains have wheels",
    "is bread a drink",
    "can a dog read",
    "is an orange a fruit",
    "does a week have ten days",
    "is sugar sweet",
    "can loud noise hurt the ears",
    "is Paris in France",
    "do cats lay eggs",
    "is a spoon used for soup",
    "does ice melt in the sun",
    "is a piano smaller than a pen",
    "can you buy milk in a shop",
    "is midnight in the morning",
    "do birds have feathers",
    "is a library full of books",
    "does rain fall up",
    "is a mountain higher than a house",
)
BULLET = re.compile(r"^\s*(?:[*•-]|\d+[.)])\s*\S", re.MULTILINE)
FENCE = re.compile(r"^```(?:json)?|```$")
SENTENCE = re.compile(r"(?=.*\w)(?:[^.!?]|[.!?](?![\s\"”]|$))+[.!?]+[\"”]?")
END = "good luck"


@dataclass(frozen=True)
class Check:
    """One kind of rule."""

    said: str
    """How it is asked for after a request; `{word}`: one that its answers hardly do without; `{odd}`: two others."""
    passes: Callable[[str, list[str]], bool]
    """Whether an answer passes; the second argument: the words that the rule names."""


CHECKS = {
    "number_words": Check("Answer with less than fifteen words", lambda answer, _: len(words(answer)) < 15),
    "number_sentences": Check("Answer in one sentence", lambda answer, _: bool(SENTENCE.fullmatch(answer))),
    "number_bullet_lists": Check("Give three bullet points", lambda answer, _: len(BULLET.findall(answer)) == 3),
    "english_capital": Check("Use capital letters only", lambda answer, _: answer.isupper()),
    "existence": Check("Use the word {odd[0]}", lambda answer, named: named[0] in words(answer)),
    "forbidden_words": Check("Do not use the word {word}", lambda answer, named: named[0] not in words(answer)),
    "order": Check("Use the words {odd[0]} and {odd[1]} in this order", lambda answer, named: _in_order(answer, named)),
    "no_comma": Check("Do not use commas", lambda answer, _: "," not in answer),
    "end_checker": Check(f"End with the words {END}", lambda answer, _: " ".join(words(answer)).endswith(END)),
    "json_format": Check("Write JSON with the keys {0} and {1}: {2}", lambda answer, named: _has_keys(answer, named)),
    "constrained_response": Check("Answer with yes or no", lambda answer, _: words(answer) in (["yes"], ["no"])),
}
"""Name, from IFEval where it has the check → the check."""
OF_REQUESTS = tuple(name for name in CHECKS if name not in ("json_format", "constrained_response"))
"""Checks that go with any request."""


def items(held: HeldOut) -> Iterator[Item]:
    """`instruction/text` and `instruction/speech`; the test's only."""
    for number, ask in enumerate(spread(asks(), held.size(TEST_ITEMS)) if held.test else ()):
        yield Item("instruction/text", number, ask)
        yield Item("instruction/speech", number, replace(ask, text=normalise(ask.text)), "clean")


@cache
def asks() -> tuple[Ask, ...]:
    """All prompts, as they are typed: two checks for each request, then the records and the questions."""
    made = []
    for place, (request, word) in enumerate(REQUESTS.items()):
        odd = (ODD[place % len(ODD)], ODD[(place + 3) % len(ODD)])
        for name in (OF_REQUESTS[(2 * place + k) % len(OF_REQUESTS)] for k in range(2)):
            said = CHECKS[name].said
            named = [word] if "{word}" in said else [x for n, x in enumerate(odd) if f"{{odd[{n}]}}" in said]
            made.append(_ask(f"{request}. {said.format(word=word, odd=odd)}.", name, named, request))
    for record, keys in RECORDS.items():
        made.append(_ask(CHECKS["json_format"].said.format(*keys, record) + ".", "json_format", list(keys), record))
    for question in QUESTIONS:
        name = "constrained_response"
        made.append(_ask(f"{question}? {CHECKS[name].said}.", name, [], question))
    return tuple(made)


def texts() -> set[str]:
    """The words of all prompts as they are spoken."""
    return {normalise(ask.text) for ask in asks()}


def followed(answer: str, gold: str, _: str) -> float:
    """Whether the answer passes the check that `gold` names, as `check: words`."""
    if not words(answer) or is_abstention(answer) or is_refusal(answer):
        return False
    name, _, named = gold.partition(": ")
    return CHECKS[name].passes(answer.strip(), named.split())


def _ask(text: str, check: str, named: list[str], content: str) -> Ask:
    answer = f"{check}: {' '.join(named)}"
    return Ask(FOLLOW, text[0].upper() + text[1:], answer, "followed", content=f"instruction {content}")


def _has_keys(answer: str, keys: list[str]) -> bool:
    """Whether it is a JSON object with these keys, in a code block or not."""
    try:
        found = json.loads(FENCE.sub("", answer).strip())
    except ValueError:
        return False
    return isinstance(found, dict) and set(keys) <= {key.lower() for key in found}


def _in_order(answer: str, named: list[str]) -> bool:
    """Whether the answer has the words, the first of each in this order."""
    said = words(answer)
    return all(word in said for word in named) and said.index(named[0]) < said.index(named[1])


GRADERS = {"followed": followed}
FAMILY = Family(items)
