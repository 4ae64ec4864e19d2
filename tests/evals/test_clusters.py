"""Clustered statistics: what single items give they give, and wordings and voices are not counted twice."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import expit

from posttrain.evals import statistics
from posttrain.evals.clusters import Clusters
from posttrain.evals.statistics import Power


def single(n: int) -> Clusters:
    return Clusters.of([(str(i),) for i in range(n)])


def wordings(contents: int, each: int) -> Clusters:
    return Clusters.of([(str(i // each),) for i in range(contents * each)])


@pytest.mark.parametrize(("right", "n"), [(0, 20), (20, 20), (1, 20), (81, 263), (148, 150)])
def test_a_share_of_items_that_share_nothing_is_wilsons(right, n):
    found = statistics.share([1.0] * right + [0.0] * (n - right), single(n))
    wilson = statistics.wilson(right, n)
    assert (found.value, found.lo, found.hi) == pytest.approx((wilson.value, wilson.lo, wilson.hi), abs=1e-12)


@pytest.mark.parametrize(("won", "lost", "n"), [(12, 2, 50), (1, 7, 21), (1, 0, 250), (30, 0, 30), (0, 0, 9)])
def test_a_difference_of_items_that_share_nothing_is_tangos_with_exact_mcnemar(won, lost, n):
    before = np.array([0.0] * won + [1.0] * lost + [1.0] * (n - won - lost))
    after = np.array([1.0] * won + [0.0] * lost + [1.0] * (n - won - lost))
    found, plain = statistics.paired_shares(after, before, single(n)), statistics.paired_proportions(won, lost, n)
    for got, want in zip((found.lo, found.hi, found.p), (plain.lo, plain.hi, plain.p), strict=True):
        assert got == pytest.approx(want, abs=1e-9)
    assert found.detectable == pytest.approx(plain.detectable)
    assert found.p == pytest.approx(statistics.mcnemar(won, lost))


def test_wordings_that_go_together_count_as_their_content():
    scores = [float(i // 10 < 9) for i in range(120)]  # 9 of 12 contents, all ten wordings each
    found, apart = statistics.share(scores, wordings(12, 10)), statistics.share(scores, single(120))
    by_content = statistics.wilson(9, 12, statistics.critical(11))
    assert (found.lo, found.hi) == pytest.approx((by_content.lo, by_content.hi), abs=0.03)
    assert found.hi - found.lo > 2.5 * (apart.hi - apart.lo)


def test_none_and_all_are_as_wide_as_their_contents_and_one_more_error_is_not_narrower():
    none = statistics.share([0.0] * 200, Clusters.of([(str(i % 12),) for i in range(200)]))
    assert (none.lo, none.hi) == pytest.approx((0, statistics.wilson(0, 12).hi))
    everything = statistics.share([1.0] * 200, Clusters.of([(str(i % 12),) for i in range(200)]))
    assert everything.lo == pytest.approx(1 - none.hi)
    one = statistics.share([1.0] + [0.0] * 199, Clusters.of([(str(i % 12),) for i in range(200)]))
    assert one.hi > none.hi
    same = statistics.paired_shares([1.0] * 200, [1.0] * 200, wordings(20, 10))
    plain = statistics.paired_proportions(0, 0, 20)
    assert (same.value, same.lo, same.hi, same.p) == (0, plain.lo, plain.hi, 1)
    barely = statistics.paired_shares([1.0] * 200, [0.0] + [1.0] * 199, wordings(20, 10))
    assert barely.lo < 0 and barely.hi > same.hi and barely.p == 1


def test_clusters_flip_as_a_whole():
    assert statistics.flip_test([1] * 6) == pytest.approx(statistics.mcnemar(6, 0))
    assert statistics.flip_test([1] * 7 + [-1]) == pytest.approx(statistics.mcnemar(7, 1))
    assert statistics.flip_test([10] * 5 + [0] * 3) == pytest.approx(2 / 2**5)
    # By hand, |±3 ± 2 ± 1| ≥ 4 in 4 of 8.
    assert statistics.flip_test([3, 2, -1]) == pytest.approx(0.5)
    assert statistics.flip_test([]) == statistics.flip_test([0, 0]) == 1
    # 24 wordings won, of 4 contents: by item beyond doubt, by content not.
    won = statistics.paired_shares([1.0] * 24 + [0.0] * 6, [0.0] * 30, wordings(5, 6))
    assert statistics.mcnemar(24, 0) < 1e-6 and won.p == pytest.approx(2 / 2**4) and won.lo < 0 < won.value


def test_two_ways_are_at_least_as_wide_as_either_and_agree_with_the_sum_by_hand():
    contents, voices = np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)
    influence = 3.0 * (contents - 2.5) + 3.0 * (voices - 1.5)
    both = Clusters.of([(f"c{c}", f"v{v}") for c, v in zip(contents, voices, strict=True)])
    by_item, by_content, by_voice = both.variances(influence)
    hand_content = 6 / 5 * sum((4 * 3 * (c - 2.5)) ** 2 for c in range(6))
    hand_voice = 4 / 3 * sum((6 * 3 * (v - 1.5)) ** 2 for v in range(4))
    hand_item = 24 / 23 * float(influence @ influence)
    assert (by_item, by_content, by_voice) == pytest.approx((hand_item, hand_content, hand_voice))
    assert both.variance(influence) == pytest.approx(hand_content + hand_voice - hand_item)
    checkered = np.where((contents + voices) % 2 == 0, 1.0, -1.0)  # sums to 0 both ways
    assert both.variance(checkered) == pytest.approx(24 / 23 * 24)


def test_one_voice_is_left_out_and_who_has_none_is_their_own():
    assert Clusters.of([("a", "v"), ("b", "v")]).voices is None
    mixed = Clusters.of([("a", "v"), ("b", "w"), ("c",), ("d",)])
    assert (mixed.contents, mixed.voices) == (4, 4) and mixed.single and mixed.df is None
    uneven = Clusters.of([("a",)] * 8 + [("b",)] * 2)
    assert uneven.units == pytest.approx(100 / 68) and uneven.df == 1


def _drawn(rng, n, contents, voices, mean, spread):
    """Chances of being right of n items, with an effect of each content and each voice on the logit."""
    of = rng.permutation(np.arange(n) % contents)
    logit = mean + spread * rng.standard_normal(contents)[of]
    who = rng.integers(0, voices, n) if voices else None
    if who is not None:
        logit = logit + spread * rng.standard_normal(voices)[who]
    labels = zip(of, who, strict=True) if who is not None else ((c,) for c in of)
    return of, who, expit(logit), Clusters.of([tuple(map(str, unit)) for unit in labels])


@pytest.mark.parametrize(
    ("n", "contents", "voices", "mean"), [(200, 12, 0, 0.0), (100, 28, 0, 2.0), (250, 80, 0, 0.0), (160, 40, 24, 1.0)]
)
def test_intervals_miss_no_more_than_they_say_where_wordings_and_voices_go_together(n, contents, voices, mean):
    rng, times, missed, by_item = np.random.default_rng(5), 400, 0, 0
    spread = 1.5
    truth = expit(mean + spread * math.sqrt(1 + bool(voices)) * rng.standard_normal(200_000)).mean()
    for _ in range(times):
        _, _, chance, clusters = _drawn(rng, n, contents, voices, mean, spread)
        right = (rng.random(n) < chance).astype(float)
        found, plain = statistics.share(right, clusters), statistics.wilson(int(right.sum()), n)
        missed += not found.lo <= truth <= found.hi
        by_item += not plain.lo <= truth <= plain.hi
    # 5 % nominal; three standard errors of 400 draws are 3.3 points. Wilson by item misses 12 to 42 %.
    assert missed / times <= 0.083 < by_item / times


@pytest.mark.parametrize(("n", "contents", "voices"), [(200, 12, 0), (100, 28, 0), (160, 40, 24)])
def test_equal_models_differ_surely_no_more_often_than_they_may(n, contents, voices):
    rng, times, false, missed, by_item = np.random.default_rng(6), 250, 0, 0, 0
    for _ in range(times):
        of, who, _, clusters = _drawn(rng, n, contents, voices, 0.0, 1.0)

        def answers(of=of, who=who):  # each model has strengths of its own, of equal size
            logit = 1.5 * rng.standard_normal(contents)[of]
            logit = logit if who is None else logit + 1.5 * rng.standard_normal(voices)[who]
            return (rng.random(n) < expit(logit)).astype(float)

        after, before = answers(), answers()
        found = statistics.paired_shares(after, before, clusters)
        false += found.p < 0.05
        missed += not found.lo <= 0 <= found.hi
        by_item += statistics.mcnemar(int((after > before).sum()), int((after < before).sum())) < 0.05
    # 5 % nominal; three standard errors of 250 draws are 4.1 points. McNemar by item finds 14 to 37 %.
    assert false / times <= 0.091 < by_item / times
    assert missed / times <= 0.091


def test_error_rates_over_sentences_and_voices_cover_the_truth():
    rng, times, missed, by_voice = np.random.default_rng(7), 200, 0, 0
    for _ in range(times):
        of, who = np.arange(120) % 30, rng.integers(0, 12, 120)
        rate = 0.3 + 0.08 * rng.standard_normal(30)[of] + 0.05 * rng.standard_normal(12)[who]
        errors = 10 * rate + 0.4 * rng.standard_normal(120)
        clusters = Clusters.of([(f"s{s}", f"v{v}") for s, v in zip(of, who, strict=True)])
        found = statistics.ratio_of_sums(errors, [10.0] * 120, clusters, 3, 300)
        plain = statistics.ratio_of_sums(errors, [10.0] * 120, Clusters.of([(v,) for v in who]), 3, 300)
        missed += not found.lo <= 0.3 <= found.hi
        by_voice += not plain.lo <= 0.3 <= plain.hi
    assert missed / times <= 0.096 < by_voice / times  # three standard errors of 200 draws


def test_an_unchanged_second_way_leaves_a_bootstrap_as_it_was():
    rng = np.random.default_rng(8)
    voices = [f"v{i % 10}" for i in range(80)]
    errors = [float(e) for e in rng.poisson(2, 80) + np.arange(80) % 10]
    one = statistics.ratio_of_sums(errors, [10.0] * 80, Clusters.of([(voice,) for voice in voices]), 0, 500)
    unique = Clusters.of([(f"s{i}", voice) for i, voice in enumerate(voices)])
    assert statistics.ratio_of_sums(errors, [10.0] * 80, unique, 0, 500) == one


def test_what_would_show_is_the_power_of_the_exact_test_at_the_level_it_is_held_to():
    rng = np.random.default_rng(9)
    for alpha in (0.05, 0.05 / 20):
        delta, n = statistics.detectable_difference(400, 0.1, alpha), 400
        drawn = rng.multinomial(n, [(0.1 + delta) / 2, (0.1 - delta) / 2, 0.9], size=400)
        shown = np.mean([statistics.mcnemar(int(won), int(lost)) < alpha for won, lost, _ in drawn])
        assert 0.72 <= shown <= 0.86, (alpha, shown)  # 80 %; the exact test is a little weaker than its formula


def test_what_would_show_grows_with_what_items_share_and_with_a_stricter_level():
    before = np.array([1.0, 0.0] * 60)
    after = np.where(np.arange(120) % 20 == 0, 1 - before, before)
    apart = statistics.paired_shares(after, before, single(120))
    shared = statistics.paired_shares(after, before, wordings(30, 4))
    assert shared.detectable > apart.detectable
    assert apart.power.detectable(0.05 / 30) > apart.detectable
    assert Power(**dataclasses.asdict(apart.power)).detectable() == apart.detectable
    few = statistics.paired_shares([1.0] * 40, [0.0] * 4 + [1.0] * 36, wordings(10, 4))
    assert few.power.detectable(0.05) < 1 and few.power.detectable(0.05 / 30) == 1  # 2/2¹⁰ is more than that
    means = statistics.bootstrap_difference(0.1, np.random.default_rng(0).normal(0.1, 0.05, 4000), 20)
    assert means.power.detectable(0.01) > means.detectable > 2.8 * 0.05


def test_grades_that_share_contents_have_wider_means_and_stay_in_their_range():
    grades = [0.9 if i // 5 < 8 else 0.2 for i in range(50)]
    shared, apart = statistics.share(grades, wordings(10, 5)), statistics.share(grades, single(50))
    assert shared.value == apart.value and shared.hi - shared.lo > 1.5 * (apart.hi - apart.lo)
    assert shared.lo >= 0 and shared.hi <= 1
    after = [min(1.0, grade + 0.1 * (i // 5 % 2)) for i, grade in enumerate(grades)]
    found, alone = (statistics.paired_shares(after, grades, c) for c in (wordings(10, 5), single(50)))
    assert found.value == alone.value and found.p > alone.p


def test_one_graded_item_decides_nothing():
    found = statistics.paired_shares([0.9], [0.2], single(1))
    assert found.value == pytest.approx(0.7) and (found.lo, found.hi) == (-1, 1)
    assert found.p > 0.3 and found.detectable >= 1
