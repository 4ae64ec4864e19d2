"""What was lost of public benchmarks, above chance."""

import pytest

from posttrain.corpus import former_names
from posttrain.evals import validated
from posttrain.evals.compute import compute


def answers(right: int, of: int, task: str = "piqa", endings: int = 2, **more) -> list[dict]:
    """Answers to items of so many endings, of which `right` are right."""
    line = {"probe": f"benchmark/{task}", "output": "a", "nats": [0.0] * endings} | more
    return [line | {"id": f"benchmark/{task}/{n}", "content": str(n), "score": float(n < right)} for n in range(of)]


def test_what_the_base_only_guessed_is_shown_and_not_counted_as_forgotten():
    guessed = compute(answers(30, 100), answers(52, 100))
    assert guessed["benchmark/piqa"]["value"] == 0.3 and guessed["benchmark/piqa"]["chance"] == 0.5
    assert not {"forgetting/benchmarks", "forgetting/mean"} & set(guessed)


def test_what_is_forgotten_is_the_drop_relative_to_what_the_base_did_above_chance():
    known = compute(answers(70, 100), answers(90, 100))["forgetting/benchmarks"]
    assert known["value"] == pytest.approx(0.5) and known["families"] == 1  # from 40 points above chance to 20
    lo, hi = known["ci95"]
    assert 0 < lo < 0.5 < hi < 1
    before = answers(90, 100) + answers(40, 80, "arc_easy", 4)
    both = compute(answers(90, 100) + answers(20, 80, "arc_easy", 4), before, answers(70, 100))["forgetting/benchmarks"]
    assert both["value"] == pytest.approx(0.5) and both["n"] == 180  # none of one, all of the other
    assert both["delta_vs_base"] == pytest.approx(0.5) and both["delta_vs_parent"] == pytest.approx(-0.5)
    assert compute(before, before)["forgetting/benchmarks"]["value"] == 0.0


def test_chance_is_that_of_each_items_endings_and_none_for_a_single_one():
    mixed = compute(answers(3, 10, "x", 2) + answers(9, 20, "x", 4)[10:] + answers(2, 4, "y", 1))
    assert mixed["benchmark/x"]["chance"] == pytest.approx((10 / 2 + 10 / 4) / 20)
    assert mixed["benchmark/y"]["chance"] == 0.0


def test_by_characters_is_a_figure_of_its_own_and_no_second_count_of_what_is_forgotten():
    found = compute(answers(70, 100, normed=1.0), answers(90, 100, normed=0.0))
    assert found["benchmark_norm/piqa"]["value"] == 1.0 and found["forgetting/benchmarks"]["families"] == 1


def test_contents_are_what_is_resampled():
    def shared(right: int) -> list[dict]:
        return [line | {"content": str(int(line["content"]) // 10)} for line in answers(right, 100)]

    apart, together = (compute(f(70), f(90))["forgetting/benchmarks"] for f in (lambda n: answers(n, 100), shared))
    assert together["contents"] == 10 and apart["contents"] == 100
    assert together["ci95"][1] - together["ci95"][0] > apart["ci95"][1] - apart["ci95"][0]


def test_an_arm_is_chosen_by_benchmarks_where_the_base_has_no_abilities_of_its_own():
    found = validated.figures(answers(70, 100), answers(90, 100), seed=0, bootstrap=50)
    assert found["metrics"]["forgetting/benchmarks"]["value"] == pytest.approx(0.5)
    before, after = (sum(found[which]["benchmark/piqa"]["right"]) for which in ("zero", "scores"))
    assert (before, after) == (pytest.approx(40), pytest.approx(20))
    taught = {
        "id": "0",
        "probe": "ability/sum_easy",
        "text": "t",
        "content": "t",
        "output": "o",
        "answer": "o",
        "score": 1.0,
    }
    both = validated.figures([*answers(70, 100), taught], [*answers(90, 100), taught], seed=0, bootstrap=50)
    assert set(both["scores"]) == {"ability/sum_easy"}


def test_answers_and_figures_from_when_benchmarks_counted_as_abilities_are_read_as_benchmarks():
    old = {"id": "ability/blimp/0004", "probe": "ability/blimp", "output": "ability/blimp", "score": 1.0}
    new = {"id": "benchmark/blimp/0004", "probe": "benchmark/blimp", "output": "ability/blimp", "score": 1.0}
    assert former_names.renamed(old) == new
    metrics = {"ability/piqa": 1, "agreement/ability/piqa": 2, "ability/sum_easy": 3, "ability/blimping": 4}
    today = {"benchmark/piqa": 1, "agreement/benchmark/piqa": 2, "ability/sum_easy": 3, "ability/blimping": 4}
    assert former_names.renamed(metrics) == today
