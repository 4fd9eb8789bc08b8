"""How good a score is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import roc_auc_score

from oddkind import InputError
from oddkind.metrics import auc, auc_difference, mean_interval, partial_auc

few_values = st.lists(st.integers(0, 4), min_size=1, max_size=30)  # so that many tie
runs = st.lists(st.floats(-10, 10), min_size=2, max_size=12).filter(lambda values: np.std(values) > 1e-6)


@given(few_values, few_values)
def test_auc_is_the_chance_that_an_anomaly_scores_higher_ties_counting_half(normal, odd):
    anomalous = np.repeat([False, True], [len(normal), len(odd)])
    wins = stats.mannwhitneyu(odd, normal).statistic if len(set(normal + odd)) > 1 else len(odd) * len(normal) / 2
    assert_allclose(auc(anomalous, np.array(normal + odd)), wins / (len(odd) * len(normal)))


@given(few_values, few_values)
def test_auc_of_the_opposite_score_is_the_opposite(normal, odd):
    anomalous, scores = np.repeat([0, 1], [len(normal), len(odd)]), np.array(normal + odd)
    assert_allclose(auc(anomalous, -scores), 1 - auc(anomalous, scores))
    assert_allclose(auc(anomalous, np.exp(scores)), auc(anomalous, scores))


def test_auc_by_hand():
    assert auc([0, 0, 1, 1], [1, 2, 3, 4]) == 1
    assert auc([0, 0, 1, 1], [1, 3, 2, 4]) == 0.75
    assert auc([0, 1], [1, 1]) == 0.5


@pytest.mark.parametrize("anomalous", [[0, 0, 0], [1, 1, 1], []])
def test_auc_refuses_samples_of_one_kind(anomalous):
    with pytest.raises(InputError, match=rf"normal and anomalous samples; all {len(anomalous)} are of one kind"):
        auc(np.array(anomalous), np.arange(len(anomalous)))


def test_partial_auc_by_hand():
    normal, odd = np.arange(10), np.array([8.5, 20.0])
    anomalous, scores = np.repeat([0, 1], [10, 2]), np.concatenate([normal, odd])
    # One of two is found without a false alarm, both with one in ten: up to 0.1 the area is 0.05, up to 0.2 it is 0.15.
    for rate, area in ((0.1, 0.05), (0.2, 0.15)):
        expected = (1 + (area - rate**2 / 2) / (rate - rate**2 / 2)) / 2
        assert_allclose(partial_auc(anomalous, scores, rate), expected)
    assert partial_auc([0, 0, 1, 1], [1, 2, 3, 4]) == 1
    with pytest.raises(InputError, match="normal and anomalous samples"):
        partial_auc([0, 0], [1, 2])


@given(few_values, few_values)
def test_partial_auc_of_one_value_for_all_is_that_of_chance(normal, odd):
    anomalous = np.repeat([0, 1], [len(normal), len(odd)])
    assert_allclose(partial_auc(anomalous, np.zeros(len(anomalous)), 0.3), 0.5)


@given(runs, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_mean_interval_is_scipys(values, level):
    expected = stats.t.interval(level, len(values) - 1, np.mean(values), stats.sem(values))
    assert_allclose(mean_interval(values, level), expected)


def test_mean_interval_defaults_to_95_percent():
    assert_allclose(mean_interval([0.0, 1.0]), (0.5 - 0.5 * 12.7062047, 0.5 + 0.5 * 12.7062047))


def test_mean_interval_covers_the_mean_as_often_as_it_says(draw):
    intervals = [mean_interval(values) for values in draw.normal(3.0, 2.0, size=(2000, 5))]
    covered = np.mean([low <= 3.0 <= high for low, high in intervals])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize("values", [[], [0.9]])
def test_one_run_has_no_interval(values):
    assert mean_interval(values) is None


@given(few_values, few_values, st.sampled_from([0.05, 0.1, 0.3, 1 / 3, 0.5]))
def test_both_are_those_of_scikit_learn(normal, odd, rate):
    anomalous, scores = np.repeat([False, True], [len(normal), len(odd)]), np.array(normal + odd)
    assert_allclose(auc(anomalous, scores), roc_auc_score(anomalous, scores))
    assert_allclose(partial_auc(anomalous, scores, rate), roc_auc_score(anomalous, scores, max_fpr=rate), atol=1e-12)


def scored(draw, n, shift, noise):
    """Flags [n] and two scores of the same samples [n], the second of which has less or more noise."""
    anomalous = np.arange(n) % 4 == 0
    signal = draw.normal(size=n) + shift * anomalous
    return anomalous, signal + draw.normal(size=n), signal + noise * draw.normal(size=n)


def test_a_difference_of_auc_is_that_of_delong_by_hand(draw):
    anomalous, first, second = scored(draw, 40, 1.0, 0.2)
    odd, normal = anomalous.sum(), (~anomalous).sum()
    wins = [np.greater.outer(s[anomalous], s[~anomalous]) + 0.5 * np.equal.outer(s[anomalous], s[~anomalous])
            for s in (first, second)]  # fmt: skip
    of_odd, of_normal = np.cov([w.mean(1) for w in wins]), np.cov([w.mean(0) for w in wins])
    covariance = of_odd / odd + of_normal / normal
    expected = np.array([-1, 1]) @ covariance @ np.array([-1, 1])
    difference, (low, high) = auc_difference(anomalous, first, second)
    assert_allclose(difference, roc_auc_score(anomalous, second) - roc_auc_score(anomalous, first))
    assert_allclose((high - low) / 2, stats.norm.ppf(0.975) * np.sqrt(expected), rtol=0.06)  # n / (n − 1) of all
    assert_allclose((low + high) / 2, difference)


def test_the_interval_covers_the_difference_as_often_as_it_says():
    draw, covered = np.random.default_rng(1), 0
    for _ in range(400):
        _, (low, high) = auc_difference(*scored(draw, 120, 1.2, 1.0))  # both are equally good
        covered += low <= 0 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_copies_in_groups_say_nothing_new(draw):
    anomalous, first, second = scored(draw, 60, 1.0, 0.3)
    once = auc_difference(anomalous, first, second)
    twice = [np.tile(values, 2) for values in (anomalous, first, second)]
    difference, interval = auc_difference(*twice, groups=np.tile(np.arange(60), 2))
    assert_allclose([difference, *interval], [once[0], *once[1]])
    narrower = auc_difference(*twice)[1]
    assert narrower[1] - narrower[0] < 0.8 * (interval[1] - interval[0])
    assert auc_difference(anomalous, first, second, groups=np.zeros(60))[1] is None


def test_a_difference_turns_its_sign_with_the_order_and_is_zero_with_itself(draw):
    anomalous, first, second = scored(draw, 60, 1.0, 0.3)
    difference, (low, high) = auc_difference(anomalous, first, second)
    back, (back_low, back_high) = auc_difference(anomalous, second, first)
    assert_allclose([back, back_low, back_high], [-difference, -high, -low])
    assert auc_difference(anomalous, first, np.exp(first)) == (0.0, (0.0, 0.0))
    with pytest.raises(InputError, match="of one kind"):
        auc_difference(np.ones(3), first[:3], second[:3])
