"""A choice among arms: what equal arms are said to be, and that a better one is found. All by simulation in NumPy.

Trainings differ by seed, and validation and test see the same trainings: luck of a seed is in both.
"""

import numpy as np
import pytest

from posttrain.evals.choice import ALPHA, Apart, apart, choose, item_variance

ARMS, SEEDS, RUNS = 7, 3, 2000


def studies(runs=RUNS, better=0.0, spread=(1.0,) * ARMS, items=(1.0, 0.5), seed=0):
    """(valid, test) figures (arms, seeds) of as many studies, in standard deviations of a seed; the fourth arm is
    better by so many. items: spread that the validation's and the test's choice of items gives an arm."""
    rng = np.random.default_rng(seed)
    for _ in range(runs):
        trained = rng.normal(size=(1, SEEDS)) + np.asarray(spread)[:, None] * rng.normal(size=(len(spread), SEEDS))
        trained[3] -= better
        yield tuple(trained + s * rng.normal(size=(len(spread), 1)) for s in items)


def reported(valid, test, items=(1.0, 0.5)):
    """Which arm is chosen on validation, and whether the test then says surely: as the report does."""
    others = len(valid) - 1
    chosen = choose(apart(valid, [2 * items[0] ** 2] * others), [True] * others)
    if chosen is None:
        return None, False
    return chosen + 1, apart(test, [2 * items[1] ** 2] * others)[chosen].sign < 0


def shares(made, items=(1.0, 0.5)):
    """Share of studies that choose another arm than the first, and that say surely of it."""
    found = [reported(valid, test, items) for valid, test in made]
    return sum(arm is not None for arm, _ in found) / len(found), sum(sure for _, sure in found) / len(found)


@pytest.mark.parametrize("items", [(1.0, 0.5), (0.3, 0.15), (0.001, 0.001)])
def test_of_equal_arms_another_is_seldom_chosen_and_surely_better_no_more_often_than_nominal(items):
    """Nominal is 2.5 %, one-sided; 2,000 studies have a standard error of 0.35 points, of which three are allowed.

    The last case is the hardest: no spread of items, so that the test repeats what validation saw.
    """
    chosen, sure = shares(studies(items=items), items)
    allowed = ALPHA + 3 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5
    assert chosen <= allowed and sure <= allowed


def test_a_choice_on_the_test_itself_would_be_surely_better_far_too_often():
    """What this is for: the least forgetful of seven equal arms, held against the first by its own three seeds."""
    wrong = 0
    for _, test in studies():
        least = int(test.mean(axis=1).argmin())
        d = test[least] - test[0]
        wrong += least > 0 and d.mean() + 4.303 * d.std(ddof=1) / SEEDS**0.5 < 0
    assert wrong / RUNS > 2 * ALPHA


@pytest.mark.parametrize("spread", [(2.0, *[1.0] * 6), (1.0, 3.0, *[1.0] * 5), (0.5, *[1.0] * 6)])
def test_arms_that_vary_unequally_are_still_seldom_called_surely_better(spread):
    """With a first arm of twice the spread 1.2 % were measured; 2.5 % plus three standard errors would not pass 3.6."""
    assert shares(studies(spread=spread))[1] <= ALPHA + 0.011


def test_a_truly_better_arm_is_chosen_and_surely_better():
    """Eight standard deviations of a seed: found in 95 of 100 studies; six: in 81. Hardly ever is another chosen."""
    found = [reported(valid, test) for valid, test in studies(runs=400, better=8.0)]
    assert sum(arm == 3 and sure for arm, sure in found) >= 370
    assert sum(arm not in (3, None) for arm, _ in found) <= 4


def test_an_arm_that_does_not_fit_is_not_chosen_but_counts_as_compared():
    clear = [Apart(-5.0, 0.5, 10, 3), Apart(-9.0, 0.5, 10, 3)]
    assert choose(clear, [True, True]) == 1 and choose(clear, [True, False]) == 0
    near = Apart(-1.0, 0.4, 1e6, 3)  # z = −2.5, p = 0.006
    assert choose([near], [True]) == 0
    assert choose([near, *[Apart(0.0, 1.0, 1e6, 3)] * 5], [True, *[False] * 5]) is None, "Holm over six"


def test_the_difference_has_the_width_of_seeds_and_of_items():
    """Two arms, three seeds, differences −1, −2, −3: variance 1/3 over seeds; 4.3027 √(1/3) = 2.484 without items."""
    values = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    [alone] = apart(values, [0.0])
    assert (alone.value, alone.df) == (-2.0, pytest.approx(2)) and alone.ci95 == pytest.approx(
        (-4.484, 0.484), abs=1e-3
    )
    [wider] = apart(values, [1.0])
    assert wider.se == pytest.approx((1 / 3 + 1) ** 0.5) and wider.df == pytest.approx(32)
    assert apart(np.array([[1.0, 2.0], [0.5, 1.5]]), [0.0])[0].sign == -1, "nothing varies"
    with pytest.raises(ValueError, match="1 seeds"):
        apart(values[:, :1], [0.0])


def test_items_vary_as_contents_do():
    """An arm that loses one of two contents of 100, each asked twice: as wide as resampling contents says."""
    of = [2] * 100
    zero = {"ability/fact": {"right": of, "of": of}, "ability/new": {"right": [0], "of": [1]}}
    lost = {"ability/fact": {"right": [0, 2] * 50, "of": of}, "ability/new": {"right": [1], "of": [1]}}
    rng = np.random.default_rng(0)
    means = np.array([0, 2] * 50)[rng.integers(0, 100, (20_000, 100))].sum(axis=1) / 200
    found = item_variance([lost, lost], [zero, zero], zero)
    assert found == pytest.approx(means.var() * 100 / 99, rel=0.03)
    single = {"ability/fact": {"right": [0, 1] * 100, "of": [1] * 200}}
    apart_ = item_variance([single], [{"ability/fact": {"right": [1] * 200, "of": [1] * 200}}], {
        "ability/fact": {"right": [1] * 200, "of": [1] * 200}
    })  # fmt: skip
    assert found == pytest.approx(2 * apart_, rel=0.01), "two items of one content tell as little as one"
    assert item_variance([zero], [zero], zero) == pytest.approx((1.95996 / (200 + 1.95996**2)) ** 2, rel=1e-4)
