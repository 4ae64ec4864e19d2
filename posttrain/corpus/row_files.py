"""Rows of instructions and of preferences from files, in the shapes in which they are published.

A recipe names a card of data/ (kind instructions or preferences), whose file lies in DATA_ROOT/NAME, or a file by its
path: JSON lines, also packed with gzip, or one JSON array.

- instructions: `{prompt, answer}`; `{instruction, input, output}` (Alpaca, Safety-Tuned LLaMAs);
  `{instruction, context, response}` (Dolly). Input and context follow the instruction after a blank line.
- preferences: `{prompt, chosen, rejected}`; the answers may be dialogues that hold the prompt, in HH-RLHF's text or as
  messages of role and content (UltraFeedback).

A row with `audio`, a path below the file's folder, and `speaker` is a recording of its prompt. `split` (train, valid or
test) places the speaker; without, the speaker's name does.

Rows that no one-turn example can be made of, or that are too long, are left out and counted.
"""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from posttrain import files
from posttrain.config import assets
from posttrain.config.sections import CorpusConfig
from posttrain.corpus import manifest, recorded_prompts
from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.normalise import normalise, unreadable
from posttrain.corpus.splits import split_of
from posttrain.errors import InputError
from posttrain.readers import json_lines, text_files

Kind = Literal["instructions", "preferences"]
KINDS: tuple[Kind, ...] = ("instructions", "preferences")
SHAPES = (("prompt", "answer", ""), ("instruction", "output", "input"), ("instruction", "response", "context"))
"""Keys of an instruction, its answer and what it is about."""
LONGEST_SAID = 200
"""Characters of a prompt that may be said; to normalise longer ones would take minutes in a large file."""
LISTED = 20
"""Maximum number of bad rows of a file in one message."""
SPLITS = ("train", "valid", "test")
TOO_LONG, TURNS, AGAIN, UNUSABLE = "too long", "of several turns", "prompt a second time", "unusable"
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Row:
    """A prompt with its answer, or with two of which the first is preferred."""

    source: str
    """Kind and name of its file, such as instructions/alpaca."""
    number: int
    """Its line or place in the file, from 1."""
    prompt: str
    answer: str
    rejected: str = ""
    """The other answer of a preference; empty for an instruction."""
    words: str = ""
    """The prompt in normalised words; empty if it is too long to be read aloud or cannot be."""
    recording: manifest.Row | None = None
    """Who says the prompt where, with the split of that person; None if nobody does."""

    @property
    def split(self) -> str:
        """train, valid or test: the speaker's, or what the prompt's words determine."""
        return (self.recording and self.recording.split) or split_of(self.content)

    @property
    def content(self) -> str:
        """What near-identical prompts share: words, of a long prompt without punctuation, else as written."""
        folded = unicodedata.normalize("NFKC", self.prompt).casefold()
        long = len(folded) > LONGEST_SAID
        return self.words or " ".join(re.findall(r"\w+", folded) if long else folded.split()).rstrip(" .?!")


@dataclass(frozen=True)
class Rows:
    """The usable rows of a recipe's files."""

    instructions: tuple[Row, ...] = ()
    preferences: tuple[Row, ...] = ()
    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    """Source → why rows are left out → how many."""


class _LeftOut(Exception):
    """The row is as published, but nothing here can use it; the message is the reason."""


