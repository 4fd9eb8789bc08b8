import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, softmax
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA

from oddkind import InputError
from oddkind.model import distances

N, D, VIEWS = 23, 5, 4


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 3, 40])
def test_neighbour_distance_is_the_kth_smallest_of_cdist(draw, metric, k):
    features, reference = draw.normal(size=(N, D)), draw.normal(size=(40, D))
    expected = np.sort(cdist(features, reference, metric), axis=1)[:, k - 1]
    assert_allclose(distances.neighbour_distance(features, reference, k=k, metric=metric), expected, atol=1e-6)


def test_a_zero_vector_is_at_cosine_distance_1_from_all_but_another(draw):
    zero, some = np.zeros((1, D)), draw.normal(size=(6, D))
    assert_allclose(distances.neighbour_distance(zero, some), 1, atol=1e-6)
    assert_allclose(distances.neighbour_distance(some, zero), 1, atol=1e-6)
    assert_allclose(distances.neighbour_distance(zero, np.vstack([some, zero])), 0, atol=1e-6)


def test_cosine_distance_sees_direction_alone(draw):
    reference = draw.normal(size=(1, D))
    features = reference * np.array([[1e-3], [2.0], [-5.0]])
    assert_allclose(distances.neighbour_distance(features, reference), [0, 0, 2], atol=1e-6)


def test_mahalanobis_of_one_class_is_scikit_learns(draw):
    reference, features = draw.normal(size=(60, D)) @ draw.normal(size=(D, D)), draw.normal(size=(N, D)) * 3
    expected = EmpiricalCovariance().fit(reference).mahalanobis(features)
    assert_allclose(distances.mahalanobis(features, reference, np.zeros(60)), expected)


def test_mahalanobis_is_the_nearest_class_mean_under_the_shared_covariance(draw):
    classes = np.repeat(["a", "b", "c"], 30)
    means = {kind: draw.normal(size=D) * 5 for kind in "abc"}
    reference = draw.normal(size=(90, D)) + np.array([means[kind] for kind in classes])
    features = draw.normal(size=(N, D)) * 5
    centres = np.array([reference[classes == kind].mean(0) for kind in "abc"])
    within = np.cov((reference - np.repeat(centres, 30, axis=0)).T, ddof=0)
    expected = cdist(features, centres, "mahalanobis", VI=np.linalg.inv(within)).min(1) ** 2
    assert_allclose(distances.mahalanobis(features, reference, classes), expected)


def test_mahalanobis_ignores_features_that_never_vary(draw):
    reference, features = draw.normal(size=(60, D)), draw.normal(size=(N, D))
    with_constant = [
        np.hstack([part, np.full((len(part), 1), value)]) for part, value in ((features, 9), (reference, 2))
    ]
    assert_allclose(
        distances.mahalanobis(*with_constant, np.zeros(60)), distances.mahalanobis(features, reference, np.zeros(60))
    )


@given(st.floats(0.1, 10), st.integers(1, 20))
def test_neighbour_distance_grows_with_k_and_euclidean_with_scale(scale, k):
    draw = np.random.default_rng(k)
    features, reference = draw.normal(size=(N, D)), draw.normal(size=(21, D))
    for metric in ("cosine", "euclidean"):
        near, far = (distances.neighbour_distance(features, reference, k=i, metric=metric) for i in (k, k + 1))
        assert (far >= near).all()
    scaled = distances.neighbour_distance(scale * features, scale * reference, k=k, metric="euclidean")
    assert_allclose(
        scaled, scale * distances.neighbour_distance(features, reference, k=k, metric="euclidean"), rtol=1e-5
    )


@given(st.integers(0, 99))
def test_mahalanobis_does_not_depend_on_the_features_units(seed):
    draw = np.random.default_rng(seed)
    features, reference, classes = draw.normal(size=(N, D)), draw.normal(size=(60, D)), np.arange(60) % 3
    mix = draw.normal(size=(D, D)) + 4 * np.eye(D)
    assert_allclose(
        distances.mahalanobis(features @ mix, reference @ mix, classes),
        distances.mahalanobis(features, reference, classes),
        rtol=1e-6,
    )


@pytest.mark.parametrize("seed", range(5))
def test_whitened_classes_have_no_direction_of_their_own(seed):
    draw = np.random.default_rng(seed)
    classes = draw.integers(3, size=200)
    reference = draw.normal(size=(200, D)) @ draw.normal(size=(D, D)) + draw.normal(size=(3, D))[classes]
    white = reference @ distances.whitening(reference, classes, EmpiricalCovariance(assume_centered=True))
    inside = [np.cov(white[classes == kind].T, ddof=0) * (classes == kind).mean() for kind in range(3)]
    assert_allclose(np.sum(inside, 0), np.eye(D), atol=1e-8)


# --- Distances of all views at once, ViM -------------------------------------------------------------------


