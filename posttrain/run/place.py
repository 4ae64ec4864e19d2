"""Find where the stage of a ledger row lies now."""

from pathlib import Path

import yaml

from posttrain import files
from posttrain.model.origin import CONFIG, shown
from posttrain.run.ledger import Row


def of_row(run: Path, row: Row) -> Path | None:
    """Current folder of a ledger row's stage: in the run, or where the run took it from; None if it is gone.

    A folder of that name that holds another stage, or the same one trained at another time, is skipped.
    """
    was = Path(row.checkpoint)
    own = [run / was.name] if was.parent.name == row.run else []
    above = (folder / was for folder in run.absolute().parents)
    beside = sorted(path for path in run.absolute().parent.glob(f"*/{was.name}") if path.is_dir())
    places = dict.fromkeys((*own, was, *above, run / was.name, *(beside if row.config.get("key") else ())))
    found = next((place for place in places if place.is_dir() and _holds(place, row)), None)
    return found if found is None or found == was else shown(found)


def _holds(folder: Path, row: Row) -> bool:
    key = row.config.get("key")
    made = files.json_or_empty(folder / "metrics.json")
    if key is None or not made:
        return key is None or _key(folder) in (None, key)
    return (made.get("config") or {}).get("key") == key and made.get("started") == row.started


def _key(folder: Path) -> str | None:
    path = folder / CONFIG
    return None if files.damage(path) else yaml.safe_load(path.read_text(encoding="utf-8")).get("key")