def read(config: CorpusConfig) -> Rows:
    """All usable rows of `config.instructions` and `config.preferences`, in their order; no prompt twice in a kind.

    InputError lists every problem by file and line; with `on_bad_rows: drop`, bad rows are left out and counted, and
    only files and lines that cannot be read are errors.
    """
    problems: list[str] = []
    found = {kind: _files(kind, config, problems) for kind in KINDS}
    if problems:
        raise InputError(problems)
    stats = [path.stat() for paths in found.values() for path in paths.values()]
    states = tuple((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats)
    return _read(
        tuple((kind, *item) for kind in KINDS for item in found[kind].items()),
        config.longest_row,
        config.on_bad_rows == "drop",
        states,
    )


def paths(config: CorpusConfig) -> list[Path]:
    """Where the files lie that `config` names; without those that a run refuses."""
    return [path for kind in KINDS for path in _files(kind, config, []).values()]


def recordings(config: CorpusConfig) -> list[manifest.Row]:
    """The recordings of the rows, in their order; InputError as `read`."""
    known = read(config)
    return [row.recording for row in (*known.instructions, *known.preferences) if row.recording]


@functools.lru_cache(maxsize=2)
def _read(listed: tuple[tuple[Kind, str, Path], ...], longest: int, drop: bool, _states: tuple[Any, ...]) -> Rows:
    """`_states`: sizes and times of the files, so that changed ones are read again."""
    problems: list[str] = []
    rows: dict[Kind, dict[str, Row]] = {kind: {} for kind in KINDS}
    left_out: dict[str, Counter[str]] = {}
    splits: dict[str, str] = {}
    of_files = []
    for kind, name, path in listed:  # all of them first: a speaker's split may be in another file
        counts = left_out.setdefault(f"{kind}/{name}", Counter())
        bad: list[str] = []
        read: list[Row] = []
        said: list[Entry] = []
        for place, number, values in _objects(path, problems):
            try:
                who = _speaker(values, splits)
                row = _row(kind, f"{kind}/{name}", number, values)
                if len(row.prompt) + len(row.answer) + len(row.rejected) > longest:
                    raise _LeftOut(TOO_LONG)
                read.append(row)
                if who:
                    said.append(Entry(path, number, _text(values, "audio"), row.prompt, who))
            except _LeftOut as reason:
                counts[str(reason)] += 1
            except ValueError as error:
                counts[UNUSABLE] += 1
                bad.append(f"{place}: {error}")
        of_files.append((kind, path, counts, bad, read, said))
    for kind, path, counts, bad, read, said in of_files:
        recorded = recorded_prompts.found(said, path.parent, splits, drop, bad)
        counts.update(UNUSABLE for found in recorded.values() if found is None)
        for row in (_with(row, recorded) for row in read if recorded.get(row.number, row)):
            kept = rows[kind].setdefault(row.content, row)
            if kept is not row:
                counts[AGAIN] += 1
            if row.recording and not kept.recording:
                rows[kind][row.content] = row
        if bad and not drop:
            more = [f"{text_files.shown(path)}: {len(bad) - LISTED} more bad rows"] * (len(bad) > LISTED)
            hint = f"{text_files.shown(path)}: corpus.on_bad_rows=drop leaves such rows out and counts them"
            problems += [*bad[:LISTED], *more, hint]
    if problems:
        raise InputError(problems)
    return Rows(tuple(rows["instructions"].values()), tuple(rows["preferences"].values()), left_out)


def _files(kind: Kind, config: CorpusConfig, problems: list[str]) -> dict[str, Path]:
    """Name → file; what is wrong with names, cards and files that are not there is added to `problems`."""
    found: dict[str, Path] = {}
    for given in getattr(config, kind):
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(Path(given).name.removesuffix(".gz")).stem)
        if name in found:
            problems.append(f"corpus.{kind} names {name} twice; take one out, or rename a file")
        elif given in assets.names("data"):
            _collect(problems, found, kind, given, config.data_root)
        elif Path(given).is_file():
            found[name] = Path(given)
        else:
            known = [card for card in assets.names("data") if assets.card(card).get("kind") == kind]
            cards = f"a card of data/ ({', '.join(known)})" if known else "a card of data/"
            problems.append(f"corpus.{kind} names {given}: file not found; check the path, or name {cards}")
    return found


def _collect(problems: list[str], found: dict[str, Path], kind: Kind, name: str, data_root: str | None) -> None:
    """Add the file of a card to `found`, or what is wrong to `problems`."""
    about = assets.card(name)
    if about.get("kind") != kind:
        problems.append(f"corpus.{kind} names the card {name} of kind {about.get('kind')}, expected {kind}")
        return
    if data_root is None:
        problems.append(f"corpus.data_root is null, expected the folder of {name}; set DATA_ROOT=… or data_root")
        return
    path = Path(data_root) / name / about["file"]
    if not path.is_file():
        problems.append(f"{path} not found; get it from {about['origin'].strip()}")
        return
    wanted = about.get("sha256", {}).get(about["file"])
    if wanted and (hashed := files.sha256(path)) != wanted:
        problems.append(f"{path} has SHA-256 {hashed}, expected {wanted}; get the file that {name}.yaml names")
        return
    found[name] = path


