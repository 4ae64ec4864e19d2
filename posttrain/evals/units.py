"""Which items of saved answers share what: content, and for speech content and voice."""

from collections.abc import Callable, Iterable
from typing import Any

from posttrain.evals.clusters import Unit
from posttrain.evals.measures import Share

Line = dict[str, Any]


def unit(line: Line) -> Unit:
    """The content of an answer, and of one to speech its voice.

    Answers that were saved without a content have their text for it, and what has neither is its own. A clip in which
    nothing is said has no voice, whatever synthesised it.
    """
    content = line.get("content") or line.get("text") or str(line["id"])
    voice = line.get("speaker") if line.get("text") != "" else None
    return (content, voice) if voice else (content,)


def units(lines: Iterable[Line]) -> dict[str, Unit]:
    """Item → its unit, by the keys that measures know items by."""
    return {key(line): unit(line) for line in lines}


def share(lines: Iterable[Line], score: Callable[[Line], float]) -> Share:
    """The share of a score over answers, with what they share."""
    lines = list(lines)
    return Share({key(line): float(score(line)) for line in lines}, units(lines))


def key(line: Line) -> str:
    """An item's name among all probes."""
    return f"{line['probe']} {line['id']}"
