"""What must be exactly zero: adapters off, a stage that moves nothing of the Llama, and the template alone."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from posttrain.config.sections import EvaluationConfig
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.evals import evaluate
from posttrain.evals.compute import compute
from posttrain.model import checkpoint
from posttrain.model.reference import Reference
from tests.stages.toy_run import sft_folder

CONFIG = EvaluationConfig(batch_size=4, max_new_tokens=6)
TYPED = ("ability/sum_easy", "ability/copy_easy", "safety/harmless/text")


def corpus() -> Corpus:
    """Typed items, two spoken ones of a new task, and general text."""
    items = [Example(f"{p}/{i}", "test", "answer", "answer", f"say {i}", None, f"{i}", "exact", p)
             for p in TYPED for i in range(3)]  # fmt: skip
    items += [
        Example(
            f"task/intent/{i}",
            "test",
            "command",
            "command",
            f"turn it up {i}",
            f"test/{i}",
            "{}",
            "json",
            "task/intent",
        )
        for i in range(2)
    ]
    texts = [{"split": "test", "text": text} for text in ("the aid is new", "she came home", "a")]
    return Corpus(Path("unused"), {}, [], items, [], texts, "toy", {})


def measured(stage, base) -> dict:
    """Metrics of a model against row zero, from its typed answers, general text and new tasks."""
    typed = [item for item in corpus().items if item.clip is None]
    rows = {}
    for name, llama in (("base", base), ("stage", stage)):
        lines = evaluate._answers(llama, typed, corpus(), None, CONFIG)
        reference = Reference(llama, None if name == "stage" and llama.shares_base else base)
        lines += evaluate._language(llama, reference, corpus(), CONFIG) + evaluate._task(
            llama, reference, corpus(), CONFIG
        )
        rows[name] = lines
    return compute(rows["stage"], rows["base"], bootstrap=20)


@pytest.fixture
def base(base_folder):
    return checkpoint.load(base_folder, "cpu")


def test_a_stage_that_moves_nothing_of_the_llama_has_exactly_no_text_forgetting(llama, base, tmp_path, table):
    torch.nn.init.normal_(next(llama.model.get_input_embeddings().projector.parameters()))
    checkpoint.save(tmp_path / "align", llama, stage="align")
    found = measured(checkpoint.load(tmp_path / "align", "cpu", table=table), base)
    assert found["forgetting/kl_base"]["value"] == found["forgetting/kl_task"]["value"] == 0.0
    assert found["forgetting/ce_base"]["delta_vs_base"] == found["language/perplexity"]["delta_vs_base"] == 0.0
    agreement = {name: m["value"] for name, m in found.items() if name.startswith("agreement/")}
    assert agreement == {f"agreement/{probe}": 1.0 for probe in TYPED}


def test_the_same_figures_are_not_zero_where_the_llama_moved(llama, base, tmp_path, table):
    moved = checkpoint.load(sft_folder(llama, tmp_path / "sft"), "cpu", table=table)
    found = measured(moved, base)
    assert found["forgetting/kl_base"]["value"] > 1e-3 and found["forgetting/kl_task"]["value"] > 1e-3
    assert found["forgetting/ce_base"]["delta_vs_base"] == pytest.approx(found["forgetting/kl_base"]["value"], rel=1e-4)
    assert min(m["value"] for name, m in found.items() if name.startswith("agreement/")) < 1


def test_the_base_is_scored_under_the_stages_template_so_that_a_template_alone_forgets_nothing(
    llama, base, tmp_path, table
):
    checkpoint.save(tmp_path / "align", llama, stage="align")
    stage = checkpoint.load(tmp_path / "align", "cpu", table=table)
    item = dataclasses.replace(corpus().items[-1], clip=None)
    assert stage.tokenizer.prompt_ids(item) == base.tokenizer.prompt_ids(item)  # as every stage here has it
    stage.tokenizer.chat_template = "be brief " + base.tokenizer.chat_template
    assert stage.tokenizer.prompt_ids(item) != base.tokenizer.prompt_ids(item)
    assert {line["kl"] for line in evaluate._task(stage, Reference(stage, base), corpus(), CONFIG)} == {0.0}


class Fixed:
    """A model of two tokens that gives every next one the same probabilities."""

    def __init__(self, *probabilities):
        self.logprobs = torch.tensor(probabilities, dtype=torch.float64).log()
        self.tokenizer = self
        self.spec = None

    def text_ids(self, text):
        return [0, 0, 1]

    def batches(self, rows, batch_size):
        return [[i] for i in range(len(rows))]

    def span_logprobs(self, rows, spans):
        return [self.logprobs.expand(last - first, -1) for first, last in spans]


def test_l_f_and_the_divergence_of_two_known_models_are_as_worked_by_hand():
    """Base ½ ½, stage ¼ ¾: L_f = −½ ln ¼ − ½ ln ¾, the KL is that less ln 2."""
    stage = Fixed(0.25, 0.75)
    lines = evaluate._language(stage, Reference(stage, Fixed(0.5, 0.5)), corpus(), CONFIG)
    found = compute(lines, bootstrap=20)
    assert found["forgetting/ce_base"]["value"] == pytest.approx(0.5 * math.log(4) + 0.5 * math.log(4 / 3))
    assert found["forgetting/kl_base"]["value"] == pytest.approx(0.5 * math.log(4 / 3))
    assert found["language/perplexity"]["value"] == pytest.approx(math.sqrt(4 * 4 / 3))
    assert found["forgetting/ce_base"]["tokens"] == 6
