"""Calibration errors agree with scikit-learn and with examples worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.calibration import calibration_curve

from oddkind import InputError
from oddkind.study.reliability import classwise_error, reliability
from oddkind.train.temperature import fit_temperature


def drawn_from_softmax(draw, n, *, temperature=1.0, classes=4, spread=2.0):
    """Logits whose labels truly follow softmax(z / temperature)."""
    z = draw.normal(size=(n, classes)) * spread
    p = softmax(z / temperature, axis=1)
    return z, (draw.random((n, 1)) > p.cumsum(1)[:, :-1]).sum(1)


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


def test_the_calibration_error_is_small_only_at_the_true_temperature(draw):
    z, targets = drawn_from_softmax(draw, 60_000, temperature=2.0)
    assert reliability(z, targets, temperature=2.0).expected_error < 0.01
    assert reliability(z, targets, temperature=1.0).expected_error > 0.1  # too sure
    assert reliability(z, targets, temperature=5.0).expected_error > 0.1  # not sure enough
    assert reliability(z, targets, temperature=fit_temperature(z, targets)).expected_error < 0.01


def test_bins_include_their_upper_edge():
    assert reliability(np.zeros((1, 2)), np.array([0]), bins=4).count.tolist() == [0, 1, 0, 0]


def test_a_confidence_of_1_falls_in_the_last_bin():
    found = reliability(np.array([[1e3, 0.0]]), np.array([0]), bins=5)
    assert found.count.tolist() == [0, 0, 0, 0, 1]
    assert found.expected_error == 0


@pytest.mark.parametrize("error", [reliability, classwise_error])
def test_calibration_errors_refuse_no_samples(error):
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
def test_adaptive_bins_agree_with_scikit_learn_and_hold_equally_many_samples(seed, bins, temperature):
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


def test_the_classwise_error_sees_classes_that_are_predicted_too_often():
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
