import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from oddkind import InputError
from oddkind.model.calibration import (
    alarms,
    classwise_error,
    combined,
    combined_among_others,
    conformal_threshold,
    discoveries,
    fit_temperature,
    p_values,
    perplexity,
    pool,
    promise_kept,
    reliability,
    shares,
    surprise,
)


def drawn_from_softmax(draw, n, *, temperature=1.0, classes=4, spread=2.0):
    """Logits whose labels truly follow softmax(z / temperature)."""
    z = draw.normal(size=(n, classes)) * spread
    p = softmax(z / temperature, axis=1)
    return z, (draw.random((n, 1)) > p.cumsum(1)[:, :-1]).sum(1)


def mean_nll(z, targets, temperature):
    return -log_softmax(z / temperature, axis=1)[np.arange(len(z)), targets].mean()


# --- Temperature -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_fit_temperature_finds_the_one_the_labels_were_drawn_with(draw, temperature):
    z, targets = drawn_from_softmax(draw, 40_000, temperature=temperature, spread=2 * temperature)
    assert_allclose(fit_temperature(z, targets), temperature, rtol=0.03)


@given(st.integers(0, 99), st.floats(0.3, 5))
def test_fit_temperature_minimises_the_nll(seed, temperature):
    z, targets = drawn_from_softmax(np.random.default_rng(seed), 200, temperature=temperature)
    best = mean_nll(z, targets, fit_temperature(z, targets))
    assert best <= min(mean_nll(z, targets, t) for t in np.geomspace(0.05, 20, 200)) + 1e-9


@given(st.integers(0, 99), st.floats(0.3, 3))
def test_scaling_the_logits_scales_the_temperature(seed, factor):
    z, targets = drawn_from_softmax(np.random.default_rng(seed), 500)
    assert_allclose(fit_temperature(factor * z, targets), factor * fit_temperature(z, targets), rtol=1e-3)


def test_a_network_that_is_always_right_gets_the_lower_bound_and_one_that_guesses_the_upper(draw):
    z, _ = drawn_from_softmax(draw, 500)
    assert_allclose(fit_temperature(z, z.argmax(1)), 0.05, rtol=1e-3)
    assert_allclose(fit_temperature(z, z.argmin(1)), 20, rtol=1e-3)
    assert_allclose(fit_temperature(z, z.argmin(1), bounds=(0.5, 4)), 4, rtol=1e-3)


def test_fit_temperature_does_not_overflow_on_large_logits(draw):
    z, targets = drawn_from_softmax(draw, 500)
    assert np.isfinite(fit_temperature(1e4 * z.astype(np.float32), targets))


def test_fit_temperature_refuses_nothing():
    with pytest.raises(InputError, match="needs held-out samples; there are 0"):
        fit_temperature(np.empty((0, 3)), np.empty(0, int))


# --- Reliability -----------------------------------------------------------------------------------------


def logits_of(*confidence):
    """Two-class logits that predict class 0 with these probabilities."""
    p = np.array(confidence)
    return np.log(np.stack([p, 1 - p], 1))


def test_reliability_by_hand():
    # (0.5, 0.75]: 0.6 right, 0.7 wrong; (0.75, 1]: 0.9 right, 0.8 right, 0.9 wrong.
    found = reliability(logits_of(0.6, 0.7, 0.9, 0.8, 0.9), np.array([0, 1, 0, 0, 1]), bins=4)
    assert_allclose(found.edges, [0, 0.25, 0.5, 0.75, 1])
    assert found.count.tolist() == [0, 0, 2, 3]
    assert_allclose(found.confidence, [np.nan, np.nan, 0.65, 2.6 / 3])
    assert_allclose(found.accuracy, [np.nan, np.nan, 0.5, 2 / 3])
    assert_allclose(found.expected_error, 2 / 5 * 0.15 + 3 / 5 * 0.2)


@given(st.integers(0, 999), st.integers(1, 20), st.floats(0.3, 5))
def test_reliability_agrees_with_scikit_learn(seed, bins, temperature):
    z, targets = drawn_from_softmax(np.random.default_rng(seed), 300)
    p = softmax(z / temperature, axis=1)
    accuracy, confidence = calibration_curve(p.argmax(1) == targets, p.max(1), n_bins=bins)
    found = reliability(z, targets, temperature=temperature, bins=bins)
    filled = found.count > 0
    assert found.count.sum() == 300
    assert_array_equal(filled, ~np.isnan(found.accuracy))
    assert_allclose(found.accuracy[filled], accuracy)
    assert_allclose(found.confidence[filled], confidence)
    assert 0 <= found.expected_error <= 1


