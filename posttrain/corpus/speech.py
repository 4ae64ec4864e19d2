"""Synthetic speech: espeak-ng through ctypes, with voices split into train, valid and test.

espeak-ng keeps state: the same sentence spoken twice in one process may differ by a few samples. So each shard of
utterances is spoken in fixed order by a fresh process (`python -m posttrain.corpus.speech JOBS OUT`), and the number of
shards does not depend on the machine. The same plan and seed give the same audio, which is generated once, stored and
hashed.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr

from posttrain.acoustics import SAMPLE_RATE, scenes
from posttrain.corpus.splits import fraction

ESPEAK_RATE_HZ = 22_050
CLIPS_PER_SHARD = 384
ROOMS = 24
ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-us-nyc")
# Left out: whispers, robots, croaks; f2, f3, f5, Alicia, sandro and victor, whose breath differs from process to
# process; Andrea, anika, antonio and pedro, which set their own rate.
VARIANTS = (
    "Alex Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike Nguyen Reed adam announcer"
    " aunty belinda benjamin boris caleb david ed edward edward2 f1 f4 grandma grandpa gustave ian iven iven2 iven3"
    " iven4 john klatt3 klatt4 klatt5 klatt6 linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel miguel mike2 norbert"
    " pablo paul quincy rob robert shelby steph steph2 steph3 travis zac"
).split()
FAMILIES = {"test": 12, "valid": 12}
"""Number of families of one timbre (steph, steph2, …) that are held out whole; the rest are for training."""
ACCENTS_EACH = {"test": 2, "valid": 2, "train": len(ACCENTS), "rl": len(ACCENTS)}
"""Accents per variant; only two if held out, so that each voice has several clips for intervals over voices."""


def voices(split: str) -> list[str]:
    """espeak-ng voices `accent+variant` of a split, drawn by a hash of the family's name. Train and rl have the same
    voices; no other splits share any."""
    families: dict[str, list[str]] = {}
    for variant in VARIANTS:
        name = variant.lower().rstrip("0123456789")
        families.setdefault(name if len(name) > 1 else variant, []).append(variant)
    drawn = sorted(families, key=lambda name: fraction(f"voice {name}"))
    test, valid = FAMILIES["test"], FAMILIES["test"] + FAMILIES["valid"]
    names = {"test": drawn[:test], "valid": drawn[test:valid]}.get(split, drawn[valid:])
    return [
        f"{ACCENTS[(2 * i + i // 2 + j) % len(ACCENTS)]}+{variant}"
        for i, variant in enumerate(variant for name in names for variant in families[name])
        for j in range(ACCENTS_EACH[split])
    ]


@dataclass(frozen=True)
class Utterance:
    """One utterance to speak and to mix into a scene."""

    text: str
    """Words; empty when nothing is said."""
    voice: str
    """espeak-ng voice."""
    rate_wpm: int
    """espeak-ng rate, 80–450."""
    pitch: int
    """0–99."""
    pitch_range: int
    """0–99."""
    split: str
    """Split whose noises, rooms and babble are used."""
    condition: str
    """One of corpus.types.CONDITIONS."""
    room: bool
    """Whether it is in a simulated room."""
    seed: int
    """Seed of noise, level and pauses."""
    repeat: bool = False
    """Whether it is the previous utterance again, in another condition."""
    padded: bool = False
    """Whether it has up to two seconds without speech on either side."""
    in_a_row: tuple[str, ...] = ()
    """The sentences of `text`, if it is several with pauses between them."""


def synthesise(
    shards: list[list[Utterance]], folder: Path, done: Callable[[int], None] = lambda clips: None
) -> Iterator[tuple[np.ndarray, str | None]]:
    """Speak and mix shards on all cores; yields (int16 waveform (S,), kind of noise) in order.

    `folder` receives the shards' files; `done` is called with the number of clips of each finished shard. RuntimeError
    with the stderr of the shard if a process fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split in {u.split for shard in shards for u in shard if u.room}:
        np.savez(folder / f"rooms.{split}.npz", *scenes.rooms(split, ROOMS))

    def run(number: int) -> Path:
        jobs, out = folder / f"{number}.json", folder / f"{number}.raw"
        jobs.write_text(json.dumps([asdict(utterance) for utterance in shards[number]]), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "posttrain.corpus.speech", str(jobs), str(out)]
        result = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, encoding="utf-8", errors="replace"
        )
        if result.returncode:
            raise RuntimeError(f"speech shard {number} failed: {result.stderr[-2000:]}")
        done(len(shards[number]))
        return out

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for out in pool.map(run, range(len(shards))):
            raw = np.fromfile(out, np.int16)
            out.unlink()
            start = 0
            for samples, noise in json.loads(out.with_suffix(".lengths.json").read_text(encoding="utf-8")):
                yield raw[start : start + samples], noise
                start += samples


