"""Evaluate one finished checkpoint again, on the run's own items or on probes from a file."""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

from posttrain import checkpoint as checkpoints
from posttrain.checkpoint import read_spec
from posttrain.config import ASIDE
from posttrain.corpus import general_text
from posttrain.corpus.probes import read_probes
from posttrain.corpus.store import Corpus
from posttrain.errors import InputError
from posttrain.evals import evaluate, harness, metrics
from posttrain.model.corpus_table import corpus_table
from posttrain.sections import EvaluationConfig


def evaluate_checkpoint(
    checkpoint: Path, device: str, probes: Path | None = None, data_root: Path | None = None
) -> dict[str, Any]:
    """Metrics of the checkpoint, differences against row zero included where the items are the run's own.

    `probes`: JSON lines with id, probe, instruction, text, answer, grader, typed unless `clip` names one of the corpus.
    `data_root`: where held-out text is looked for, beside the run's own items.
    """
    config = stage_config(checkpoint)
    references = {stage: Path(path) for stage, path in config["references"].items()}
    if probes and config["stage"] in ASIDE:
        raise InputError(f"{checkpoint} is of stage {config['stage']}, which answers nothing; leave --probes out")
    own = read_probes(probes) if probes else None
    corpus = Corpus.load(config["corpus"])
    if own is None:
        corpus = dataclasses.replace(corpus, texts=corpus.texts + general_text.passages(data_root))
    else:
        unknown = sorted({item.clip for item in own if item.clip and item.clip not in corpus.clips})
        if unknown:
            raise InputError(
                f"{probes}: clip {unknown[0]} is not in {config['corpus']}; leave clip out to type the text"
            )
        corpus = dataclasses.replace(corpus, items=own, pairs=[], texts=[])
    table = None
    if config["stage"] != "base" and "ctc" in references:
        encoder = references["ctc"] if config["stage"] in ("ctc", "reward") else read_spec(checkpoint).encoder
        table = corpus_table(Path(encoder or references["ctc"]), Corpus.load(config["corpus"]), device)
    row = (
        json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
        if (checkpoint / "metrics.json").is_file()
        else {}
    )
    parents = {role: Path(path) for role, path in row.get("parents", {}).items()}
    answers, costs = evaluate.evaluate(
        checkpoint, config["stage"], corpus, table, references, parents, EvaluationConfig(), device
    )
    base = evaluate.reference_answers(checkpoint, references) if own is None else None
    measured = metrics.compute(answers, base=base, seed=config["seed"])
    return measured | {name: {"value": value} for name, value in costs.items()}


def benchmarks(checkpoint: Path, device: str, tasks: list[str], limit: int | None) -> dict[str, Any]:
    """`lm_eval/TASK/METRIC` of the checkpoint as it ships, through lm-evaluation-harness.

    `posttrain`, or a task whose name begins with it, is of the run's own typed probes; their files are written into
    a temporary folder: lm-eval imports code that a folder of tasks names, so it is given none of the run's.
    """
    config, options = stage_config(checkpoint), EvaluationConfig()
    if config["stage"] in ("ctc", "reward", *ASIDE):
        raise InputError(f"{checkpoint} is of stage {config['stage']}, which answers nothing; name base or sft")
    llama = checkpoints.load(checkpoint, device)
    ours = any(task == harness.OURS or task.startswith(f"{harness.OURS}_") for task in tasks)
    items = Corpus.load(config["corpus"]).items if ours else []
    with tempfile.TemporaryDirectory(prefix="posttrain_lm_eval_") as folder:
        names = harness.write_tasks(items, llama.tokenizer, Path(folder), options.max_new_tokens)
        named = [name for task in tasks for name in (names if task == harness.OURS else [task])]
        if not named:
            raise InputError(f"{config['corpus']} has no typed probe; name tasks of lm-evaluation-harness")
        figures, _ = harness.evaluate(
            llama, list(dict.fromkeys(named)), Path(folder), limit, options.batch_size, config["seed"]
        )
    return figures


def stage_config(checkpoint: Path) -> dict[str, Any]:
    """What made the checkpoint; InputError where it is no stage's folder."""
    path = checkpoint / "config.yaml"
    if not path.is_file():
        raise InputError(f"{checkpoint} is not a stage's folder (no config.yaml); name one such as runs/tiny/sft")
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config
