"""Find what a checkpoint refers to where it lies now, and check that it is what was meant.

A stage's folder names its corpus, base, encoder and parents by paths relative to itself, with a hash of each. So a run
may be renamed, moved or copied, and a like-named run with other content is refused instead of used. Folders that older
versions wrote give only paths relative to the project; these are looked for beside the stage first.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from posttrain import files
from posttrain.config.sections import EvaluationConfig
from posttrain.config.stage_table import spec_of
from posttrain.errors import InputError

CONFIG, SPEC, CORPUS, ENHANCER = "config.yaml", "checkpoint.json", "corpus.json", "enhancer.json"
LINKS = "links"
"""Key of config.yaml and checkpoint.json: role → {path, relative to the folder; hash}."""
PARENT = "parent."
"""Prefix of a parent's role in those links: parent.model, parent.encoder, …"""
FINGERPRINT = re.compile("[0-9a-f]{16}")
WHOLE = 64 << 20
SAMPLE, SAMPLES = 1 << 20, 16
MODEL_FILES = (".json", ".safetensors", ".bin", ".model", ".txt")


@dataclass(frozen=True)
class Origin:
    """What made a checkpoint and what its evaluation refers to; InputError on access to a missing or changed part."""

    folder: Path
    """The stage's folder."""
    config: dict[str, Any]
    """Its config.yaml."""
    row: dict[str, Any]
    """Its metrics.json; empty before its evaluation."""

    @property
    def stage(self) -> str:
        """Name of the stage's function."""
        return str(self.config["stage"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.config["seed"])

    @cached_property
    def corpus(self) -> Path:
        """Folder of the corpus that it was trained and evaluated on."""
        data = str(self.row.get("data"))
        return self._find("corpus", self.config["corpus"], data if FINGERPRINT.fullmatch(data) else None)

    @cached_property
    def references(self) -> dict[str, Path]:
        """Folders of `base` and `ctc`, which its figures are compared with."""
        named = self.config.get("references") or {}
        hashes = files.json_or_empty(self.folder / SPEC).get("stands_on") or {}
        return {
            role: self._find(role, path, hashes.get("base" if role == "base" else "encoder"))
            for role, path in named.items()
        }

    @cached_property
    def parents(self) -> dict[str, Path]:
        """Role → folder of the checkpoint that it continued from."""
        return {role: self._find(PARENT + role, path, None) for role, path in self._parents.items()}

    @cached_property
    def encoder(self) -> Path | None:
        """Folder of the encoder whose frames it takes; None for a stage without speech input."""
        if spec_of(self.stage).leaves == "encoder":
            return self.folder
        return located(self.folder, "encoder")

    @property
    def evaluation(self) -> EvaluationConfig:
        """Options of its evaluation. InputError if an older version recorded a hash of them that matches no recipe."""
        made = self.row.get("config") or self.config
        if isinstance(options := made.get("evaluation_options"), dict):
            known = {field.name for field in dataclasses.fields(EvaluationConfig)}
            return EvaluationConfig(**{name: value for name, value in options.items() if name in known})
        return _recorded_evaluation(str(made.get("recipe", "")), made.get("evaluation"), self.folder)

    @property
    def _parents(self) -> dict[str, str]:
        links: dict[str, dict[str, str]] = self.config.get(LINKS) or {}
        named = {role: link["path"] for role, link in links.items() if role.startswith(PARENT)}
        return {role.removeprefix(PARENT): path for role, path in named.items()} or dict(self.row.get("parents") or {})

    def _find(self, role: str, path: str, wanted: str | None) -> Path:
        link = (self.config.get(LINKS) or {}).get(role)
        was = self.row.get("checkpoint")
        return _find(self.folder, role, str(path), link, wanted, None if was is None else str(was))


def resolve(folder: str | Path) -> Origin:
    """The Origin of a finished or trained stage's folder; parts are located only on access.

    InputError if the folder is not a stage's, or its config.yaml is broken.
    """
    folder = Path(folder)
    path = folder / CONFIG
    row = files.json_or_empty(folder / "metrics.json")
    if not path.is_file() and not row:
        raise InputError(f"{folder} is not a stage's folder (no {CONFIG}); name one such as runs/tiny/sft")
    if problem := files.damage(path):
        if not isinstance(row.get("config"), dict):
            raise InputError(f"{problem}; run that stage again")
        return Origin(folder, row["config"], row)
    return Origin(folder, yaml.safe_load(path.read_text(encoding="utf-8")), row)


def links(folder: Path, places: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Role → relative path and hash, as a stage in `folder` records them."""
    return {role: link(folder, place) for role, place in places.items()}


def link(folder: Path, place: Path) -> dict[str, str]:
    """Path of `place` relative to `folder`, and the hash of its content."""
    found = {"path": Path(os.path.relpath(place, folder)).as_posix()}
    content = identity(place)
    of = next((name for name in (CORPUS, SPEC, ENHANCER) if (place / name).is_file()), "model")
    return found | ({"hash": content, "of": of} if content else {})


def located(folder: Path, role: str) -> Path | None:
    """Folder of a checkpoint's `base`, `encoder` or `parent.ROLE` by its checkpoint.json; None if that names none.

    A hub id is returned as it is. InputError if the folder is missing or its content is not what was recorded.
    """
    spec = files.json_or_empty(folder / SPEC)
    parents = spec.get("parents") or {}
    name = parents.get(role.removeprefix(PARENT)) if role.startswith(PARENT) else spec.get(role)
    if name is None:
        return None
    if str(name).startswith("./"):
        return shown(folder / name)
    link = (spec.get(LINKS) or {}).get(role)
    return place(folder, role, str(name), link, (spec.get("stands_on") or {}).get(role))


def place(folder: Path, role: str, name: str, link: Mapping[str, str] | None, wanted: str | None = None) -> Path:
    """A folder that `folder` names as `name` (relative to the project, absolute or a hub id), by its link if any.

    InputError if it is missing or its content is not what was recorded; a hub id is returned as it is.
    """
    if link is None and wanted is None and not any(p.exists() for p in _places(folder, name, None, None)):
        return Path(name)  # a hub id, or a missing path, which its loader reports
    return _find(folder, role, name, link, wanted)


def identity(folder: Path) -> str | None:
    """Hash of the content of a corpus, a stage or a model in the folder; None if it holds none of them."""
    if (corpus := files.json_or_empty(folder / CORPUS)).get("fingerprint"):
        return str(corpus["fingerprint"])
    for name in (SPEC, ENHANCER):
        if (folder / name).is_file():
            return files.sha256(folder / name)
    return model_hash(folder)


def model_hash(folder: Path) -> str | None:
    """Hash of the config, tokenizer and weights in a plain model folder; None if there are none.

    Of a file above 64 MiB, the size and 16 evenly spread pieces of 1 MiB count: separately trained weights differ in
    all of them.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix in MODEL_FILES and p.is_file())
    parts = (part for p in paths for part in (f"{p.name} {p.stat().st_size}\0", _sampled(p)))
    return files.content_hash(parts) if paths else None


def _sampled(path: Path) -> bytes:
    size = path.stat().st_size
    if size <= WHOLE:
        return files.sha256(path).encode()
    pieces = []
    with path.open("rb") as file:
        for number in range(SAMPLES):
            file.seek(number * (size - SAMPLE) // (SAMPLES - 1))
            pieces.append(file.read(SAMPLE))
    return bytes.fromhex(files.content_hash(pieces))


def _find(
    folder: Path,
    role: str,
    name: str,
    link: Mapping[str, str] | None,
    wanted: str | None,
    was: str | None = None,
) -> Path:
    """The first place that holds what was meant; InputError that lists the places tried and what is there.

    A plain model folder in place of a stage's has no checkpoint.json to compare; its loader checks it.
    """
    wanted = (link or {}).get("hash") or wanted
    of_spec = wanted is not None and role != "corpus" and (link or {}).get("of", SPEC) == SPEC  # else of a plain model
    looked: dict[Path, str] = {}
    for candidates in (_places(folder, name, link, was), _beside(folder, name, link) if wanted else ()):
        if any(why != "missing" for why in looked.values()):
            break  # another folder has its name: report that, do not guess
        for candidate in candidates:
            key = Path(os.path.abspath(candidate))
            content = None if {key, key / SPEC} & looked.keys() else identity(candidate)
            if content is not None and (wanted in (None, content) or (of_spec and not (candidate / SPEC).is_file())):
                return shown(candidate)
            found = "missing" if content is None else f"sha256 is {content[:16]}, expected {str(wanted)[:16]}"
            looked.setdefault(key / SPEC if (key / SPEC).is_file() else key, found)
    places = "; ".join(f"{shown(path)}: {why}" for path, why in looked.items())
    what = {"corpus": "the corpus", "ctc": "the ctc stage", "base": "the base"}.get(role, role.replace(".", " "))
    raise InputError(
        f"{folder} refers to {what} at {name}, which changed or was not found ({places}); use files of one checkpoint:"
        " copy or move the whole run, with the run that it branches from, or run that stage again"
    )


def _places(folder: Path, name: str, link: Mapping[str, str] | None, was: str | None) -> Iterator[Path]:
    """Where it may be: by its link, as older versions meant the name, or relative to the project."""
    here = folder.absolute()
    if link:
        yield from (Path(os.path.normpath(here / link["path"])), here.resolve() / link["path"])
    if Path(name).is_absolute():
        yield Path(name)
        return
    if was is not None:
        yield here / os.path.relpath(name, was)
    elif link is None:
        yield here.parent / Path(name).name
    yield from (above / name for above in here.parents)
    yield Path(name)


def _beside(folder: Path, name: str, link: Mapping[str, str] | None) -> Iterator[Path]:
    """The stage of that name in every run beside this one and beside the run that was meant, which may be renamed."""
    here = folder.absolute()
    first = Path(os.path.abspath(here / (link["path"] if link else f"../{Path(name).name}")))
    for runs in dict.fromkeys((first.parent.parent, here.parent.parent)):
        yield from sorted(ledger.with_name(first.name) for ledger in runs.glob("*/ledger.jsonl"))


def shown(path: Path) -> Path:
    """The path, relative to the working folder if it lies inside."""
    absolute = Path(os.path.abspath(path))
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _recorded_evaluation(recipe: str, wanted: Any, folder: Path) -> EvaluationConfig:
    """Options of the evaluation, found by the hash that older versions recorded."""
    from posttrain.config.recipe import RECIPES, load_recipe

    known = [recipe, *sorted(path.stem for path in RECIPES.glob("*.yaml"))]
    for name in dict.fromkeys(known):
        try:
            options = load_recipe(name).evaluation
        except InputError:
            continue
        if wanted in (None, _old_hash(options)):
            return options
    if wanted == _old_hash(EvaluationConfig()):
        return EvaluationConfig()
    raise InputError(
        f"{folder} was evaluated with options that it does not record and that no recipe has; evaluate it once more"
        " with the run's own recipe (posttrain run)"
    )


def _old_hash(options: EvaluationConfig) -> str:
    first = {name: getattr(options, name) for name in ("batch_size", "max_new_tokens", "bootstrap")}
    return files.value_hash(first)
