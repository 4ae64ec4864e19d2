"""Requests and their answers, hearing-aid commands, and the selection of test items among many wordings."""

import json
import random
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest

from posttrain.corpus.normalise import number_words
from posttrain.corpus.splits import fraction, hold_out


@dataclass(frozen=True)
class Request:
    """A request, its right answer and its rejected answer."""

    text: str
    answer: str
    rejected: str
    harmful: bool = False
    content: str = ""
    """Key shared by all wordings: a command's JSON, a complaint's problem, a deed."""


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


def command_json(device: str, action: str, value: int | None) -> str:
    """The canonical JSON of a hearing-aid command."""
    return json.dumps({"device": device, "action": action, "value": value})


@cache
def commands() -> dict[str, tuple[Request, ...]]:
    """Split → every spoken command with its JSON, and a JSON with the wrong device, action or value."""
    rng = random.Random("commands")
    made: dict[str, list[Request]] = {"train": [], "valid": [], "test": []}
    for action, wordings in COMMANDS.items():
        for device, spoken in DEVICES.items():
            for value in (None,) if action == "mute" else range(1, 11):
                number = number_words(value) if value else ""
                answer = command_json(device, action, value)
                texts = [f"{p}{w.format(d=spoken, n=number)}" for w in wordings for p in ("", "please ", "now ")]
                splits = hold_out(texts, test=2)
                for text in texts:
                    wrong = _wrong_command(device, action, value, rng)
                    made[splits[text]].append(Request(text, answer, wrong, content=answer))
    return {split: tuple(requests) for split, requests in made.items()}


def command(split: str, rng: random.Random) -> Request:
    """Draw a command of that split; all actions are equally likely."""
    action = rng.choice(list(COMMANDS))
    return rng.choice([r for r in commands()[split] if f'"{action}"' in r.answer] or commands()[split])


def _wrong_command(device: str, action: str, value: int | None, rng: random.Random) -> str:
    part = rng.choice(("device", "action", "value")) if value else "device"
    if part == "device":
        return command_json(rng.choice([d for d in DEVICES if d != device]), action, value)
    if part == "action":
        return command_json(device, rng.choice([a for a in COMMANDS if a not in (action, "mute")]), value)
    return command_json(device, action, rng.choice([n for n in range(1, 11) if n != value]))


def spread(requests: tuple[Request, ...], count: int) -> list[Request]:
    """`count` of the requests in a fixed order, covering as many contents as possible: a second wording of a content
    comes only after every content has its first."""
    by_content: dict[str, list[Request]] = {}
    for request in sorted(requests, key=lambda request: fraction("order " + request.text)):
        by_content.setdefault(request.content, []).append(request)
    rounds = zip_longest(*by_content.values())
    return [request for one_each in rounds for request in one_each if request][:count]
