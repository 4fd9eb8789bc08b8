"""Scores by the covariance of features against scikit-learn, and their laws."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist
from scipy.special import logsumexp as reference_logsumexp
from scoring import (
    LABELS,
    VIEWS,
    D,
    N,
    learnt,
    outputs_of,
    scored,
)
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA

from oddkind import Outputs
from oddkind.model.outputs import logsumexp


def within(x, classes):
    """x minus the mean of its class."""
    return x - np.array([x[classes == kind].mean(0) for kind in classes])


def of_features(features, index=None, logits=None):
    """Outputs in one view, with these features."""
    logits = np.zeros((len(features), 3)) if logits is None else logits
    return Outputs(logits[:, None], features[:, None], None if index is None else index[:, None])


def test_mahalanobis_of_one_class_is_scikit_learns(draw):
    normal, features = draw.normal(size=(60, D)) @ draw.normal(size=(D, D)), draw.normal(size=(N, D)) * 3
    expected = EmpiricalCovariance().fit(normal).mahalanobis(features)
    normal = of_features(normal, np.zeros(60, int))
    assert_allclose(scored("mahalanobis", of_features(features), normal), expected)
    assert_allclose(scored("mahalanobis", of_features(features, np.zeros(N, int)), normal), expected)


@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2, 7)])
def test_mahalanobis_uses_the_shared_covariance_or_that_of_the_known_label(draw, classes):
    index = np.repeat(classes, 30)
    normal = draw.normal(size=(90, D)) * (1 + index[:, None]) + 5 * draw.normal(size=(8, D))[index]
    features, claimed = draw.normal(size=(N, D)) * 5, draw.choice(classes, N)
    centres = np.array([normal[index == number].mean(0) for number in classes])
    within = np.cov((normal - np.repeat(centres, 30, axis=0)).T, ddof=0)
    shared = cdist(features, centres, "mahalanobis", VI=np.linalg.inv(within)).min(1) ** 2
    assert_allclose(scored("mahalanobis", of_features(features), of_features(normal, index)), shared)
    own = {number: EmpiricalCovariance().fit(normal[index == number]).mahalanobis(features) for number in classes}
    found = scored("mahalanobis", of_features(features, claimed), of_features(normal, index))
    assert_allclose(found, [own[number][row] for row, number in enumerate(claimed)])


@pytest.mark.parametrize("views", [1, VIEWS])
def test_joint_mahalanobis_is_that_of_inputs_beside_mean_features_with_one_covariance(draw, views):
    normal, outputs = outputs_of(draw, 200, views=views), outputs_of(draw, N, views=views)
    index = normal.targets[:, 0] // views
    rows, new = (np.hstack([some.inputs, some.features.mean(1)]) for some in (normal, outputs))
    centres = np.array([rows[index == number].mean(0) for number in range(LABELS)])
    within = np.cov((rows - centres[index]).T, ddof=0)
    apart = cdist(new, centres, "mahalanobis", VI=np.linalg.inv(within)) ** 2
    claimed = outputs.targets[:, 0] // views
    assert_allclose(scored("joint-mahalanobis", outputs, normal), apart[np.arange(N), claimed], rtol=1e-4)
    unknown = replace(outputs, targets=None)
    assert_allclose(scored("joint-mahalanobis", unknown, normal), apart.min(1), rtol=1e-4)


def test_joint_mahalanobis_keeps_no_sample_and_needs_few_of_a_label(draw):
    few, many = (outputs_of(draw, n, views=1) for n in (60, 600))
    sizes = [sum(array.nbytes for array in learnt("joint-mahalanobis", some).values()) for some in (few, many)]
    assert sizes[0] == sizes[1]
    own = few[few.targets[:, 0] != 0]
    one = few[np.flatnonzero(few.targets[:, 0] == 0)[:1]]
    both = Outputs(
        *(
            np.concatenate([getattr(some, name) for some in (own, one)])
            for name in ("logits", "features", "targets", "inputs")
        )
    )
    assert scored("joint-mahalanobis", one, both)[0] == pytest.approx(0, abs=1e-9)


def test_relative_mahalanobis_is_that_to_the_class_minus_that_to_all(draw):
    index = np.repeat([0, 1, 2], 30)
    normal, features = draw.normal(size=(90, D)) + 4 * np.eye(3, D)[index], draw.normal(size=(N, D)) * 3
    overall = EmpiricalCovariance().fit(normal).mahalanobis(features)
    for claimed in (None, draw.integers(3, size=N)):
        outputs, known = of_features(features, claimed), of_features(normal, index)
        expected = scored("mahalanobis", outputs, known) - overall
        assert_allclose(scored("relative-mahalanobis", outputs, known), expected)
    one_class = of_features(normal, np.zeros(90, int))
    assert_allclose(scored("relative-mahalanobis", of_features(features), one_class), 0, atol=1e-9)


@pytest.mark.parametrize("size", [4, 5, 1])
@pytest.mark.parametrize("known", [True, False])
def test_vim_is_the_residual_of_a_pca_minus_the_logits(draw, size, known):
    index, claimed = np.repeat([0, 1], 30), draw.integers(2, size=N)
    normal, features = draw.normal(size=(60, size)) * np.arange(1, size + 1), draw.normal(size=(N, size)) * 4
    usual, logits = draw.normal(size=(60, 3)) + 5, draw.normal(size=(N, 3))

    def expected(own, some):
        pca = PCA(-(-size // 2)).fit(normal[own])
        left_over = [np.linalg.norm(x - pca.inverse_transform(pca.transform(x)), axis=1) for x in (normal[own], some)]
        return usual[own].max(1).mean() / left_over[0].mean() * left_over[1] if size > 1 else np.zeros(len(some))

    residual = expected(index >= 0, features)
    if known:
        residual = np.stack([expected(index == number, features) for number in (0, 1)])[claimed, np.arange(N)]
    found = scored("vim", of_features(features, claimed if known else None, logits), of_features(normal, index, usual))
    assert_allclose(found, residual - reference_logsumexp(logits, axis=1))


def test_vim_scores_directions_that_hardly_vary_and_those_that_never_do_higher(draw):
    normal = np.hstack([draw.normal(size=(60, 4)) * [9, 8, 1, 1], np.zeros((60, 3))])
    features = np.vstack([np.zeros(7), np.eye(7)]) * 3
    known = of_features(normal, np.zeros(60, int), np.ones((60, 2)))
    scores = scored("vim", of_features(features, logits=np.zeros((8, 2))), known)
    assert (scores[[1, 2]] < scores[3:].min()).all()
    assert scores[5:] == pytest.approx(scores[5], rel=0.2)


def test_vim_of_features_that_never_vary_is_that_of_the_logits_alone(draw):
    logits = draw.normal(size=(N, 3))
    known = of_features(np.ones((60, 2)), np.zeros(60, int), draw.normal(size=(60, 3)))
    assert_allclose(scored("vim", of_features(np.ones((N, 2)), logits=logits), known), -logsumexp(logits, axis=1))
