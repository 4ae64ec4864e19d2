import math

import numpy as np
import pytest
from scipy import stats

from posttrain.evals import statistics
from posttrain.evals.clusters import Clusters
from posttrain.evals.statistics import Interval


def by(labels):
    """Clusters of one way, such as speakers."""
    return Clusters.of([(label,) for label in labels])


def test_wilson_is_the_worked_example_and_has_width_at_the_ends():
    # Newcombe (1998a), table I: 81 of 263 → 0.2553 to 0.3662; 0 of 20 → 0 to 0.1611.
    found = statistics.wilson(81, 263)
    assert (found.lo, found.hi) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert statistics.wilson(0, 20).hi == pytest.approx(0.1611, abs=5e-5)
    # By hand: at 0 of n the upper limit is z² / (n + z²).
    assert statistics.wilson(0, 50).hi == pytest.approx(1.959964**2 / (50 + 1.959964**2))
    assert statistics.wilson(20, 20).lo == pytest.approx(1 - 0.1611, abs=5e-5)
    with pytest.raises(ValueError, match="3 of 2"):
        statistics.wilson(3, 2)


def test_mcnemar_is_the_binomial_by_hand():
    assert statistics.mcnemar(0, 0) == 1
    assert statistics.mcnemar(6, 0) == pytest.approx(2 / 2**6)
    # 1 of 8: 2 (1 + 8) / 2⁸
    assert statistics.mcnemar(1, 7) == statistics.mcnemar(7, 1) == pytest.approx(18 / 256)


def test_paired_proportions_are_the_published_intervals():
    # Fagerland, Lydersen & Laake (2014), airway data: 1 and 7 discordant of 21 → −0.517 to −0.026 by Tango's score.
    found = statistics.paired_proportions(1, 7, 21)
    assert found.value == pytest.approx(-6 / 21)
    assert (found.lo, found.hi) == pytest.approx((-0.517, -0.026), abs=5e-4)
    # The example most often quoted for Tango's interval: 12 and 2 discordant of 50 → 0.0611 to 0.3447.
    found = statistics.paired_proportions(12, 2, 50)
    assert (found.lo, found.hi) == pytest.approx((0.0611, 0.3447), abs=5e-5)


def test_no_discordant_pair_still_has_width():
    z2 = 1.959964**2
    found = statistics.paired_proportions(0, 0, 250)
    assert (found.value, found.p) == (0.0, 1.0)
    assert (found.lo, found.hi) == pytest.approx((-z2 / (250 + z2), z2 / (250 + z2)))


def test_paired_proportions_reach_the_ends_and_are_symmetric():
    all_won = statistics.paired_proportions(30, 0, 30)
    assert (all_won.value, all_won.hi) == (1.0, 1.0)
    assert 0.7 < all_won.lo < 0.9
    for won, lost in ((30, 0), (5, 2), (1, 0)):
        a, b = statistics.paired_proportions(won, lost, 30), statistics.paired_proportions(lost, won, 30)
        assert (a.lo, a.hi, a.p) == pytest.approx((-b.hi, -b.lo, b.p))


def test_tango_covers_the_truth_in_95_of_100():
    rng = np.random.default_rng(0)
    held = 0
    for won, lost, _ in rng.multinomial(150, [0.06, 0.02, 0.92], size=600):
        found = statistics.paired_proportions(int(won), int(lost), 150)
        held += found.lo <= 0.04 <= found.hi
    assert 0.92 < held / 600 < 0.98  # 3 standard errors of 0.95 at 600 draws are ± 0.027


def test_a_thousand_items_show_one_point():
    assert statistics.detectable_difference(1000) == pytest.approx(0.0078, abs=1e-4)
    # Connor (1987) by hand at δ = 0.1, ψ = 0.2: (1.96 √0.2 + 0.8416 √0.19)² / 0.01 = 154.4 items.
    n = (1.959964 * math.sqrt(0.2) + 0.841621 * math.sqrt(0.19)) ** 2 / 0.01
    assert statistics.detectable_difference(round(n), 0.2) == pytest.approx(0.1, abs=1e-3)
    assert statistics.detectable_difference(1000, 0.1) > statistics.detectable_difference(1000)
    assert statistics.detectable_difference(2) == 1


def test_the_unpaired_difference_is_newcombes_example():
    # Newcombe (1998b), table II (a), method 10: 56/70 − 48/80 → 0.0524 to 0.3339.
    found = statistics.unpaired_difference(statistics.wilson(56, 70), statistics.wilson(48, 80))
    assert found.value == pytest.approx(0.2)
    assert (found.lo, found.hi) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.p < 0.05
    same = statistics.unpaired_difference(Interval(1, 0.9, 1), Interval(1, 0.8, 1))
    assert same.value == 0 and same.lo < 0 < same.hi and same.p == 1


