"""compare: two runs or two checkpoints side by side, from their saved answers."""

import json
from pathlib import Path
from typing import Any

import yaml

from posttrain.cli.pipeline import run_folder
from posttrain.errors import InputError


def compare(before: str, after: str) -> dict[str, Any]:
    """Stage by stage, both figures and the paired difference of every metric that both have.

    Two checkpoints are compared with each other; of two runs, the stages of one name that are not one and the same.
    """
    a, b = _stages(before), _stages(after)
    if len(a) == len(b) == 1:
        (one, old), (other, new) = next(iter(a.items())), next(iter(b.items()))
        pairs = {f"{one} → {other}": (old, new)}
    else:
        pairs = {name: (a[name], b[name]) for name in b if name in a and a[name] != b[name]}
    return {"a": before, "b": after, "stages": {name: _differences(old, new) for name, (old, new) in pairs.items()}}


def _differences(before: Path, after: Path) -> dict[str, dict[str, Any]]:
    from posttrain.evals import evaluate, metrics

    old = json.loads((before / "metrics.json").read_text())["metrics"]
    config = yaml.safe_load((after / "config.yaml").read_text())
    references = {stage: Path(path) for stage, path in config["references"].items()}
    new = metrics.compute(
        evaluate.read_answers(after),
        base=evaluate.reference_answers(after, references),
        parent=evaluate.read_answers(before),
        seed=config["seed"],
    )
    return {
        name: {
            "a": old[name]["value"],
            "b": metric["value"],
            "n": metric["n"],
            "difference": metric["delta_vs_parent"],
            "ci95": metric["delta_parent_ci95"],
            "p": metric["p_vs_parent"],
        }
        for name, metric in new.items()
        if name in old and metric["delta_vs_parent"] is not None
    }


def _stages(run: str) -> dict[str, Path]:
    """Stage → folder, of a run or of one checkpoint."""
    from posttrain import ledger

    folder = run_folder(run)
    if (folder / "metrics.json").is_file():
        return {folder.name: folder}
    rows = ledger.read(folder / "ledger.jsonl")
    if not rows:
        raise InputError(f"{folder} is neither a run with a ledger.jsonl nor a finished stage; name one of them")
    return {row.stage: Path(row.checkpoint) for row in rows}
