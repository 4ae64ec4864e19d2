"""`personalise`: a small LoRA on top of the parent's, from a person's few utterances: own names, own places, own voice.

Each utterance is used many times, at different speeds, in noise and rooms, and half of the time through the hearing
aid's gain for the person's audiogram. The person's own words are also cut out of each copy and spliced into sentences
of the corpus; otherwise the model memorises the few sentences and recognises a name only in them. Half of the splices
replace words that the parent mistakes the own word for, so that the model learns to distinguish the two. No spliced
sentence is worded like a test sentence of the person. The parent's own examples, spoken and typed, are mixed in, so
that it forgets little.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from posttrain import files
from posttrain.acoustics import audiogram
from posttrain.acoustics.augment import Augmenter
from posttrain.acoustics.fitting import NALR
from posttrain.config import adapter_file
from posttrain.config.sections import PersonaliseConfig
from posttrain.corpus import overlap
from posttrain.corpus import personal as recordings
from posttrain.corpus.instructions import INSTRUCTIONS, REPEAT
from posttrain.corpus.personal import Utterance
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model import checkpoint, personal
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import Aligner, Encoder, Span
from posttrain.model.encoders.contract import run as encoded
from posttrain.model.frame_table import FrameTable
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages.training import remedies
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.supervised import train_supervised

ITEMS, FRAMES = "personal_items.json", "personal_frames.safetensors"
"""Files of the test utterances: their text, and the encoder's frames of each, which are personal data too."""
NOISE, ROOM = 0.2, 0.1
"""Shares of the copies with noise and with a room; words hidden by noise would be memorised."""
NOISES = 60
BATCH, MAX_NEW_TOKENS = 64, 32
"""Settings for the parent's transcripts of the copies."""
TRIES = 100
"""Number of host sentences drawn for one splice before giving up."""
Heard = tuple[Example, torch.Tensor]
"""An example, and the encoder's frames of it (T, D)."""


def run(config: PersonaliseConfig, context: StageContext) -> dict[str, Any]:
    """Write the parent with a personal LoRA added, and the test utterances for the evaluation.

    InputError if the manifest is wrong, a training utterance contains a held-out text of the corpus, or the listener is
    unknown.
    """
    utterances = recordings.load(config.manifest or "")
    train = [utterance for utterance in utterances if utterance.split == "train"]
    overlap.check(f"{config.manifest}", [_example(u, u.name) for u in train], context.corpus)
    fitting = NALR(audiogram.find(config.listener))
    llama = checkpoint.load(context.parents["model"], context.device)
    personal.add(llama.model, adapter_file.personal(config.rank), context.seed)
    encoder = encoders.load(llama.spec.encoder or "", device=context.device)
    if config.splices and encoder.aligner is None:
        raise InputError(
            f"personalise.splices is {config.splices}, but the encoder in {llama.spec.encoder} cannot tell where in a "
            "clip a word is said; set it to 0"
        )
    copies = _copies(train, fitting, config, context)
    made = encoded(encoder, [sound for _, sound in copies])
    heard = [(example, frames) for (example, _), (frames, _) in zip(copies, made, strict=True)]
    said = {f"{example.clip}": words for (example, _), (_, words) in zip(copies, made, strict=True)}
    known = known_words(context)
    own = {utterance.text: recordings.own_words(utterance, known) for utterance in train}
    mistaken = _mistaken(llama, heard, own, said)  # the parent's mistakes: the new LoRA changes nothing yet
    tests = PersonTests.of(utterances, known)
    heard += _spliced(heard, own, mistaken, encoder.aligner, config, context, tests)
    kept = _replay(len(copies), config, context, tests.texts)
    llama.attach(_table(heard, said, kept, context))
    examples = [example for example, _ in heard] + kept
    metrics = train_supervised(llama, examples, config, context, "personalise", own_tests=tests.texts)
    _save_tests([u for u in utterances if u.split == "test"], encoder, context)
    checkpoint.save(context.folder, llama, stage="personalise", parents=context.parents)
    counts = {"copies": len(copies), "spliced": len(heard) - len(copies), "replayed": len(kept)}
    return metrics | {"utterances": len(train)} | counts


