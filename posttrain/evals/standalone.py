"""Evaluate one finished checkpoint again, on the run's own items or on probes from a file."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from posttrain.config.sections import EvaluationConfig
from posttrain.config.stage_table import spec_of
from posttrain.corpus import general_text
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.evals import benchmarks as public
from posttrain.evals import evaluate, harness
from posttrain.evals.compute import compute
from posttrain.model import checkpoint as checkpoints
from posttrain.model.corpus_table import corpus_table
from posttrain.model.origin import Origin, resolve
from posttrain.tasks.probe_file import read_probes


def evaluate_checkpoint(
    checkpoint: Path, device: str, probes: Path | None = None, data_root: Path | None = None
) -> dict[str, Any]:
    """Metrics of the checkpoint, with differences from row zero if the items are the run's own.

    Corpus, encoder, references and options are those of its own run, wherever that is now (see `model.origin`).
    `probes`: JSON lines with id, probe, instruction, text, answer, grader, typed unless `clip` names a corpus clip.
    `data_root`: where to look for held-out text and public benchmarks, in addition to the run's own items.
    """
    made = resolve(checkpoint)
    if probes and spec_of(made.stage).aside:
        raise InputError(f"{checkpoint} is of stage {made.stage}, which answers nothing; leave --probes out")
    own = read_probes(probes) if probes else None
    corpus = Corpus.load(made.corpus)
    unknown = sorted({item.clip for item in own or () if item.clip and item.clip not in corpus.clips})
    if unknown:
        raise InputError(f"{probes}: clip {unknown[0]} is not in {made.corpus}; leave clip out to type the text")
    _, measured, costs = measure(made, corpus, made.evaluation, device, data_root, own)
    return measured | {name: {"value": value} for name, value in costs.items()}


def measure(
    made: Origin,
    corpus: Corpus,
    options: EvaluationConfig,
    device: str,
    data_root: str | Path | None = None,
    items: list[Example] | None = None,
) -> tuple[list[evaluate.Line], dict[str, dict[str, Any]], dict[str, float]]:
    """Answers of a checkpoint, figures from them, and costs: a run does this after each stage, `evaluate` repeats it.

    `items`: replaces the corpus's items; nothing is then compared with the references' answers.
    """
    if items is None:
        texts = corpus.texts + general_text.passages(data_root)
        asked = dataclasses.replace(corpus, texts=texts, choices=public.items(options, data_root))
    else:
        asked = dataclasses.replace(corpus, items=items, pairs=[], texts=[])
    table = corpus_table(made.encoder, corpus, device) if made.encoder else None
    references, parents = made.references, made.parents
    answers, costs = evaluate.evaluate(made.folder, made.stage, asked, table, references, parents, options, device)
    base = parent = None
    if items is None:
        base = evaluate.reference_answers(made.folder, references)
        parent = evaluate.saved_answers([parents["model"]]) if "model" in parents else None
    return answers, compute(answers, base, parent, made.seed, options.bootstrap), costs


def benchmarks(checkpoint: Path, device: str, tasks: list[str], limit: int | None) -> dict[str, Any]:
    """`lm_eval/TASK/METRIC` of the checkpoint as it ships, through lm-evaluation-harness.

    `posttrain`, or a task whose name begins with it, selects the run's own typed probes. Their files go to a temporary
    folder: lm-eval imports code that a folder of tasks names, so it gets none of the run's folders.
    """
    made = resolve(checkpoint)
    options = made.evaluation
    if spec_of(made.stage).leaves not in ("llama", "speech"):
        raise InputError(f"{checkpoint} is of stage {made.stage}, which answers nothing; name base or sft")
    llama = checkpoints.load(checkpoint, device)
    ours = any(task == harness.OURS or task.startswith(f"{harness.OURS}_") for task in tasks)
    items = Corpus.load(made.corpus).items if ours else []
    with tempfile.TemporaryDirectory(prefix="posttrain_lm_eval_") as folder:
        names = harness.write_tasks(items, llama.tokenizer, Path(folder), options.max_new_tokens)
        named = [name for task in tasks for name in (names if task == harness.OURS else [task])]
        if not named:
            raise InputError(f"{made.corpus} has no typed probe; name tasks of lm-evaluation-harness")
        figures, _ = harness.evaluate(
            llama, list(dict.fromkeys(named)), Path(folder), limit, options.batch_size, made.seed
        )
    return figures
