"""The detectors as estimators of scikit-learn."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import kinds, pictures, quick
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from oddkind import ConcernWarning, CrossConformal, Detector, PromiseWarning

SHIFTED = "decides by p-values, which are no shift of the mean score of the folds; its sign is tested below"
# A score that does not recognise the samples it learnt from: the checks ask for alarms among them.
CROSS = CrossConformal(Detector(score_function="mahalanobis", epochs=1, false_alarm_rate=0.5, random_state=0), folds=2)


@pytest.mark.filterwarnings("ignore::oddkind.PromiseWarning", "ignore::oddkind.ConcernWarning")  # few samples, noise
@parametrize_with_checks([Detector()])
def test_scikit_learns_checks_of_the_default_detector(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore::oddkind.PromiseWarning", "ignore::oddkind.ConcernWarning")  # few samples, noise
@parametrize_with_checks([CROSS], expected_failed_checks=lambda _: {"check_outliers_train": SHIFTED})
def test_scikit_learns_checks_of_cross_conformal(estimator, check):
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


@pytest.mark.parametrize("detector", [Detector(), CrossConformal()], ids=["Detector", "CrossConformal"])
@pytest.mark.parametrize(
    "method", ["anomaly_score", "score_samples", "decision_function", "predict", "p_value", "explain"]
)
def test_what_is_not_fitted_says_so(detector, method):
    with pytest.raises(NotFittedError, match=f"This {type(detector).__name__} instance is not fitted yet"):
        getattr(detector, method)(kinds(3)[0])
    with pytest.raises(NotFittedError):
        _ = detector.model
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = detector.nonsense


def test_clone_forgets_what_was_learnt_and_keeps_the_parameters(fitted):
    copy = clone(fitted.set_params(label_smoothing=0.1))
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "model_")
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


def test_a_pipeline_has_no_score_and_says_so():
    pipeline = make_pipeline(StandardScaler(), quick()).fit(*kinds())
    assert not hasattr(quick(), "score")
    with pytest.raises(AttributeError, match="has no attribute 'score'"):
        pipeline.score(*kinds())


# --- Choosing by cross-validation -------------------------------------------------------------------------


def auc_of_anomalies(detector, inputs, _):
    """How well scores tell new samples from samples moved far away."""
    odd = inputs + np.array([0, 0, 0, 12.0])
    return roc_auc_score(np.repeat([0, 1], len(inputs)), detector.anomaly_score(np.concatenate([inputs, odd])))


def test_cross_val_score_takes_a_callable():
    found = cross_val_score(quick(), *kinds(), scoring=auc_of_anomalies, cv=3, error_score="raise")
    assert (found > 0.9).all()


@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision"])
def test_cross_val_score_takes_the_names_of_scikit_learns_scores(scoring):
    """With 1 for normal and −1 for anomalies as labels, ranked by `decision_function`."""
    inputs, condition = kinds()[0], np.repeat([1, -1], [270, 30])
    inputs[270:, 3] += 20
    order = np.random.default_rng(0).permutation(300)
    detector = quick(task="affine", score_function="joint-neighbours", epochs=1)
    with pytest.warns(ConcernWarning, match="look like the truth"):  # which is learnt from, too
        found = cross_val_score(
            detector, inputs[order], condition[order], scoring=scoring, cv=KFold(3), error_score="raise"
        )
    assert np.isfinite(found).all()
    assert found.shape == (3,)


def test_a_grid_search_sets_and_chooses_parameters():
    search = GridSearchCV(quick(), {"epochs": [1, 3]}, scoring=auc_of_anomalies, cv=2, error_score="raise")
    search.fit(*kinds(120))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.model_.report.epochs == search.best_params_["epochs"]


@pytest.mark.parametrize("detector", [quick(per_label=True), CrossConformal(quick(), folds=3)], ids=["one", "cross"])
def test_fit_predict_passes_the_labels_on(detector):
    inputs, labels = kinds()
    swapped = np.where(np.arange(300) < 3, (labels + 1) % 3, labels)  # three samples with a label that is not theirs
    expected = clone(detector).fit(inputs, swapped)
    assert_array_equal(clone(detector).fit_predict(inputs, swapped), expected.predict(inputs, swapped))
    assert not np.array_equal(expected.p_value(inputs, swapped), expected.p_value(inputs))
    groups = np.arange(300) // 3
    found = CrossConformal(quick(), folds=3) if isinstance(detector, CrossConformal) else quick()
    assert_array_equal(
        clone(found).fit_predict(inputs, labels, groups),
        clone(found).fit(inputs, labels, groups).predict(inputs, labels),
    )


def test_cross_conformal_warns_once_of_a_rate_that_cannot_be_promised():
    inputs = kinds(12)[0]
    with pytest.warns(PromiseWarning, match="at least 19 held-out normal samples; there are 12") as said:
        cross = CrossConformal(quick(false_alarm_rate=0.05), folds=3).fit(inputs)
    assert len(said) == 1
    assert (cross.predict(inputs + 99) == 1).all()  # warnings are errors here
    cross.set_params(detector__false_alarm_rate=0.01)
    with pytest.warns(PromiseWarning, match="at least 99"):
        assert (cross.predict(inputs + 99) == 1).all()
