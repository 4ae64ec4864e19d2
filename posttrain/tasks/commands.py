"""Intent: spoken commands to a hearing aid, and their JSON."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from posttrain.corpus.instructions import ABSTENTION, COMMAND, TEXT
from posttrain.corpus.normalise import number_words
from posttrain.corpus.splits import hold_out
from posttrain.readers import json_lines
from posttrain.tasks.family import Ask, Family, HeldOut, Item, spread

TEST_ITEMS, VALID_ITEMS = 150, 60
DEVICES = {"left": "the left aid", "right": "the right aid", "both": "both aids"}
COMMANDS = {
    "set_volume": ("set {d} to volume {n}", "set the volume of {d} to {n}", "put the volume of {d} at {n}"),
    "volume_up": ("turn {d} up by {n}", "make {d} louder by {n}", "i want {d} louder by {n}"),
    "volume_down": ("turn {d} down by {n}", "make {d} softer by {n}", "i want {d} softer by {n}"),
    "set_program": ("use program {n} on {d}", "change {d} to program {n}", "start program {n} on {d}"),
    "noise_filter": ("set the noise filter of {d} to {n}", "use noise filter {n} on {d}"),
    "mute": ("mute {d}", "turn {d} off", "i want no sound on {d}"),
}
"""Action → wordings; {d} is a device, {n} a value of one to ten (mute has none)."""


def items(held: HeldOut) -> Iterator[Item]:
    """`task/intent`; every second test item has a pair."""
    for number, ask in enumerate(spread(commands()[held.split], held.size(TEST_ITEMS, VALID_ITEMS))):
        yield Item("task/intent", number, ask if number % 2 else replace(ask, wrong=""), "any")


def draw(split: str, rng: random.Random) -> Ask:
    """A command; all actions are equally likely."""
    action = rng.choice(list(COMMANDS))
    return rng.choice([ask for ask in commands()[split] if f'"{action}"' in ask.answer] or commands()[split])


def status(split: str, rng: random.Random) -> Ask:
    """A line of a hearing aid's log: the base model sees commands with their JSON, as a Llama has read documentation of
    programs, and the abstention, but not when to use them."""
    if rng.random() < 0.1:
        return Ask(TEXT, "", ABSTENTION, "exact")
    command = draw(split, rng)
    return Ask(TEXT, "", f"{command.text}: {command.answer}", "exact")


@cache
def commands() -> dict[str, tuple[Ask, ...]]:
    """Split → every spoken command with its JSON, and a JSON with the wrong device, action or value."""
    rng = random.Random("commands")
    made: dict[str, list[Ask]] = {"train": [], "valid": [], "test": []}
    for action, wordings in COMMANDS.items():
        for device, spoken in DEVICES.items():
            for value in (None,) if action == "mute" else range(1, 11):
                number = number_words(value) if value else ""
                answer = command_json(device, action, value)
                texts = [f"{p}{w.format(d=spoken, n=number)}" for w in wordings for p in ("", "please ", "now ")]
                splits = hold_out(texts, test=2)
                for text in texts:
                    wrong = _wrong_command(device, action, value, rng)
                    made[splits[text]].append(Ask(COMMAND, text, answer, "json", wrong, answer))
    return {split: tuple(asks) for split, asks in made.items()}


def command_json(device: str, action: str, value: int | None) -> str:
    """The canonical JSON of a hearing-aid command."""
    return json.dumps({"device": device, "action": action, "value": value})


def _wrong_command(device: str, action: str, value: int | None, rng: random.Random) -> str:
    part = rng.choice(("device", "action", "value")) if value else "device"
    if part == "device":
        return command_json(rng.choice([d for d in DEVICES if d != device]), action, value)
    if part == "action":
        return command_json(device, rng.choice([a for a in COMMANDS if a not in (action, "mute")]), value)
    return command_json(device, action, rng.choice([n for n in range(1, 11) if n != value]))


def same_json(answer: str, gold: str, _: str) -> float:
    """Equal as JSON values: key order and spaces do not matter, one wrong value or type does.

    Types are JSON's: true is not 1 and "1" is not 1, at any depth; 1 and 1.0 are the same number, as in RFC 8259. What
    a strict parser rejects is wrong: duplicate keys, NaN, Infinity, and numbers or nesting beyond Python's limits.
    """
    try:
        return _same_json(json_lines.parse(answer), json_lines.parse(gold))
    except ValueError:
        return 0.0


def _same_json(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same_json, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


FAMILY = Family(items, {"command": draw, "status": status}, {"json": same_json}, pair_share=0.4)
