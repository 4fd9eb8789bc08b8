import base64
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import listed

import oddkind.report.feature_map
from oddkind import InputError
from oddkind.files.reading import each
from oddkind.files.score import Verdict, read_as_learnt, score_files, settings_of
from oddkind.pages.encoding import TYPES
from oddkind.report.facts import gather
from oddkind.report.feature_map import (
    MAX_PLACED,
    ODDEST,
    arranged,
    check_map,
    far_away,
    map_of,
    normal_features,
    oddest_features,
    placed_rows,
)


def unpacked(of):
    return np.frombuffer(base64.b64decode(of["base64"]), TYPES[of["type"]]).reshape(of["shape"])


def clusters(draw, n):
    kind = draw.integers(3, size=n)
    return draw.normal(size=(n, 5)) + 20 * np.eye(3, 5)[kind], kind


def test_new_points_lie_among_their_nearest_each_by_itself_and_always_at_the_same_place(draw):
    known, kind = clusters(draw, 120)
    new, new_kind = clusters(draw, 20)
    at_known, at_new = arranged(known, new)
    nearest = np.linalg.norm(at_new[:, None] - at_known, axis=2).argmin(1)
    assert_array_equal(kind[nearest], new_kind)
    again_known, again_new = arranged(known, new)
    assert_array_equal(again_known, at_known)
    assert_array_equal(again_new, at_new)
    assert_allclose(arranged(known, new[3:5])[1], at_new[3:5], atol=1e-3 * np.ptp(at_known))


@pytest.mark.parametrize("known", [np.zeros((12, 3)), np.arange(12.0)[:, None], np.repeat(np.eye(2), 6, 0)])
def test_equal_and_flat_points_are_arranged_too(known):
    at_known, at_new = arranged(known, known[:2])
    assert at_known.shape == (12, 2)
    assert np.isfinite(at_known).all()
    assert np.isfinite(at_new).all()


def test_far_is_farther_than_normal_samples_are_from_those_of_other_files(draw):
    known = draw.normal(size=(400, 3))
    copies = known + 1e-6  # a second window of each file says nothing about other files
    file = np.arange(400)
    far = far_away(np.concatenate([known, copies]), draw.normal(size=(2000, 3)), np.concatenate([file, file]))
    assert 0.02 < far.mean() < 0.09
    assert far_away(known, np.full((2, 3), 9.0), file).all()
    assert far_away(known, known, np.zeros(400)) is None


def test_of_many_files_the_most_anomalous_and_others_evenly_spread_are_placed(draw):
    p = draw.uniform(size=9000)
    rows = placed_rows([Verdict(str(row), None, 0.0, chance, False) for row, chance in enumerate(p)])
    assert len(rows) == len({*rows.tolist()}) == MAX_PLACED
    assert {*np.argsort(p)[:ODDEST].tolist()} <= {*rows.tolist()}
    assert np.diff(rows).max() < 30
    assert_array_equal(placed_rows([Verdict("a", None, 0.0, 1.0, False)] * 3), [0, 1, 2])


def test_the_features_are_those_of_the_oddest_window(data, fitted):
    files = listed(data, "test")[:5]
    found = oddest_features(files, fitted)
    assert [*found] == [entry.name for entry in files]
    for entry, inputs in each(files, settings_of(fitted)):
        labels = np.repeat(entry.label, len(inputs))
        oddest = fitted.anomaly_score(inputs, labels).argmax()
        expected = fitted.outputs(inputs, labels).features[oddest].ravel()
        assert_allclose(found[entry.name], expected, rtol=1e-4, atol=1e-5)


def test_normal_samples_are_those_that_the_model_keeps_or_held_out(fitted):
    kept = normal_features(fitted)
    assert_array_equal(kept.features, fitted.normal.features.reshape(len(fitted.normal.rows), -1))
    assert_array_equal(kept.label_index, fitted.normal.label_index)
    assert not kept.held_out
    assert_array_equal(np.bincount(np.unique(kept.file, return_inverse=True)[1]), 2)  # windows of each file
    held_out = normal_features(replace(fitted, normal=None))
    assert held_out.held_out
    assert_array_equal(held_out.label_index, fitted.calibration.labelled.label_index)
    assert normal_features(replace(fitted, normal=None, examples=None)) is None


@pytest.mark.slow
def test_blocks_of_one_recording_are_not_taken_for_other_files(kinds):
    model, folder = kinds["blocks"]
    assert len({*normal_features(model.first_fold).file.tolist()}) == 1
    files, _ = read_as_learnt(model, folder)
    facts = map_of({entry.name: entry for entry in files}, score_files(files, model), model)
    assert facts["missing"] is None
    assert facts["far"] is None


@pytest.mark.slow
def test_of_several_folds_the_first_is_mapped(kinds, data):
    model, _ = kinds["folds"]
    files = listed(data, "test")
    facts = map_of({entry.name: entry for entry in files}, score_files(files, model), model)
    assert facts["folds"] == 3
    assert facts["n_kept"] == len(model.folds[0].normal.rows)


def test_odd_files_are_far_and_the_page_gets_the_places_of_all(data, fitted):
    files = listed(data)
    verdicts = score_files(files, fitted)
    facts = map_of({entry.name: entry for entry in files}, verdicts, fitted)
    rows, far = unpacked(facts["rows"]), unpacked(facts["far"]).astype(bool)
    assert_array_equal(rows, np.arange(len(files)))
    assert unpacked(facts["at"]).shape == (len(files), 2)
    assert unpacked(facts["normal"]).shape == (len(fitted.normal.rows), 2)
    odd = np.array([files[row].anomalous is True for row in rows])
    learnt = np.array([files[row].split == "train" for row in rows])
    assert far[odd].mean() > 0.8
    assert not far[learnt].any()


def test_without_a_map_the_page_says_why(data, fitted, monkeypatch):
    files = listed(data, "test")
    verdicts = score_files(files, fitted)
    by_name = {entry.name: entry for entry in files}
    assert map_of(by_name, verdicts, fitted, wanted=False) == {"missing": "", "asked": False}
    assert (
        "at least 10 normal samples"
        in map_of(by_name, verdicts, replace(fitted, normal=None, examples=None))["missing"]
    )
    monkeypatch.setattr(oddkind.report.feature_map, "find_spec", lambda name: None)
    assert "pip install 'oddkind[map]'" in map_of(by_name, verdicts, fitted)["missing"]
    check_map(None)
    with pytest.raises(InputError, match=r"needs openTSNE, which is not installed: pip install 'oddkind\[map\]'"):
        gather(files, fitted, data=data, most=1, clips=0, feature_map=True)
