"""From files and a model to verdicts."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose
from problems import LABELS, RATE, listed, quick, record
from sklearn.metrics import roc_auc_score

from oddkind import ConcernWarning, Entry, InputError, PromiseWarning, discoveries, score_files
from oddkind.file_fitting import fit_files
from oddkind.files.score import (
    calibration_files,
    fingerprint,
    n_calibration_files,
    promise_problem,
    read_as_learnt,
    settings_of,
)
from oddkind.files.source import source_of
from oddkind.model.conformal import p_values


def test_anomalous_recordings_are_found_and_normal_ones_are_not(data, fitted):
    verdicts = score_files(listed(data, "test"), fitted)
    anomalous = np.array(["abnormal" in verdict.path for verdict in verdicts])
    assert roc_auc_score(anomalous, [verdict.score for verdict in verdicts]) > 0.95
    assert np.mean([verdict.anomalous for verdict in verdicts] == anomalous) > 0.7
    assert {verdict.label for verdict in verdicts} == {*LABELS}


def test_whole_recordings_are_held_out_and_a_p_value_compares_with_them(data, fitted):
    (held_out,) = calibration_files(fitted)
    assert len(fitted.report.calibration_rows) == 2 * len(held_out.scores)  # two windows each
    verdicts = score_files(listed(data, "test"), fitted)
    found = [verdict.p_value for verdict in verdicts]
    assert_allclose(found, p_values(np.array([verdict.score for verdict in verdicts]), held_out.scores))
    assert [verdict.anomalous for verdict in verdicts] == [p <= fitted.false_alarm_rate for p in found]


def test_the_verdict_of_a_file_does_not_depend_on_the_files_read_with_it(data, fitted, monkeypatch):
    files = listed(data, "test")
    together = score_files(files, fitted)
    monkeypatch.setattr("oddkind.files.score.BATCH_SIZE", 1)
    alone = score_files(files[::-1], fitted)[::-1]
    assert [verdict.path for verdict in alone] == [verdict.path for verdict in together]
    assert_allclose([v.score for v in alone], [v.score for v in together], rtol=1e-5)


def test_a_label_that_was_not_learnt_is_ignored(data, fitted):
    known = listed(data, "test")[0]
    (verdict,) = score_files([Entry(known.path, known.name, label="fan 9")], fitted)
    (bare,) = score_files([Entry(known.path, known.name)], fitted)
    assert verdict.score == bare.score
    assert verdict.label == "fan 9"


def test_a_file_that_cannot_be_read_is_reported_and_the_others_are_scored(data, fitted, tmp_path):
    (tmp_path / "broken.wav").write_text("no sound")
    broken = Entry(tmp_path / "broken.wav", "broken.wav")
    refused, progress = {}, []
    files = [broken, *listed(data, "test")[:2]]
    verdicts = score_files(files, fitted, on_refused=refused.__setitem__, on_progress=progress.append)
    assert [verdict.path for verdict in verdicts] == [entry.name for entry in files[1:]]
    assert [*refused] == ["broken.wav"]
    assert progress[-1] == 1
    with pytest.raises(InputError, match=r"^broken\.wav: "):
        score_files(files, fitted)


def test_a_file_of_another_shape_is_refused(tmp_path):
    model = fit_arrays(tmp_path, "{number}.npy")
    np.save(tmp_path / "wide.npy", np.zeros(5))
    wide = Entry(tmp_path / "wide.npy", "wide.npy")
    with pytest.raises(InputError, match=r"wide\.npy: gives samples of shape \(5,\); the model learnt \(4,\)"):
        score_files([wide], model)


def fit_arrays(folder, pattern, **settings):
    draw = np.random.default_rng(0)
    for number in range(24):
        np.save(folder / f"a_s{number // 2}_{number}.npy", draw.normal(size=4))
    source = source_of(folder, pattern=pattern, **settings)
    return fit_files(source.entries(folder)[0], source, quick())


def test_groups_are_read_again_if_the_files_have_them(tmp_path):
    model = fit_arrays(tmp_path, "a_{session}_{number}.npy", group="session")
    assert {entry.group for entry in read_as_learnt(model, tmp_path)[0]} == {f"s{number}" for number in range(12)}
    other = read_as_learnt(model, tmp_path, pattern="{number}.npy")[0]
    assert {entry.group for entry in other} == {None}
    with pytest.raises(InputError, match="--label names the field 'load', which does not exist"):
        read_as_learnt(model, tmp_path, label="load")


def test_with_a_false_discovery_rate_few_of_the_files_called_anomalous_are_normal(data, fitted):
    verdicts = score_files(listed(data, "test"), fitted, false_discovery_rate=0.3)
    p = np.array([verdict.p_value for verdict in verdicts])
    assert [verdict.anomalous for verdict in verdicts] == discoveries(p, 0.3).tolist()
    assert any(verdict.anomalous for verdict in verdicts)
    with pytest.raises(InputError, match="false_discovery_rate=0; it must lie between 0 and 1"):
        score_files(listed(data, "test"), fitted, false_discovery_rate=0)


def test_a_rate_that_cannot_be_promised_warns_and_raises_no_alarm(data, fitted):
    strict = replace(fitted, false_alarm_rate=0.001)
    n = n_calibration_files(fitted)
    with pytest.warns(PromiseWarning, match=rf"no alarm is raised: .* at least 999 held-out .* there are {n}\b"):
        verdicts = score_files(listed(data, "test"), strict)
    assert not any(verdict.anomalous for verdict in verdicts)
    assert [verdict.p_value for verdict in verdicts] == [
        verdict.p_value for verdict in score_files(listed(data, "test"), fitted)
    ]
    score_files(listed(data, "test"), strict, false_discovery_rate=0.3)  # makes another promise, so there is no warning
    assert promise_problem(fitted) is None
    assert "999" in promise_problem(strict)


def test_a_promise_within_each_label_needs_enough_files_of_each(data):
    source = source_of(data)
    model = fit_files(source.entries(data)[0], source, quick(epochs=5, false_alarm_rate=0.1, per_label=True))
    (held_out,) = calibration_files(model)
    assert [held_out.of_label(label).count for label in range(2)] == [n_calibration_files(model)] * 2
    verdicts = score_files(listed(data, "test"), model)
    for verdict in verdicts:
        normal = held_out.scores[model.task.labels[held_out.label_index] == verdict.label]
        assert verdict.p_value == p_values(np.array([verdict.score]), normal)[0]
        assert verdict.anomalous == (verdict.p_value <= 0.1)
    loose = score_files(listed(data, "test"), replace(model, false_alarm_rate=0.5))
    assert [verdict.anomalous for verdict in loose] == [verdict.p_value <= 0.5 for verdict in verdicts]
    with pytest.warns(PromiseWarning, match=r"at least 99 held-out normal files or groups of label 'fan 2'"):
        score_files(listed(data, "test"), replace(model, false_alarm_rate=0.01))


def test_recordings_at_another_rate_are_resampled_with_a_warning(fitted, tmp_path):
    record(tmp_path, "normal/a.wav", 300, 1)
    soundfile.write(tmp_path / "normal" / "b.wav", np.random.default_rng(0).normal(size=2 * RATE) * 0.1, 2 * RATE)
    with pytest.warns(ConcernWarning, match="recordings at 8000 Hz are resampled to 4000 Hz; above 2000 Hz"):
        score_files(listed(tmp_path), fitted)


@pytest.mark.parametrize("source", [None, {"made by": "me"}])
def test_a_model_of_arrays_scores_no_files(data, source):
    detector = quick().fit(np.random.default_rng(0).normal(size=(60, 4)))
    with pytest.raises(InputError, match="learnt from arrays, not files"):
        score_files(listed(data, "test"), replace(detector.model_, source=source))


def test_settings_are_read_back_as_they_were(fitted):
    assert settings_of(fitted).model_dump(mode="json") == fitted.source["settings"]


def test_a_fingerprint_is_of_the_content_not_of_the_name(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (fingerprint(tmp_path / name) for name in "abc")
    assert a == b != c
