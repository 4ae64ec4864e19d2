"""What a recipe is about, before anything is made."""

from dataclasses import replace
from pathlib import Path

import pytest

from posttrain.config.recipe import load_recipe
from posttrain.run.outline import outline
from posttrain.tasks.plan import plan


@pytest.mark.parametrize("name", ["llama31_8b", "llama31_8b_qlora", "llama32_1b"])
def test_recipes_of_larger_models_are_about_the_same_as_smol(name):
    smol, larger = outline(load_recipe("smol")), outline(load_recipe(name))
    assert replace(larger, clips=smol.clips, written=smol.written) == smol
    assert larger.clips["train"] > smol.clips["train"] > 0 and larger.written > smol.written > 0
    assert smol.world == "general" and "fsdd" in smol.sources and {"request", "silent"} <= set(smol.tasks)
    assert {"wer_real/fsdd", "task/request", "task/intent", "safety/harmless/speech"} <= set(smol.suites)


def test_the_suites_are_those_of_the_corpus_that_a_run_makes():
    recipe = load_recipe("smoke")
    made = plan(recipe.corpus, recipe.seed)
    probes = [item.probe for item in made.items]
    probes += [e.probe for said in made.spoken for e in said.examples if e.split == "test"]
    about = outline(recipe)
    assert about.suites == {probe: probes.count(probe) for probe in set(probes)}
    assert sum(about.tasks.values()) == pytest.approx(1) and about.written == 0


def test_only_benchmarks_that_the_data_root_holds_are_found(tmp_path: Path):
    assert outline(load_recipe("tiny")).found == ()
    (tmp_path / "blimp").mkdir()
    (tmp_path / "blimp" / "pairs.jsonl").touch()
    about = outline(load_recipe("tiny", [f"corpus.data_root={tmp_path}"]))
    assert about.found == ("blimp",) and {"blimp", "piqa", "wikitext", "hellaswag"} <= set(about.benchmarks)
    assert about.benchmarks["blimp"] == 670


def test_benchmarks_that_are_named_are_measured_and_no_others(tmp_path: Path):
    (tmp_path / "blimp").mkdir()
    (tmp_path / "blimp" / "pairs.jsonl").touch()
    changes = ["evaluation.benchmarks=[blimp,arc_easy]", "evaluation.benchmark_limit=20"]
    about = outline(load_recipe("tiny", [*changes, f"corpus.data_root={tmp_path}"]))
    assert about.found == ("blimp", "arc_easy")
    assert about.benchmarks == {"blimp": 20, "arc_easy": None, "wikitext": 150}  # the hub tells how many
