"""The matrix of stages × abilities: every figure against an example worked by hand, and zero where nothing changed."""

import numpy as np
import pytest

from posttrain.evals import trajectory
from posttrain.tasks import abilities, facts, orders

LEARNED_IN_TURN = np.array([[0.9, 0.2, 0.1], [0.7, 0.8, 0.2], [0.6, 0.85, 0.95]])
"""Three tasks, learned one a stage: R[i][i] is task i just learned."""
FROM_A_BASE = np.array([[0.8, 0.5], [0.6, 0.55], [0.4, 0.3]])
"""Two abilities that the base has, after two stages."""


def test_acc_is_the_last_row():
    assert trajectory.accuracy(LEARNED_IN_TURN) == pytest.approx((0.6 + 0.85 + 0.95) / 3)


def test_bwt_is_lopez_paz_and_ranzatos_with_its_sign():
    # ((0.6 − 0.9) + (0.85 − 0.8)) / 2: the last task is left out, and losing is negative.
    assert trajectory.backward_transfer(LEARNED_IN_TURN, [0, 1, 2]) == pytest.approx(-0.125)
    # All known at the base: ((0.4 − 0.8) + (0.3 − 0.5)) / 2.
    assert trajectory.backward_transfer(FROM_A_BASE) == pytest.approx(-0.3)
    with pytest.raises(ValueError, match="before the last"):
        trajectory.backward_transfer(LEARNED_IN_TURN[:1])


def test_forgetting_is_chaudhrys_from_the_best_earlier_stage():
    # (max(0.9, 0.7) − 0.6 + max(0.2, 0.8) − 0.85) / 2: what went up counts against it.
    assert trajectory.forgetting(LEARNED_IN_TURN, [0, 1, 2]) == pytest.approx((0.3 - 0.05) / 2)
    # (max(0.8, 0.6) − 0.4 + max(0.5, 0.55) − 0.3) / 2
    assert trajectory.forgetting(FROM_A_BASE) == pytest.approx((0.4 + 0.25) / 2)


def test_fg_is_the_mean_relative_drop_over_the_trajectory():
    # First ability (0.25 + 0.5) / 2, second (−0.1 + 0.4) / 2, their mean.
    assert trajectory.relative_loss(FROM_A_BASE) == pytest.approx((0.375 + 0.15) / 2)


def test_fg_above_chance_measures_what_there_was_to_lose():
    # Chance 0.2 and 0: first ability (0.2/0.6 + 0.4/0.6) / 2 = 0.5, second as before.
    assert trajectory.relative_loss(FROM_A_BASE, [0.2, 0.0]) == pytest.approx((0.5 + 0.15) / 2)
    # Down to chance is all of it; what the base has not is not in the mean.
    assert trajectory.relative_loss(np.array([[0.9, 0.5], [0.5, 0.1]]), [0.5, 0.5]) == pytest.approx(1)
    assert trajectory.relative_loss(np.array([[0.3], [0.1]]), 0.3) == 0


def test_samples_of_the_matrix_go_through_the_same_code():
    both = np.stack([FROM_A_BASE, FROM_A_BASE[:, ::-1]])
    for figure in (trajectory.accuracy, trajectory.backward_transfer, trajectory.forgetting, trajectory.relative_loss):
        assert figure(both) == pytest.approx([figure(FROM_A_BASE)] * 2)


def test_a_guess_is_right_where_the_question_offers_the_answer():
    assert abilities.chance("which is more five or six", "six") == 0.5
    assert abilities.chance("which is more six or five", "six") == 0.5
    assert abilities.chance("what is five plus six", "eleven") == abilities.chance("five or six", "seven") == 0
    assert abilities.chance("or", "or") == 0
    ordered, known = (
        {abilities.chance(q.text, q.answer) for q in bank["test"]} for bank in (orders.easy(), facts.easy())
    )
    assert ordered == {0.0, 0.5} and known == {0.0}


