"""From files to verdicts."""

import csv

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose
from problems import LABELS, RATE, listed, quick, record
from pyarrow import parquet
from sklearn.metrics import roc_auc_score

from oddkind import InputError
from oddkind.errors import ConcernWarning
from oddkind.files import Entry, Source, check_files, read, source_of
from oddkind.files.score import (
    Verdict,
    evaluate,
    fit_files,
    held_out_files,
    promise,
    read_as_learnt,
    score_files,
    to_evaluate,
    write_verdicts,
)
from oddkind.model.calibration import discoveries, p_values, promise_kept


def test_what_was_read_is_kept_in_the_cache_and_gives_the_same(data, fitted, tmp_path, monkeypatch):
    source = source_of(data)
    files = source.entries(data)[0]
    again = quick(epochs=20)
    fit_files(files, source, again, cache=tmp_path)
    assert again.source_ == fitted.source_
    first = score_files(listed(data, "test"), fitted, cache=tmp_path)
    monkeypatch.setattr("oddkind.files.source._inputs", None)  # nothing is read anew
    assert score_files(listed(data, "test"), fitted, cache=tmp_path) == first
    monkeypatch.undo()
    assert score_files(listed(data, "test"), fitted) == first


def test_a_cache_that_cannot_be_written_is_refused(data, fitted, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file: cannot be written"):
        score_files(listed(data, "test"), fitted, cache=tmp_path / "file")


def test_odd_recordings_are_found_and_normal_ones_are_not(data, fitted):
    verdicts = score_files(listed(data, "test"), fitted)
    odd = np.array(["abnormal" in verdict.path for verdict in verdicts])
    assert roc_auc_score(odd, [verdict.score for verdict in verdicts]) > 0.95
    assert np.mean([verdict.anomalous for verdict in verdicts][: len(odd)] == odd) > 0.7
    assert {verdict.label for verdict in verdicts} == {*LABELS}


def test_only_normal_files_of_the_training_split_are_learnt_from(data, fitted):
    assert len(fitted.source_["learnt"]) == 48
    assert fitted.classes_.tolist() == sorted(LABELS)
    assert fitted.source_["settings"]["sample_rate"] == RATE


def test_whole_recordings_are_held_out_and_a_p_value_compares_with_them(data, fitted):
    normal = held_out_files(fitted).scores
    assert len(fitted.validation_rows_) == 2 * len(normal)  # two windows each
    verdicts = score_files(listed(data, "test"), fitted)
    scores = np.array([verdict.score for verdict in verdicts])
    found = [verdict.p_value for verdict in verdicts]
    assert_allclose(found, p_values(scores, normal))
    assert [verdict.anomalous for verdict in verdicts] == [p <= fitted.false_alarm_rate for p in found]


def test_a_files_verdict_does_not_depend_on_what_is_read_beside_it(data, fitted, monkeypatch):
    files = listed(data, "test")
    together = score_files(files, fitted)
    monkeypatch.setattr("oddkind.files.score.SCORED_AT_ONCE", 1)
    alone = score_files(files[::-1], fitted)[::-1]
    assert [verdict.path for verdict in alone] == [verdict.path for verdict in together]
    assert_allclose([v.score for v in alone], [v.score for v in together], rtol=1e-5)


def test_an_unknown_label_is_scored_without(data, fitted):
    known = listed(data, "test")[0]
    unknown = Entry(known.path, known.name, label="fan 9")
    (verdict,) = score_files([unknown], fitted)
    (bare,) = score_files([Entry(known.path, known.name)], fitted)
    assert verdict.score == bare.score
    assert verdict.label == "fan 9"


def test_a_file_that_cannot_be_read_is_told_of_and_the_others_are_scored(data, fitted, tmp_path):
    (tmp_path / "broken.wav").write_text("no sound")
    broken = Entry(tmp_path / "broken.wav", "broken.wav")
    refused = {}
    files = [broken, *listed(data, "test")[:2]]
    assert len(score_files(files, fitted, on_refused=refused.__setitem__)) == 2
    assert "broken.wav" in refused
    with pytest.raises(InputError, match=r"^broken\.wav: "):
        score_files(files, fitted)


def test_what_was_learnt_from_is_not_evaluated(data, fitted):
    assert {entry.split for entry in to_evaluate(listed(data), fitted)} == {"test"}
    renamed = [Entry(entry.path, entry.name, anomalous=False) for entry in listed(data, "train")]
    with pytest.raises(InputError, match="learnt from all 48 files"):
        to_evaluate(renamed, fitted)
    with pytest.raises(InputError, match="none is known to be normal or anomalous"):
        to_evaluate([Entry(entry.path, entry.name) for entry in listed(data, "test")], fitted)


def test_an_evaluation_is_scikit_learns_file_by_file_and_label_by_label():
    draw = np.random.default_rng(0)
    odd, label, scores = np.arange(40) % 4 == 0, np.repeat(["a", "b"], 20), draw.normal(size=40)
    files = [Entry(None, str(n), anomalous=bool(odd[n])) for n in range(40)]
    verdicts = [Verdict(str(n), label[n], scores[n], 0.5, bool(scores[n] > 1)) for n in range(40)]
    rows = evaluate(files, verdicts)
    assert [row.label for row in rows] == ["all", "a", "b"]
    for row in rows:
        own = np.ones(40, bool) if row.label == "all" else label == row.label
        assert row.auc == pytest.approx(roc_auc_score(odd[own], scores[own]))
        assert row.partial_auc == pytest.approx(roc_auc_score(odd[own], scores[own], max_fpr=0.1))
        assert row.false_alarms == pytest.approx((scores > 1)[own & ~odd].mean())
        assert row.found == pytest.approx((scores > 1)[own & odd].mean())
        assert (row.n_normal, row.n_anomalous) == ((own & ~odd).sum(), (own & odd).sum())
    (only,) = evaluate(files[1:4], verdicts[1:4])
    assert (only.auc, only.found) == (None, None)


def test_too_few_files_for_the_false_alarm_rate_are_refused_before_training(data):
    source = source_of(data)
    with pytest.raises(InputError, match=r"0\.01 can be promised from 198 normal groups on.*there are 48"):
        fit_files(listed(data), source, quick(false_alarm_rate=0.01))
    with pytest.raises(InputError, match="none of 12 files is normal"):
        fit_files([entry for entry in listed(data) if entry.anomalous], source, quick())


@pytest.mark.parametrize("how", ["max", "0.25"])
def test_a_files_windows_may_be_pooled_otherwise(data, fitted, how):
    source, detector = source_of(data), quick(epochs=20)
    fit_files(source.entries(data)[0], source, detector, how=how)
    quantile = {"max": 1, "0.25": 0.25}[how]
    scores = detector.held_out_[True].scores.reshape(-1, 2)  # two windows each
    assert_allclose(held_out_files(detector).scores, np.quantile(scores, quantile, axis=1))
    found, means = (
        np.array([verdict.score for verdict in score_files(listed(data, "test"), one)]) for one in (detector, fitted)
    )
    assert (found > means).all() if how == "max" else (found < means).all()
    with pytest.raises(InputError, match=r"pool='median'; it must be 'mean', 'max' or a quantile"):
        fit_files(source.entries(data)[0], source, quick(), how="median")


def test_the_rate_may_change_after_fitting_and_each_label_may_have_its_own(data):
    source, detector = source_of(data), quick(epochs=5, false_alarm_rate=0.1, per_label=True)
    fit_files(source.entries(data)[0], source, detector)
    held_out = held_out_files(detector)
    assert [held_out.count(kind) for kind in range(2)] == [9, 9]
    verdicts = score_files(listed(data, "test"), detector)
    for verdict in verdicts:
        normal = held_out.scores[detector.classes_[held_out.kinds] == verdict.label]
        assert verdict.p_value == p_values(np.array([verdict.score]), normal)[0]
        assert verdict.anomalous == (verdict.p_value <= 0.1)
    detector.set_params(false_alarm_rate=0.5)
    assert [verdict.anomalous for verdict in score_files(listed(data, "test"), detector)] == [
        verdict.p_value <= 0.5 for verdict in verdicts
    ]
    with pytest.raises(InputError, match=r"0\.01 can be promised from 99 .*of label 'fan 2' on; there are 9"):
        score_files(listed(data, "test"), detector.set_params(false_alarm_rate=0.01))


def test_the_promise_is_kept_by_files_like_those_held_out_and_broken_by_others(fitted):
    def told(p_values, groups=None):
        groups = groups or [None] * len(p_values)
        names = [str(number) for number in range(len(p_values))]
        files = [Entry(None, name, group=of, anomalous=False) for name, of in zip(names, groups, strict=True)]
        files.append(Entry(None, "odd", anomalous=True))
        verdicts = [Verdict(name, None, 0.0, p, p <= 0.2) for name, p in zip(names, p_values, strict=True)]
        return promise(files, [*verdicts, Verdict("odd", None, 9.0, 0.01, True)], fitted)

    kept = told([0.5, 0.9, 0.1, 0.7])
    assert (kept.n_alarms, kept.n_normal, kept.rate) == (1, 4, 0.2)
    n = held_out_files(fitted).count()
    assert kept.chance == promise_kept(1, 4, n, 0.2)
    assert told([0.05] * 20).chance < 1e-4
    assert told([0.05] * 20, ["session"] * 20).chance > 0.1  # one session, once unlucky
    assert promise([Entry(None, "odd", anomalous=True)], [Verdict("odd", None, 9.0, 0.01, True)], fitted) is None


def test_among_many_files_so_many_are_called_that_few_of_those_are_normal(data, fitted):
    verdicts = score_files(listed(data, "test"), fitted, false_discovery_rate=0.3)
    p = np.array([verdict.p_value for verdict in verdicts])
    assert [verdict.anomalous for verdict in verdicts] == discoveries(p, 0.3).tolist()
    assert any(verdict.anomalous for verdict in verdicts)


def test_a_detector_saved_with_a_source_of_its_own_scores_no_files(data):
    detector = quick().fit(np.random.default_rng(0).normal(size=(60, 4)))
    detector.source_ = {"made by": "me"}
    with pytest.raises(InputError, match="learnt from arrays, not files"):
        score_files(listed(data, "test"), detector)


def test_arrays_of_another_type_are_refused_and_groups_are_read_again(tmp_path):
    for name in ("a_s1.npy", "b_s1.npy", "c_s2.npy"):
        np.save(tmp_path / name, np.zeros(4, np.uint8 if name[0] == "b" else np.float32))
    source = source_of(tmp_path, pattern="{number}_{session}.npy", group="session")
    refused = {}
    samples = read(source.entries(tmp_path)[0], source, on_refused=refused.__setitem__)
    assert len(samples) == 2
    assert refused == {"b_s1.npy": "gives uint8 samples of shape (4,); those before it float32 (4,)"}
    detector = quick()
    detector.source_ = {"settings": source.model_dump(mode="json"), "files": [], "learnt": []}
    assert [entry.group for entry in read_as_learnt(detector, tmp_path)[0]] == ["s1", "s1", "s2"]
    assert [entry.group for entry in read_as_learnt(detector, tmp_path, pattern="{number}.npy")[0]] == [None] * 3


def test_recordings_at_another_rate_are_said_to_be_resampled(data, fitted, tmp_path):
    record(tmp_path, "normal/a.wav", 300, 1)
    soundfile.write(tmp_path / "normal" / "b.wav", np.random.default_rng(0).normal(size=2 * RATE) * 0.1, 2 * RATE)
    files = listed(tmp_path)
    with pytest.warns(ConcernWarning, match="recordings at 8000 Hz are resampled to 4000 Hz; above 2000 Hz"):
        score_files(files, fitted)
    concerns = check_files(files, source_of(tmp_path))["concerns"]
    (resampled,) = [concern["message"] for concern in concerns if concern["kind"] == "resampled"]
    assert resampled.startswith("1 of 2 recordings at 8000 Hz are resampled to 4000 Hz")
    told = []
    refused = [*files, Entry(tmp_path / "none.wav", "none.wav")]
    score_files(files[:1] + refused[2:], fitted, on_refused=lambda *_: None, on_progress=told.append)
    assert told[-1] == 1


def test_a_detector_of_arrays_scores_no_files(data):
    detector = quick().fit(np.random.default_rng(0).normal(size=(60, 4)))
    with pytest.raises(InputError, match="learnt from arrays, not files"):
        score_files(listed(data, "test"), detector)


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_verdicts_are_written_whole_or_not_at_all(tmp_path, name):
    verdicts = [Verdict("소리 1.wav", "팬", 1.5, 0.25, False), Verdict('a,"b.wav', None, -2.0, 0.01, True)]
    write_verdicts(verdicts, tmp_path / name)
    if name.endswith("csv"):
        rows = list(csv.DictReader((tmp_path / name).read_text(encoding="utf-8").splitlines()))
        assert [row["path"] for row in rows] == ["소리 1.wav", 'a,"b.wav']
        assert [row["anomalous"] for row in rows] == ["False", "True"]
    else:
        assert parquet.read_table(tmp_path / name).to_pylist() == [vars(verdict) for verdict in verdicts]
    for file in (tmp_path / "scores.txt", tmp_path / "none" / name):
        with pytest.raises(InputError, match=file.name):
            write_verdicts(verdicts, file)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_settings_are_read_back_as_they_were(fitted):
    assert Source.model_validate(fitted.source_["settings"]).model_dump(mode="json") == fitted.source_["settings"]
