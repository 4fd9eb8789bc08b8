import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import listed, pictures, quick

from oddkind import InputError
from oddkind.files.explain import explain_files
from oddkind.files.score import read_as_learnt, score_files
from oddkind.metrics import auc, auc_difference
from oddkind.model.conformal import alarms
from oddkind.pages.encoding import TYPES
from oddkind.report.comparison import Other, check_comparable
from oddkind.report.facts import gather


def unpacked(of):
    return np.frombuffer(base64.b64decode(of["base64"]), TYPES[of["type"]]).reshape(of["shape"])


@pytest.fixture(scope="module")
def facts(data, fitted, another):
    files = listed(data)
    return gather(
        files, fitted, data=data, most=2, clips=0, feature_map=False, other=Other(another, files, "b.oddkind")
    )


def test_the_p_values_of_both_are_those_of_score(facts, data, fitted, another):
    files = listed(data)
    assert unpacked(facts["files"]["p"]).tolist() == [one.p_value for one in score_files(files, fitted)]
    assert unpacked(facts["compare"]["p"]).tolist() == [one.p_value for one in score_files(files, another)]
    assert facts["compare"]["n_judged"] == len(files)
    assert_array_equal(unpacked(facts["compare"]["learnt"]), [entry.split == "train" for entry in files])
    assert facts["compare"]["model"]["task"] == another.describe()["task"]


def test_the_auc_is_of_files_that_count_for_both(facts, data, fitted, another):
    files = listed(data, "test")
    anomalous = np.array([entry.anomalous for entry in files])
    first, second = ([one.score for one in score_files(files, model)] for model in (fitted, another))
    found = facts["compare"]["auc"]
    assert (found["here"], found["there"], found["n"]) == (auc(anomalous, first), auc(anomalous, second), len(files))
    assert (found["difference"], found["interval"]) == auc_difference(anomalous, first, second)
    assert found["here"] > found["there"]


def test_files_whose_decision_changes_are_explained_by_the_model_that_raises_the_alarm(facts, data, fitted, another):
    files = {entry.name: entry for entry in listed(data)}
    names, reasons = facts["files"]["names"], facts["compare"]["reasons"]
    here, there = (alarms(unpacked(part["p"]), facts["rate"]) for part in (facts["files"], facts["compare"]))
    explained = {detail["row"] for detail in facts["details"]}
    assert {one["row"] for one in reasons} == {*np.flatnonzero(here != there).tolist()} - {
        row for row in explained if here[row]
    }
    assert {one["by"] for one in reasons} == {"here", "there"}
    for one in reasons:
        assert (here if one["by"] == "here" else there)[one["row"]]
        model = fitted if one["by"] == "here" else another
        (expected,) = explain_files([files[names[one["row"]]]], model)
        assert [place["text"] for place in one["evidence"]] == [place.text for place in expected.places]


def test_a_model_compared_with_itself_changes_nothing(data, fitted):
    files = listed(data, "test")
    found = gather(files, fitted, data=data, most=1, clips=0, feature_map=False, other=Other(fitted, files, "a"))
    assert_array_equal(unpacked(found["compare"]["p"]), unpacked(found["files"]["p"]))
    assert found["compare"]["reasons"] == []
    assert (found["compare"]["auc"]["difference"], found["compare"]["auc"]["interval"]) == (0, (0, 0))


def test_what_only_one_model_judges_is_not_compared(data, fitted, another):
    files = listed(data, "test")
    half = files[::2]
    found = gather(files, fitted, data=data, most=1, clips=0, feature_map=False, other=Other(another, half, "b"))
    missing = np.isnan(unpacked(found["compare"]["p"]))
    assert_array_equal(missing, np.arange(len(files)) % 2 == 1)
    assert (found["compare"]["n_judged"], found["compare"]["auc"]["n"]) == (len(half), len(half))
    with pytest.raises(InputError, match="--compare b: it reads none of the files"):
        gather(files, fitted, data=data, most=1, clips=0, feature_map=False, other=Other(another, [], "b"))


def test_a_promise_that_the_other_cannot_make_is_said(data, fitted, another):
    files = listed(data, "test")
    few = replace(another, false_alarm_rate=0.001)
    found = gather(files, fitted, data=data, most=1, clips=0, feature_map=False, other=Other(few, files, "b.oddkind"))
    assert found["compare"]["problem"].startswith("b.oddkind: no alarm is raised: a false-alarm rate of 0.001 takes")


def test_models_that_judge_other_things_are_refused_before_files_are_read(data, fitted, tmp_path):
    other_kind = replace(fitted, source=fitted.source | {"settings": fitted.source["settings"] | {"kind": "pictures"}})
    with pytest.raises(InputError, match="--compare b: it judges pictures, the first model sounds"):
        check_comparable(fitted, Other(other_kind, [], "b"))
    blocks = replace(fitted, source=fitted.source | {"settings": fitted.source["settings"] | {"block": 3.0}})
    with pytest.raises(InputError, match="it judges blocks of 3 s, the first model whole files"):
        gather([], fitted, data=tmp_path, most=1, clips=0, other=Other(blocks, [], "b"))
    X, y = pictures(60)
    with pytest.raises(InputError, match="--compare b: the model learnt from arrays"):
        check_comparable(fitted, Other(quick().fit(X, y).model_, [], "b"))


def test_a_file_that_the_other_cannot_read_is_left_out_or_refused(data, fitted, another):
    files, _ = read_as_learnt(fitted, data)
    broken = [replace(entry, path=Path(__file__)) if number == 0 else entry for number, entry in enumerate(files)]
    both = Other(another, broken, "b")
    found = gather(files, fitted, data=data, most=1, clips=0, feature_map=False, other=both, on_refused=lambda *_: None)
    assert found["compare"]["n_judged"] == len(files) - 1
    with pytest.raises(InputError, match="is not a recording"):
        gather(files, fitted, data=data, most=1, clips=0, feature_map=False, other=both)