def test_calibration_error_is_small_at_the_true_temperature_alone(draw):
    z, targets = drawn_from_softmax(draw, 60_000, temperature=2.0)
    assert reliability(z, targets, temperature=2.0).expected_error < 0.01
    assert reliability(z, targets, temperature=1.0).expected_error > 0.1  # too sure
    assert reliability(z, targets, temperature=5.0).expected_error > 0.1  # not sure enough
    assert reliability(z, targets, temperature=fit_temperature(z, targets)).expected_error < 0.01


def test_bins_include_their_upper_edge():
    assert reliability(np.zeros((1, 2)), np.array([0]), bins=4).count.tolist() == [0, 1, 0, 0]


def test_certainty_falls_in_the_last_bin():
    found = reliability(np.array([[1e3, 0.0]]), np.array([0]), bins=5)
    assert found.count.tolist() == [0, 0, 0, 0, 1]
    assert found.expected_error == 0


@pytest.mark.parametrize("error", [reliability, classwise_error])
def test_calibration_errors_refuse_nothing(error):
    with pytest.raises(InputError, match="needs samples; there are 0"):
        error(np.empty((0, 3)), np.empty(0, int))


def test_adaptive_error_by_hand():
    # Halves (.., 0.7] and (0.7, ..]: 0.6 right, 0.7 wrong; 0.8 right, 0.9 right. Equal widths would part 1 and 3.
    found = reliability(logits_of(0.9, 0.6, 0.8, 0.7), np.array([0, 0, 0, 1]), bins=2, equal_mass=True)
    assert_allclose(found.edges, [0.6, 0.7, 0.9])
    assert found.count.tolist() == [2, 2]
    assert_allclose(found.expected_error, (0.15 + 0.15) / 2)
    # Samples of one confidence stay together, whatever their order.
    tied = reliability(logits_of(0.8, 0.8, 0.8, 0.8), np.array([0, 1, 0, 0]), bins=2, equal_mass=True)
    assert sorted(tied.count) == [0, 4]
    assert_allclose(tied.expected_error, 0.05)


@given(st.integers(0, 999), st.integers(1, 20), st.floats(0.3, 5))
def test_adaptive_bins_agree_with_scikit_learn_and_hold_equally_many(seed, bins, temperature):
    z, targets = drawn_from_softmax(np.random.default_rng(seed), 300)
    p = softmax(z / temperature, axis=1)
    found = reliability(z, targets, temperature=temperature, bins=bins, equal_mass=True)
    assert found.count.sum() == 300
    assert found.count.max() - found.count.min() <= 1
    if 300 % bins == 0:
        order = np.argsort(p.max(1)).reshape(bins, -1)
        assert_allclose(found.confidence, p.max(1)[order].mean(1))
        assert_allclose(found.accuracy, (p.argmax(1) == targets)[order].mean(1))


def test_classwise_error_by_hand():
    # Class 0: 0.8, 0.8, 0.2, 0.2, of which 1, 0, 0, 0 true: |0.5 − 0.8| and |0 − 0.2| over halves; class 1 mirrors it.
    assert_allclose(classwise_error(logits_of(0.8, 0.8, 0.2, 0.2), np.array([0, 1, 1, 1]), bins=2), (0.3 + 0.2) / 2)


def test_classwise_error_sees_what_confidence_hides():
    # Both classes called with 0.75 and right with 0.75 on average; class 0 always, class 1 half the time.
    z, targets = logits_of(*[0.75] * 4, *[0.25] * 4), np.array([0, 0, 0, 0, 1, 1, 0, 0])
    assert reliability(z, targets).expected_error < 1e-12
    assert_allclose(classwise_error(z, targets), 0.25)


@given(st.integers(0, 99), st.integers(2, 5))
def test_all_calibration_errors_vanish_at_the_true_temperature_and_lie_in_0_to_1(seed, classes):
    z, targets = drawn_from_softmax(np.random.default_rng(seed), 4000, classes=classes, temperature=2.0)
    for error in (
        classwise_error,
        lambda *given, **more: reliability(*given, equal_mass=True, **more).expected_error,
    ):
        assert 0 <= error(z, targets, temperature=2.0) < 0.05
        assert error(z, targets, temperature=2.0) < error(z, targets, temperature=0.5) <= 1


# --- Combining scores -------------------------------------------------------------------------------------


def test_surprise_is_minus_log_of_the_part_at_or_above():
    normal = np.arange(1.0, 20.0)  # 19: the lowest is reached by all
    assert_allclose(surprise([0.0, 1.0, 2.0, 10.0], normal), -np.log([1, 1, 19 / 20, 11 / 20]))
    assert_allclose(surprise([1.5], normal), -np.log(19 / 20) / 2)  # a straight line between


