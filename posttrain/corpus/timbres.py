"""Timbres that espeak-ng does not come with, each mixed from the settings of three of its voice variants.

Its variants are few and some are unlike all others: an encoder that hears only those learns them by heart. A mix has
the vocal tract of one training variant, the source of a second and the melody of a third, with jitter; so training
hears many voices between and around them, and nothing of a voice that is held out.
"""

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

TRACT = ("formant", "tone")
SOURCE = ("klatt", "voicing", "roughness", "flutter", "breath", "breathw", "consonants", "echo")
MELODY = ("pitch", "intonation", "stressAdd", "stressAmp", "stressLength")
FORMANTS = 9
TRACT_LENGTH = 0.06
"""Standard deviation of the log factor on all formants of a mix."""
EACH_FORMANT = 0.02
"""The same, for each formant apart."""
PITCH_FACTOR = (0.88, 1.14)
PITCH_HZ = "82 118"
"""espeak-ng's own, where a variant says nothing."""


def mix(number: int, variants: Sequence[str], data: Path) -> str:
    """Text of the variant file of mix `number`, out of `variants` in espeak-ng's folder `data`."""
    rng = random.Random(f"timbre {number}")
    parts = zip(rng.choices(variants, k=3), (TRACT, SOURCE, MELODY), strict=True)
    tract, source, melody = (_settings(data, variant, keys) for variant, keys in parts)
    formants = {line.split()[0]: line.split()[1:] for line in tract.pop("formant", [])}
    length = rng.gauss(0, TRACT_LENGTH)
    lines = ["language variant", f"name mix{number}"]
    for i in range(FORMANTS):
        percent, *rest = formants.get(str(i), ["100"])
        scaled = float(percent) * math.exp(length + rng.gauss(0, EACH_FORMANT))
        lines.append(" ".join(["formant", str(i), str(round(scaled)), *rest]))
    low_hz, high_hz = (float(hz) for hz in melody.pop("pitch", [PITCH_HZ])[0].split()[:2])
    factor = rng.uniform(*PITCH_FACTOR)
    lines.append(f"pitch {round(low_hz * factor)} {round(high_hz * factor)}")
    lines += [f"{key} {said}" for settings in (tract, source, melody) for key in settings for said in settings[key]]
    return "\n".join(lines) + "\n"


def install(timbres: Mapping[str, str], data: Path, folder: Path) -> None:
    """espeak-ng's `data` once more in `folder`, as links, with the variant files `timbres` (name → text) added."""
    variants = Path("voices") / "!v"
    (folder / variants).mkdir(parents=True)
    for inner in (Path(), Path("voices"), variants):
        for path in (data / inner).iterdir():
            if not (folder / inner / path.name).exists():
                (folder / inner / path.name).symlink_to(path)
    for name, text in timbres.items():
        (folder / variants / name).write_text(text)


def _settings(data: Path, variant: str, keys: Sequence[str]) -> dict[str, list[str]]:
    """Setting → what its lines say, for those of `keys` that the variant sets."""
    settings: dict[str, list[str]] = {}
    for line in (data / "voices" / "!v" / variant).read_text().splitlines():
        key, _, said = line.strip().partition(" ")
        if key in keys and said.strip():
            settings.setdefault(key, []).append(said.strip())
    return settings
