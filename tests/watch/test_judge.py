import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import kinds, quick, record

from oddkind import CrossConformal, fit_files, score_files, source_of
from oddkind.files.listing import Entry
from oddkind.files.score import read_as_learnt
from oddkind.watch.items import Item
from oddkind.watch.judge import Judge


@pytest.fixture(scope="module")
def vectors():
    X, y = kinds(300)
    return quick(epochs=5).fit(X, y).model_


def test_samples_are_judged_as_the_model_does(vectors):
    X, _ = kinds(5, seed=1)
    found = Judge(vectors)(Item("topic", samples=X))
    assert [one.name for one in found] == [f"topic, sample {row}" for row in range(1, 6)]
    assert_array_equal([one.score for one in found], vectors.anomaly_score(X))
    assert_array_equal([one.p_value for one in found], vectors.p_value(X))
    assert_array_equal([-1 if one.anomalous else 1 for one in found], vectors.predict(X))


def test_a_label_that_was_learnt_is_used(vectors):
    X, y = kinds(1, seed=1)
    (found,) = Judge(vectors)(Item("topic", samples=X, label=str(y[0])))
    assert found.score == vectors.anomaly_score(X, y)[0]
    (found,) = Judge(vectors)(Item("topic", samples=X, label="unknown"))
    assert found.score == vectors.anomaly_score(X)[0]


def test_drift_is_measured_against_the_held_out_samples(vectors):
    judge = Judge(vectors)
    assert_array_equal(judge.calibration(with_labels=False)[""], vectors.calibration.unlabelled.scores)
    assert judge.n_calibration(with_labels=True) == {"": vectors.calibration.labelled.count}


def test_within_labels_drift_is_measured_within_them():
    X, y = kinds(300)
    judge = Judge(quick(epochs=5, per_label=True).fit(X, y).model_)
    found = judge.calibration(with_labels=True)
    assert {*found} == {"0", "1", "2"}
    assert judge.category("1") == "1"
    assert judge.category(None) == ""
    assert judge.n_calibration(with_labels=True) == {label: len(scores) for label, scores in found.items()}
    assert sum(map(len, found.values())) == judge.model.calibration.labelled.count


def test_of_each_group_one_held_out_sample_counts():
    X, y = kinds(300)
    model = quick(epochs=2).fit(X, y, groups=np.arange(300) // 5).model_
    judge = Judge(model)
    assert len(judge.calibration(with_labels=True)[""]) == model.calibration.labelled.count


def test_a_model_of_folds_measures_drift_by_the_first(data, shown, tmp_path):
    source = source_of(data)
    model = fit_files(source.entries(data)[0], source, quick(epochs=3), folds=3)
    files = read_as_learnt(model, data / "fan 2" / "test")[0][:3]
    judge = Judge(model)
    found = judge(Item("three", entries=files))
    assert [one.score for one in found] == [verdict.score for verdict in score_files(files, model)]
    assert all(one.drift_score != one.score for one in found)
    first = judge.calibration(with_labels=False)[""]
    assert len(first) < judge.n_calibration(with_labels=False)[""]


def test_folds_of_samples_too():
    X, y = kinds(60)
    model = CrossConformal(quick(), folds=3).fit(X, y).model_
    (found,) = Judge(model)(Item("topic", samples=X[:1]))
    assert found.drift_score == model.fold_scores(X[:1])[0, 0]


def test_what_breaks_a_reader_is_said_of_its_item(fitted, tmp_path, monkeypatch):
    file = record(tmp_path, "a.wav", 300, 0) or tmp_path / "a.wav"

    def broken(*_, **__):
        raise ZeroDivisionError("of a reader")

    monkeypatch.setattr("oddkind.watch.judge.score_files", broken)
    (found,) = Judge(fitted)(Item("a", entries=[Entry(tmp_path / "a.wav", "a")]))
    assert found.problem == "cannot be judged (ZeroDivisionError: of a reader)"
    assert file is not None


def test_a_problem_of_an_item_is_passed_on(vectors):
    (found,) = Judge(vectors)(Item("a", problem="is empty"))
    assert (found.name, found.problem) == ("a", "is empty")