def test_surprise_of_an_exponential_tail_goes_on_as_it_does(draw):
    normal = draw.exponential(2.0, size=100_000)
    assert_allclose(surprise(np.array([1.0, 5.0, 10.0, 40.0]), normal), np.array([0.5, 2.5, 5.0, 20.0]), rtol=0.03)


@given(st.integers(0, 99), st.integers(1, 60), st.booleans())
def test_surprise_never_falls_and_is_never_negative(seed, n, ties):
    draw = np.random.default_rng(seed)
    normal = draw.integers(4, size=n) if ties else draw.normal(size=n)
    found = surprise(np.sort(np.append(draw.normal(size=50) * 5, normal)), normal)
    assert (found >= 0).all()
    assert (np.diff(found) >= 0).all()


@given(st.integers(0, 99), st.floats(1e-3, 1e3), st.floats(-9, 9))
def test_surprise_does_not_depend_on_the_scores_unit(seed, scale, shift):
    draw = np.random.default_rng(seed)
    normal, scores = draw.normal(size=60), draw.normal(size=30) * 3
    assert_allclose(surprise(scale * scores + shift, scale * normal + shift), surprise(scores, normal), rtol=1e-6)


def test_surprise_of_scores_that_never_vary():
    assert_allclose(surprise([1.0, 2.0, 3.0], np.full(9, 2.0)), [0, 0, np.log(10)])


def test_combined_sums_the_weighted_surprises_and_leaves_a_single_score_as_it_is(draw):
    normal, scores, weights = draw.normal(size=(50, 3)), draw.normal(size=(20, 3)), np.array([1, 0.5, 0])
    expected = surprise(scores[:, 0], normal[:, 0]) + surprise(scores[:, 1], normal[:, 1]) / 2
    assert_allclose(combined(scores, normal, weights), expected)
    assert_array_equal(combined(scores[:, :1], normal[:, :1], weights[:1]), scores[:, 0])
    among = combined_among_others(normal, weights)
    assert_allclose(among[7], combined(normal[7:8], np.delete(normal, 7, 0), weights)[0])
    assert_array_equal(combined_among_others(normal[:, :1], weights[:1]), normal[:, 0])
    many = draw.normal(size=(401, 3))  # the first of 200 parts has three
    assert_allclose(combined_among_others(many, weights)[:3], combined(many[:3], many[3:], weights))
    assert combined_among_others(many[:1], weights).tolist() == [0]


@pytest.mark.parametrize("n", [40, 200])
def test_false_alarms_of_combined_scores_stay_within_the_promise(draw, n):
    alarms = []
    for _ in range(300):
        normal, new = (draw.normal(size=(size, 2)) @ [[1, 0.8], [0, 0.6]] for size in (n, 200))
        threshold = conformal_threshold(combined_among_others(normal, [1, 0.5]), 0.1)
        alarms.append((combined(new, normal, [1, 0.5]) > threshold).mean())
    assert np.mean(alarms) <= 0.1 + 3 * np.std(alarms) / np.sqrt(300)


# --- Perplexity ------------------------------------------------------------------------------------------


def hesitation(logits, targets):
    return perplexity(logits, targets, fit_temperature(logits, targets))


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_perplexity_is_that_of_the_true_probabilities_whatever_the_temperature_of_the_logits(draw, scale):
    logits, targets = drawn_from_softmax(draw, 4000, classes=5)
    expected = np.exp(log_loss(targets, softmax(logits, axis=1)))
    assert hesitation(scale * logits, targets) == pytest.approx(expected, rel=2e-3)


def test_perplexity_of_guessing_and_of_knowing(draw):
    targets = draw.integers(4, size=400)
    assert hesitation(np.zeros((400, 4)), targets) == pytest.approx(4)
    assert hesitation(draw.normal(size=(400, 4)) * 5, targets) == pytest.approx(4, abs=0.05)
    assert hesitation(9 * np.eye(4)[targets], targets) == pytest.approx(1, abs=1e-6)
    assert hesitation(9 * np.eye(4)[(targets + 1) % 4], targets) == 4


# --- Conformal threshold ---------------------------------------------------------------------------------


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
def test_conformal_threshold_keeps_its_promise_and_is_the_lowest_that_does(n, rate):
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
    with pytest.raises(InputError, match="can be promised from") as refusal:
        conformal_threshold(np.empty(0), rate)
    needed = int(str(refusal.value).split("from ")[1].split()[0])
    conformal_threshold(np.arange(needed), rate)
    with pytest.raises(InputError, match=rf"from {needed} held-out normal samples on; there are {needed - 1}\b"):
        conformal_threshold(np.arange(needed - 1), rate)


def test_nineteen_samples_are_just_enough_for_five_percent():
    assert conformal_threshold(np.arange(19), 0.05) == 18
    with pytest.raises(
        InputError, match=r"rate of 0.05 can be promised from 19 held-out normal samples on; there are 18"
    ):
        conformal_threshold(np.arange(18), 0.05)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, np.nan])
