"""The plan of a corpus: every typed and spoken text, its tasks and their right answers, before any audio."""

from dataclasses import dataclass, field, replace

from posttrain.corpus import overlap
from posttrain.corpus.types import Example, Pair
from posttrain.errors import InputError


@dataclass(frozen=True)
class SpokenText:
    """One clip to synthesise."""

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
    """Preference pairs on the spoken clips."""
    valid_items: list[Example] = field(default_factory=list)
    """Typed validation items; the spoken ones are examples of their clips, also with a probe."""

    @property
    def held_out(self) -> set[str]:
        """All spoken and typed texts of the test and validation splits."""
        spoken = {said.text for said in self.spoken if said.split in ("test", "valid") and said.text}
        return spoken | {item.text for item in (*self.items, *self.valid_items)}


def without(plan: Plan, texts: set[str]) -> Plan:
    """The plan without clips outside the test that say one of these texts, alone or in a row, or have one of more than
    one word as an answer; without the pairs on them, and without validation items with one of these texts."""

    def says(said: SpokenText) -> bool:
        aloud = {said.text, *said.in_a_row}
        return not aloud.isdisjoint(texts) or any(overlap.says_any(example, texts) for example in said.examples)

    spoken = [said for said in plan.spoken if said.split == "test" or not says(said)]
    kept = {said.id for said in spoken}
    pairs = [pair for pair in plan.pairs if pair.clip in kept]
    valid_items = [item for item in plan.valid_items if item.text not in texts]
    return replace(plan, spoken=spoken, pairs=pairs, valid_items=valid_items)


def check_disjoint(plan: Plan) -> None:
    """Raise InputError with each test text (spoken, typed or a line) that is also in training or validation, and each
    validation item that is in training."""
    test = {s.text for s in plan.spoken if s.split == "test"} | {item.text for item in plan.items}
    valid = {e.text: e.id for s in plan.spoken for e in s.examples if e.split == "valid" and e.probe}
    valid |= {item.text: item.id for item in plan.valid_items}
    trained = {text: s.id for s in plan.spoken if s.split in ("train", "rl") for text in (s.text, *s.in_a_row)}
    seen = valid | {s.text: s.id for s in plan.spoken if s.split != "test"}
    lines = {line: f"the {split} lines" for split, line in plan.general if split != "test"}
    _refuse_shared(test, seen)
    _refuse_shared(set(valid), trained, "validation")
    _refuse_shared({line for split, line in plan.general if split == "test"}, lines)


def _refuse_shared(held_out: set[str], seen: dict[str, str], kind: str = "test") -> None:
    shared = sorted(held_out & seen.keys() - {""})
    if shared:
        raise InputError(
            [f"{kind} text “{text}” is also in {seen[text]}; take it out of one of them" for text in shared]
        )
