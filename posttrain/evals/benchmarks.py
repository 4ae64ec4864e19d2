"""The public benchmarks of an evaluation: files that cards of data/ describe, and tasks of lm-evaluation-harness.

A name is read from the file of its card where the data root holds it; any other is a task of lm-evaluation-harness,
which loads its data from the hub.
"""

from pathlib import Path

from posttrain.config.sections import EvaluationConfig
from posttrain.corpus import choices
from posttrain.corpus.choices import Choice
from posttrain.errors import InputError
from posttrain.evals import harness_items


def names(config: EvaluationConfig, data_root: str | Path | None) -> list[str]:
    """The benchmarks that the options name; if they name none, those whose files the data root holds."""
    if config.benchmarks is None:
        return [name for name in choices.cards() if choices.file_of(name, data_root)]
    return list(dict.fromkeys(config.benchmarks))


def items(config: EvaluationConfig, data_root: str | Path | None, split: str = "test") -> list[Choice]:
    """The items of a split, test or valid, of every benchmark. InputError for one that cannot be had."""
    found: list[Choice] = []
    for name in names(config, data_root):
        if file := choices.file_of(name, data_root):
            found += choices.of_card(name, file, config.benchmark_limit, split)
        else:
            found += harness_items.items(name, config.benchmark_limit, split)
    return found


def missing(config: EvaluationConfig, data_root: str | Path | None) -> list[str]:
    """Why tasks of lm-evaluation-harness cannot be had here, each with how to fix it."""
    problems = []
    for name in names(config, data_root):
        if choices.file_of(name, data_root):
            continue
        try:
            harness_items.items(name, config.benchmark_limit)
        except InputError as error:
            card = f"; or put the file of data/{name}.yaml below DATA_ROOT/{name}" if name in choices.cards() else ""
            problems += [f"evaluation.benchmarks: {problem}{card}" for problem in error.problems]
    return problems
