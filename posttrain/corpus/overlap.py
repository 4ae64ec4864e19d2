"""Keeps held-out texts out of training: one check of every text that a stage is about to train on.

`stages.training.trainer.train` calls it for every stage, with the final rows: generated, replayed, self-distilled,
preferred or rejected, spoken or typed, and a person's own.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from posttrain.corpus import grammar, sources
from posttrain.corpus import vocabulary as v
from posttrain.corpus.instructions import PAUSE, SIMPLIFY, TEXT
from posttrain.corpus.types import Clip, Example, Pair
from posttrain.errors import InputError

if TYPE_CHECKING:
    from posttrain.corpus.store import Corpus  # imports torch

LISTED = 20
"""Maximum number of problems in one message."""
_SENTENCE_END = re.compile(r"[.:?!]+(?:\s+|$)")
_FILLERS = frozenset(v.FILLERS)
_MASKED = grammar.FILLINGS | _FILLERS
Row = Example | Pair | Clip


def check(stage: str, rows: Iterable[Row], corpus: "Corpus", own_tests: Iterable[str] = ()) -> None:
    """Refuse rows that contain a text of the corpus's test or validation split, or a person's test sentence.

    Checked are a row's words, each sentence in them, its answers, and the words of its clip. Answers may be a held-out
    text of one word, because such words answer many questions. A person's test sentence may not occur inside a longer
    text either. InputError names each text, the row and where the text is held out; a row on a clip of the test or
    validation split is refused too.
    """
    _refuse(stage, rows, corpus, held_out(corpus, own_tests), ("test", "valid"), frozenset(own_tests))


def check_validation(corpus: "Corpus") -> None:
    """InputError if the corpus's validation split contains a test text: data that models are chosen on must not contain
    the test."""
    tests = {text: where for text, where in held_out(corpus).items() if where.startswith("test")}
    kept: list[Row] = [*corpus.examples, *corpus.valid_items, *corpus.pairs, *corpus.clips.values(), *_lines(corpus)]
    _refuse("validation", (row for row in kept if row.split == "valid"), corpus, tests, ("test",))


def held_out(corpus: "Corpus", own_tests: Iterable[str] = ()) -> dict[str, str]:
    """Text → where it is held out, such as `test item ability/sum_easy/0001`; test has precedence over validation.

    Exempt are single digits, and all texts of a recorded source whose card says `closed_vocabulary`: everyone says the
    same few words there, and only the speakers are held out. A caption to be simplified is also held out without its
    fillers.
    """
    rows: list[Row] = [*corpus.items, *corpus.valid_items, *corpus.examples, *corpus.pairs, *_lines(corpus)]
    rows += corpus.clips.values()
    found = {text: f"test sentence of the person: {text}" for text in own_tests}
    closed = {source for source in {clip.source for clip in corpus.clips.values()} if _closed(source)}
    recurring = {clip.text for clip in corpus.clips.values() if clip.source in closed} | sources.DIGITS
    for split, name in (("test", "test"), ("valid", "validation")):
        for row in rows:
            text = row.answer if isinstance(row, Example) and row.task == TEXT else row.text
            if row.split == split and text and text not in recurring:
                where = f"{name} {type(row).__name__.lower()} {row.id}"
                found.setdefault(text, where)
                if isinstance(row, Example) and row.task == SIMPLIFY:
                    found.setdefault(grammar.without_fillers(text), where)
    return found


def says(text: str) -> Iterator[str]:
    """Yield the text, then without written pauses the text and its sentences, each also without fillers (`um`)."""
    yield text
    unpaused = " ".join(text.replace(PAUSE.strip(), " ").split())
    for part in dict.fromkeys((unpaused, *_SENTENCE_END.split(unpaused))):
        yield part
        words = part.split()
        if not _FILLERS.isdisjoint(words):
            yield grammar.without_fillers(part)


def says_any(row: Row, texts: Collection[str]) -> bool:
    """Whether a row's words contain one of these texts, or its answers one of more than one word."""
    return any(_said(row, texts))


def holds(text: str, sentences: Iterable[str]) -> bool:
    """Whether a text contains one of these sentences, of two words or more, word for word.

    Sentences spoken in a row have no punctuation between them in the text, so `says` cannot separate them.
    """
    return any(" " in sentence and f" {sentence} " in f" {text} " for sentence in sentences)


def wording(text: str, own: Collection[str] = ()) -> tuple[str, ...]:
    """A sentence's wording: its words without those that fill slots in the tiny world (names, places, days, numbers,
    things), without fillers, and without a person's `own` words.

    `please call tamsin today`, with `tamsin` in `own`, has the wording of `um please call my boss now`.
    """
    return tuple(word for word in text.split() if word not in _MASKED and word not in own)


def _refuse(
    stage: str,
    rows: Iterable[Row],
    corpus: "Corpus",
    held: dict[str, str],
    splits: Collection[str],
    own_tests: Collection[str] = (),
) -> None:
    problems: dict[str, None] = {}
    for row in rows:
        clip = corpus.clips.get(row.clip or "") if not isinstance(row, Clip) else None
        if clip is not None and clip.split in splits:
            problems[f"{stage}: row {row.id} is on clip {clip.id} of split {clip.split}; take the row out"] = None
        for part in (*_said(row, held), *(part for part in says(clip.text if clip else "") if part in held)):
            problems[f"{stage}: row {row.id} says “{part}”, which is {held[part]}; take the row out"] = None
        inside = [test for test in own_tests if any(holds(text, [test]) for text in _texts(row))]
        for test in inside:
            problems[f"{stage}: row {row.id} says “{test}”, which is {held[test]}; take the row out"] = None
    if problems:
        more = [f"{stage}: {len(problems) - LISTED} more"] * (len(problems) > LISTED)
        raise InputError([*list(problems)[:LISTED], *more])


def _said(row: Row, held: Collection[str]) -> Iterator[str]:
    """Yield the held-out texts that a row contains."""
    asked, *answers = _texts(row)
    if isinstance(row, Example) and row.task == TEXT:
        asked, answers = row.answer, []
    yield from (part for part in says(asked) if part and part in held)
    yield from (part for answer in answers for part in says(answer) if " " in part and part in held)


def _texts(row: Row) -> tuple[str, ...]:
    """The row's question, then its answers."""
    if isinstance(row, Clip):
        return (row.text,)
    return (row.text, row.answer) if isinstance(row, Example) else (row.text, row.chosen, row.rejected)


def _lines(corpus: "Corpus") -> list[Example]:
    """The corpus's running text as rows."""
    return [
        Example(f"line {number}", line["split"], TEXT, "", "", None, line["text"], "exact")
        for number, line in enumerate(corpus.texts)
    ]


def _closed(source: str) -> bool:
    of_card = source != "made" and not source.startswith(("instructions_", "preferences_"))  # files of rows
    about: dict[str, Any] = sources.card(source) if of_card else {}
    return bool(about.get("closed_vocabulary"))
