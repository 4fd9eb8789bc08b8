"""The detector as scikit-learn's estimator."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import kinds, pictures, quick
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from oddkind import Detector

SCORE_IS_A_PARAMETER = "takes our parameter `score` for scikit-learn's method `score`; its concern is tested below"


@parametrize_with_checks(
    [Detector(epochs=1, false_alarm_rate=0.5, random_state=0)],
    expected_failed_checks=lambda _: {
        "check_fit_score_takes_y": SCORE_IS_A_PARAMETER,
        "check_n_features_in_after_fitting": SCORE_IS_A_PARAMETER,
        "check_pipeline_consistency": SCORE_IS_A_PARAMETER,
    },
)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def fitted():
    return quick().fit(*kinds())


def test_methods_follow_scikit_learns_signs(fitted):
    inputs = np.vstack([kinds(50, seed=1)[0], np.full((50, 4), -20.0)])
    scores = fitted.anomaly_score(inputs)
    assert_array_equal(fitted.score_samples(inputs), -scores)
    assert_array_equal(fitted.decision_function(inputs), -scores - fitted.offset_)
    assert_array_equal(fitted.predict(inputs), np.where(scores > -fitted.offset_, -1, 1))
    assert set(fitted.predict(inputs)) == {-1, 1}


def test_clone_forgets_what_was_learnt_and_keeps_the_parameters(fitted):
    copy = clone(fitted.set_params(label_smoothing=0.1))
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "networks_")
    assert_array_equal(copy.fit(*kinds()).anomaly_score(kinds()[0]), fitted.anomaly_score(kinds()[0]))


def test_random_state_may_be_a_generator_or_none():
    inputs, labels = kinds(60)
    one, two = (
        quick(random_state=np.random.RandomState(0)).fit(inputs, labels).anomaly_score(inputs) for _ in range(2)
    )
    assert_array_equal(one, two)
    one, two = (quick(random_state=None).fit(inputs, labels).anomaly_score(inputs) for _ in range(2))
    assert not np.array_equal(one, two)


def test_a_detector_survives_pickling(fitted):
    inputs = kinds(50, seed=1)[0]
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    assert_array_equal(again.anomaly_score(inputs), fitted.anomaly_score(inputs))
    assert_array_equal(again.predict(inputs), fitted.predict(inputs))


def test_fitting_again_forgets_the_first_time():
    inputs, labels = kinds()
    detector = quick().fit(pictures()[0], pictures()[1]).fit(inputs, labels)
    assert_array_equal(detector.anomaly_score(inputs), quick().fit(inputs, labels).anomaly_score(inputs))
    assert not hasattr(detector.fit(inputs), "classes_")


@pytest.mark.parametrize("data", [kinds, pictures])
def test_inputs_are_not_changed_and_may_be_read_only(data):
    inputs, labels = data()
    inputs.flags.writeable = False
    before = inputs.copy()
    quick().fit(inputs, labels).predict(inputs)
    assert_array_equal(inputs, before)


def test_a_pipeline_ends_in_the_same_detector(fitted):
    pipeline = make_pipeline(quick()).fit(*kinds())
    assert_array_equal(pipeline.decision_function(kinds()[0]), fitted.decision_function(kinds()[0]))
