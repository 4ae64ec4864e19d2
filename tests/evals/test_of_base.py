"""Typed answers of a stage that left the Llama as it was are taken from the base, where they are of the same items."""

import json

import pytest
import torch
import yaml

from posttrain.config.sections import EvaluationConfig
from posttrain.evals import evaluate, of_base
from posttrain.machine.source import code_of
from posttrain.model import checkpoint
from posttrain.model.reference import Reference
from tests.evals.test_zero_controls import CONFIG, corpus
from tests.stages.toy_run import sft_folder


def computed(llama, references: Reference) -> list[dict]:
    """The typed lines of a model, none taken from elsewhere."""
    typed = [item for item in corpus().items if item.clip is None]
    lines = evaluate._answers(llama, typed, corpus(), None, CONFIG)
    lines += evaluate._language(llama, references, corpus(), CONFIG)
    return lines + evaluate._task(llama, references, corpus(), CONFIG)


@pytest.fixture
def evaluated(base_folder):
    """The base with its saved answers and the row of its evaluation."""
    base = checkpoint.load(base_folder, "cpu")
    evaluate.write_answers(base_folder / "answers.jsonl", computed(base, Reference(base)))
    options = {"batch_size": CONFIG.batch_size, "max_new_tokens": CONFIG.max_new_tokens, "bootstrap": CONFIG.bootstrap}
    config = {"stage": "base", "seed": 0, "corpus": "unused", "options": {}, "evaluation_options": options}
    (base_folder / "config.yaml").write_text(yaml.safe_dump(config))
    row = {"data": "toy", "config": config | {"evaluation_code": code_of("evaluation")}}
    (base_folder / "metrics.json").write_text(json.dumps(row))
    return base_folder


@pytest.fixture
def aligned(llama, tmp_path, table):
    """A stage that trained the projector alone."""
    torch.nn.init.normal_(next(llama.model.get_input_embeddings().projector.parameters()))
    checkpoint.save(tmp_path / "align", llama, stage="align")
    return checkpoint.load(tmp_path / "align", "cpu", table=table)


def test_what_is_taken_equals_what_would_be_computed_and_says_whose_it_is(evaluated, aligned, capsys):
    taken = evaluate._of_base(aligned, evaluated, corpus(), CONFIG)
    own = {line["id"]: line for line in computed(aligned, Reference(aligned))}
    assert {line["id"]: line for line in taken} == {name: line | {"of_base": True} for name, line in own.items()}
    assert "typed answers are those of base, not computed again" in capsys.readouterr().err


def test_a_stage_that_touched_the_llama_answers_itself(evaluated, llama, tmp_path, table):
    moved = checkpoint.load(sft_folder(llama, tmp_path / "sft"), "cpu", table=table)
    assert evaluate._of_base(moved, evaluated, corpus(), CONFIG) == []


@pytest.mark.parametrize("damage", ["answers", "row", "options", "corpus", "code", "item", "llama"])
def test_answers_of_another_evaluation_are_not_taken(evaluated, aligned, damage, monkeypatch):
    asked, options = corpus(), CONFIG
    if damage == "answers":
        (evaluated / "answers.jsonl").unlink()
    elif damage == "row":
        (evaluated / "metrics.json").unlink()
    elif damage == "options":
        options = EvaluationConfig(batch_size=4, max_new_tokens=5)
    elif damage == "corpus":
        row = json.loads((evaluated / "metrics.json").read_text())
        (evaluated / "metrics.json").write_text(json.dumps(row | {"data": "another"}))
    elif damage == "code":
        monkeypatch.setattr(of_base, "code_of", lambda _: {"training": "another"})
    elif damage == "item":
        lines = evaluate.read_answers(evaluated)
        evaluate.write_answers(evaluated / "answers.jsonl", [lines[0] | {"text": "another"}, *lines[1:]])
    else:
        aligned.spec = type(aligned.spec)(**{**vars(aligned.spec), "quantization": "nf4"})
    assert evaluate._of_base(aligned, evaluated, asked, options) == []
