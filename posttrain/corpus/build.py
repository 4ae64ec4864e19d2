"""Build a corpus: its plan → voices and conditions → synthesise and mix on all cores → store.

Recordings of the recipe's sources are read, checked and appended. Like the test texts, test voices, speaking styles
and noises do not depend on the seed, so that all runs are evaluated on the same clips.
"""

import dataclasses
import random
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from posttrain.config.sections import CorpusConfig
from posttrain.corpus import overlap, plan, sources, speech, store
from posttrain.corpus.instructions import INSTRUCTIONS, REPEAT
from posttrain.corpus.plan import Plan, SpokenText
from posttrain.corpus.speech import Utterance
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Clip, Example

TRAIN_CONDITIONS = {"clean": 0.4, "snr20": 0.12, "snr15": 0.12, "snr10": 0.16, "snr5": 0.12, "snr0": 0.08}
ANY_CONDITIONS = ("clean", "snr20", "snr15", "snr10", "snr5")
RATE_WPM = (100, 150)
ROOM_SHARE = 0.25
PADDED_SHARE = 0.15
"""Share of training clips with up to two seconds without speech before and after the speech."""


def build(planned: Plan, config: CorpusConfig, seed: int, folder: Path, progress: bool = True) -> Corpus:
    """Build the corpus of a plan and of the recordings of `config` in `folder` (atomically) and load it.

    InputError lists every bad recording; if `on_bad_audio` is drop, they are counted in corpus.json instead.
    """
    folder = Path(folder)
    recorded = sources.without(sources.read(config, progress), planned.held_out)
    said = {clip.text for clip in recorded.clips if clip.split in ("test", "valid") and clip.text}
    planned = plan.without(planned, said)
    spoken = planned.spoken + _said_as_well(recorded, said | planned.held_out, seed)
    asked: list[Example] = [e for said in spoken for e in said.examples] + planned.typed + recorded.examples
    by_people = _with_prompts(recorded, spoken)
    by_voices = [said for said in spoken if not said.recording]
    scratch = folder.with_name(folder.name + ".shards")
    made = store.write(
        folder,
        chain(_speak(by_voices, seed, scratch, progress), by_people.waveforms(progress)),
        [example for example in asked if example.split != "test" and not example.probe],
        planned.items + [example for example in asked if example.split == "test"],
        planned.pairs,
        [{"split": split, "text": text} for split, text in planned.general],
        {
            "seed": seed,
            "config": dataclasses.asdict(config),
            "dropped": recorded.dropped,
            "counted": by_people.counted,
            "rows": planned.rows,
        },
        planned.valid_items + [example for example in asked if example.split == "valid" and example.probe],
    )
    overlap.check_validation(made)
    return made


def _with_prompts(recorded: sources.Recorded, spoken: list[SpokenText]) -> sources.Recorded:
    """The recordings of sources, and those in which people say prompts of files of rows."""
    clips, places = list(recorded.clips), dict(recorded.places)
    for said in spoken:
        if row := said.recording:
            by = f"prompts/{row.speaker}"  # one person in all files
            clips.append(Clip(said.id, said.text, by, said.split, said.source, "real", None, 0, 0, row.name, row.raw))
            places[said.id] = (row, slice(None))
    return dataclasses.replace(recorded, clips=clips, places=places)


def _said_as_well(recorded: sources.Recorded, held_out: set[str], seed: int) -> list[SpokenText]:
    """Repeat tasks in which synthetic voices speak the recordings' training texts, and digit strings.

    Recordings have many words, each spoken rarely; a synthetic voice says each once more. Empty without recordings.
    """
    texts = [clip.text for clip in recorded.clips if clip.split == "train" and clip.text and " " in clip.text]
    if not texts:
        return []
    rng = random.Random(f"said as well {seed}")
    digits = sorted(sources.DIGITS - {"oh"})
    texts += [" ".join(rng.choices(digits, k=rng.randint(1, 6))) for _ in range(len(texts) // 3)]
    kept = [text for text in texts if text not in held_out or text in digits]
    return [_to_repeat(f"train/said/{n:05d}", text) for n, text in enumerate(kept)]


def _to_repeat(clip_id: str, text: str) -> SpokenText:
    example = Example(f"{clip_id}/repeat", "train", REPEAT, INSTRUCTIONS[REPEAT], text, clip_id, text, "wer")
    return SpokenText(clip_id, text, "train", None, None, (example,))


def _speak(spoken: list[SpokenText], seed: int, scratch: Path, progress: bool) -> Iterator[tuple[Clip, np.ndarray]]:
    """Synthetic clips and their int16 waveforms (S,); `scratch` is removed afterwards."""
    utterances = [
        u for split in speech.ACCENTS_EACH for u in _utterances([s for s in spoken if s.split == split], split, seed)
    ]
    said = [s for split in speech.ACCENTS_EACH for s in spoken if s.split == split]
    try:
        with tqdm(total=len(said), desc="speaking", unit="clip", disable=not progress) as bar:
            rendered = speech.synthesise(_shards(utterances), scratch, bar.update)
            for text, u, (waveform, noise) in zip(said, utterances, rendered, strict=True):
                yield Clip(text.id, text.text, u.voice, text.split, "made", _named(u), noise, 0, 0), waveform
    finally:  # also if the disk is full
        shutil.rmtree(scratch, ignore_errors=True)


def _utterances(spoken: list[SpokenText], split: str, seed: int) -> list[Utterance]:
    """Choose voice, speaking style and condition for each text; texts of one group share all but the condition."""
    rng = random.Random("voices test" if split == "test" else f"voices {split} {seed}")
    voices = speech.voices(split)
    utterances: list[Utterance] = []
    group = None
    for said in spoken:
        u = Utterance(
            text=said.text,
            voice=rng.choice(voices),
            rate_wpm=rng.randint(*RATE_WPM),
            pitch=rng.randint(25, 75),
            pitch_range=rng.randint(40, 60),
            split=split,
            condition=_condition(said, rng),
            room=said.text != "" and said.group is None and rng.random() < ROOM_SHARE,
            seed=rng.getrandbits(48),
            padded=said.condition == "padded" or (said.condition is None and rng.random() < PADDED_SHARE),
            in_a_row=said.in_a_row,
        )
        if said.group is not None and said.group == group:
            u = dataclasses.replace(utterances[-1], condition=u.condition, padded=u.padded, repeat=True)
        utterances.append(u)
        group = said.group
    return utterances


def _condition(said: SpokenText, rng: random.Random) -> str:
    if said.condition is None:
        return rng.choices(list(TRAIN_CONDITIONS), list(TRAIN_CONDITIONS.values()))[0]
    return rng.choice(ANY_CONDITIONS) if said.condition == "any" else said.condition


def _named(u: Utterance) -> str:
    """The clip's condition: noise-free speech is clean only if no silence is added around or within it."""
    if u.condition != "clean":
        return u.condition
    return "joined" if u.in_a_row else "padded" if u.padded else "clean"


def _shards(utterances: list[Utterance]) -> list[list[Utterance]]:
    """Cut into shards at the end of a split or when one is full, but never inside a group."""
    shards: list[list[Utterance]] = []
    for u in utterances:
        full = not shards or len(shards[-1]) >= speech.CLIPS_PER_SHARD or shards[-1][-1].split != u.split
        if full and not u.repeat:
            shards.append([])
        shards[-1].append(u)
    return shards
