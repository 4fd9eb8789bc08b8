"""Scores by the nearest normal samples against NumPy and scipy, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from scipy.special import softmax as reference_softmax
from scoring import (
    VIEWS,
    D,
    N,
    learnt,
    outputs_of,
    scored,
)
from sklearn.covariance import LedoitWolf

from oddkind import InputError, Outputs, neighbours


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4])
def test_neighbours_compare_with_the_same_view_and_the_known_label(draw, metric, k):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)

    def by_hand(known):
        return [
            np.mean(
                [
                    np.sort(
                        cdist(
                            outputs.features[n, v][None],
                            reference.features[
                                ~np.bool_(known) | (reference.targets[:, v] == outputs.targets[n, v]), v
                            ],
                            metric,
                        )[0]
                    )[k - 1]
                    for v in range(VIEWS)
                ]
            )
            for n in range(N)
        ]

    score, unlabelled = neighbours(k, metric), Outputs(outputs.logits, outputs.features)
    assert_allclose(scored(score, outputs, reference), by_hand(known=True), atol=1e-6)
    assert_allclose(scored(score, unlabelled, reference), by_hand(known=False), atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_view_and_hellinger_neighbours_compare_whole_samples_within_the_known_label(draw, temperature):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    for name, of in (
        ("view-neighbours", lambda o: o.features),
        ("hellinger-neighbours", lambda o: np.sqrt(reference_softmax(o.logits / temperature, axis=-1))),
    ):
        apart = np.mean(
            [
                cdist(*pair, "cosine")
                for pair in zip(*(of(o).swapaxes(0, 1) for o in (outputs, reference)), strict=True)
            ],
            0,
        )
        same = outputs.targets[:, :1] == reference.targets[:, 0]
        for known, distance in ((None, apart), (outputs.targets, np.where(same, apart, np.inf))):
            expected = np.sort(distance, axis=1)[:, :5].mean(1)
            found = scored(name, replace(outputs, targets=known), reference, temperature)
            assert_allclose(found, expected, atol=1e-6)


def within(x, classes):
    """x minus the mean of its class."""
    return x - np.array([x[classes == kind].mean(0) for kind in classes])


@pytest.mark.parametrize("long", [False, True])
def test_joint_neighbours_compare_inputs_whitened_unless_long_and_features_scaled_alike(draw, monkeypatch, long):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    monkeypatch.setattr("oddkind.model.neighbour_scores.MAX_WHITENED_FEATURES", D - long)

    def whitened(x):
        covariance = LedoitWolf(assume_centered=True).fit(within(reference.inputs, reference.targets[:, 0])).covariance_
        return x @ np.linalg.inv(np.linalg.cholesky(covariance)).T

    def view(v, of=outputs):
        inputs, white = reference.inputs, whitened(reference.inputs)
        parts = of.inputs / spread(inputs), of.features[:, v] / features, whitened(of.inputs) / spread(white)
        return np.hstack(parts[:2] if long else parts)

    def spread(x):
        return np.sqrt(np.trace(np.cov(x.T, ddof=0)))

    features = np.mean([spread(reference.features[:, v]) for v in range(VIEWS)])
    expected = np.mean([cdist(view(v), view(v, reference)).min(1) for v in range(VIEWS)], 0)
    unlabelled = replace(outputs, targets=None)
    assert_allclose(scored("joint-neighbours", unlabelled, reference), expected, atol=1e-6)
    # Whatever units inputs and features are in, all count the same.
    scaled = [replace(of, inputs=of.inputs * 99, features=of.features / 99) for of in (unlabelled, reference)]
    assert_allclose(scored("joint-neighbours", *scaled), expected, atol=1e-6)
    assert (scored("joint-neighbours", outputs, reference) >= expected - 1e-6).all()


def test_local_input_neighbours_are_squared_distances_in_relation_to_those_among_normal_samples(draw):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    among = cdist(reference.inputs, reference.inputs)
    usual = np.sort(among, axis=1)[:, 1:9].mean(1)
    apart = cdist(outputs.inputs, reference.inputs)
    same = outputs.targets[:, :1] == reference.targets[:, 0]
    for known, distance in ((None, apart), (outputs.targets, np.where(same, apart, np.inf))):
        nearest = np.argsort(distance, axis=1)[:, :5]
        expected = (np.take_along_axis(distance, nearest, 1) ** 2 / usual[nearest]).mean(1)
        found = scored("local-input-neighbours", replace(outputs, targets=known), reference)
        assert_allclose(found, expected, rtol=1e-6)


def test_of_large_pictures_some_numbers_are_compared(draw, monkeypatch):
    monkeypatch.setattr("oddkind.model.score.MAX_COMPARED_NUMBERS", 3)
    outputs, reference = (replace(outputs_of(draw, n, known=True)) for n in (N, 60))
    some = [replace(one, inputs=one.inputs[:, [0, 2, 4]]) for one in (outputs, reference)]
    assert_array_equal(scored("local-input-neighbours", outputs, reference), scored("local-input-neighbours", *some))


def test_pictures_are_compared_as_the_bytes_that_they_are(draw):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    pictures, normal = (
        replace(one, inputs=draw.integers(256, size=(len(one), 9)).astype(np.uint8)) for one in (outputs, reference)
    )
    as_numbers = [replace(one, inputs=one.inputs.astype(float)) for one in (pictures, normal)]
    assert learnt("local-input-neighbours", normal)["reference"].dtype == np.uint8
    found = scored("local-input-neighbours", pictures, normal)
    assert_allclose(found, scored("local-input-neighbours", *as_numbers), rtol=1e-6)


@pytest.mark.parametrize("name", ["view-neighbours", "hellinger-neighbours"])
@pytest.mark.parametrize("n", [1, 3])
def test_with_fewer_than_5_normal_samples_all_are_neighbours(draw, name, n):
    outputs, normal = outputs_of(draw, N, known=False), outputs_of(draw, n)
    each = [scored(name, outputs, normal[[row]]) for row in range(n)]
    assert_allclose(scored(name, outputs, normal), np.mean(each, 0), rtol=1e-5)


def test_joint_neighbours_refuse_outputs_without_inputs(draw):
    full, bare = outputs_of(draw, 3), replace(outputs_of(draw, 3), inputs=None)
    for outputs, normal in ((bare, full), (full, bare)):
        with pytest.raises(InputError, match="with inputs"):
            scored("joint-neighbours", outputs, normal)


@pytest.mark.parametrize("k", [0, -1])
def test_neighbours_refuse_a_number_below_1(k):
    with pytest.raises(InputError, match=rf"k={k}; it must be at least 1"):
        neighbours(k)


def test_neighbours_refuse_more_neighbours_than_there_are(draw):
    normal, outputs = outputs_of(draw, 6), outputs_of(draw, 2, known=False)
    assert np.isfinite(scored(neighbours(6), outputs, normal)).all()
    with pytest.raises(InputError, match="k=7; 6 normal samples allow 1 to 6"):
        scored(neighbours(7), outputs, normal)


def test_neighbours_refuse_an_unknown_metric():
    with pytest.raises(InputError, match="metric='manhattan'; known are 'cosine' and 'euclidean'"):
        neighbours(metric="manhattan")
