import base64
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from problems import pictures, quick
from sklearn.metrics import confusion_matrix

from oddkind.pages.encoding import TYPES
from oddkind.report.learning import MAX_CLASSES, confusion, learning_of, most_confused


def unpacked(of):
    return np.frombuffer(base64.b64decode(of["base64"]), TYPES[of["type"]]).reshape(of["shape"])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_confusions_are_those_of_scikit_learn(pairs):
    true, predicted = np.array(pairs).T
    assert_array_equal(confusion(true, predicted, 5), confusion_matrix(true, predicted, labels=range(5)))


def test_the_classes_with_the_most_mistakes_are_shown():
    counts = np.diag(np.full(30, 9))
    assert_array_equal(most_confused(counts[:3, :3]), [0, 1, 2])
    counts[20, 25], counts[7, 8] = 5, 3
    shown = most_confused(counts).tolist()
    assert len(shown) == MAX_CLASSES
    assert {7, 8, 20, 25} <= {*shown}
    assert shown == sorted(shown)


def test_confusions_and_reliability_are_those_of_the_held_out_samples(fitted):
    found = learning_of(fitted)
    counts, n = unpacked(found["counts"]), found["n"]
    assert (found["with_labels"], found["names"]) == (True, fitted.task.labels.tolist())
    assert (n, found["n_samples"], found["n_held_out"]) == (len(fitted.examples), len(fitted.examples), 18)
    assert n == 18  # all of them are kept, so accuracy is that of the report
    assert np.trace(counts) / n == fitted.report.accuracy
    assert_array_equal(counts.sum(1), unpacked(found["totals"]))
    assert_array_equal(np.bincount(fitted.calibration.labelled.label_index), unpacked(found["totals"]))
    binned = unpacked(found["bin_counts"])
    filled = binned > 0
    assert binned.sum() == n
    accuracy, confidence = (unpacked(found[name])[filled] for name in ("accuracy", "confidence"))
    assert (accuracy * binned[filled]).sum() / n == pytest.approx(fitted.report.accuracy)
    assert found["error"] == pytest.approx((np.abs(accuracy - confidence) * binned[filled]).sum() / n, abs=1e-6)
    assert found["temperatures"] == [fitted.temperature]


def test_without_labels_views_are_confused():
    X, _ = pictures(80)
    model = quick(task="rotations").fit(X).model_
    found = learning_of(model)
    assert (found["with_labels"], len(found["names"]), found["n"]) == (False, 4, 4 * found["n_samples"])
    assert_array_equal(unpacked(found["totals"]), found["n_samples"])


def test_what_is_not_known_is_said(fitted):
    assert "older oddkind" in learning_of(replace(fitted, examples=None))["missing"]
    X, _ = pictures(80)
    model = quick(task="pastes").fit(X).model_
    assert "one view only" in learning_of(model)["missing"]