@dataclass(frozen=True)
class PersonTests:
    """What a person is tested on; no training row may contain it or be worded like it."""

    texts: frozenset[str] = frozenset()
    """Their test sentences."""
    own: frozenset[str] = frozenset()
    """Their own words, in any sentence."""
    wordings: frozenset[tuple[str, ...]] = frozenset()
    """Wordings of the test sentences (overlap.wording), without their own words."""

    @staticmethod
    def of(utterances: list[Utterance], known: set[str]) -> "PersonTests":
        """The tests in a person's recordings; `known` words are not their own unless the manifest names them."""
        own = frozenset(word for utterance in utterances for word in recordings.own_words(utterance, known))
        texts = frozenset(utterance.text for utterance in utterances if utterance.split == "test")
        return PersonTests(texts, own, frozenset(overlap.wording(text, own) for text in texts))

    def overlaps(self, text: str) -> bool:
        """Whether a sentence is or contains a test sentence, or any part of it is worded like one.

        Names, numbers and things make no difference. Parts count so that each of several sentences in a row is checked.
        """
        worded = overlap.wording(text, self.own)
        parts = {worded, *(worded[i:j] for i, j in combinations(range(len(worded) + 1), 2))}
        return text in self.texts or overlap.holds(text, self.texts) or not parts.isdisjoint(self.wordings)


def known_words(context: StageContext) -> set[str]:
    """Every word of the corpus that was available for training."""
    typed = (f"{example.text} {example.answer}" for example in context.corpus.examples)
    spoken = (clip.text for clip in context.corpus.clips.values() if clip.split != "test")
    return {word for text in (*typed, *spoken) for word in text.split()}


def _copies(
    train: list[Utterance], fitting: NALR, config: PersonaliseConfig, context: StageContext
) -> list[tuple[Example, torch.Tensor]]:
    """Each utterance `config.copies` times, augmented differently each time."""
    waveforms = [torch.from_numpy(utterance.waveform) for utterance in train]
    augmenter = Augmenter(waveforms, [], NOISE, ROOM, context.seed, NOISES)
    made = []
    for number in range(config.copies):
        for utterance, waveform in zip(train, augmenter.waveforms(waveforms, [False] * len(train)), strict=True):
            example = _example(utterance, f"personal/{utterance.id}/{number}")
            made.append((example, fitting(waveform[None])[0] if number % 2 else waveform))
    return made


def _example(utterance: Utterance, clip: str) -> Example:
    text = utterance.text
    return Example(clip, "train", REPEAT, INSTRUCTIONS[REPEAT], text, clip, text, "wer")


def _mistaken(
    llama: SpeechLlama, heard: list[Heard], own: dict[str, tuple[str, ...]], transcripts: dict[str, str]
) -> Counter[str]:
    """The words that the parent transcribes where the person says one of their own words, with counts.

    `transcripts`: clip → the encoder's.
    """
    llama.attach(FrameTable.of({f"{example.clip}": frames for example, frames in heard}, transcripts))
    found: Counter[str] = Counter()
    answers = llama.answer([example for example, _ in heard], BATCH, MAX_NEW_TOKENS)
    for (example, _), answer in zip(heard, answers, strict=True):
        said, answered = example.text.split(), answer.split()
        for kind, first, end, start, stop in SequenceMatcher(None, said, answered, False).get_opcodes():
            if kind == "replace" and set(said[first:end]) & set(own[example.text]):
                found.update(answered[start:stop])
    return found


def _spliced(
    heard: list[Heard],
    own: dict[str, tuple[str, ...]],
    mistaken: Counter[str],
    find: Aligner | None,
    config: PersonaliseConfig,
    context: StageContext,
    tests: PersonTests = PersonTests(),
) -> list[Heard]:
    """The person's own words, cut out of every copy and spliced into sentences of the corpus.

    Splices alternate between replacing words that the parent mistakes own words for, and any words, with rare ones as
    often as common ones. Neither the host sentence nor the result is worded like a test sentence of the person, and the
    result contains no held-out text of the corpus; if no host allows that, there is no splice. InputError if no
    sentence of the corpus can be a host.
    """
    assert context.table is not None
    rng = np.random.default_rng(context.seed)
    held_out = overlap.held_out(context.corpus).keys()
    hosts = context.corpus.spoken("train", REPEAT)
    hosts = [host for host in hosts if not tests.overlaps(host.text)]
    if not hosts and config.splices:
        raise InputError(
            f"{config.manifest}: every sentence of the corpus that could take the person's own words is worded like a "
            "test sentence of theirs; take some test sentences out, or set personalise.splices to 0"
        )
    if find is None or not config.splices:
        return []
    places = [(host, place) for host in hosts for place in range(len(host.text.split()))]
    there = [host.text.split()[place] for host, place in places]
    often = Counter(there)
    rare = np.array([1 / often[word] for word in there])
    chances = [rare * [mistaken[word] for word in there], rare]
    chances = [chance / chance.sum() for chance in chances if chance.sum()]
    cut = [
        (example, word, frames[first:end])
        for example, frames in heard
        for word, (first, end) in zip(example.text.split(), find(frames, example.text) or (), strict=False)
        if word in own[example.text]
    ]
    made: list[Heard] = []
    for (example, word, spoken), number in product(cut, range(config.splices)):
        chance = chances[number % len(chances)]
        drawn = (_put(word, *places[rng.choice(len(places), p=chance)]) for _ in range(TRIES))
        allowed = (put for put in drawn if not (tests.overlaps(put[2]) or _held_out(put[2], held_out)))
        host, place, text = next(allowed, (None, 0, ""))
        if host is None:
            continue
        around = context.table.clip(host.clip or "")
        spans = find(around, host.text)
        if spans is None:
            continue
        clip = f"personal/spliced/{len(made)}"
        new = dataclasses.replace(example, id=clip, clip=clip, text=text, answer=text)
        made.append((new, _replaced(around, spans[place], spoken)))
    return made


