"""Cross-conformal detectors: every sample is learnt from and held out."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, pictures, quick
from sklearn.base import clone

import oddkind.train.stacks
from oddkind import ConcernWarning, CrossConformal, CrossModel, Detector, InputError, PromiseWarning, load
from oddkind.model.conformal import pool


def test_every_sample_is_held_out_once_and_its_score_counts():
    inputs, labels = kinds(60, apart=2.0)
    cross = CrossConformal(quick(score_function="euclidean-neighbours", task="labels"), folds=4).fit(inputs, labels)
    models = cross.model_.models
    assert cross.model_.calibration_sizes() == {None: 60}
    assert_array_equal(np.sort(np.concatenate([model.report.calibration_rows for model in models])), np.arange(60))
    for model in models:
        both = np.concatenate([model.report.calibration_rows, model.report.training_rows])
        assert_array_equal(np.sort(both), np.arange(60))
    new = kinds(50, seed=1, apart=2.0)[0]
    above = sum(
        (model.calibration.unlabelled.scores[None] >= model.anomaly_score(new)[:, None]).sum(1) for model in models
    )
    assert_allclose(cross.p_value(new), (1 + above) / 61)
    assert_array_equal(cross.predict(new) == -1, cross.p_value(new) <= 0.2)
    assert_allclose(cross.anomaly_score(new), np.mean([model.anomaly_score(new) for model in models], 0))
    assert_array_equal(cross.score_samples(new), -cross.anomaly_score(new))


def test_groups_stay_whole_and_count_as_one():
    inputs, groups = kinds(90)[0], np.arange(90) // 3
    cross = CrossConformal(quick()).fit(inputs, groups=groups)
    assert cross.model_.calibration_sizes() == {None: 30}
    for model in cross.model_.models:
        assert not set(groups[model.report.training_rows]) & set(groups[model.report.calibration_rows])
    assert (cross.p_value(inputs) >= 1 / 31).all()


def test_groups_are_compared_with_groups_of_every_fold():
    inputs, groups = kinds(90)[0], np.arange(90) // 3
    cross = CrossConformal(quick(), folds=3).fit(inputs, groups=groups)
    new, of = kinds(9, seed=1)[0] + 2, ["b", "b", "b", "a", "a", "a", "c", "c", "c"]
    names, p = cross.group_p_value(new, of, how="max")
    assert names.tolist() == ["a", "b", "c"]
    above = 0
    for model in cross.model_.models:
        held_out = model.calibration.unlabelled
        whole = pool(held_out.scores, groups[model.report.calibration_rows], "max")
        above = above + (whole[None] >= pool(model.anomaly_score(new), of, "max")[:, None]).sum(1)
    assert_allclose(p, (1 + above) / 31)
    with pytest.raises(InputError, match="fit was given no groups"):
        CrossConformal(quick()).fit(inputs).group_p_value(new, of)


def test_anomalies_are_found_if_a_detector_has_too_few_samples():
    inputs, labels = kinds(24, apart=8.0)
    detector = quick(false_alarm_rate=0.05, epochs=30)
    odd = np.random.default_rng(1).normal([0, 0, 0, 25], size=(40, 4))
    with pytest.warns(PromiseWarning, match="at least 19 held-out normal samples; there are 12"):
        alone = clone(detector).fit(inputs, labels)
    assert (alone.predict(odd) == 1).all()
    cross = CrossConformal(detector).fit(inputs, labels)
    assert (cross.predict(odd) == -1).all()
    assert (cross.predict(kinds(300, seed=2, apart=8.0)[0]) == -1).mean() < 0.15


@pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")  # a label of two is too few to learn much
@pytest.mark.parametrize("seed", range(5))
def test_a_label_of_two_is_never_in_one_fold(seed):
    inputs, labels = kinds(60)[0], np.repeat([0, 1], [58, 2])
    cross = CrossConformal(quick(task="labels", epochs=1, random_state=seed), folds=np.int64(5)).fit(inputs, labels)
    sizes = [len(model.report.calibration_rows) for model in cross.model_.models]
    assert sizes == [12] * 5


@pytest.mark.parametrize("seed", range(10))
def test_a_label_in_two_groups_of_several_labels_is_never_in_one_fold(seed):
    inputs, labels = kinds(60)[0], np.tile([0, 0, 0, 1], 15)
    groups = np.arange(60) // 4
    labels[(labels == 1) & (groups > 1)] = 0  # label 1 is in the groups 0 and 1, with label 0
    cross = CrossConformal(quick(task="labels", epochs=1, random_state=seed), folds=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcernWarning)
        assert len(cross.fit(inputs, labels, groups).model_.models) == 2


def test_a_label_of_one_sample_cannot_be_learnt_and_held_out():
    with pytest.raises(InputError, match="all samples of label 1 were held out; pass more of each label"):
        CrossConformal(quick(task="labels")).fit(kinds(60)[0], np.repeat([0, 1], [59, 1]))


def test_a_score_that_needs_labels_says_so():
    cross = CrossConformal(quick(task="labels", score_function="target-nll")).fit(*kinds(60))
    assert cross.p_value(*kinds(3, seed=1)).shape == (3,)
    with pytest.raises(InputError, match="pass the labels"):
        cross.p_value(kinds(3, seed=1)[0])


@pytest.mark.parametrize(
    ("detector", "folds", "groups", "message"),
    [
        (quick(), 1, None, "folds=1; it must be a whole number of at least 2"),
        (quick(), 2.0, None, r"folds=2\.0; it must be"),
        (quick(), 40, None, "40 folds take 40 normal samples; there are 30"),
        (quick(), 7, np.arange(30) // 5, "7 folds take 7 normal groups; there are 6"),
        (quick(false_alarm_rate=2), 5, None, "false_alarm_rate=2; it must"),
        (quick(epochs=0), 5, None, "epochs=0; it must"),
        (quick(per_label=True), 5, None, "per_label"),
        (quick(), 5, np.arange(29), "inconsistent numbers of samples"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_training(monkeypatch, detector, folds, groups, message):
    monkeypatch.setattr(oddkind.train.stacks, "train", lambda *_, **__: pytest.fail("trained for nothing"))
    with pytest.raises(ValueError, match=message):
        CrossConformal(detector, folds=folds).fit(*kinds(30), groups)


@pytest.mark.parametrize(
    ("rate", "groups", "message"),
    [
        (0.01, None, "at least 99 held-out normal samples; there are 30"),
        (0.1, np.arange(30) // 5, "at least 9 held-out normal groups; there are 6"),
    ],
)
def test_a_rate_that_all_folds_together_cannot_promise_gives_one_warning_and_no_alarm(rate, groups, message):
    inputs, labels = kinds(30)
    with pytest.warns(PromiseWarning, match="no alarm is raised: .*" + message) as said:
        cross = CrossConformal(quick(false_alarm_rate=rate)).fit(inputs, labels, groups)
    assert len(said) == 1
    assert (cross.predict(inputs + 99) == 1).all()
    assert_allclose(cross.p_value(inputs + 99), 1 / 31 if groups is None else 1 / 7)


@pytest.fixture(scope="module")
def fitted():
    return CrossConformal(quick(), folds=3).fit(*kinds(90, apart=2.0))


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("known", [False, True], ids=["unknown labels", "known labels"])
def test_the_sign_of_the_decision_function_agrees_with_predict(fitted, rate, known):
    inputs, labels = kinds(200, seed=1, apart=2.0)
    inputs[100:] *= np.linspace(1, 4, 100)[:, None]
    labels = labels if known else None
    fitted.set_params(detector__false_alarm_rate=rate)
    try:
        decision, found = fitted.decision_function(inputs, labels), fitted.predict(inputs, labels)
        assert set(found) == {-1, 1}
        assert_array_equal(found, np.where(decision < 0, -1, 1))
        assert_array_equal(fitted.model.predict(inputs, labels), found)
    finally:
        fitted.set_params(detector__false_alarm_rate=0.2)


@pytest.mark.parametrize("data", [kinds, pictures])
def test_what_is_saved_and_loaded_answers_the_same(tmp_path, data):
    inputs, labels = data(60)
    cross = CrossConformal(quick(n_members=2), folds=3).fit(inputs, labels)
    cross.set_params(detector__false_alarm_rate=0.1).save(tmp_path / "cross.oddkind")
    model = load(tmp_path / "cross.oddkind")
    assert isinstance(model, CrossModel)
    assert model.false_alarm_rate == 0.1
    for known in (None, labels):
        assert_array_equal(model.anomaly_score(inputs, known), cross.anomaly_score(inputs, known))
        assert_array_equal(model.p_value(inputs, known), cross.p_value(inputs, known))
        assert_array_equal(model.predict(inputs, known), cross.predict(inputs, known))


def test_it_explains_with_the_mean_over_its_folds(fitted):
    inputs, labels = kinds(4, seed=1, apart=2.0)
    found = fitted.explain(inputs, labels)
    assert_allclose([one.score for one in found], fitted.anomaly_score(inputs, labels))
    assert_allclose([one.p_value for one in found], fitted.p_value(inputs, labels))
    assert [one.evidence.shape for one in found] == [(4,)] * 4


def test_the_detector_is_not_fitted_and_a_refused_fit_changes_nothing():
    detector = quick()
    cross = CrossConformal(detector, folds=3).fit(*kinds(60))
    assert not hasattr(detector, "model_")
    model, scores = cross.model_, cross.anomaly_score(kinds(9)[0])
    with pytest.raises(InputError, match="folds=1"):
        cross.set_params(folds=1).fit(kinds(60)[0][:, :2])
    assert cross.model_ is model
    assert cross.n_features_in_ == 4
    assert cross.classes_.tolist() == [0, 1, 2]
    assert_array_equal(cross.anomaly_score(kinds(9)[0]), scores)


@pytest.mark.parametrize("parameters", [{"score_function": "msp"}, {"n_members": 3}, {"calibration_fraction": 0.4}])
def test_parameters_of_the_detector_set_after_fit_change_nothing(fitted, parameters):
    inputs, old = kinds(30, seed=1)[0], fitted.detector
    expected = fitted.anomaly_score(inputs), fitted.p_value(inputs)
    try:
        fitted.detector = clone(old).set_params(**parameters)
        assert_array_equal(fitted.anomaly_score(inputs), expected[0])
        assert_array_equal(fitted.p_value(inputs), expected[1])
    finally:
        fitted.detector = old


def test_without_a_detector_it_fits_the_default_one():
    cross = CrossConformal(folds=2)
    inputs = kinds(20)[0]
    cross.fit(inputs)
    assert cross.model.false_alarm_rate == Detector().false_alarm_rate
    assert cross.predict(inputs).shape == (20,)


@pytest.mark.parametrize(
    "repeat", [lambda x: np.repeat(x, 6, 0), lambda x: np.tile(x, (6, 1))], ids=["in turn", "later"]
)
@pytest.mark.parametrize("labelled", [False, True])
def test_copies_are_held_out_together(draw, repeat, labelled):
    inputs, labels = repeat(draw.normal(size=(50, 4))), repeat(np.arange(50)[:, None] % 2)[:, 0] if labelled else None
    inputs = np.concatenate([inputs, draw.normal(size=(20, 4))])
    labels = None if labels is None else np.concatenate([labels, np.arange(20) % 2])
    copies = np.unique(inputs, axis=0, return_inverse=True)[1]
    detector = Detector(random_state=0, epochs=2, calibration_fraction=0.4)
    with pytest.warns(ConcernWarning, match="250 of 320 samples .* promised from the 70 that differ"):
        detector.fit(inputs, labels)
    with pytest.warns(ConcernWarning, match="promised from the 70 that differ"):
        folds = CrossConformal(clone(detector), folds=3).fit(inputs, labels).model_.folds
    for model in (detector.model_, *folds):
        report = model.report
        assert not set(copies[report.training_rows]) & set(copies[report.calibration_rows])
        held_out = model.calibration.of(with_labels=labelled)
        assert held_out.count == len(set(copies[report.calibration_rows]))
    assert detector.model_.calibration.labelled.count == 28
    assert (detector.predict(draw.normal(size=(200, 4))) < 0).mean() < 0.15


def test_copies_in_groups_stay_in_their_groups_and_are_told(draw):
    inputs = np.tile(draw.normal(size=(50, 4)), (4, 1))
    with pytest.warns(ConcernWarning, match="copies of a sample in another group"):
        detector = Detector(random_state=0, epochs=1).fit(inputs, groups=np.arange(200) // 4)
    assert detector.model_.calibration.grouped
