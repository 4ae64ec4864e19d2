"""Where the entries of adapters/ and data/ are: the project's own folders, or the copies in an installed wheel."""

from pathlib import Path
from typing import Any, Literal

import yaml

from posttrain.errors import InputError

Kind = Literal["adapters", "data"]


def folder(kind: Kind) -> Path:
    """The folder adapters/ or data/ that belongs to this code."""
    bundled = Path(__file__).parent.parent / "bundled" / kind
    return bundled if bundled.is_dir() else Path(__file__).parents[2] / kind


def path(kind: Kind, name: str) -> Path:
    """The entry `name` of adapters/ or data/: `lora` finds lora.yaml; `probes` or `x.csv` is used as it is.

    Raises InputError that lists the existing entries.
    """
    root = folder(kind).resolve()
    inside = bool(Path(name).parts) and not Path(name).is_absolute() and ".." not in Path(name).parts
    for candidate in (root / name, root / f"{name}.yaml") if inside else ():
        if candidate.exists():  # not resolved: a link may point elsewhere
            return candidate
    raise InputError(f"{kind} has no entry {name!r} ({root}); name one of {', '.join(names(kind))}")


def card(name: str) -> dict[str, Any]:
    """Content of a card in data/; InputError as `path`."""
    return dict(yaml.safe_load(path("data", name).read_text(encoding="utf-8")))


def names(kind: Kind) -> list[str]:
    """Names of the YAML entries of adapters/ or data/, sorted."""
    return sorted(p.stem for p in folder(kind).glob("*.yaml"))
