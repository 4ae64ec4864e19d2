"""Run public benchmarks and our own typed probes through lm-evaluation-harness, on a checkpoint as it ships.

Our probes are written as its tasks (YAML and JSON lines in a folder), which any lm-eval finds with --include_path.
Their prompt is the chat as this run's tokenizer writes it and their grade is our own grader's, so both ways agree.

lm-eval imports the Python that a task's YAML names, from the YAML's folder. So a folder of tasks may hold only data and
our own grader's name, no code.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from posttrain import files
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.evals import harness_items
from posttrain.evals.clusters import Unit
from posttrain.evals.measures import Share
from posttrain.evals.units import unit
from posttrain.model.speech_llama import SpeechLlama
from posttrain.model.tokenizer import SpeechTokenizer
from posttrain.tasks.graders import grade

OURS = "posttrain"
"""The tag of all our tasks; each is called OURS_ plus its probe, such as posttrain_ability_sum_easy."""
GRADED = ("id", "instruction", "text", "answer", "grader", "content")
GRADER = f"{__name__}.process_results"
"""The function that lm-eval calls to grade an answer."""
DATA_TAGS = {*filter(None, yaml.SafeLoader.yaml_constructors), "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"}
BOOTSTRAP = 1000


def task_name(probe: str) -> str:
    """lm-eval's task name for one of our probes."""
    return f"{OURS}_{probe.replace('/', '_')}"


def write_tasks(items: Sequence[Example], tokenizer: SpeechTokenizer, folder: Path, max_new_tokens: int) -> list[str]:
    """Write a YAML and a JSON-lines file for each probe of typed items with free answers; returns the tasks' names."""
    folder.mkdir(parents=True, exist_ok=True)
    by_probe: dict[str, list[Example]] = {}
    for item in items:
        if item.clip is None and item.probe and not item.endings:
            by_probe.setdefault(item.probe, []).append(item)
    for probe, of_probe in by_probe.items():
        name = task_name(probe)
        documents = (
            {key: getattr(item, key) for key in GRADED} | {"prompt": tokenizer.prompt_text(item)} for item in of_probe
        )
        lines = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
        _write(folder / f"{name}.jsonl", lines)
        _write(folder / f"{name}.yaml", _task(name, folder / f"{name}.jsonl", tokenizer.eos_token, max_new_tokens))
    return [task_name(probe) for probe in by_probe]


def process_results(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Grade an answer; lm-eval calls this function because our tasks' YAML names it."""
    fields = {key: document[key] for key in GRADED}
    return {"score": grade(document["grader"], results[0].strip(), Example(**fields, split="test", task="", clip=None))}


def evaluate(
    llama: SpeechLlama, tasks: Sequence[str], folder: Path | None, limit: int | None, batch_size: int, seed: int = 0
) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """`lm_eval/TASK/METRIC` → value, n, ci95; and each task's samples (document, answer, figures).

    folder: further tasks, data only. The adapters are on. InputError for an unknown task, a task whose data is not
    available, a folder of tasks that names code, and an adapter that lm-eval cannot run.
    """
    if folder is not None:
        check_tasks(folder)
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise InputError(harness_items.MISSING) from error
    if llama.spec.adapter == "prompt_tuning":
        raise InputError("adapter is prompt_tuning, whose prompts shift what lm-eval reads; name another checkpoint")
    manager = TaskManager(include_path=folder, include_defaults=False)  # listing lm-eval's own takes seconds
    if not set(tasks) <= set(manager.all_tasks):
        manager = TaskManager(include_path=folder) if folder else harness_items.task_manager()
    harness_items.check_names(tasks, manager.all_tasks, f"{OURS}, ")
    model = HFLM(pretrained=llama.model, tokenizer=llama.tokenizer, backend="causal", batch_size=batch_size)
    with harness_items.data_that_can_be_had(tasks):
        found = simple_evaluate(
            model,
            tasks=list(tasks),
            task_manager=manager,
            limit=limit,
            bootstrap_iters=0,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    samples: dict[str, list[dict[str, Any]]] = found["samples"]
    return {k: v for task, of_task in samples.items() for k, v in _figures(task, of_task, seed).items()}, samples


def check_tasks(folder: Path) -> None:
    """Raise InputError for every file in a folder of tasks that lm-eval would import or that names code."""
    fix = "take it out; tasks here are data alone"
    problems = [f"{path} is Python, which lm-eval could import; {fix}" for path in sorted(folder.rglob("*.py"))]
    for path in sorted(folder.rglob("*.yaml")):
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
            problems += [f"{path} has {found}; {fix}" for found in _code(root)]
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problems.append(f"{path} cannot be read as YAML ({type(error).__name__}); {fix}")
    if problems:
        raise InputError(problems)


def _code(root: yaml.Node | None) -> Iterator[str]:
    """Tags other than YAML's own and our grader's, and keys by which a task includes another file or a class."""
    waiting, seen = [root] if root else [], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if node.tag not in DATA_TAGS and (node.tag, node.value) != ("!function", GRADER):
            yield f"{node.tag} {node.value if isinstance(node, yaml.ScalarNode) else ''}".strip()
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
            yield from (f"the key {key.value}" for key, _ in node.value if key.value in ("include", "class"))


def _task(name: str, data: Path, end: str, max_new_tokens: int) -> str:
    """The task's YAML; `!function` is lm-eval's own tag."""
    content = {
        "task": name,
        "tag": [OURS],
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(data.resolve())},
            "cache_dir": str(data.resolve().parent / "cache"),
        },
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": "",
        "generation_kwargs": {"until": [end], "do_sample": False, "max_gen_toks": max_new_tokens},
        "metric_list": [{"metric": "score", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    plain = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return plain + f"process_results: !function {GRADER}\n"


def _figures(task: str, samples: list[dict[str, Any]], seed: int) -> dict[str, dict[str, Any]]:
    """Figures of metrics that are shares per item, named with their filter if any; other metrics are left out."""
    by_name: dict[str, dict[str, Any]] = {}
    units: dict[str, Unit] = {}
    for sample in samples:
        document = sample.get("doc") or {}
        if document.get("prompt") and document.get("id"):
            units[str(sample["doc_id"])] = unit(document)
        suffix = "" if sample["filter"] == "none" else f",{sample['filter']}"
        for metric in sample["metrics"]:
            by_name.setdefault(f"lm_eval/{task}/{metric}{suffix}", {})[str(sample["doc_id"])] = sample[metric]
    found = {}
    for name, scores in by_name.items():
        if all(isinstance(score, int | float) and 0 <= score <= 1 for score in scores.values()):
            share = Share({key: float(score) for key, score in scores.items()}, units)
            ci = share.interval(seed, BOOTSTRAP)
            found[name] = {"value": ci.value, "n": share.n, **share.extra(), "ci95": [ci.lo, ci.hi]}
    return found


def _write(path: Path, text: str) -> None:
    """Write the file completely; leave it alone if it already holds this text."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    files.write_text(path, text)
