"""From files to a fitted model."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import LABELS, RATE, listed, quick

from oddkind import CrossModel, InputError, Model, PromiseWarning, load, save, score_files, source_of
from oddkind.file_fitting import FOLDS, fit_files, learnable
from oddkind.files.score import calibration_files, fingerprint, n_calibration_files
from oddkind.model.conformal import p_values, tie_bound


def fit(data, folds="auto", how="mean", **parameters):
    source = source_of(data)
    return fit_files(source.entries(data)[0], source, quick(**parameters), folds=folds, how=how)


def test_only_normal_files_of_the_training_split_are_learnt_from(data, fitted):
    train = listed(data, "train")
    assert fitted.source["learnt"] == sorted(fingerprint(entry.path) for entry in train)
    assert {name for name, _ in fitted.source["files"]} == {entry.name for entry in train}
    assert [row for _, row in fitted.source["files"]] == [2 * number for number in range(48)]  # two windows each
    assert fitted.task.labels.tolist() == sorted(LABELS)
    assert fitted.source["settings"]["sample_rate"] == RATE
    assert fitted.source["settings"]["front_end"] == ["log-mel"]
    with pytest.raises(InputError, match="none of 12 files is normal and outside the test split"):
        learnable([entry for entry in listed(data) if entry.anomalous], source_of(data))


def test_files_without_a_label_are_left_out_if_others_have_one(data):
    files = [replace(entry, label=None) if entry.name.endswith("/7.wav") else entry for entry in listed(data, "train")]
    refused = {}
    model = fit_files(files, source_of(data), quick(epochs=1), on_refused=refused.__setitem__)
    assert len(model.source["learnt"]) == 46
    assert model.task.labels.tolist() == sorted(LABELS)
    assert [*refused] == [f"{label}/train/normal/7.wav" for label in sorted(LABELS)]
    assert "has no label, but 46 of 48 normal files have one" in refused[f"{LABELS[0]}/train/normal/7.wav"]
    with pytest.raises(InputError, match=r"7\.wav: has no label"):
        fit_files(files, source_of(data), quick(epochs=1))


def test_the_detector_is_not_changed(data):
    detector = quick(epochs=1)
    source = source_of(data)
    model = fit_files(listed(data), source, detector)
    assert not hasattr(detector, "model_")
    assert model.false_alarm_rate == detector.false_alarm_rate == 0.2
    assert source == source_of(data)


def test_the_windows_of_a_file_are_on_one_side_only(fitted):
    for rows in (fitted.report.training_rows, fitted.report.calibration_rows):
        assert_array_equal(rows[::2] + 1, rows[1::2])


def test_a_single_label_is_not_used(tmp_path, draw):
    for number in range(20):
        (tmp_path / "pump").mkdir(exist_ok=True)
        np.save(tmp_path / "pump" / f"{number}.npy", draw.normal(size=4))
    assert fit(tmp_path, epochs=1).task.labels is None


@pytest.mark.parametrize("how", ["max", "0.25"])
def test_the_scores_of_windows_may_be_pooled_in_another_way(data, fitted, how):
    model = fit(data, how=how, epochs=20)
    quantile = {"max": 1, "0.25": 0.25}[how]
    scores = model.calibration.labelled.scores.reshape(-1, 2)  # two windows each
    (held_out,) = calibration_files(model)
    assert_allclose(held_out.scores, np.quantile(scores, quantile, axis=1))
    found, means = (
        np.array([verdict.score for verdict in score_files(listed(data, "test"), one)]) for one in (model, fitted)
    )
    assert (found > means).all() if how == "max" else (found < means).all()


def test_an_unknown_way_of_pooling_is_refused_before_anything_is_read(data, monkeypatch):
    monkeypatch.setattr("oddkind.files.reading._inputs", None)
    with pytest.raises(InputError, match=r"pool='median'; it must be 'fisher', 'mean', 'max' or a quantile"):
        fit(data, how="median")


def test_too_few_files_for_the_false_alarm_rate_warn_once_and_count_files(data):
    with pytest.warns(PromiseWarning, match=r"at least 199 held-out normal files or groups; there are 24\b") as given:
        model = fit(data, false_alarm_rate=0.005)
    assert len(given) == 1
    assert isinstance(model, Model)
    assert n_calibration_files(model) == 24


# --- Folds ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crossed(data):
    return fit(data, folds=4, epochs=10)


def test_with_folds_every_file_is_held_out_once(crossed):
    assert isinstance(crossed, CrossModel)
    assert len(crossed.folds) == 4
    held_out = np.concatenate([fold.report.calibration_rows for fold in crossed.folds])
    assert_array_equal(np.sort(held_out), np.arange(96))
    assert n_calibration_files(crossed) == 48
    for fold in crossed.folds:
        assert_array_equal(fold.report.calibration_rows[::2] + 1, fold.report.calibration_rows[1::2])


def test_the_p_value_of_a_file_counts_the_held_out_files_of_every_fold(data, crossed):
    files = listed(data, "test")
    verdicts = score_files(files, crossed)
    above, scores = np.zeros(len(files)), []
    for fold, held_out in zip(crossed.folds, calibration_files(crossed), strict=True):
        one = replace(fold, source=crossed.source)
        found = np.array([verdict.score for verdict in score_files(files, one)])
        above += p_values(found, tie_bound(held_out.scores)) * (1 + len(held_out.scores)) - 1
        scores.append(found)
    assert_allclose([verdict.p_value for verdict in verdicts], (1 + above) / 49)
    assert_allclose([verdict.score for verdict in verdicts], np.mean(scores, axis=0), rtol=1e-6)


def test_a_model_with_folds_is_saved_and_scores_files_as_before(data, crossed, tmp_path):
    save(crossed, tmp_path / "fan.oddkind")
    again = load(tmp_path / "fan.oddkind")
    assert score_files(listed(data, "test"), again) == score_files(listed(data, "test"), crossed)


def test_folds_are_chosen_if_half_of_the_files_are_too_few_and_all_are_enough(data):
    # 48 files: half of them promise 1 / 25, all of them 1 / 49.
    chosen = {rate: len(fit(data, epochs=1, false_alarm_rate=rate).folds) for rate in (0.04, 0.03, 1 / 49)}
    assert chosen == {0.04: 1, 0.03: FOLDS, 1 / 49: FOLDS}
    with pytest.warns(PromiseWarning, match="there are 24"):  # folds would not help
        assert len(fit(data, epochs=1, false_alarm_rate=1 / 50).folds) == 1
    with pytest.warns(PromiseWarning, match="there are 24"):
        assert len(fit(data, folds=None, epochs=1, false_alarm_rate=0.03).folds) == 1
    with pytest.warns(
        PromiseWarning, match=f"of label '{LABELS[1]}'|of label '{LABELS[0]}'"
    ):  # folds make no such promise
        assert len(fit(data, epochs=1, false_alarm_rate=0.03, per_label=True).folds) == 1


@pytest.mark.parametrize(("folds", "reason"), [(1, "folds=1; it must be"), (49, "49 folds take 49 normal groups")])
def test_a_number_of_folds_that_is_not_possible_is_refused(data, folds, reason):
    with pytest.raises(InputError, match=reason):
        fit(data, folds=folds)
