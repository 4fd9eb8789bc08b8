"""Thresholds and p-values keep their promise, and refuse what they cannot promise."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import betabinom, false_discovery_control

from oddkind import InputError
from oddkind.model.combining import surprise
from oddkind.model.conformal import (
    TIE,
    Calibration,
    CalibrationScores,
    alarms,
    check_calibration_size,
    conformal_threshold,
    discoveries,
    false_alarm_test,
    group_weights,
    min_calibration_size,
    p_values,
    pool,
    tie_bound,
    weight_above,
)


@pytest.mark.parametrize(
    ("n", "rate", "rank"),
    [
        (19, 0.05, 19),
        (20, 0.05, 20),
        (39, 0.05, 38),
        (99, 0.05, 95),
        (100, 0.05, 96),
        (9, 0.1, 9),
        (3, 0.5, 2),
        (1, 0.5, 1),
        (9, 0.7, 3),  # 10 · (1 − 0.7) is 3.0000000000000004 in floating point
    ],
)
def test_conformal_threshold_is_the_order_statistic_of_the_formula(draw, n, rate, rank):
    assert conformal_threshold(draw.permutation(n) + 1, rate) == rank


@given(st.integers(1, 300), st.floats(1e-3, 0.999))
def test_conformal_threshold_keeps_its_promise_and_is_the_least_that_does(n, rate):
    assume((n + 1) * rate >= 1 + 1e-6)
    rank = conformal_threshold(np.arange(1, n + 1), rate)
    false_alarms = 1 - rank / (n + 1)  # a new sample's rank among n + 1 is uniform
    assert false_alarms <= rate + 1e-9
    assert false_alarms > rate - 1 / (n + 1) - 1e-9


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (50, 0.1), (99, 0.2)])
def test_conformal_threshold_covers_new_normal_samples(draw, n, rate):
    repetitions, new = 4000, 200
    held_out = draw.gamma(2.0, size=(repetitions, n))
    thresholds = np.array([conformal_threshold(scores, rate) for scores in held_out])
    found = (draw.gamma(2.0, size=(repetitions, new)) > thresholds[:, None]).mean(1)
    error = 4 * found.std() / np.sqrt(repetitions)
    assert found.mean() <= rate + error
    assert found.mean() >= rate - 1 / (n + 1) - error


@given(st.integers(0, 99), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_a_higher_rate_never_raises_the_threshold(seed, one, other):
    scores = np.random.default_rng(seed).normal(size=40)
    low, high = sorted([one, other])
    assert conformal_threshold(scores, high) <= conformal_threshold(scores, low)


@given(st.floats(0.002, 0.9))
def test_the_refusal_names_the_number_from_which_it_works(rate):
    with pytest.raises(InputError, match="takes at least") as refusal:
        conformal_threshold(np.empty(0), rate)
    needed = int(str(refusal.value).split("at least ")[1].split()[0])
    assert needed == min_calibration_size(rate)
    assert 1 / (needed + 1) <= rate * (1 + 1e-8)
    assert needed < 2 or 1 / needed > rate * (1 - 1e-8)
    conformal_threshold(np.arange(needed), rate)
    check_calibration_size(needed, rate)
    for refuse in (
        lambda: conformal_threshold(np.arange(needed - 1), rate),
        lambda: check_calibration_size(needed - 1, rate),
    ):
        with pytest.raises(InputError, match=rf"at least {needed} held-out normal samples; there are {needed - 1}\b"):
            refuse()


@given(st.integers(0, 500), st.floats(0.01, 0.95))
def test_the_rate_that_the_refusal_suggests_works(n, part):
    rate = part / (n + 1)
    with pytest.raises(InputError, match="Pass more groups") as refusal:
        check_calibration_size(n, rate, "groups")
    assert ("raise the rate to" in str(refusal.value)) == (n > 1)  # a rate of 0.5 is no advice
    if n > 1:
        check_calibration_size(n, float(str(refusal.value).split("raise the rate to ")[1].split()[0]))


def test_nineteen_samples_are_just_enough_for_five_percent():
    assert conformal_threshold(np.arange(19), 0.05) == 18
    with pytest.raises(InputError, match=r"rate of 0\.05 takes at least 19 held-out normal samples; there are 18"):
        conformal_threshold(np.arange(18), 0.05)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, np.nan])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(InputError, match=r"false_alarm_rate=.*between 0 and 1"):
        conformal_threshold(np.arange(99), rate)


@pytest.mark.parametrize("n", [19, 99])
def test_p_values_are_super_uniform(draw, n):
    repetitions = 5000
    p = np.array([p_values(draw.gamma(2.0, size=1), draw.gamma(2.0, size=n))[0] for _ in range(repetitions)])
    for rate in (0.01, 0.05, 0.1, 0.3, 0.8):
        assert alarms(p, rate).mean() <= rate + 4 * np.sqrt(rate * (1 - rate) / repetitions)
    assert alarms(p, 0.8).mean() >= 0.8 - 1 / (n + 1) - 0.03  # and it is no more careful than it must be


def test_windows_of_recordings_break_the_naive_promise_and_keep_that_of_group_weights(draw):
    """20 recordings of 50 windows, a new window of a new recording: 1,000 windows are not 1,000 samples."""
    repetitions, rate = 4000, 0.05
    groups = np.repeat(np.arange(20), 50)
    naive, fair = [], []
    for _ in range(repetitions):
        level = 3 * draw.normal(size=21)
        normal = level[groups] + draw.normal(size=1000)
        new = level[20:] + draw.normal(size=1)
        naive.append(alarms(p_values(new, normal), rate)[0])
        p = p_values(new, normal, group_weights(groups))
        fair.append(alarms(p, rate)[0])
        assert fair[-1] == (new[0] > conformal_threshold(normal, rate, group_weights(groups)))
    error = 4 * np.sqrt(rate * (1 - rate) / repetitions)
    assert np.mean(fair) <= rate + error
    assert np.mean(naive) > rate + error


@given(st.integers(0, 999), st.floats(0.06, 0.9))
def test_a_score_above_the_threshold_is_one_whose_p_value_is_at_most_the_rate(seed, rate):
    draw = np.random.default_rng(seed)
    groups, normal = draw.integers(20, size=60), draw.integers(12, size=60).astype(float)  # with ties
    counts = group_weights(groups)
    assume(counts.sum() + 1 >= 1 / rate)
    new = np.arange(-1, 14) / 1.0
    threshold = conformal_threshold(normal, rate, counts)
    assert_array_equal(new > threshold, alarms(p_values(new, normal, counts), rate))


def test_weights_of_a_group_sum_to_1_and_p_values_take_them_for_repetitions():
    assert_array_equal(group_weights(np.array(["b", "a", "b", "b"])), [1 / 3, 1, 1 / 3, 1 / 3])
    draw = np.random.default_rng(0)
    normal, new = draw.normal(size=30), draw.normal(size=10)
    assert_allclose(p_values(new, np.repeat(normal, 4), np.full(120, 0.25)), p_values(new, normal))


def test_discoveries_are_those_of_benjamini_and_hochberg(draw):
    p = draw.uniform(size=200) ** 3
    order = np.sort(p)
    passed = np.flatnonzero(order <= 0.1 * np.arange(1, 201) / 200)
    assert_array_equal(discoveries(p, 0.1), p <= order[passed[-1]])
    assert discoveries(np.array([0.9, 0.5]), 0.1).tolist() == [False, False]
    assert len(discoveries(np.empty(0), 0.1)) == 0
    assert_array_equal(discoveries(p, 0.1), false_discovery_control(p) <= 0.1)
    for rate in (0.0, 1.0, -1, np.nan):
        with pytest.raises(InputError, match=rf"false_discovery_rate={rate}; it must lie between 0 and 1"):
            discoveries(p, rate)


def test_the_part_of_normal_ones_among_discoveries_stays_within_the_promise(draw):
    parts = []
    for _ in range(1000):
        scores = draw.normal(size=100)
        scores[:20] += 4
        found = discoveries(p_values(scores, draw.normal(size=500)), 0.2)
        parts.append(found[20:].sum() / max(1, found.sum()))
    assert 0.08 < np.mean(parts) <= 0.2 * 0.8 + 4 * np.std(parts) / np.sqrt(1000)  # the rate times the normal part


def test_the_false_alarm_test_is_the_chance_of_so_many_false_alarms(draw):
    n, new, rate, repetitions = 39, 60, 0.05, 20_000
    scores = draw.normal(size=(repetitions, n + new))
    thresholds = np.sort(scores[:, :n], axis=1)[:, n - 2]  # the 38th of 39
    found = (scores[:, n:] > thresholds[:, None]).sum(1)
    for count in (0, 1, 3, 8, 15):
        expected = (found >= count).mean()
        assert false_alarm_test(count, new, n, rate) == pytest.approx(expected, abs=4 * np.sqrt(0.25 / repetitions))
    assert false_alarm_test(40, new, n, rate) < 1e-6
    with pytest.raises(InputError, match="takes at least 19"):
        false_alarm_test(0, 10, 18, 0.05)


def test_windows_are_pooled_to_recordings_by_mean_maximum_or_quantile(draw):
    scores, owner = draw.normal(size=60), draw.integers(7, size=60)
    by = {"mean": np.mean, "max": np.max, "0.25": lambda own: np.quantile(own, 0.25)}
    for how, of in by.items():
        assert_allclose(pool(scores, owner, how), [of(scores[owner == one]) for one in np.unique(owner)])
    for how in ("median", "1.5", "-0.1", "nan"):
        with pytest.raises(InputError, match=f"pool='{how}'; it must be 'fisher', 'mean', 'max' or a quantile"):
            pool(scores, owner, how)


def test_pooled_by_fisher_a_recording_has_the_mean_surprise_of_its_windows_among_those_of_others(draw):
    scores, owner = draw.normal(size=120), np.repeat(np.arange(24), 5)
    held_out = CalibrationScores(scores[:, None], scores, owner, None)
    new, whose = draw.normal(size=30) + 1, np.repeat(np.arange(3), 10)
    expected = [surprise(new[whose == one], scores).mean() for one in range(3)]
    assert_allclose(held_out.pool_new(new, whose, "fisher"), expected)
    assert_allclose(held_out.pool_new(new, whose, "max"), [new[whose == one].max() for one in range(3)])
    expected = [surprise(scores[owner == one], scores[owner != one]).mean() for one in range(24)]
    assert_allclose(held_out.pooled(owner, "fisher").scores, expected)


@pytest.mark.parametrize("n", [19, 59])
def test_false_alarms_of_recordings_pooled_by_fisher_stay_within_the_promise(n):
    draw, alarms = np.random.default_rng(0), []
    owner = np.repeat(np.arange(n), 6)
    for _ in range(400):  # windows of a recording are alike
        held_out, new = (draw.normal(size=n)[owner] + draw.normal(size=len(owner)) for _ in range(2))
        calibration = CalibrationScores(held_out[:, None], held_out, owner, None)
        p = p_values(calibration.pool_new(new, owner, "fisher"), calibration.pooled(owner, "fisher").scores)
        alarms.append((p <= 0.05).mean())
    assert np.mean(alarms) < 0.05 + 3 * np.std(alarms) / 20
    assert np.mean(alarms) > 0.02


@given(st.integers(19, 300), st.integers(0, 80), st.sampled_from([0.05, 0.1, 0.3, 0.7]))
def test_the_false_alarm_test_is_the_tail_of_a_beta_binomial(n, new, rate):
    a = np.floor(np.round(rate * (n + 1), 9))
    for count in (0, 1, new // 2, new):
        expected = betabinom.sf(count - 1, new, a, n + 1 - a)
        assert false_alarm_test(count, new, n, rate) == pytest.approx(expected, rel=1e-6, abs=1e-12)


# --- the scores of held-out samples ---


def held_out(draw, *, labels=2):
    """Twelve groups of 1 to 5 samples; each group has one label."""
    groups = np.repeat(np.arange(12), np.arange(12) % 5 + 1)
    scores = draw.integers(9, size=len(groups)).astype(float)  # with ties
    return CalibrationScores(scores[:, None], scores, groups, None if labels == 0 else groups % labels)


def test_weight_above_counts_the_scores_at_or_above(draw):
    normal, weights = draw.integers(5, size=40).astype(float), draw.uniform(size=40)
    scores = np.arange(-1, 6) / 1.0
    assert_allclose(weight_above(scores, normal, weights), [weights[normal >= score].sum() for score in scores])


def test_held_out_samples_are_compared_with_all_or_within_their_label(draw):
    usual, new = held_out(draw), np.arange(-1, 10) / 1.0
    above, total = usual.weight_above(new)
    assert_array_equal((1 + above) / (1 + total), p_values(new, usual.scores, group_weights(usual.groups)))
    assert set(total) == {12} == {usual.count}
    label_index = np.arange(len(new)) % 2
    above, total = usual.weight_above(new, label_index)
    for label in (0, 1):
        own, here = usual.label_index == label, label_index == label
        expected = p_values(new[here], usual.scores[own], group_weights(usual.groups[own]))
        assert_array_equal(((1 + above) / (1 + total))[here], expected)
        assert usual.of_label(label).count == 6
        assert_array_equal(usual.of_label(label).components[:, 0], usual.scores[own])
    assert usual.of_label(None) is usual


@pytest.mark.parametrize("rate", [0.08, 0.1, 0.3, 0.9])
def test_the_threshold_of_held_out_scores_raises_the_alarms_of_their_p_values(draw, rate):
    usual, new = held_out(draw), np.arange(-1, 10) / 1.0
    above, total = usual.weight_above(new)
    assert_array_equal(new > usual.threshold(rate), alarms((1 + above) / (1 + total), rate))


def test_the_threshold_of_a_rate_that_cannot_be_promised_is_the_greatest_score(draw):
    usual = held_out(draw)
    assert usual.threshold(0.05) == usual.scores.max()
    with pytest.raises(InputError, match="at least 19 held-out normal samples; there are 12"):
        conformal_threshold(usual.scores, 0.05, group_weights(usual.groups))


@pytest.mark.parametrize("labels", [0, 2])
def test_held_out_groups_are_pooled_to_one_score_each(draw, labels):
    usual = held_out(draw, labels=labels)
    whole = usual.pooled(usual.groups, "max")
    assert_array_equal(whole.scores, [usual.scores[usual.groups == group].max() for group in range(12)])
    assert_array_equal(whole.groups, np.arange(12))
    assert whole.count == 12
    if labels:
        assert_array_equal(whole.label_index, np.arange(12) % 2)
        assert whole.of_label(1).count == 6
    else:
        assert whole.label_index is None


def test_samples_are_compared_with_those_scored_in_the_same_way(draw):
    labelled, unlabelled = held_out(draw), held_out(draw)
    calibration = Calibration(labelled, unlabelled, grouped=True)
    assert calibration.of(with_labels=True) is labelled
    assert calibration.of(with_labels=False) is unlabelled
    assert calibration.what == "groups"
    needs_labels = Calibration(labelled, None, grouped=False)
    assert needs_labels.what == "samples"
    assert needs_labels.of(with_labels=True) is labelled
    with pytest.raises(InputError, match="pass the labels of the samples too"):
        needs_labels.of(with_labels=False)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(0, 29), st.floats(-0.9, 0.9))
def test_a_score_that_rounding_moved_keeps_its_p_value_or_gets_a_larger_one(scores, row, part):
    """What another runtime computes differs in the last bits: a copy of a held-out sample must still tie with it."""
    normal = np.array(scores)
    own = CalibrationScores(normal[:, None], normal, np.arange(len(normal)), None)
    score = normal[[row % len(normal)]]
    moved = score + part * TIE * np.abs(score)
    above, total = own.weight_above(moved)
    assert ((1 + above) / (1 + total) >= p_values(np.maximum(score, moved), normal)).all()
    assert (own.weight_above(score)[0] >= p_values(score, normal) * (1 + total) - 1 - 1e-9).all()


def test_near_ties_are_relative_to_size_and_to_spread():
    assert_allclose(tie_bound(np.array([1000.0, 1000.0, 1000.0])), 1000.1)
    assert_allclose(tie_bound(np.array([0.0, 1, 2, 3, 4])) - np.arange(5), [2e-4, 2e-4, 2e-4, 3e-4, 4e-4], rtol=1e-6)
    assert len(tie_bound(np.zeros(0))) == 0
    greatest = np.finfo(float).max
    assert tie_bound(np.full(3, greatest)).tolist() == [greatest] * 3


def test_one_score_of_each_group_is_independent():
    own = CalibrationScores(np.zeros((5, 1)), np.arange(5.0), np.array([1, 0, 1, 2, 0]), np.array([0, 1, 0, 0, 1]))
    assert {name: scores.tolist() for name, scores in own.independent().items()} == {"": [1, 0, 3]}
    by_label = own.independent(np.array(["fan", "pump"]))
    assert {name: scores.tolist() for name, scores in by_label.items()} == {"fan": [0, 3], "pump": [1]}
