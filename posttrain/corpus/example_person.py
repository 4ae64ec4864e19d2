"""An example person for trying `personalise` without real recordings: a voice of no split, names of no corpus.

`python -m posttrain.corpus.example_person FOLDER NUMBER`: espeak-ng speaks `personal.MOST` training sentences and TESTS
test sentences, without noise. Their wordings are the tiny world's, and no test wording is in train: names must be
recognised in wordings in which they were not learned.
"""

import argparse
import csv
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import soundfile

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE
from posttrain.corpus import grammar, personal, speech
from posttrain.corpus.build import RATE_WPM

TESTS = 100


@dataclass(frozen=True)
class Person:
    """A voice, and the people and places that it mentions."""

    voice: str
    """espeak-ng voice, with a variant that is not in speech.VARIANTS."""
    people: tuple[str, ...]
    places: tuple[str, ...]


PERSONS = (
    Person("en-us+Andrea", ("tamsin", "ozric", "yolanda"), ("hexham", "wexford")),
    Person("en-gb-x-rp+pedro", ("fenella", "imogen", "barnaby"), ("tarbert", "kirkwall")),
    Person("en+anika", ("saskia", "gareth", "ingrid"), ("durham", "swansea")),
    Person("en-us-nyc+antonio", ("matilda", "rufus", "celeste"), ("boulder", "savannah")),
    Person("en-gb-x-rp+RicishayMax", ("beatrix", "lachlan", "odette"), ("ludlow", "whitby")),
    Person("en-us+kaukovalta", ("cordelia", "dashiell", "marnie"), ("truro", "helston")),
)
"""`personalise` was developed on 0 and 1 and evaluated on 2 and 3 before splices in test wordings were refused; 4 and 5
were added after that."""


def write(folder: Path, number: int) -> Path:
    """Write the same recordings of PERSONS[number] every time; returns the manifest's path, which is written last."""
    person, rng = PERSONS[number], random.Random(f"person {number}")
    said = _sentences(person, rng)
    utterances = [
        speech.Utterance(text, person.voice, rng.randint(*RATE_WPM), 50, 50, split, "clean", False, rng.getrandbits(48))
        for split, text in said
    ]
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, str, str]] = []
    for u, (waveform, _) in zip(utterances, speech.synthesise([utterances], folder / "shards"), strict=True):
        name = f"{u.split}_{len(rows):03d}.wav"
        soundfile.write(folder / name, waveform, SAMPLE_RATE)
        own = [word for word in u.text.split() if word in person.people + person.places]
        rows.append((name, u.text, u.split, " ".join(own)))
    shutil.rmtree(folder / "shards")
    manifest = folder / "manifest.csv"
    with files.writing(manifest) as file:
        csv.writer(file).writerows([("path", "text", "split", "names"), *rows])
    return manifest


def _sentences(person: Person, rng: random.Random) -> list[tuple[str, str]]:
    """(split, text) rows; each name is required in an equal part of a split's sentences and may occur in others."""
    slots = grammar.SLOTS | {"person": person.people, "name": person.people, "city": person.places}
    wordings = [t for t in grammar.GENERAL if any(f"{{{slot}}}" in t for slot in ("person", "name", "city"))]
    rng.shuffle(wordings)
    # each split gets wordings with a place, one of them with a family member, for variety
    wordings.sort(key=lambda wording: ("{city}" in wording, "{family}" in wording))
    names = person.people + person.places
    made: list[tuple[str, str]] = []
    for split, own, count in (("train", wordings[::2], personal.MOST), ("test", wordings[1::2], TESTS)):
        texts: list[str] = []
        while len(texts) < count:
            text = grammar.expand(rng.choice(own), rng, slots)
            heard = [word for word in text.split() if word in names]
            if names[len(texts) % len(names)] in heard and len(heard) == len(set(heard)) and text not in texts:
                texts.append(text)
        made += [(split, text) for text in texts]
    return made


def main() -> None:
    """Write the person named on the command line."""
    parser = argparse.ArgumentParser(description="Make an example person's recordings and their manifest.csv.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("number", type=int, choices=range(len(PERSONS)))
    arguments = parser.parse_args()
    print(write(arguments.folder, arguments.number))


if __name__ == "__main__":
    main()