def test_conformal_threshold_refuses_a_rate_that_is_none(rate):
    with pytest.raises(InputError, match=r"false_alarm_rate=.*between 0 and 1"):
        conformal_threshold(np.arange(99), rate)


@pytest.mark.parametrize("n", [19, 99])
def test_p_values_are_super_uniform(draw, n):
    repetitions = 5000
    p = np.array([p_values(draw.gamma(2.0, size=1), draw.gamma(2.0, size=n))[0] for _ in range(repetitions)])
    for rate in (0.01, 0.05, 0.1, 0.3, 0.8):
        assert alarms(p, rate).mean() <= rate + 4 * np.sqrt(rate * (1 - rate) / repetitions)
    assert alarms(p, 0.8).mean() >= 0.8 - 1 / (n + 1) - 0.03  # and no more careful than it must be


def test_windows_of_recordings_break_the_naive_promise_and_keep_that_of_shares(draw):
    """20 recordings of 50 windows, a new window of a new recording: 1,000 windows are not 1,000 samples."""
    repetitions, rate = 4000, 0.05
    units = np.repeat(np.arange(20), 50)
    naive, fair = [], []
    for _ in range(repetitions):
        level = 3 * draw.normal(size=21)
        normal = level[units] + draw.normal(size=1000)
        new = level[20:] + draw.normal(size=1)
        naive.append(alarms(p_values(new, normal), rate)[0])
        p = p_values(new, normal, shares(units))
        fair.append(alarms(p, rate)[0])
        assert fair[-1] == (new[0] > conformal_threshold(normal, rate, shares(units)))
    error = 4 * np.sqrt(rate * (1 - rate) / repetitions)
    assert np.mean(fair) <= rate + error
    assert np.mean(naive) > rate + error


@given(st.integers(0, 999), st.floats(0.06, 0.9))
def test_a_score_above_the_threshold_is_one_whose_p_value_is_at_most_the_rate(seed, rate):
    draw = np.random.default_rng(seed)
    units, normal = draw.integers(20, size=60), draw.integers(12, size=60).astype(float)  # with ties
    counts = shares(units)
    assume(counts.sum() + 1 >= 1 / rate)
    new = np.arange(-1, 14) / 1.0
    threshold = conformal_threshold(normal, rate, counts)
    assert_array_equal(new > threshold, alarms(p_values(new, normal, counts), rate))


def test_shares_of_a_unit_are_one_in_all_and_p_values_take_them_for_repetitions():
    assert_array_equal(shares(np.array(["b", "a", "b", "b"])), [1 / 3, 1, 1 / 3, 1 / 3])
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
    with pytest.raises(InputError, match=r"false_discovery_rate=1.0; it must lie between 0 and 1"):
        discoveries(p, 1.0)


def test_the_part_of_normal_ones_among_discoveries_stays_within_the_promise(draw):
    parts = []
    for _ in range(1000):
        scores = draw.normal(size=100)
        scores[:20] += 4
        found = discoveries(p_values(scores, draw.normal(size=500)), 0.2)
        parts.append(found[20:].sum() / max(1, found.sum()))
    assert 0.08 < np.mean(parts) <= 0.2 * 0.8 + 4 * np.std(parts) / np.sqrt(1000)  # the rate times the normal part


def test_promise_kept_is_the_chance_of_so_many_false_alarms(draw):
    n, new, rate, repetitions = 39, 60, 0.05, 20_000
    scores = draw.normal(size=(repetitions, n + new))
    thresholds = np.sort(scores[:, :n], axis=1)[:, n - 2]  # the 38th of 39
    found = (scores[:, n:] > thresholds[:, None]).sum(1)
    for count in (0, 1, 3, 8, 15):
        expected = (found >= count).mean()
        assert promise_kept(count, new, n, rate) == pytest.approx(expected, abs=4 * np.sqrt(0.25 / repetitions))
    assert promise_kept(40, new, n, rate) < 1e-6
    with pytest.raises(InputError, match="can be promised from 19"):
        promise_kept(0, 10, 18, 0.05)


def test_windows_are_pooled_to_recordings_by_mean_maximum_or_quantile(draw):
    scores, owner = draw.normal(size=60), draw.integers(7, size=60)
    by = {"mean": np.mean, "max": np.max, "0.25": lambda own: np.quantile(own, 0.25)}
    for how, of in by.items():
        assert_allclose(pool(scores, owner, how), [of(scores[owner == one]) for one in np.unique(owner)])
    for how in ("median", "1.5", "-0.1", "nan"):
        with pytest.raises(InputError, match=f"pool='{how}'; it must be 'mean', 'max' or a quantile"):
            pool(scores, owner, how)