class Espeak:
    """The espeak-ng library, loaded and initialised once per process."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        synchronous = 2
        rate_hz = self.library.espeak_Initialize(synchronous, 0, str(espeakng_loader.get_data_path()).encode(), 0)
        if rate_hz != ESPEAK_RATE_HZ:
            raise RuntimeError(
                f"espeak-ng starts at {rate_hz} Hz, expected {ESPEAK_RATE_HZ}; reinstall espeakng-loader"
            )
        self.chunks: list[bytes] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self.callback = kind(self._collect)
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int) -> int:
        if count > 0 and samples:
            self.chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, text: str, voice: str, rate_wpm: int, pitch: int, pitch_range: int) -> np.ndarray:
        """The sentence as float32 (S,) at 16 kHz in ±1, without silence around it; ValueError if there is no sound."""
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"voice is {voice}, expected one espeak-ng has")
        for parameter, value in ((1, rate_wpm), (3, pitch), (4, pitch_range)):
            self.library.espeak_SetParameter(parameter, value, 0)
        self.chunks.clear()
        data = text.encode()
        by_character, utf8 = 1, 1
        self.library.espeak_Synth(data, len(data) + 1, 0, by_character, 0, utf8, None, None)
        self.library.espeak_Synchronize()
        spoken = np.frombuffer(b"".join(self.chunks), np.int16).astype(np.float32) / 32_768
        loud = np.flatnonzero(np.abs(spoken) > 1e-3)
        if not len(loud):
            raise ValueError(f"espeak-ng said nothing for {text!r}")
        return soxr.resample(spoken[loud[0] : loud[-1] + 1], ESPEAK_RATE_HZ, SAMPLE_RATE)  # (S,)


def render_shard(utterances: list[Utterance], rooms: Sequence[np.ndarray] = ()) -> list[tuple[np.ndarray, str | None]]:
    """Speak the whole shard, then mix: babble and masked speech come from the shard's own utterances."""
    espeak = Espeak()
    spoken: list[np.ndarray] = []
    for u in utterances:
        if u.repeat:
            spoken.append(spoken[-1])
        elif u.text:
            said = [espeak.say(text, u.voice, u.rate_wpm, u.pitch, u.pitch_range) for text in u.in_a_row or [u.text]]
            spoken.append(scenes.in_a_row(said, np.random.default_rng([u.seed, 1])))
        else:
            spoken.append(np.zeros(0, np.float32))
    talkers = [speech for speech, u in zip(spoken, utterances, strict=True) if u.text and not u.repeat]
    return [
        scenes.compose(
            speech,
            "clean" if u.condition in ("padded", "joined") else u.condition,
            u.split,
            np.random.default_rng(u.seed),
            talkers,
            rooms if u.room else [],
            u.padded,
        )
        for speech, u in zip(spoken, utterances, strict=True)
    ]


def main(jobs: str, out: str) -> None:
    """Render the shard in file `jobs` to raw int16 `out`, with lengths and noises in a file beside it."""
    utterances = [Utterance(**job) for job in json.loads(Path(jobs).read_text(encoding="utf-8"))]
    path = Path(jobs).with_name(f"rooms.{utterances[0].split}.npz")
    rooms = list(np.load(path).values()) if path.is_file() else []
    rendered = render_shard(utterances, rooms)
    np.concatenate([waveform for waveform, _ in rendered]).tofile(out)
    lengths = [(len(waveform), noise) for waveform, noise in rendered]
    Path(out).with_suffix(".lengths.json").write_text(json.dumps(lengths), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