def by_hand(vectors, reference, k):
    views = [cdist(vectors[:, v], reference[:, v], "cosine") for v in range(vectors.shape[1])]
    return np.sort(np.mean(views, 0), axis=1)[:, :k].mean(1)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_view_distance_is_the_mean_of_the_k_least_mean_cosine_distances(draw, k):
    vectors, reference = draw.normal(size=(N, VIEWS, D)), draw.normal(size=(40, VIEWS, D))
    assert_allclose(distances.view_distance(vectors, reference, k=k), by_hand(vectors, reference, k), atol=1e-6)


def test_view_distance_takes_the_normal_samples_there_are(draw):
    vectors, reference = draw.normal(size=(N, VIEWS, D)), draw.normal(size=(3, VIEWS, D))
    assert_allclose(distances.view_distance(vectors, reference), by_hand(vectors, reference, 3), atol=1e-6)


def test_what_is_near_must_be_so_in_every_view():
    reference = np.array([[[1.0, 0], [1, 0]], [[0, 1], [0, 1]]])
    torn = np.array([[[1.0, 0], [0, 1]]])  # each view is that of a normal sample, but of two different ones
    assert_allclose(distances.view_distance(np.vstack([reference, torn]), reference, k=1), [0, 0, 0.5], atol=1e-6)


def test_view_distance_of_the_roots_of_probabilities_is_the_squared_hellinger_distance(draw):
    p, q = (softmax(draw.normal(size=(n, VIEWS, D)) * 3, axis=-1) for n in (N, 30))
    hellinger = [cdist(np.sqrt(p[:, v]), np.sqrt(q[:, v]), "sqeuclidean") / 2 for v in range(VIEWS)]
    expected = np.sort(np.mean(hellinger, 0), axis=1)[:, :5].mean(1)
    assert_allclose(distances.view_distance(np.sqrt(p), np.sqrt(q)), expected, atol=1e-6)


def test_view_distance_of_zero_vectors_is_that_of_neighbour_distance(draw):
    zero, some = np.zeros((1, 1, D)), draw.normal(size=(6, 1, D))
    assert_allclose(distances.view_distance(zero, some), 1, atol=1e-6)
    assert_allclose(distances.view_distance(zero, zero), 0, atol=1e-6)


@pytest.mark.parametrize(("n", "references"), [(3, 5), (300, 1500)])
def test_joint_distance_is_the_mean_over_views_of_the_nearest_side_by_side(draw, n, references):
    shared, views = draw.normal(size=(n, 4)), draw.normal(size=(n, 3, 2)) + 10
    normal, normal_views = draw.normal(size=(references, 4)), draw.normal(size=(references, 3, 2)) + 10
    expected = [
        cdist(np.hstack([shared, views[:, view]]), np.hstack([normal, normal_views[:, view]])).min(1)
        for view in range(3)
    ]
    found = distances.joint_distance(shared, views, normal, normal_views)
    assert_allclose(found, np.mean(expected, 0), rtol=1e-6)


@pytest.mark.parametrize("size", [4, 5, 1])
def test_vim_is_the_residual_of_a_pca_beside_the_logits(draw, size):
    reference, features = draw.normal(size=(60, size)) * np.arange(1, size + 1), draw.normal(size=(N, size)) * 4
    usual, logits = draw.normal(size=(60, 3)) + 5, draw.normal(size=(N, 3))
    pca = PCA(-(-size // 2)).fit(reference)

    def residual(x):
        return np.linalg.norm(x - pca.inverse_transform(pca.transform(x)), axis=1)

    alpha = usual.max(1).mean() / residual(reference).mean() if size > 1 else 0
    expected = alpha * residual(features) - logsumexp(logits, axis=1)
    assert_allclose(distances.vim(features, logits, reference, usual), expected)


@pytest.mark.parametrize("k", [0, -1, 7])
def test_neighbour_distance_refuses_more_neighbours_than_there_are(k):
    with pytest.raises(InputError, match=rf"k={k}; 6 normal samples allow 1 to 6"):
        distances.neighbour_distance(np.ones((2, 3)), np.ones((6, 3)), k=k)


def test_neighbour_distance_refuses_an_unknown_metric():
    with pytest.raises(InputError, match="metric='manhattan'; known are 'cosine' and 'euclidean'"):
        distances.neighbour_distance(np.ones((2, 3)), np.ones((6, 3)), metric="manhattan")


def test_vim_looks_where_normal_features_vary_and_where_they_never_do(draw):
    reference = np.hstack([draw.normal(size=(60, 4)) * [9, 8, 1, 1], np.zeros((60, 3))])
    features, logits = np.vstack([np.zeros(7), np.eye(7)]) * 3, np.zeros((8, 2))
    scores = distances.vim(features, logits, reference, np.ones((60, 2)))
    assert (scores[[1, 2]] < scores[3:].min()).all()
    assert scores[5:] == pytest.approx(scores[5], rel=0.2)


def test_vim_of_features_that_never_vary_are_the_logits_alone(draw):
    logits = draw.normal(size=(N, 3))
    scores = distances.vim(np.ones((N, 2)), logits, np.ones((60, 2)), draw.normal(size=(60, 3)))
    assert_allclose(scores, -logsumexp(logits, axis=1))
