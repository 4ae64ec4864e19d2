"""Reads a run's saved answers and finds, for every probe, the items whose answer changed."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.corpus import former_names
from posttrain.corpus.instructions import user_content
from posttrain.errors import InputError
from posttrain.report.findings import final
from posttrain.report.lineage import is_model, spec
from posttrain.run import place
from posttrain.run.ledger import Row

Line = dict[str, Any]
LONGEST = 240
"""Longest text shown, in characters."""


@dataclass(frozen=True)
class Change:
    """One item whose answer changed."""

    id: str
    asked: str
    gold: str
    before: str
    after: str
    score_before: float
    score_after: float

    @property
    def verdict(self) -> str:
        """lost, won or other."""
        return (
            "lost"
            if self.score_after < self.score_before
            else "won"
            if self.score_after > self.score_before
            else "other"
        )


@dataclass(frozen=True)
class Changed:
    """Changes in one probe from one stage to the next: counts, and the first few items."""

    probe: str
    name: str
    """Which transition: the later stage, or overall."""
    before: str
    after: str
    n: int
    """Items that both stages answered."""
    changed: int
    lost: int
    won: int
    shown: list[Change]


def read_answers(run_folder: Path, rows: Iterable[Row]) -> dict[str, list[Line]]:
    """Stage → its saved answers, without stages whose checkpoint is gone.

    Raises InputError naming the file and line of an answer that cannot be read.
    """
    found = {}
    for row in rows:
        folder = place.of_row(run_folder, row)
        path = folder and folder / "answers.jsonl"
        if path and path.is_file():
            found[row.stage] = _read(path)
    return found


@dataclass(frozen=True)
class Transition:
    """Two sets of answers to the same items."""

    name: str
    """The later stage, or overall."""
    before: dict[bool, str]
    """Whether the items are spoken → the stage that answered."""
    after: str
    old: list[Line]
    new: list[Line]


def transitions(rows: list[Row], answers: dict[str, list[Line]]) -> list[Transition]:
    """The transition from row zero to the last model, then one to each model from its parent.

    Row zero is the base's typed answers and the cascade's spoken ones; it replaces a parent that
    is missing or has no saved answers.
    """
    done = [row for row in rows if row.stage in answers]
    base, ctc = (next((r.stage for r in done if spec(r).leaves == kind), "") for kind in ("llama", "encoder"))
    models = [row for row in done if is_model(row)]
    zero, names = answers.get(base, []) + answers.get(ctc, []), {False: base, True: ctc}
    by_checkpoint = {row.checkpoint: row.stage for row in rows}
    found = []
    for row in models:
        parent = by_checkpoint.get(row.parents.get("model", ""), "")
        if parent in answers:
            found.append(
                Transition(row.stage, {False: parent, True: parent}, row.stage, answers[parent], answers[row.stage])
            )
        elif zero:
            found.append(Transition(row.stage, names, row.stage, zero, answers[row.stage]))
    last = final(rows)
    if zero and last and last.stage in answers and len(found) > 1:
        found.insert(0, Transition("overall", names, last.stage, zero, answers[last.stage]))
    return found


def changed(step: Transition, most: int) -> list[Changed]:
    """The changes of each probe, with up to `most` of the changed items: lost ones first, then won ones."""
    earlier = {(line["probe"], line["id"]): line for line in step.old if "output" in line}
    pairs: dict[str, list[tuple[Line, Line]]] = {}
    for line in step.new:
        if (line["probe"], line["id"]) in earlier and "output" in line:
            pairs.setdefault(line["probe"], []).append((earlier[line["probe"], line["id"]], line))
    found = []
    for probe, both in sorted(pairs.items()):
        changes = [_change(a, b) for a, b in both if a["output"] != b["output"]]
        order = {"lost": 0, "won": 1, "other": 2}
        changes.sort(key=lambda c: (order[c.verdict], c.id))
        lost, won = (sum(c.verdict == verdict for c in changes) for verdict in ("lost", "won"))
        before = step.before[bool(both[0][1].get("clip"))]
        shown = _first(changes, most)
        found.append(Changed(probe, step.name, before, step.after, len(both), len(changes), lost, won, shown))
    return found


def marked(text: str, gold: str) -> list[tuple[str, bool]]:
    """The text as runs of words, each with whether the right answer has it at that place."""
    words, right = text.split(), gold.split()
    runs: list[tuple[str, bool]] = []
    for tag, _, _, start, end in difflib.SequenceMatcher(None, right, words, autojunk=False).get_opcodes():
        if start < end:
            runs.append((" ".join(words[start:end]), tag == "equal"))
    return runs


def _first(changes: list[Change], most: int) -> list[Change]:
    """Up to `most` items; lost ones take at most two thirds while there are won or other ones to show."""
    lost = [c for c in changes if c.verdict == "lost"]
    others = [c for c in changes if c.verdict != "lost"]
    room = max(most - len(others), -(-2 * most // 3))
    kept = lost[:room]
    return kept + others[: most - len(kept)]


def _change(old: Line, new: Line) -> Change:
    """Of a benchmark's item the line has no instruction, and its right answer only as an output that scored 1."""
    if "instruction" in new:
        asked, gold = user_content(new["instruction"], new["text"] or "(nothing audible)"), new["answer"]
    else:
        asked, gold = new["text"] or new["content"], next((x["output"] for x in (old, new) if x["score"] == 1), "")
    return Change(
        id=_cut(new["id"]),
        asked=_cut(asked),
        gold=_cut(gold),
        before=_cut(old["output"]),
        after=_cut(new["output"]),
        score_before=float(old["score"]),
        score_after=float(new["score"]),
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _read(path: Path) -> list[Line]:
    lines = []
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            try:
                line = former_names.renamed(json.loads(text))
                line["probe"], line["id"]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}, line {number} is not an answer ({error!r}); evaluate the stage again to write it anew"
                ) from error
            lines.append(line)
    return lines