def _replaced(frames: torch.Tensor, span: Span, word: torch.Tensor) -> torch.Tensor:
    """Frames (T, D) with a span replaced by those of another word; T may change."""
    return torch.cat([frames[: span[0]], word, frames[span[1] :]])


def _held_out(text: str, held_out: Collection[str]) -> bool:
    return overlap.holds(text, held_out) or not frozenset(overlap.says(text)).isdisjoint(held_out)


def _put(word: str, host: Example, place: int) -> tuple[Example, int, str]:
    """The host, the place, and the host's text with `word` in that place."""
    words = host.text.split()
    return host, place, " ".join([*words[:place], word, *words[place + 1 :]])


def _replay(
    count: int, config: PersonaliseConfig, context: StageContext, own_tests: Collection[str] = ()
) -> list[Example]:
    """`config.replay` × `count` examples of the corpus, drawn by the seed, and `count` typed rows.

    None contains a test sentence of the person.
    """
    spoken = context.corpus.examples_of("train")
    spoken = [e for e in spoken if not (overlap.says_any(e, own_tests) or overlap.holds(e.text, own_tests))]
    order = np.random.default_rng(context.seed).permutation(len(spoken))[: config.replay * count]
    typed = remedies.typed_rows(config.typed_rows, context.corpus, count, context.seed, own_tests)
    return [spoken[i] for i in sorted(order.tolist())] + typed


def _table(heard: list[Heard], said: dict[str, str], replayed: list[Example], context: StageContext) -> FrameTable:
    """Frames and transcripts of the copies and splices, and of the replayed clips from the corpus's table.

    A splice has no transcript, as it has no sound that the encoder could transcribe: its prompt is the frames alone.
    """
    assert context.table is not None
    frames = {f"{example.clip}": own for example, own in heard}
    words = dict.fromkeys(frames, "") | said
    for example in replayed:
        if example.clip and example.clip not in frames:
            frames[example.clip] = context.table.clip(example.clip)
            if example.clip in context.table.hypotheses:
                words[example.clip] = context.table.hypotheses[example.clip]
    return FrameTable.of(frames, words)


def _save_tests(tests: list[Utterance], encoder: Encoder, context: StageContext) -> None:
    """Save the test utterances as recorded, since the evaluation is of speech in quiet."""
    known = known_words(context)
    made = encoded(encoder, [torch.from_numpy(utterance.waveform) for utterance in tests])
    items = [
        {"id": u.id, "name": u.name, "text": u.text, "names": list(recordings.own_words(u, known)), "transcript": words}
        for u, (_, words) in zip(tests, made, strict=True)
    ]
    save_file({str(number): own.half() for number, (own, _) in enumerate(made)}, context.folder / FRAMES)
    files.write_json(context.folder / ITEMS, items)


def tests_of(folder: Path) -> tuple[list[dict[str, Any]], FrameTable]:
    """The test utterances (id, name, text, names, transcript) of a finished stage, and their frames, by number."""
    from safetensors.torch import load_file

    items = json.loads((folder / ITEMS).read_text(encoding="utf-8"))
    frames = load_file(folder / FRAMES)
    said = {str(number): item["transcript"] for number, item in enumerate(items) if "transcript" in item}
    return items, FrameTable.of({str(number): frames[str(number)] for number in range(len(items))}, said)
