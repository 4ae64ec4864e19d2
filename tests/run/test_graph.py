"""The graph of a recipe: seeds as copies of its sft nodes, and what hangs on them."""

import pytest

from posttrain.config.recipe import load_recipe, with_stage
from posttrain.run.graph import ancestors, nodes, reference, seed_of

STUDIES = {"study": 8, "study_all": 15}


def named(recipe):
    return {node.name: node for node in nodes(recipe)}


def test_a_recipe_with_one_seed_has_no_copies():
    assert not [name for name in named(load_recipe("tiny")) if seed_of(name)[1]]


def test_copies_differ_in_the_seed_of_sft_alone_and_nothing_else_hangs_on_them():
    found = named(load_recipe("tiny", ["seeds=3", "seed=5"]))
    assert [found[name].options.seed for name in ("sft", "sft@1", "sft@2")] == [None, 6, 7]
    assert len({found[name].key for name in ("sft", "sft@1", "sft@2")}) == 3
    assert found["sft@2"].parents == {"model": "distill"}
    assert {found[name].parents["model"] for name in ("dpo", "reward")} == {"sft"}
    alone = named(load_recipe("tiny", ["seed=5"]))
    assert {name: node.key for name, node in alone.items()} == {n: x.key for n, x in found.items() if n in alone}
    assert [node.name for node in ancestors(list(found.values()), "sft")][-1] == "sft"


def test_a_copy_hangs_on_the_copies_of_what_it_hangs_on():
    found = named(load_recipe("study_all"))
    assert found["lora_half@2"].parents == {"model": "lora@2"}
    assert found["full_half"].parents == {"model": "full"}
    assert reference(list(found.values()), found["qlora@1"]) == "base@nf4"


@pytest.mark.parametrize(("name", "arms"), STUDIES.items())
def test_a_study_shares_what_tiny_made_and_has_three_seeds_of_every_arm(name, arms):
    recipe, tiny = load_recipe(name), named(load_recipe("tiny"))
    found = named(recipe)
    shared = ("base", "ctc", "align", "distill")
    assert [found[n].key for n in shared] == [tiny[n].key for n in shared]
    made = [n for n, node in found.items() if node.stage == "sft"]
    assert len(made) == 3 * arms and len({found[n].key for n in made}) == len(made)
    assert {seed_of(n)[1] for n in made} == {0, 1, 2}


def test_the_small_study_is_part_of_the_large_one():
    small, large = (named(load_recipe(name)) for name in STUDIES)
    assert all(large[name].key == node.key for name, node in small.items())


@pytest.mark.parametrize(
    ("name", "expected"), [("sft@2", ("sft", 2)), ("sft", ("sft", 0)), ("base@nf4", ("base@nf4", 0))]
)
def test_a_seed_is_read_from_a_nodes_name(name, expected):
    assert seed_of(name) == expected


def test_an_enhancer_that_hangs_on_ctc_brings_the_base_that_ctc_is_measured_with():
    joint = with_stage(load_recipe("tiny", ["enhance.machine_weight=20"]), "enhance")
    assert [node.name for node in ancestors(nodes(joint), "enhance")] == ["base", "ctc", "enhance"]
    plain = with_stage(load_recipe("tiny"), "enhance")
    assert [node.name for node in ancestors(nodes(plain), "enhance")] == ["enhance"]
