"""Benchmarks in the ledger have the figures of lm-evaluation-harness run by itself, item by item.

Its tasks load their data by hub id; a folder of that name with the hub's layout in the working folder stands in for it.
"""

import json
import sys

import lm_eval
import pyarrow
import pytest
from lm_eval.models.huggingface import HFLM
from pyarrow import parquet

from posttrain.config.recipe import load_recipe
from posttrain.config.sections import EvaluationConfig
from posttrain.errors import InputError
from posttrain.evals import benchmarks, choices, harness, harness_items
from posttrain.evals.compute import compute
from posttrain.model.speech_llama import Spec, SpeechLlama
from posttrain.run import planning, preflight
from tests.conftest import byte_tokenizer, tiny_llama

ARC = [
    {
        "id": f"q{n}", "question": f"Which of {n} is red?", "answerKey": "ABCD1234"[n % 4 + 4 * (n % 2)],
        "choices": {"text": ["a", "bb b", "ccc", "d e f g"], "label": list("1234" if n % 2 else "ABCD")},
    }
    for n in range(9)
]  # fmt: skip
HELLASWAG = [
    {
        "ind": n, "activity_label": "Washing", "ctx_a": f"[header] How to wash {n} [title] Take it.", "ctx": "",
        "ctx_b": "then you", "endings": ["put it  in.", "[step] throw it away.", "eat.", "go to the end of the room."],
        "source_id": f"wikihow~{n // 2}", "split": "val", "split_type": "indomain", "label": str(n % 4),
    }
    for n in range(8)
]  # fmt: skip
WINOGRANDE = [
    {
        "sentence": f"The {n} cats saw a dog and _ ran away.",
        "option1": "they",
        "option2": "it",
        "answer": str(1 + n % 2),
    }
    for n in range(6)
]
LAMBADA = [{"text": f"one two three and {n} four"} for n in range(4)]
HUB = {
    "allenai/ai2_arc": {"ARC-Easy": {"test": ARC}},
    "Rowan/hellaswag": {"default": {"validation": HELLASWAG}},
    "allenai/winogrande": {"winogrande_xl": {"validation": WINOGRANDE}},
    "EleutherAI/lambada_openai": {"default": {"test": LAMBADA}},
}
TASKS = ("arc_easy", "hellaswag", "winogrande", "lambada_openai")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A working folder that stands in for the hub, with parquet files as the hub has them."""
    root = tmp_path_factory.mktemp("hub")
    for name, configs in HUB.items():
        listed = []
        for config, splits in configs.items():
            folder = "data" if config == "default" else config
            splits = {"train": next(iter(splits.values()))[:1], **splits}
            files = [{"split": split, "path": f"{folder}/{split}-*"} for split in splits]
            listed.append({"config_name": config, "data_files": files})
            for split, rows in splits.items():
                file = root / name / folder / f"{split}-00000-of-00001.parquet"
                file.parent.mkdir(parents=True, exist_ok=True)
                parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        (root / name / "README.md").write_text(f"---\n{json.dumps({'configs': listed})}\n---\n")
    return root


@pytest.fixture
def at_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(hub)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    harness_items._loaded.cache_clear()
    yield hub
    harness_items._loaded.cache_clear()


@pytest.fixture(scope="module")
def llama():
    tokenizer = byte_tokenizer()
    return SpeechLlama(tiny_llama(tokenizer), tokenizer, Spec("base", "toy"))


def theirs(llama, tasks, limit=None):
    """Samples of lm-evaluation-harness by itself, by task."""
    model = HFLM(pretrained=llama.model, tokenizer=llama.tokenizer, backend="causal", batch_size=4)
    manager = harness_items.task_manager()
    return lm_eval.simple_evaluate(model, tasks=list(tasks), limit=limit, bootstrap_iters=0, task_manager=manager)[
        "samples"
    ]


def nats(sample):
    return [response[0][0] for response in sample["resps"]]


@pytest.mark.parametrize("limit", [None, 3])
def test_its_tasks_have_its_figures_item_by_item(at_hub, llama, limit):
    asked = benchmarks.items(EvaluationConfig(benchmarks=TASKS, benchmark_limit=limit), None)
    ours = {line["id"]: line for line in choices.lines(llama, asked, batch_size=8)}
    found, compared = theirs(llama, TASKS, limit), 0
    for task in TASKS:
        for sample in found[task]:
            line = ours.pop(f"benchmark/{task}/{sample['doc_id']:04d}")
            assert line["nats"] == pytest.approx(nats(sample), abs=2e-3)
            assert line["score"] == sample["acc"] and line.get("normed") == sample.get("acc_norm"), line["id"]
            compared += 1
    assert not ours and compared == (27 if limit is None else 12)
    metrics = compute(choices.lines(llama, asked, batch_size=8))
    for task in TASKS:
        assert metrics[f"benchmark/{task}"]["value"] == pytest.approx(
            sum(s["acc"] for s in found[task]) / len(found[task])
        )
    assert "benchmark_norm/hellaswag" in metrics and "benchmark_norm/winogrande" not in metrics


def test_a_cards_file_in_the_hubs_or_the_authors_layout_gives_the_same_items_as_the_task(at_hub, llama, tmp_path):
    for name, folder in (("arc_easy", "allenai/ai2_arc"), ("hellaswag", "Rowan/hellaswag")):
        (tmp_path / name).symlink_to(at_hub / folder)
    options = EvaluationConfig(benchmarks=("arc_easy", "hellaswag"))
    from_hub, by_card = benchmarks.items(options, None), benchmarks.items(options, tmp_path)
    assert [(i.id, i.pairs, i.right, i.lengths) for i in by_card] == [
        (i.id, i.pairs, i.right, i.lengths) for i in from_hub
    ]
    assert len({item.content for item in by_card}) == 9 + 4  # two items of HellaSwag to an article
    authors = tmp_path / "authors"
    _write(authors / "arc_easy" / "ARC-Easy" / "ARC-Easy-Test.jsonl", map(_as_ai2, ARC))
    _write(authors / "hellaswag" / "data" / "hellaswag_val.jsonl", map(_as_authors, HELLASWAG))
    assert benchmarks.items(options, authors) == by_card
    assert benchmarks.names(EvaluationConfig(), authors) == ["arc_easy", "hellaswag"]  # found without being named


def _write(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _as_ai2(row):
    offered = [{"text": t, "label": label} for t, label in zip(*row["choices"].values(), strict=True)]
    return {"id": row["id"], "question": {"stem": row["question"], "choices": offered}, "answerKey": row["answerKey"]}


def _as_authors(row):
    return row | {"label": int(row["label"])}


def test_validation_items_are_the_next_ones_and_none_without_a_limit(at_hub):
    options = EvaluationConfig(benchmarks=("arc_easy",), benchmark_limit=3)
    test, valid = ([i.id[-1] for i in benchmarks.items(options, None, split)] for split in ("test", "valid"))
    assert (test, valid) == (list("012"), list("345"))
    assert benchmarks.items(EvaluationConfig(benchmarks=("arc_easy",)), None, "valid") == []


def test_names_limit_and_content_make_another_evaluation(at_hub, tmp_path):
    def keys(*changes):
        recipe = load_recipe("smoke", list(changes))
        return planning.evaluation_key(recipe), planning.held_out_key(recipe)

    plain, named = keys(), keys("evaluation.benchmarks=[arc_easy]")
    assert plain[1] is None and named[1]
    assert len({plain, named, keys("evaluation.benchmarks=[arc_easy]", "evaluation.benchmark_limit=3")}) == 3
    card = tmp_path / "arc_easy" / "ARC-Easy" / "ARC-Easy-Test.jsonl"
    _write(card, map(_as_ai2, ARC))
    here = f"corpus.data_root={tmp_path}"
    before = keys(here)
    _write(card, map(_as_ai2, ARC[:-1]))
    assert before[0] == plain[0] and before[1] != keys(here)[1]


def test_what_cannot_be_had_is_said_before_training_with_how_to_fix_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    harness_items._loaded.cache_clear()
    recipe = load_recipe("smoke", ["evaluation.benchmarks=[arc_easy,arc_eazy,lambada_openai]"])
    steps = planning.plan(recipe, tmp_path / "run")  # a plan can be made anywhere
    [arc, misspelt, lambada] = [p for p in preflight.lacking(recipe, tmp_path, steps) if "benchmarks" in p]
    assert "the data of arc_easy cannot be had" in arc and "HF_HOME" in arc
    assert "or put the file of data/arc_easy.yaml below DATA_ROOT/arc_easy" in arc
    assert "does not know the task arc_eazy; did you mean arc_easy" in misspelt
    assert "DATA_ROOT" not in lambada
    assert not preflight.wrong(recipe, steps)
    harness_items._loaded.cache_clear()
    monkeypatch.setattr(harness_items, "task_manager", harness_items.task_manager.__wrapped__)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    [arc, *_] = preflight.lacking(recipe, tmp_path, steps)
    assert arc.startswith("evaluation.benchmarks: arc_easy: lm-evaluation-harness is not installed")
    assert "pip install 'posttrain[lm-eval]'" in arc
    harness_items._loaded.cache_clear()


def test_tasks_that_are_not_choices_are_refused(at_hub, monkeypatch):
    manager = harness_items.task_manager()
    found = manager.load(["arc_easy"])
    found["tasks"]["arc_easy"].OUTPUT_TYPE = "generate_until"
    monkeypatch.setattr(manager, "load", lambda names: found)
    with pytest.raises(InputError, match=r"arc_easy is of kind generate_until, graded by acc, acc_norm, expected"):
        harness_items.items("arc_easy", None)


@pytest.fixture
def no_hub(tmp_path, monkeypatch):
    """A working folder without data, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_unknown_tasks_are_named_with_what_is_like_them(llama, no_hub):
    with pytest.raises(InputError, match=r"arc_chalenge.*arc_challenge") as error:
        harness.evaluate(llama, ["arc_chalenge", "no_such_thing_at_all"], None, None, 2)
    assert len(error.value.problems) == 2


def test_data_that_cannot_be_had_is_said_in_one_error(llama, no_hub):
    with pytest.raises(InputError, match="the data of arc_challenge cannot be had"):
        harness.evaluate(llama, ["arc_challenge"], None, 2, 2)
