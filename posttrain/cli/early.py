"""Checks that need no torch: a mistyped name is told at once, not after the libraries have loaded."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml

from posttrain import ledger
from posttrain.config import ASIDE
from posttrain.errors import InputError

DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")


def device(value: str) -> str:
    """Callback of --device."""
    if not DEVICE.fullmatch(value):
        raise typer.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:1, …")
    return value


def rows(folder: Path, stage: str | None = None) -> list[ledger.Row]:
    """The rows of a run's ledger; InputError where it has none, or none of that stage."""
    found = ledger.read(folder / "ledger.jsonl")
    if not found:
        raise InputError(f"{folder} has no ledger.jsonl with rows; name a run that finished a stage")
    if stage and all(row.stage != stage for row in found):
        known = ", ".join(row.stage for row in found)
        raise InputError(f"{folder} has no finished stage {stage} (it has {known}); name one of these")
    return found


def checkpoint(folder: Path, hears: bool = False) -> list[str]:
    """What is wrong with the files of a checkpoint, by their names alone."""
    path = folder / "checkpoint.json"
    if not path.is_file():
        if (folder / "config.json").is_file() and not hears:
            return []
        return [f"{folder} holds no checkpoint (no checkpoint.json); name a stage's folder, such as runs/tiny/sft"]
    try:
        spec = dict(json.loads(path.read_text(encoding="utf-8")))
        missing = [name for name in dict(spec.get("hashes", {})) if not (folder / name).is_file()]
    except (OSError, ValueError, TypeError) as error:
        return [f"{path} is not a checkpoint's: {error}; train that stage again"]
    problems = [f"{folder / name} is missing; train that stage again, or copy the folder whole" for name in missing]
    stage = spec.get("stage")
    if hears and (stage == "ctc" or not spec.get("encoder")):
        problems.append(f"{folder} ({stage}) does not hear; name a stage from align on, such as runs/tiny/sft")
    return problems


def evaluation(folder: Path, probes: Path | None) -> None:
    """InputError that lists what is wrong with a stage's folder and a file of probes."""
    from posttrain.corpus.probes import read_probes

    problems: list[str] = []
    config = folder / "config.yaml"
    if config.is_file():
        stage = _mapping(config, problems).get("stage")
        problems += [] if stage in ASIDE else checkpoint(folder)
    else:
        problems.append(f"{folder} is not a stage's folder (no config.yaml); name one such as runs/tiny/sft")
    if probes is not None:
        _collect(problems, read_probes, probes)
    if problems:
        raise InputError(problems)


def transcription(
    audio: Sequence[Path],
    manifest: Path | None,
    model: Path,
    enhance: bool,
    enhancer: Path | None,
    audiogram: str | None,
) -> None:
    """InputError that lists every file that is missing or bad, as far as names, manifests and headers tell."""
    from posttrain.corpus import manifest as manifests

    problems: list[str] = []
    if manifest is not None and not audio:
        _collect(problems, manifests.read, manifest)
    problems += missing(audio)
    problems += checkpoint(model, hears=True)
    if enhance:
        aid(problems, enhancer, audiogram)
    if problems:
        raise InputError([*problems, *_bad_headers(path for path in audio if path.is_file())])


def enhancement(source: Path, enhancer: Path | None, audiogram: str | None) -> None:
    """InputError that lists what is wrong with a recording, an enhancer's folder and an audiogram."""
    problems = missing([source])
    aid(problems, enhancer, audiogram)
    if problems:
        raise InputError(problems)


def aid(problems: list[str], enhancer: Path | None, audiogram: str | None) -> None:
    """Adds what is wrong with an enhancer's folder and an audiogram."""
    from posttrain.acoustics import audiogram as audiograms

    if audiogram:
        _collect(problems, audiograms.find, audiogram)
    if enhancer is not None and not (enhancer / "enhancer.json").is_file():
        problems.append(f"{enhancer} holds no enhancer (no enhancer.json); name the folder of a finished enhance stage")
    elif enhancer is None:
        from posttrain.enhance import newest

        _collect(problems, newest)


def missing(paths: Iterable[Path]) -> list[str]:
    """A problem for each path that is no file."""
    return [f"{path}: file not found; check the path" for path in paths if not path.is_file()]


def _bad_headers(paths: Iterable[Path]) -> list[str]:
    """What headers say of recordings, for a list that is not empty anyway."""
    from posttrain.corpus.audio import header

    problems = []
    for path in paths:
        try:
            header(path, 1)
        except ValueError as error:
            problems.append(f"{path}: {error}")
    return problems


def _mapping(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problems.append(f"{path} cannot be read: {' '.join(str(error).split())}; train that stage again")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path} holds no options; train that stage again")
        return {}
    return content


def _collect(problems: list[str], call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except InputError as error:
        problems += error.problems
