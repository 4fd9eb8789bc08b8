import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, quick
from sklearn.base import clone

from oddkind import InputError
from oddkind.cross_conformal import CrossConformal


def test_every_sample_is_held_out_once_and_its_score_counts():
    inputs, labels = kinds(60, apart=2.0)
    cross = CrossConformal(quick(score="euclidean-neighbours", task="labels"), folds=4).fit(inputs, labels)
    assert cross.n_ == 60
    rows = [detector.validation_rows_ for detector in cross.detectors_]
    assert_array_equal(np.sort(np.concatenate(rows)), np.arange(60))
    new = kinds(50, seed=1, apart=2.0)[0]
    above = sum(
        (detector.held_out_[False].scores[None] >= detector.anomaly_score(new)[:, None]).sum(1)
        for detector in cross.detectors_
    )
    assert_allclose(cross.p_value(new), (1 + above) / 61)
    assert_array_equal(cross.predict(new) == -1, cross.p_value(new) <= 0.2)
    assert_allclose(cross.anomaly_score(new), np.mean([d.anomaly_score(new) for d in cross.detectors_], 0))
    assert_array_equal(cross.score_samples(new), -cross.anomaly_score(new))


def test_groups_stay_whole_and_count_as_one():
    inputs, groups = kinds(90)[0], np.arange(90) // 3
    cross = CrossConformal(quick()).fit(inputs, groups=groups)
    assert cross.n_ == 30
    for detector in cross.detectors_:
        assert not set(groups[detector.training_rows_]) & set(groups[detector.validation_rows_])
    assert (cross.p_value(inputs) >= 1 / 31).all()


def test_anomalies_are_found_where_a_detector_has_too_few_samples():
    inputs, labels = kinds(24, apart=8.0)
    detector = quick(false_alarm_rate=0.05, epochs=30)
    with pytest.raises(InputError, match=r"CrossConformal"):
        clone(detector).fit(inputs, labels)
    cross = CrossConformal(detector).fit(inputs, labels)
    odd = np.random.default_rng(1).normal([0, 0, 0, 25], size=(40, 4))
    assert (cross.predict(odd) == -1).all()
    assert (cross.predict(kinds(300, seed=2, apart=8.0)[0]) == -1).mean() < 0.15


@pytest.mark.filterwarnings("ignore::oddkind.errors.ConcernWarning")  # a label of two is too few to learn much
@pytest.mark.parametrize("seed", range(5))
def test_a_label_of_two_is_never_in_one_fold(seed):
    inputs, labels = kinds(60)[0], np.repeat([0, 1], [58, 2])
    cross = CrossConformal(quick(task="labels", epochs=1, random_state=seed), folds=np.int64(5)).fit(inputs, labels)
    sizes = [len(detector.validation_rows_) for detector in cross.detectors_]
    assert sizes == [12] * 5


@pytest.mark.filterwarnings("ignore::oddkind.errors.ConcernWarning")
def test_a_label_of_one_sample_cannot_be_learnt_and_held_out():
    with pytest.raises(InputError, match="all samples of label 1 were held out; give each label more"):
        CrossConformal(quick(task="labels")).fit(kinds(60)[0], np.repeat([0, 1], [59, 1]))


def test_a_score_that_needs_labels_says_so():
    cross = CrossConformal(quick(task="labels", score="target-nll")).fit(*kinds(60))
    assert cross.p_value(*kinds(3, seed=1)).shape == (3,)
    with pytest.raises(InputError, match="pass the labels"):
        cross.p_value(kinds(3, seed=1)[0])


@pytest.mark.parametrize(
    ("detector", "folds", "groups", "message"),
    [
        (quick(), 1, None, "folds=1; it must be a whole number of at least 2"),
        (quick(), 2.0, None, r"folds=2\.0; it must be"),
        (quick(), 40, None, "40 folds take 40 normal samples; there are 30"),
        (
            quick(false_alarm_rate=0.01),
            5,
            None,
            r"rate of 0\.01 can be promised from 99 held-out normal samples on; there are 30",
        ),
        (quick(false_alarm_rate=0.1), 5, np.arange(30) // 5, r"from 9 held-out normal groups on; there are 6"),
        (quick(false_alarm_rate=2), 5, None, "false_alarm_rate=2; it must lie between 0 and 1"),
        (quick(per_label=True), 5, None, "per_label"),
        (quick(), 5, np.arange(29), "inconsistent numbers of samples"),
    ],
)
def test_what_cannot_be_promised_is_refused(detector, folds, groups, message):
    with pytest.raises(ValueError, match=message):
        CrossConformal(detector, folds=folds).fit(*kinds(30), groups)