def _objects(path: Path, problems: list[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(place for messages, number, object) of every row; what is no JSON is added to `problems`."""
    name = text_files.shown(path)
    if not _is_array(path):
        for number, values in json_lines.each(path, "a file of JSON lines", problems):
            yield f"{name}:{number}", number, values
        return
    if path.stat().st_size > json_lines.LARGEST_DOCUMENT:
        problems.append(f"{name} is one JSON array of over 64 MB; write one object a line (jq -c '.[]' does it)")
        return
    text = text_files.read(path, "a file of JSON lines", problems)
    try:
        rows = json_lines.parse(text) if text is not None else []
    except ValueError as error:
        problems.append(f"{name} is not JSON: {error}; correct it")
        return
    for number, values in enumerate(rows, 1):
        if isinstance(values, dict):
            yield f"{name}, row {number}", number, values
        else:
            problems.append(f"{name}, row {number} is a {type(values).__name__}; write {{…}} for each row")


def _is_array(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _row(kind: Kind, source: str, number: int, values: dict[str, Any]) -> Row:
    """The row; ValueError says what is wrong with it and how to fix it, _LeftOut why it is of no use here."""
    if kind == "instructions":
        prompt, answer = _instruction(values)
        return Row(source, number, prompt, answer, words=_words(prompt))
    prompt, chosen, rejected = _preference(values)
    if chosen == rejected:
        raise ValueError(f"chosen and rejected are the same, {_short(chosen)}; take the row out")
    return Row(source, number, prompt, chosen, rejected, _words(prompt))


def _speaker(values: dict[str, Any], splits: dict[str, str]) -> str | None:
    """Who says the prompt, if it is recorded; a split that the row gives is noted, also of a row that is left out."""
    if values.get("audio") is None:
        return None
    _text(values, "audio")
    who, split = unicodedata.normalize("NFC", _text(values, "speaker")), values.get("split")
    if split not in (None, *SPLITS):
        raise ValueError(f"split is {_short(split)}, expected {', '.join(SPLITS)}; correct it, or leave it out")
    if split and splits.setdefault(who, split) != split:
        raise ValueError(f"{who} is in {split}, and in {splits[who]} before; give a speaker one split")
    return who


def _with(row: Row, recorded: dict[int, manifest.Row | None]) -> Row:
    found = recorded.get(row.number)
    return replace(row, recording=found, words=found.text) if found else row


def _words(prompt: str) -> str:
    """The normalised words of a short prompt that can be read out in one way."""
    return "" if len(prompt) > LONGEST_SAID or "\n" in prompt or unreadable(prompt) else normalise(prompt)


def _instruction(values: dict[str, Any]) -> tuple[str, str]:
    shape = next((shape for shape in SHAPES if values.keys() >= set(shape[:2])), None)
    if shape is None:
        expected = "; ".join(", ".join(filter(None, shape)) for shape in SHAPES)
        raise ValueError(f"its keys are {', '.join(values) or 'none'}, expected {expected}; rename them")
    asked, answer, about = shape
    more = _text(values, about, empty=True) if values.get(about) is not None else ""
    return "\n\n".join(filter(None, (_text(values, asked), more))), _text(values, answer)


def _preference(values: dict[str, Any]) -> tuple[str, str, str]:
    if not values.keys() >= {"chosen", "rejected"}:
        raise ValueError(f"its keys are {', '.join(values) or 'none'}, expected prompt, chosen, rejected; rename them")
    given = values.get("prompt")
    prompts = [] if given is None else [_only(_turns("prompt", given, plain="user"), "prompt", "user")]
    answers = []
    for key in ("chosen", "rejected"):
        turns = _turns(key, values[key], plain=None if given is None else "assistant")
        if len(turns) > 1:
            prompts.append(_only(turns[:-1], key, "user"))
        elif given is None:
            raise ValueError(f"{key} holds no prompt and there is no key prompt; write it there")
        answers.append(_only(turns[-1:], key, "assistant"))
    if len(set(prompts)) > 1:
        raise ValueError(f"its prompts differ: {', '.join(map(_short, dict.fromkeys(prompts)))}; make them the same")
    return prompts[0], answers[0], answers[1]


def _turns(key: str, value: Any, plain: str | None) -> list[tuple[str, str]]:
    """(role, text) of a dialogue; text is one turn of role `plain`, or if that is None a dialogue as in HH-RLHF."""
    if isinstance(value, str) and plain is not None:
        return [(plain, value)]
    if isinstance(value, str):
        first, *rest = _SPEAKER.split(value.strip())
        if first.strip() or not rest:
            raise ValueError(f"{key} is {_short(value)}, expected Human: … Assistant: …; add a key prompt")
        return [(_ROLES[role], said) for role, said in zip(rest[::2], rest[1::2], strict=True)]
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return [(_text(turn, "role"), _text(turn, "content", empty=True)) for turn in value]
    raise ValueError(f"{key} is {_short(value)}, expected text, or messages of role and content; write it as text")


def _only(turns: list[tuple[str, str]], key: str, role: str) -> str:
    """The text of the only turn, which is of this role."""
    if len(turns) != 1:
        raise _LeftOut(TURNS)
    if turns[0][0] != role:
        raise ValueError(f"{key} has a turn of {turns[0][0]} where one of {role} is expected; correct the role")
    if not turns[0][1].strip():
        raise ValueError(f"{key} has an empty turn of {role}; write what is said, or take the row out")
    return turns[0][1].strip()


def _text(values: dict[str, Any], key: str, empty: bool = False) -> str:
    value = values.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is {_short(value)}, expected text; write it in quotes")
    if not value.strip() and not empty:
        raise ValueError(f"{key} is empty; write it, or take the row out")
    return value.strip()


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:39]}…"
