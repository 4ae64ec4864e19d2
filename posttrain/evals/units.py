"""What items of saved answers share: content, and for speech content and voice."""

from collections.abc import Callable, Iterable
from typing import Any

from posttrain.evals.clusters import Unit
from posttrain.evals.measures import Share

Line = dict[str, Any]


def unit(line: Line) -> Unit:
    """The content of an answer, and for a spoken item its voice.

    Answers saved without a content use their text instead, and those with neither are their own content. A clip without
    speech has no voice, whatever synthesised it.
    """
    content = line.get("content") or line.get("text") or str(line["id"])
    voice = line.get("speaker") if line.get("text") != "" else None
    return (content, voice) if voice else (content,)


def units(lines: Iterable[Line]) -> dict[str, Unit]:
    """Item → its unit, under the keys that measures use for items."""
    return {key(line): unit(line) for line in lines}


def share(lines: Iterable[Line], score: Callable[[Line], float]) -> Share:
    """Share of a score over answers, with the answers' units."""
    lines = list(lines)
    return Share({key(line): float(score(line)) for line in lines}, units(lines))


def key(line: Line) -> str:
    """An item's name, unique over all probes."""
    return f"{line['probe']} {line['id']}"
