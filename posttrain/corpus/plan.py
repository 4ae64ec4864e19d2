"""The plan of a corpus: every typed and spoken text, its tasks and their right answers, before any audio."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from posttrain.corpus import manifest, overlap
from posttrain.corpus.normalise import normalise
from posttrain.corpus.types import SPLITS, Example, Pair
from posttrain.errors import InputError


@dataclass(frozen=True)
class SpokenText:
    """One clip to synthesise, or a recording of a prompt."""

    id: str
    """The clip's id; its examples and pairs refer to it as `clip`."""
    text: str
    """The words; empty when nothing is audible."""
    split: str
    condition: str | None
    """None: drawn as for training clips; any: clean to 5 dB SNR; else one of types.CONDITIONS."""
    group: str | None
    """Consecutive texts of one group are one utterance by one voice in several conditions."""
    examples: tuple[Example, ...]
    """The tasks on the clip."""
    in_a_row: tuple[str, ...] = ()
    """The sentences of `text`, if it is several, spoken with pauses between them."""
    recording: manifest.Row | None = None
    """The recording in which a person says it; None for a made voice."""
    source: str = "made"
    """The file of rows that names the recording, such as instructions_mine."""


@dataclass(frozen=True)
class Plan:
    """All spoken and typed texts, and the preference pairs."""

    general: list[tuple[str, str]]
    """(split, line) of running text."""
    spoken: list[SpokenText]
    """Clips: test, train, valid, rl, and last those of the validation items."""
    items: list[Example]
    """Typed evaluation items."""
    pairs: list[Pair]
    """Preference pairs, on the spoken clips or, of files, typed."""
    valid_items: list[Example] = field(default_factory=list)
    """Typed validation items; the spoken ones are examples of their clips, also with a probe."""
    typed: list[Example] = field(default_factory=list)
    """Typed examples of files, train and valid."""
    left_out: Mapping[str, Counter[str]] = field(default_factory=dict)
    """File of rows, such as instructions/alpaca → why rows are left out → how many."""

    @property
    def held_out(self) -> set[str]:
        """All spoken and typed texts of the test and validation splits; rows of files also in normalised words."""
        spoken = {said.text for said in self.spoken if said.split in ("test", "valid") and said.text}
        own: list[Example | Pair] = [*self.typed, *self.pairs]
        rows = [row.text for row in own if row.split in ("test", "valid") and file_of(row)]
        return {*spoken, *rows, *map(normalise, rows)} | {item.text for item in (*self.items, *self.valid_items)}

    @property
    def rows(self) -> dict[str, dict[str, int]]:
        """File of rows → how many of each split there are, and why how many are left out."""
        found: dict[str, Counter[str]] = {name: Counter() for name in self.left_out}
        spoken = [example for said in self.spoken for example in said.examples]
        rows: list[Example | Pair] = [*spoken, *self.typed, *self.pairs]
        for row in rows:
            if name := file_of(row):
                found[name][row.split] += 1
        return {name: {**counts, **self.left_out[name]} for name, counts in found.items()}


HELD_OUT = "says a text of a test or validation item"
"""Why rows of files are left out."""
_OF_FILE = re.compile(r"(?:pair/)?\w+/((?:instructions|preferences)/[\w-]+)/\d+")


def file_of(row: Example | Pair) -> str | None:
    """The file that the row was read from; None for the project's own, and for what is added to a row of a file."""
    found = _OF_FILE.fullmatch(row.id)
    return found[1] if found else None


def says(row: Example | Pair, texts: Collection[str]) -> bool:
    """`overlap.says_any`, also in normalised words, for rows of files, which are typed as they are published."""
    asked, *answers = (row.text, row.answer) if isinstance(row, Example) else (row.text, row.chosen, row.rejected)
    return any(part in texts for part in _parts(asked)) or any(
        " " in part and part in texts for answer in answers for part in _parts(answer)
    )


def without(plan: Plan, texts: set[str]) -> Plan:
    """The plan without clips outside the test that say one of these texts, alone or in a row, or have one of more than
    one word as an answer; without the pairs on them, without validation items with one of these texts, and without
    rows of files that say one."""

    def out(said: SpokenText) -> bool:
        aloud = {said.text, *said.in_a_row}
        return not aloud.isdisjoint(texts) or any(overlap.says_any(example, texts) for example in said.examples)

    spoken = [said for said in plan.spoken if said.split == "test" or not out(said)]
    kept = {said.id for said in spoken}
    typed = [row for row in plan.typed if not says(row, texts)]
    pairs = [pair for pair in plan.pairs if not pair.clip or pair.clip in kept]
    pairs = [pair for pair in pairs if pair.split == "test" or not (file_of(pair) and says(pair, texts))]
    valid_items = [item for item in plan.valid_items if item.text not in texts]
    made = replace(plan, spoken=spoken, pairs=pairs, valid_items=valid_items, typed=typed)
    before, after = plan.rows, made.rows
    lost = {name: sum(before[name].get(split, 0) - after[name].get(split, 0) for split in SPLITS) for name in before}
    return replace(made, left_out={name: c + Counter({HELD_OUT: lost[name]}) for name, c in made.left_out.items()})


def check_disjoint(plan: Plan) -> None:
    """Raise InputError with each test text (spoken, typed or a line) that is also in training or validation, and each
    validation item that is in training."""
    test = {s.text for s in plan.spoken if s.split == "test"} | {item.text for item in plan.items}
    valid = {e.text: e.id for s in plan.spoken for e in s.examples if e.split == "valid" and e.probe}
    valid |= {item.text: item.id for item in plan.valid_items}
    trained = {text: s.id for s in plan.spoken if s.split in ("train", "rl") for text in (s.text, *s.in_a_row)}
    trained |= {row.text: row.id for row in plan.typed if row.split == "train"}
    seen = valid | {s.text: s.id for s in plan.spoken if s.split != "test"} | {row.text: row.id for row in plan.typed}
    lines = {line: f"the {split} lines" for split, line in plan.general if split != "test"}
    _refuse_shared(test, seen)
    _refuse_shared(set(valid), trained, "validation")
    _refuse_shared({line for split, line in plan.general if split == "test"}, lines)


def _parts(text: str) -> Iterator[str]:
    """What a text says, as it is and in normalised words."""
    for part in overlap.says(text):
        yield from filter(None, (part, normalise(part)))


def _refuse_shared(held_out: set[str], seen: dict[str, str], kind: str = "test") -> None:
    shared = sorted(held_out & seen.keys() - {""})
    if shared:
        raise InputError(
            [f"{kind} text “{text}” is also in {seen[text]}; take it out of one of them" for text in shared]
        )
