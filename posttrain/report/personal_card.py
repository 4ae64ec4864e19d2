"""A card in the run's folder for an adapter trained for one person: gain, cost, safety, and how to remove it.

It depends only on the ledger row and the weights.
"""

from pathlib import Path
from typing import Any

import yaml

from posttrain import files
from posttrain.evals.metrics import FORGETTING, Group, Reference, named, of
from posttrain.run.ledger import Row

WEIGHTS = Path("personal") / "adapter_model.safetensors"
COST = (*FORGETTING, "wer/clean", "task/intent")


def write(run_folder: Path, row: Row) -> Path:
    """Write the card of a `personalise` row as RUN/adapters/STAGE/person.yaml; returns its path."""
    path = run_folder / "adapters" / row.stage / "person.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    return files.write_text(path, yaml.safe_dump(card(row), sort_keys=False, allow_unicode=True))


def card(row: Row) -> dict[str, Any]:
    """The card's content."""
    parent, options = row.parents["model"], row.config["options"]
    return {
        "summary": f"A LoRA of rank {options['rank']} for one person, on top of {parent}.",
        "checkpoint": row.checkpoint,
        "listener": options["listener"],
        "utterances": row.train_metrics["utterances"],
        "gained": {name: _figure(row, name, "without") for name in named(Group.PERSON) if _gain(row, name)},
        "cost": {name: _figure(row, name, "parent") for name in COST if name in row.metrics},
        "safety": {name: _figure(row, name, "parent") for name in named(Group.SAFETY) if name in row.metrics},
        "weights_sha256": files.sha256(Path(row.checkpoint) / WEIGHTS),
        "removal": f"Use {parent}: without {WEIGHTS.parent}/ the model is its parent, bit for bit.",
    }


def _gain(row: Row, name: str) -> bool:
    return name in row.metrics and of(name).reference is Reference.WITHOUT


def _figure(row: Row, name: str, against: str) -> dict[str, Any]:
    """Value, n and interval, and the difference against the parent with its interval."""
    metric = row.metrics[name]
    keys = {"without": "delta_without_ci95", "parent": "delta_parent_ci95"}
    found = {key: files.rounded(metric[key]) for key in ("value", "n", "ci95")}
    delta, ci95 = metric.get(f"delta_vs_{against}"), metric.get(keys[against])
    return found | (files.rounded({"against_parent": delta, "against_parent_ci95": ci95}) if ci95 else {})
