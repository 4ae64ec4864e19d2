"""Means over seeds and the curves of forgetting, against figures worked by hand."""

import math

import pytest

from posttrain.evals.seeds import Mean, at, line, over_seeds, paired, power_law


def test_three_seeds_have_the_t_interval_of_two_degrees_of_freedom():
    """Mean of 1, 2, 3 is 2, s is 1: 2 ± 4.3027 / √3 = 2 ± 2.4842."""
    found = over_seeds([1.0, 2.0, 3.0])
    assert (found.value, found.n) == (2.0, 3)
    assert found.ci95 == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)


def test_one_seed_has_no_interval_and_is_sure_of_nothing():
    assert over_seeds([0.4]) == Mean(0.4, 1, None)
    assert over_seeds([0.4]).sign == 0


def test_differences_are_taken_seed_by_seed():
    """Unpaired the intervals would overlap; every seed fell by 0.1, one by 0.12."""
    before, after = {0: 0.9, 1: 0.5, 2: 0.1}, {0: 0.8, 1: 0.4, 2: -0.02, 7: 5.0}
    found = paired(after, before)
    assert found is not None and found.n == 3
    assert found.value == pytest.approx(-0.32 / 3) and found.sign == -1
    assert paired({3: 1.0}, before) is None


def test_an_interval_that_holds_zero_has_no_sign():
    assert [over_seeds(x).sign for x in ([1.0, 1.1, 1.2], [-1.0, 0.0, 1.1], [-1.0, -1.1, -1.2])] == [1, 0, -1]


def test_a_line_through_four_points():
    """x 0 1 2 3, y 1 3 4 8: slope 11/5, intercept 0.7, R² = 24.2/26."""
    found = line([0, 1, 2, 3], [1, 3, 4, 8])
    assert found is not None and found.n == 4
    assert (found.slope, found.intercept) == (pytest.approx(2.2), pytest.approx(0.7))
    assert found.r2 == pytest.approx(24.2 / 26)


def test_a_power_law_is_found_again_with_both_exponents():
    steps, tuned = [10, 100, 1000, 10, 100, 1000], [2, 2, 2, 32, 32, 32]
    y = [0.5 * s**0.6 * p**-0.25 for s, p in zip(steps, tuned, strict=True)]
    found = power_law([steps, tuned], y)
    assert found is not None and found.n == 6
    assert found.scale == pytest.approx(0.5) and found.exponents == pytest.approx((0.6, -0.25))
    assert found.r2 == pytest.approx(1)


def test_the_r2_of_a_power_law_is_that_of_the_logarithm():
    """log₁₀ y is 0, 2, 1 over log₁₀ x of 0, 1, 2: slope 0.5, R² = 0.5² · 2 / 2 = 0.25."""
    found = power_law([[1, 10, 100]], [1, 100, 10])
    assert found is not None and found.r2 == pytest.approx(0.25)
    assert found.exponents == pytest.approx((0.5,)) and found.scale == pytest.approx(math.sqrt(10))


@pytest.mark.parametrize(
    ("columns", "y"),
    [([[1, 2, 3, 4], [8, 8, 8, 8]], [1, 2, 3, 4]), ([[1, 2, 3]], [1, 0, 3]), ([[1, 2]], [1, 2])],
)
def test_what_cannot_be_fitted_is_not(columns, y):
    assert power_law(columns, y) is None


def test_a_value_between_two_looks_is_on_the_straight_way_between_them():
    assert at(0.25, [1.0, 0.5, 0.0], [10.0, 20.0, 40.0]) == 30.0