def scores(n: int, *lost: int) -> np.ndarray:
    """n items that the base answers; the first `lost[t]` of them are wrong after stage t + 1."""
    return np.stack([np.ones(n), *((np.arange(n) >= k).astype(float) for k in lost)], axis=1)


def test_flips_have_exact_mcnemar_and_holm_over_the_abilities():
    won = scores(40, 0, 6)[:, ::-1]  # six that the base gets wrong and the last stage right
    made = {"a": scores(40, 2, 8), "b": won, "c": scores(40, 3, 0)}
    found = trajectory.trace(made, dict.fromkeys(made, 0.0), ["base", "sft", "dpo"], 0, 200)
    a, b, c = found.abilities.values()
    assert (a.lost, a.won, b.lost, b.won, c.lost, c.won) == (8, 0, 0, 6, 0, 0)
    assert (a.p, b.p, c.p) == pytest.approx((2 / 2**8, 2 / 2**6, 1))
    assert (a.holm, b.holm, c.holm) == pytest.approx((3 * 2 / 2**8, 2 * 2 / 2**6, 1))
    assert a.accuracy == pytest.approx([1, 38 / 40, 32 / 40])
    assert found.n == 120 and found.stages == ["base", "sft", "dpo"]


def test_figures_have_intervals_over_paired_items():
    made = {"a": scores(400, 40, 80)}
    found = trajectory.trace(made, {"a": 0.5}, ["base", "sft", "dpo"], 0, 1000).figures
    assert found["bwt"].value == pytest.approx(-0.2)
    # Wald by hand: 1.96 √(0.2 × 0.8 / 400) = 0.039; the base is right throughout, so that all width is the stage's.
    assert found["bwt"].hi - found["bwt"].value == pytest.approx(0.039, abs=0.006)
    assert found["fg"].value == pytest.approx(0.15) and found["fg_above_chance"].value == pytest.approx(0.3)
    assert all(ci.lo < ci.value < ci.hi for ci in found.values())
    assert trajectory.trace(made, {"a": 0.5}, ["base", "sft", "dpo"], 0, 1000).figures == found


@pytest.mark.parametrize("right", [0, 7, 40])
def test_equal_answers_give_exactly_zero_everywhere(right):
    column = (np.arange(40) < right).astype(float)
    made = {name: np.stack([column] * 4, axis=1) for name in ("a", "b")}
    found = trajectory.trace(made, {"a": 0.0, "b": 0.1}, list("wxyz"), 0, 100)
    changes = {name: ci for name, ci in found.figures.items() if name != "acc"}
    assert {"bwt", "forgetting"} <= set(changes) and ("fg" in changes) == (right > 0)
    assert all(ci.value == 0 and ci.lo < 0 < ci.hi for ci in changes.values())
    assert found.figures["acc"].value == right / 40 and found.figures["acc"].lo < found.figures["acc"].hi
    assert all((a.lost, a.won, a.p, a.holm) == (0, 0, 1, 1) for a in found.abilities.values())


def test_wordings_of_one_content_flip_together_and_are_drawn_together():
    grades = np.array([[1.0, 0.0 if i < 24 else 1.0] for i in range(60)])
    contents = {"ability/x": [f"fact {i // 4}" for i in range(60)]}
    alone = trajectory.trace({"ability/x": grades}, {"ability/x": 0.0}, ["base", "sft"], 0, 400)
    shared = trajectory.trace({"ability/x": grades}, {"ability/x": 0.0}, ["base", "sft"], 0, 400, contents)
    assert alone.abilities["ability/x"].p == pytest.approx(2 / 2**24)
    assert shared.abilities["ability/x"].p == pytest.approx(2 / 2**6)  # six facts lost, none won
    assert (shared.abilities["ability/x"].n, shared.abilities["ability/x"].contents) == (60, 15)
    for name in ("acc", "bwt"):
        wide, narrow = shared.figures[name], alone.figures[name]
        assert wide.value == narrow.value and wide.hi - wide.lo > 1.6 * (narrow.hi - narrow.lo)
