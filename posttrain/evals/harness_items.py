"""Items of lm-evaluation-harness's own tasks: its prompts, endings and right answers; it loads their data itself."""

import contextlib
import difflib
import functools
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from posttrain.corpus.choices import PROBE, Choice
from posttrain.errors import InputError

MISSING = "lm-evaluation-harness is not installed; get it with: pip install 'posttrain[lm-eval]'"
FEWSHOT_SEED = 1234
"""Its own default, by which a task that shows solved examples draws them."""


def items(name: str, limit: int | None, split: str = "test") -> list[Choice]:
    """The items of a task or group of tasks: the first `limit` of each task, as its --limit; the next for validation.

    Without a limit the test has all, and validation none. InputError if lm-evaluation-harness is not installed, does
    not know the name or cannot load the data, or if the task is not one of choosing or of likelihood, graded by acc.
    """
    found, problems = _loaded(name, limit)
    if problems:
        raise InputError(problems)
    test = [item for place, item in found if limit is None or place < limit]
    if split == "test":
        return test
    contexts = {item.context for item in test} - {""}
    return [item for place, item in found if limit is not None and place >= limit and item.context not in contexts]


@functools.cache
def task_manager() -> Any:
    """What knows all of lm-evaluation-harness's tasks; listing them takes seconds. ImportError without the extra."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


@functools.cache
def _loaded(name: str, limit: int | None) -> tuple[list[tuple[int, Choice]], list[str]]:
    """What `_load` gives, and its problems: an unreachable hub is asked once, since it takes half a minute to fail."""
    try:
        return _load(name, limit), []
    except InputError as error:
        return [], error.problems


def _load(name: str, limit: int | None) -> list[tuple[int, Choice]]:
    """(Place in its task, item) of twice as many as `limit`."""
    try:
        manager = task_manager()
    except ImportError as error:
        raise InputError(f"{name}: {MISSING}") from error
    check_names([name], manager.all_tasks)
    with data_that_can_be_had([name]):
        tasks: dict[str, Any] = manager.load([name])["tasks"]
    made = []
    for task_name, task in tasks.items():
        _check(task_name, task)
        task.set_fewshot_seed(FEWSHOT_SEED)
        task.build_all_requests(limit=None if limit is None else 2 * limit)
        of_task = name if len(tasks) == 1 else f"{name}/{task_name}"
        for place, requests in groupby(task.instances, key=lambda request: request.doc_id):
            made.append((place, _choice(name, of_task, place, task, list(requests))))
    return made


def _check(name: str, task: Any) -> None:
    """InputError unless the task is graded by which ending is likeliest, or whether its only one is."""
    from lm_eval.api.task import ConfigurableTask

    what = "is made and graded by code of its own"
    if isinstance(task, ConfigurableTask) and not callable(task.config.process_results):
        kinds, graded = ("multiple_choice", "loglikelihood"), list(task.aggregation())
        if task.OUTPUT_TYPE in kinds and "acc" in graded and not task.multiple_target:
            return
        what = f"is of kind {task.OUTPUT_TYPE}, graded by {', '.join(graded)}"
    raise InputError(
        f"{name} {what}, expected one of multiple_choice or loglikelihood with one right answer, graded by acc; name "
        "another, or run it with posttrain evaluate --lm-eval"
    )


def _choice(benchmark: str, of_task: str, place: int, task: Any, requests: list[Any]) -> Choice:
    """The item of a document's requests; those for acc_mutual_info, after the others, are left out."""
    document, right = requests[0].doc, 0
    lengths: tuple[int, ...] = ()
    if task.OUTPUT_TYPE == "multiple_choice":
        texts = task.doc_to_choice(document)
        gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
        right = texts.index(gold) if isinstance(gold, str) else int(gold)
        lengths = tuple(map(len, texts)) if "acc_norm" in task.aggregation() else ()
        requests = requests[: len(texts)]
    contexts, endings = zip(*(request.arguments[:2] for request in requests), strict=True)
    shared = len(set(contexts)) == 1
    context = contexts[0] if shared else ""
    content = (context or of_task) if shared else f"{contexts[0]}{endings[0]}"
    name = f"{PROBE}{of_task}/{place:04d}"
    return Choice(name, PROBE + benchmark, context, endings, right, content, () if shared else contexts, lengths)


def check_names(tasks: Sequence[str], known: Sequence[str], also: str = "") -> None:
    """InputError for each name that lm-evaluation-harness does not know, with names like it."""
    problems = []
    for name in tasks:
        if name not in known:
            near = ", ".join(difflib.get_close_matches(name, known, 3)) or f"{also}arc_challenge, hellaswag"
            problems.append(f"lm-evaluation-harness does not know the task {name}; did you mean {near}?")
    if problems:
        raise InputError(problems)


@contextlib.contextmanager
def data_that_can_be_had(tasks: Sequence[str]) -> Iterator[None]:
    """Turn the errors of an unreachable hub into one InputError that says what to do."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except (ConnectionError, DatasetsError, FileNotFoundError, HfHubHTTPError, OfflineModeIsEnabled) as error:
        raise InputError(
            f"the data of {', '.join(tasks)} cannot be had: {error}; run once with a network, or copy the cache of a "
            "machine that has them (HF_HOME)"
        ) from error
