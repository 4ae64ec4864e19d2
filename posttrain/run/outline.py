"""What a recipe's run is about, before anything is made: its world, sources, tasks, test items and benchmarks."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from posttrain.config import assets
from posttrain.config.recipe import Recipe
from posttrain.config.sections import CorpusConfig
from posttrain.corpus import choices, general_text, sources
from posttrain.corpus.splits import split_of
from posttrain.errors import InputError
from posttrain.evals import benchmarks
from posttrain.tasks import plan, rows, worlds


@dataclass(frozen=True)
class Outline:
    """The parts of a corpus and of its evaluation."""

    world: str
    """`corpus.world`."""
    sources: tuple[str, ...]
    """Cards whose recordings are added."""
    tasks: Mapping[str, float]
    """Kind of training clip → its share."""
    rl_tasks: Mapping[str, float]
    """The same for `grpo`."""
    suites: Mapping[str, int | None]
    """Probe → number of test items; None if only the recordings tell it."""
    benchmarks: Mapping[str, int | None]
    """Public benchmark or card of third-party text → number of test items; None if only the hub tells it."""
    found: tuple[str, ...]
    """Those that are measured: in the data root, or named and from the hub."""
    clips: Mapping[str, int]
    """Split → number of synthetic clips; rl is for `grpo`."""
    written: int
    """Requests that the base writes."""
    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """File of instructions or preferences → rows of each split, and why how many of it cannot be used."""

    def as_dict(self) -> dict[str, Any]:
        """The outline as a JSON object."""
        return asdict(self)


def outline(recipe: Recipe) -> Outline:
    """The outline of a valid recipe.

    The base has yet to write its requests and answers, so their numbers are estimates.
    """
    corpus = recipe.corpus
    written: dict[str, list[tuple[str, str]]] = {"train": [], "valid": [], "test": []} if corpus.written else {}
    for text in (f"request number {number}" for number in range(corpus.written)):
        written[split_of(text)].append((text, ""))
    world = worlds.of(corpus, written)
    few = replace(corpus, train_clips=0, rl_clips=0, valid_clips=0)
    answers = dict.fromkeys(rows.to_answer(few, recipe.seed), "answer")
    made = plan.plan(few, recipe.seed, written, answers)
    items = [*made.items, *(e for said in made.spoken for e in said.examples if e.split == "test")]
    return Outline(
        corpus.world,
        corpus.sources,
        _shares(world.spoken),
        _shares(world.rl),
        dict(sorted((dict(_recorded(corpus)) | Counter(str(item.probe) for item in items)).items())),
        *_benchmarks(recipe),
        {"train": corpus.train_clips, "rl": corpus.rl_clips, "valid": corpus.valid_clips},
        corpus.written,
        rows.choose(corpus, recipe.seed).counts(),
    )


def _shares(shares: Mapping[str, float]) -> dict[str, float]:
    """Kind → share, with the rest, which is silent."""
    return {**shares, "silent": round(1 - sum(shares.values()), 4)}


def _recorded(corpus: CorpusConfig) -> Iterator[tuple[str, int | None]]:
    """The probes of the sources' cards; the first has all test rows, if the card counts them."""
    for name in corpus.sources:
        try:
            about = sources.card(name)
        except InputError:  # which the checks of a run list
            continue
        counts = about.get("splits", {}).get("test", {})
        for number, probe in enumerate(about.get("probes") or ()):
            yield probe, counts.get("clips") if number == 0 else None


def _benchmarks(recipe: Recipe) -> tuple[dict[str, int | None], tuple[str, ...]]:
    """Benchmark or text → number of test items; and which of them are measured."""
    root, options = recipe.corpus.data_root, recipe.evaluation
    measured = benchmarks.names(options, root)
    counts: dict[str, int | None] = {}
    for name in measured if options.benchmarks is not None else choices.cards():
        local = name in choices.cards() and (options.benchmarks is None or choices.file_of(name, root))
        counts[name] = choices.count_of(name, options.benchmark_limit) if local else None
    for name in general_text.CARDS:
        about = assets.card(name)
        counts[name] = about["splits"]["test"]["passages"]
        measured += [name] * bool(root and (Path(root) / name / about["held_out"]).is_file())
    return counts, tuple(measured)
