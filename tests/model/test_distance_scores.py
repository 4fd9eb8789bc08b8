"""Distances of vectors against scipy, and what they tell about how far normal samples are apart."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist, pdist
from scoring import (
    DISTANCES,
    N,
    outputs_of,
    scored,
)
from sklearn.covariance import LedoitWolf

from oddkind import SCORES, Outputs
from oddkind.model.distance_scores import apart, distance_score
from oddkind.model.signal_statistics import signal_statistics


def described(name, outputs, normal):
    """Vectors that a distance compares, of samples and of normal ones."""
    if "feature" in name:
        return outputs.features[:, 0], normal.features[:, 0]
    if "input" in name or name.startswith("whitened-distance") or name == "local-whitened-distance":
        return outputs.inputs, normal.inputs
    both = [outputs.inputs, normal.inputs]
    if "statistics" in name:
        floors = 0.03 * np.median(normal.statistics[:, 3:], 0)
        both = [
            np.hstack([s[:, :3].reshape(len(s), -1), np.log(s[:, 3:] + floors).reshape(len(s), -1)])
            for s in (outputs.statistics, normal.statistics)
        ]
    return tuple((one - both[1].mean(0)) / (both[1].std(0) + 0.001) for one in both)


@pytest.mark.parametrize("name", sorted(DISTANCES))
@pytest.mark.parametrize("known", [True, False])
def test_distances_are_those_of_scipy(draw, name, known):
    outputs, normal = outputs_of(draw, N, views=1, known=known), outputs_of(draw, 60, views=1)
    own, others = described(name, outputs, normal)
    label = np.zeros(60, int) if "to-all" in name else normal.targets[:, 0]
    if "whitened" in name or "feature" in name:
        means = np.stack([others[label == one].mean(0) for one in range(label.max() + 1)])
        covariance = LedoitWolf(assume_centered=True).fit(others - means[label]).covariance_
        root = np.linalg.cholesky(np.linalg.inv(covariance))
        own, others = own @ root, others @ root
    distances = cdist(own, others)
    if "local" in name:
        inner = np.where(label[:, None] == label, cdist(others, others), np.inf)
        distances /= np.sort(inner, axis=1)[:, 1:9].mean(1)
    if known and "to-all" not in name:
        distances = np.where(outputs.targets == label, distances, np.inf)
    assert_allclose(scored(name, outputs, normal), distances.min(1), rtol=1e-5)


@pytest.mark.parametrize("labelled", [True, False])
def test_local_distances_are_divided_by_those_to_samples_of_other_groups(draw, labelled):
    outputs, normal = outputs_of(draw, N, views=1), outputs_of(draw, 90, views=1)
    normal = replace(normal, groups=draw.integers(20, size=90))
    score = distance_score("", "inputs", whiten=False, local=True, labelled=labelled)
    label = normal.targets[:, 0] if labelled else np.zeros(90)
    others = (label[:, None] == label) & (normal.groups[:, None] != normal.groups)
    inner = np.where(others, cdist(normal.inputs, normal.inputs), np.inf)
    distances = cdist(outputs.inputs, normal.inputs) / np.sort(inner, axis=1)[:, :8].mean(1)
    if labelled:
        distances = np.where(outputs.targets == label, distances, np.inf)
    assert_allclose(scored(score, outputs, normal), distances.min(1), rtol=1e-5)


def test_with_many_normal_samples_the_3_nearest_count(draw):
    outputs, normal = outputs_of(draw, N, known=False), outputs_of(draw, 1001)
    nearest = np.sort(cdist(outputs.inputs, normal.inputs), axis=1)[:, :3]
    assert_allclose(scored("input-distance", outputs, normal), nearest.mean(1), rtol=1e-5)


@pytest.mark.parametrize("most", [1000, 7])
def test_how_far_two_samples_of_a_label_are_apart_is_the_root_of_the_mean_square(draw, monkeypatch, most):
    monkeypatch.setattr("oddkind.model.distance_scores.MAX_USUAL", most)
    rows = [draw.normal(size=(n, 3)) * scale + 9 * scale for n, scale in ((40, 1), (30, 5))]
    arrays = {"reference": np.concatenate(rows).astype(np.float32), "starts": np.array([0, 40, 70])}
    some = [own[:: -(-70 // most)] for own in rows]
    # Each sample is paired with itself, too, at distance 0.
    squares = [2 * np.square(pdist(own)).sum() / len(own) ** 2 for own in some]
    expected = np.sqrt(np.average(squares, weights=[len(own) for own in some]))
    assert apart(arrays) == pytest.approx(expected, rel=1e-6)


def test_equal_samples_are_not_apart():
    assert apart({"reference": np.ones((5, 2), np.float32), "starts": np.array([0, 5])}) == 0


def test_a_channel_that_never_varied_is_not_decided_by_rounding(draw):
    """The last digit of single precision is no anomaly; a change as large as those of other channels is one."""

    def outputs(change):
        signals = np.concatenate([draw.normal(size=(100, 1, 32)), np.zeros((100, 1, 32))], 1)
        signals[:, 1, ::2] += change
        statistics = signal_statistics(signals.astype(np.float32))
        return Outputs(np.zeros((100, 1, 1)), np.zeros((100, 1, 1)), np.zeros((100, 1), int), None, None, statistics)

    score = SCORES["whitened-statistics-distance"]
    learnt = score.learn(outputs(0), 1.0)
    usual, rounded, changed = (score.compute(outputs(change), learnt, 1.0) for change in (0, 2e-7, 1))
    assert np.median(rounded) < 1.1 * np.median(usual)
    assert changed.min() > 3 * usual.max()
