"""Verdicts against what is known about the files."""

from dataclasses import replace

import numpy as np
import pytest
from problems import listed
from sklearn.metrics import roc_auc_score

from oddkind import Entry, InputError, Verdict, evaluate_files, false_alarm_test, score_files
from oddkind.files.evaluate import alarm_excess, promise, to_evaluate
from oddkind.files.score import fingerprint, n_calibration_files


def test_files_that_were_learnt_from_are_not_evaluated(data, fitted):
    assert {entry.split for entry in to_evaluate(listed(data), fitted)} == {"test"}
    renamed = [Entry(entry.path, "x" + entry.name, anomalous=False) for entry in listed(data, "train")]
    with pytest.raises(InputError, match="the model learnt from all 48 files; evaluate it on others"):
        to_evaluate(renamed, fitted)
    with pytest.raises(InputError, match="none of 24 files is known to be normal or anomalous"):
        to_evaluate([Entry(entry.path, entry.name) for entry in listed(data, "test")], fitted)


def test_an_evaluation_is_scikit_learns_for_all_files_and_for_each_label():
    draw = np.random.default_rng(0)
    anomalous, label, scores = np.arange(40) % 4 == 0, np.repeat(["a", "b"], 20), draw.normal(size=40)
    files = [Entry(None, str(n), anomalous=bool(anomalous[n])) for n in range(40)]
    verdicts = [Verdict(str(n), label[n], scores[n], 0.5, bool(scores[n] > 1)) for n in range(40)]
    rows = evaluate_files(files, verdicts)
    assert [row.label for row in rows] == ["all", "a", "b"]
    for row in rows:
        own = np.ones(40, bool) if row.label == "all" else label == row.label
        assert row.auc == pytest.approx(roc_auc_score(anomalous[own], scores[own]))
        assert row.partial_auc == pytest.approx(roc_auc_score(anomalous[own], scores[own], max_fpr=0.1))
        assert row.false_alarms == pytest.approx((scores > 1)[own & ~anomalous].mean())
        assert row.found == pytest.approx((scores > 1)[own & anomalous].mean())
        assert (row.n_normal, row.n_anomalous) == ((own & ~anomalous).sum(), (own & anomalous).sum())
    (only,) = evaluate_files(files[1:4], verdicts[1:4])
    assert (only.auc, only.partial_auc, only.found) == (None, None, None)


def promise_of(model, p_values, groups=None):
    """The promise for normal files with these p-values, and one anomalous file."""
    groups = groups or [None] * len(p_values)
    names = [str(number) for number in range(len(p_values))]
    files = [Entry(None, name, group=of, anomalous=False) for name, of in zip(names, groups, strict=True)]
    files.append(Entry(None, "odd", anomalous=True))
    verdicts = [Verdict(name, None, 0.0, p, p <= 0.2) for name, p in zip(names, p_values, strict=True)]
    return promise(files, [*verdicts, Verdict("odd", None, 9.0, 0.01, True)], model)


def test_the_promise_is_kept_by_files_like_those_held_out_and_broken_by_others(fitted):
    kept = promise_of(fitted, [0.5, 0.9, 0.1, 0.7])
    assert (kept.n_alarms, kept.n_normal, kept.rate) == (1, 4, 0.2)
    assert kept.chance == false_alarm_test(1, 4, n_calibration_files(fitted), 0.2)
    assert promise_of(fitted, [0.05] * 20).chance < 1e-4
    assert (kept.unit, promise_of(fitted, [0.05] * 20, ["session"] * 20).unit) == ("files", "groups")
    assert promise_of(fitted, [0.05] * 20, ["session"] * 20).chance > 0.1  # one alarm in one session is no surprise


def test_alarms_are_compared_as_if_every_file_not_known_to_be_anomalous_were_normal(fitted):
    names = [str(number) for number in range(20)]
    files = [Entry(None, name, anomalous=True if name == "0" else None) for name in names]
    verdicts = [Verdict(name, None, 0.0, 0.01, True) for name in names]
    excess = alarm_excess(files, verdicts, fitted)
    assert (excess.n_alarms, excess.n_normal, excess.unit) == (19, 19, "files")
    assert excess.chance < 1e-4
    assert promise(files, verdicts, fitted) is None
    assert alarm_excess(files[:1], verdicts[:1], fitted) is None


def test_nothing_is_said_about_a_promise_without_normal_files_or_without_a_promise(fitted):
    assert promise_of(fitted, []) is None
    assert promise_of(replace(fitted, false_alarm_rate=0.001), [0.5, 0.9]) is None


def test_a_file_that_cannot_be_opened_is_left_to_reading_which_names_the_reason(fitted, tmp_path):
    gone = Entry(tmp_path / "gone.wav", "gone.wav", anomalous=True)
    assert to_evaluate([gone], fitted) == [gone]
    refused = {}
    assert score_files([gone], fitted, on_refused=refused.__setitem__) == []
    assert refused == {"gone.wav": "cannot be read (No such file or directory)"}
    with pytest.raises(InputError, match=r"gone\.wav: cannot be read \(No such file or directory\)"):
        fingerprint(gone.path)
