"""Scenes of the Clarity challenges: metadata/scenes.SET.json, SET/scenes/SCENE_mix_CH1.wav (or _mixed_CH1.wav), and the
targets' prompts in metadata/target_speech_list.json.

The folder may hold clarity_data/ as the archives unpack. The recording is what the hearing aid's first microphones
hear, at both ears; the value `clean` is the target alone without the room, if it is there.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.corpus.layouts.entry import Entry
from posttrain.corpus.layouts.folders import LOOKED_AT, Listing, folders, listing, some
from posttrain.readers import json_lines, tables, text_files

START, TARGETS = "scenes.", "target_speech_list.json"


def found(root: Path) -> bool:
    """Whether metadata/ with a scenes.SET.json is in the folder, or down to two levels below it."""
    return _base(root) is not None


def _base(root: Path) -> Path | None:
    inside = folders(root, LOOKED_AT)
    places = [root, *inside, *(deeper for folder in inside for deeper in folders(folder, LOOKED_AT))]
    return next((place for place in places if any(n.startswith(START) for n in some(place / "metadata"))), None)


def read(root: Path, card: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    """Entries by set, in the order of its scenes. Scenes whose audio was not unpacked are problems; a card with
    `unlisted: ignore` leaves sets out of which nothing was."""
    base = _base(root)
    if base is None:
        problems.append(f"{root} has no metadata/scenes.SET.json; unpack the challenge's core archive there")
        return
    metadata = base / "metadata"
    prompts = {
        str(target.get("wavfile", "")).removesuffix(".wav"): target
        for target in (_objects(metadata / TARGETS, problems) if (metadata / TARGETS).exists() else ())
    }
    for table in sorted(metadata.glob(f"{START}*.json")):
        split = table.name.removeprefix(START).removesuffix(".json")
        folder = next((f for f in (base / split / "scenes", base / "scenes") if f.is_dir()), base / split / "scenes")
        files, inside = listing(folder), folder.relative_to(root).as_posix()
        if not files and card.get("unlisted") == "ignore":
            continue
        for number, scene in enumerate(_objects(table, problems), 1):
            target, name = scene.get("target"), scene.get("scene")
            if not isinstance(target, dict) or not isinstance(name, str) or not isinstance(target.get("name"), str):
                problems.append(f"{table}, scene {number} has no `scene` or `target.name`; take the table as published")
                continue
            said = prompts.get(target["name"], {})
            mixed = next(
                (f for f in (f"{name}_mix_CH1.wav", f"{name}_mixed_CH1.wav") if f in files), f"{name}_mix_CH1.wav"
            )
            yield Entry(
                table,
                number,
                f"{inside}/{mixed}",
                str(said.get("prompt", "")),
                str(said.get("speaker") or target["name"].partition("_")[0]),
                split,
                values=_values(scene, name, inside, files),
                id=name,
                there=files.get(mixed, False),
            )


def _values(scene: dict[str, Any], name: str, inside: str, files: Listing) -> dict[str, str]:
    room, others = scene.get("room"), scene.get("interferers") or [scene.get("interferer") or {}]
    clean = f"{name}_target_anechoic_CH1.wav"
    found = {
        "room": room.get("name") if isinstance(room, dict) else room,
        "target": scene["target"]["name"],
        "snr_db": scene.get("SNR"),
        "interferers": " ".join(
            str(each.get("type")) for each in others if isinstance(each, dict) and each.get("type")
        ),
        "clean": f"{inside}/{clean}" if clean in files else None,
    }
    return {key: str(value) for key, value in found.items() if value not in (None, "")}


def _objects(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The objects of a JSON list."""
    text = text_files.read(path, "a list of scenes or targets", problems)
    try:
        found = [] if text is None else json_lines.parse(text)
    except ValueError as error:
        problems.append(f"{path} is not JSON: {error}; copy it again")
        return []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        problems.append(f"{path} holds {tables.shown(str(found))}, expected a list of objects; take it as published")
        return []
    return found