def test_word_errors_are_resampled_by_speaker_not_by_clip():
    # Two kinds of speaker: half make no error, half always err. Clips within a speaker say nothing new.
    speakers = [f"s{i // 50}" for i in range(20 * 50)]
    errors = [float(i // 50 % 2) * 8 for i in range(20 * 50)]
    words = [8.0] * 1000
    by_speaker = statistics.ratio_of_sums(errors, words, by(speakers), 0, 2000)
    by_clip = statistics.ratio_of_sums(errors, words, by(range(1000)), 0, 2000)
    assert by_speaker.value == by_clip.value == 0.5
    assert by_speaker.hi - by_speaker.lo > 4 * (by_clip.hi - by_clip.lo)
    # Wald by hand: 1.96 √(0.25 / 1000) = 0.031.
    assert by_clip.hi - by_clip.value == pytest.approx(0.031, abs=0.004)


def test_a_ratio_of_sums_is_not_a_mean_of_ratios():
    assert statistics.ratio_of_sums([1, 0], [1, 9], by("ab"), 0, 50).value == pytest.approx(0.1)


def test_one_speaker_is_resampled_by_clip():
    found = statistics.ratio_of_sums([0, 1, 2, 3], [4] * 4, Clusters.of([(str(i), "only") for i in range(4)]), 0, 500)
    assert found.lo < found.value < found.hi


def test_intervals_over_few_speakers_cover_the_truth():
    rng = np.random.default_rng(1)
    held = naive = 0
    for _ in range(400):
        rates = rng.normal(0.3, 0.1, 8)
        found = statistics.ratio_of_sums(rates * 100, [100.0] * 8, by(range(8)), 3, 400)
        samples = rates[statistics.resample(8, 400, 3)].mean(axis=1)
        lo, hi = np.quantile(samples, [0.025, 0.975])
        held += found.lo <= 0.3 <= found.hi
        naive += lo <= 0.3 <= hi
    assert held / 400 > 0.91  # 2000 draws give 0.94; plain percentiles, 0.89, would not pass
    assert naive / 400 < held / 400


def test_the_same_resamples_pair_two_models():
    speakers = [f"s{i % 10}" for i in range(200)]
    hard = [float(i % 10) for i in range(200)]
    words = [20.0] * 200
    better = [h - 1 if i % 3 == 0 and h else h for i, h in enumerate(hard)]
    paired = statistics.ratio_difference((better, words), (hard, words), by(speakers), 0, 1000)
    alone = statistics.ratio_of_sums(hard, words, by(speakers), 0, 1000)
    assert paired.hi < 0 and paired.p < 0.01
    assert paired.hi - paired.lo < 0.3 * (alone.hi - alone.lo)
    same = statistics.ratio_difference((hard, words), (hard, words), by(speakers), 0, 1000)
    assert (same.value, same.lo, same.hi, same.p) == (0, 0, 0, 1)


def test_perplexity_is_the_exponential_of_nats_per_token():
    found = statistics.ratio_of_sums([math.log(8) * 10, 0.0], [10, 20], by("ab"), 0, 100, np.exp)
    assert found.value == pytest.approx(2.0)
    assert 1.0 <= found.lo <= 2.0 <= found.hi <= 8.0


def test_families_are_resampled_within_themselves():
    families = [np.ones((30, 2)), np.stack([np.arange(40) % 2, np.zeros(40)], axis=1)]
    means, samples = statistics.family_means(families, 0, 200)
    assert means.tolist() == [[1, 1], [0.5, 0]]
    assert samples.shape == (200, 2, 2)
    assert (samples[:, 0] == 1).all() and samples[:, 1, 0].std() == pytest.approx(0.5 / math.sqrt(40), rel=0.2)


def test_holm_is_the_worked_example():
    # By hand, three tests: 3 × 0.01, max(0.03, 2 × 0.03), max(0.06, 0.04).
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]


def test_figures_hang_on_the_seed_alone():
    args = ([1, 2, 3, 4], [9, 9, 9, 9], by("abcd"))
    assert statistics.ratio_of_sums(*args, 5, 300) == statistics.ratio_of_sums(*args, 5, 300)
    assert statistics.ratio_of_sums(*args, 5, 300) != statistics.ratio_of_sums(*args, 6, 300)


def test_bootstrap_p_is_that_of_t_for_a_mean():
    values = np.random.default_rng(2).normal(0.3, 1, 40)
    found = statistics.ratio_difference((values, np.ones(40)), (np.zeros(40), np.ones(40)), by(range(40)), 0, 4000)
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.25)


def test_a_difference_of_unpaired_figures_of_few_clusters_is_judged_by_their_t():
    few = statistics.critical(10)
    after, before = (statistics.Interval(v, v - few * 0.02, v + few * 0.02) for v in (0.9, 0.9 - 4 * 0.02 * 2**0.5))
    found = statistics.unpaired_difference(after, before, 10)
    assert found.p == pytest.approx(2 * stats.t.sf(4, 10), rel=0.01)
    assert found.p > 4 * statistics.unpaired_difference(after, before).p
