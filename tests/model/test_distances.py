"""Distances agree with SciPy and scikit-learn, and the distance of a vector does not depend on the other vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from oddkind.model.distances import (
    REFERENCE_ROWS,
    among_others,
    class_means,
    joint_distance,
    local_distances,
    local_scales,
    local_scales_beside,
    neighbour_distances,
    principal_residual,
    row_products,
    squared_distances,
    unit,
    unit_views,
    whitening,
)

N, D, VIEWS = 23, 5, 4


def cosine_distances(vectors, reference, k):
    """1 − cosine to the k nearest, nearest first, [N, k]."""
    return neighbour_distances(unit(vectors), unit(reference), k) ** 2 / 2


def view_distance(vectors, reference, k):
    """Mean over the k nearest of mean_v (1 − cosine), [N]."""
    return (neighbour_distances(unit_views(vectors), unit_views(reference), k) ** 2).mean(1) / 2


def mahalanobis(vectors, reference, index):
    """Squared distance to the nearest class mean under the covariance within classes, [N]."""
    whiten = whitening(reference, index)
    return squared_distances(vectors @ whiten, class_means(reference, index) @ whiten).min(1)


# --- nearest neighbours ---


@pytest.mark.parametrize("k", [1, 3, 40])
def test_neighbour_distances_are_the_smallest_of_cdist(draw, k):
    vectors, reference = draw.normal(size=(N, D)), draw.normal(size=(40, D))
    for found, metric in (
        (neighbour_distances(vectors, reference, k), "euclidean"),
        (cosine_distances(vectors, reference, k), "cosine"),
    ):
        expected = np.sort(cdist(vectors, reference, metric), axis=1)[:, :k]
        assert found.shape == (N, k)
        assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_one_normal_sample_far_from_all_others_leaves_their_distances_exact(draw):
    """Candidates are found in single precision, around a middle that it must not move."""
    reference = np.vstack([np.full((1, 20), 1e6), draw.normal(size=(200, 20))]).astype(np.float32)
    vectors, scales = draw.normal(size=(50, 20)).astype(np.float32), np.ones(201)
    exact = cdist(vectors.astype(float), reference.astype(float))
    assert_allclose(neighbour_distances(vectors, reference, 1)[:, 0], exact.min(1), rtol=1e-6)
    assert_allclose(local_distances(vectors, reference, scales), exact.min(1), rtol=1e-6)
    found = joint_distance(vectors, vectors[:, None], reference, reference[:, None])
    assert_allclose(found, 2**0.5 * exact.min(1), rtol=1e-6)


@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_neighbour_distances_of_many_vectors_are_those_of_scikit_learn(draw, k, offset):
    """More rows than one block has, far from the origin."""
    reference = draw.normal(size=(2 * REFERENCE_ROWS + 5, D)) + offset
    vectors = np.vstack([draw.normal(size=(300, D)) + offset, reference[[3, -1]]])
    expected, _ = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(reference).kneighbors(vectors)
    assert_allclose(neighbour_distances(vectors, reference, k), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("k", [1, 4])
def test_neighbour_distances_do_not_depend_on_the_other_vectors(draw, k):
    vectors, reference = draw.normal(size=(600, D)), draw.normal(size=(1500, D))
    together = neighbour_distances(vectors, reference, k)
    for rows in ([0], [599, 2], slice(250, 270)):
        assert_array_equal(neighbour_distances(vectors[rows], reference, k), together[rows])


@pytest.mark.parametrize("k", [1, 2])
def test_neighbours_that_are_as_near_except_for_rounding_do_not_depend_on_the_other_vectors(draw, k):
    """In single precision the two of each pair cannot be told apart, so rounding would choose."""
    pairs = np.repeat(draw.normal(size=(400, 24)), 2, axis=0)
    reference = pairs + 1e-8 * draw.normal(size=pairs.shape)
    vectors = draw.normal(size=(700, 24))
    together = neighbour_distances(vectors, reference, k)
    assert_allclose(together, np.sort(cdist(vectors, reference), axis=1)[:, :k], rtol=1e-14)
    views, reference_views = vectors[:, None, ::-1], reference[:, None, ::-1]
    joint = joint_distance(vectors, views, reference, reference_views)
    for rows in ([0], slice(13, 40), slice(600, 657), slice(1, 700)):
        assert_array_equal(neighbour_distances(vectors[rows], reference, k), together[rows])
        assert_array_equal(joint_distance(vectors[rows], views[rows], reference, reference_views), joint[rows])


def test_a_vector_that_is_among_the_reference_is_at_distance_0(draw):
    reference = draw.normal(size=(50, D)) * 1e3
    assert_array_equal(neighbour_distances(reference, reference, 1), np.zeros((50, 1)))


def test_repeated_reference_vectors_count_as_often_as_they_occur(draw):
    reference = np.repeat(draw.normal(size=(5, D)), 3, axis=0)
    vectors = draw.normal(size=(N, D))
    assert_allclose(neighbour_distances(vectors, reference, 15), np.sort(cdist(vectors, reference)), rtol=1e-12)


def test_a_zero_vector_is_at_cosine_distance_1_from_all_but_another(draw):
    zero, some = np.zeros((1, D)), draw.normal(size=(6, D))
    assert_allclose(cosine_distances(zero, some, 1), 1)
    assert_allclose(cosine_distances(some, zero, 1), 1)
    assert_allclose(cosine_distances(zero, np.vstack([some, zero]), 1), 0)


def test_cosine_distance_depends_on_the_direction_alone(draw):
    reference = draw.normal(size=(1, D))
    vectors = reference * np.array([[1e-3], [2.0], [-5.0]])
    assert_allclose(cosine_distances(vectors, reference, 1).ravel(), [0, 0, 2], atol=1e-12)


@given(st.floats(0.1, 10), st.integers(1, 20))
def test_neighbour_distance_grows_with_k_and_with_scale(scale, k):
    draw = np.random.default_rng(k)
    vectors, reference = draw.normal(size=(N, D)), draw.normal(size=(21, D))
    for distances in (neighbour_distances, cosine_distances):
        found = distances(vectors, reference, k + 1)
        assert (np.diff(found, axis=1) >= 0).all()
        assert_allclose(found[:, :k], distances(vectors, reference, k), rtol=1e-12)
    scaled = neighbour_distances(scale * vectors, scale * reference, k)
    assert_allclose(scaled, scale * neighbour_distances(vectors, reference, k), rtol=1e-9)


# --- Mahalanobis ---


def test_mahalanobis_of_one_class_is_scikit_learns(draw):
    reference, vectors = draw.normal(size=(60, D)) @ draw.normal(size=(D, D)), draw.normal(size=(N, D)) * 3
    expected = EmpiricalCovariance().fit(reference).mahalanobis(vectors)
    assert_allclose(mahalanobis(vectors, reference, np.zeros(60, int)), expected)


def test_mahalanobis_is_the_nearest_class_mean_under_the_shared_covariance(draw):
    index = np.repeat([0, 1, 2], 30)
    reference = draw.normal(size=(90, D)) + (draw.normal(size=(3, D)) * 5)[index]
    vectors = draw.normal(size=(N, D)) * 5
    centres = np.array([reference[index == number].mean(0) for number in range(3)])
    within = np.cov((reference - centres[index]).T, ddof=0)
    expected = cdist(vectors, centres, "mahalanobis", VI=np.linalg.inv(within)).min(1) ** 2
    assert_allclose(class_means(reference, index), centres)
    assert_allclose(mahalanobis(vectors, reference, index), expected)


def test_mahalanobis_ignores_features_that_never_vary(draw):
    reference, vectors = draw.normal(size=(60, D)), draw.normal(size=(N, D))
    with_constant = [
        np.hstack([part, np.full((len(part), 1), value)]) for part, value in ((vectors, 9), (reference, 2))
    ]
    one = np.zeros(60, int)
    assert_allclose(mahalanobis(*with_constant, one), mahalanobis(vectors, reference, one))


@given(st.integers(0, 99))
def test_mahalanobis_does_not_depend_on_the_units_of_the_features(seed):
    draw = np.random.default_rng(seed)
    vectors, reference, index = draw.normal(size=(N, D)), draw.normal(size=(60, D)), np.arange(60) % 3
    mix = draw.normal(size=(D, D)) + 4 * np.eye(D)
    assert_allclose(
        mahalanobis(vectors @ mix, reference @ mix, index), mahalanobis(vectors, reference, index), rtol=1e-6
    )


@pytest.mark.parametrize("seed", range(5))
def test_whitened_classes_have_the_unit_covariance(seed):
    draw = np.random.default_rng(seed)
    index = draw.integers(3, size=200)
    reference = draw.normal(size=(200, D)) @ draw.normal(size=(D, D)) + draw.normal(size=(3, D))[index]
    white = reference @ whitening(reference, index)
    inside = [np.cov(white[index == number].T, ddof=0) * (index == number).mean() for number in range(3)]
    assert_allclose(np.sum(inside, 0), np.eye(D), atol=1e-8)


@pytest.mark.parametrize(("n", "size"), [(200, 5), (12, 30), (2, 4), (40, 1)])
def test_a_shrunk_whitening_is_that_of_ledoit_and_wolf(draw, n, size):
    reference = draw.normal(size=(n, size)) * np.arange(1, size + 1)
    found = whitening(reference, np.zeros(n, int), shrink=True)
    expected = LedoitWolf().fit(reference).covariance_
    assert_allclose(found @ found.T, np.linalg.pinv(expected, hermitian=True), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shrink", [True, False])
def test_the_whitening_of_samples_that_never_vary_is_finite(shrink):
    for reference in (np.full((9, 3), 2.0), np.full((1, 3), 2.0)):
        assert_array_equal(whitening(reference, np.zeros(len(reference), int), shrink=shrink), np.zeros((3, 3)))


# --- products that do not depend on the batch ---


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 100])
def test_row_products_are_the_product(draw, n):
    rows, matrix = draw.normal(size=(n, 7)), draw.normal(size=(7, 3))
    found = row_products(rows, matrix)
    assert found.shape == (n, 3)
    assert_allclose(found, rows @ matrix, rtol=1e-12, atol=1e-12)


def test_a_row_has_the_same_product_whatever_the_other_rows_are(draw):
    rows, matrix = draw.normal(size=(100, 37)), draw.normal(size=(37, 21))
    together = row_products(rows, matrix)
    for some in ([0], [99, 3], slice(5, 40), slice(None, None, -1)):
        assert_array_equal(row_products(rows[some], matrix), together[some])


def test_squared_distances_are_those_of_cdist(draw):
    points, means = draw.normal(size=(N, D)), draw.normal(size=(3, D))
    assert_allclose(squared_distances(points, means), cdist(points, means, "sqeuclidean"))


# --- distances over views ---


def mean_of_views(vectors, reference, k):
    views = [cdist(vectors[:, v], reference[:, v], "cosine") for v in range(vectors.shape[1])]
    return np.sort(np.mean(views, 0), axis=1)[:, :k].mean(1)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_view_distance_is_the_mean_of_the_k_least_mean_cosine_distances(draw, k):
    vectors, reference = draw.normal(size=(N, VIEWS, D)), draw.normal(size=(40, VIEWS, D))
    assert_allclose(view_distance(vectors, reference, k), mean_of_views(vectors, reference, k), atol=1e-6)


def test_what_is_near_must_be_so_in_every_view():
    reference = np.array([[[1.0, 0], [1, 0]], [[0, 1], [0, 1]]])
    torn = np.array([[[1.0, 0], [0, 1]]])  # each view is that of a normal sample, but of two different ones
    assert_allclose(view_distance(np.vstack([reference, torn]), reference, 1), [0, 0, 0.5], atol=1e-6)


def test_view_distance_of_the_roots_of_probabilities_is_the_squared_hellinger_distance(draw):
    p, q = (softmax(draw.normal(size=(n, VIEWS, D)) * 3, axis=-1) for n in (N, 30))
    hellinger = [cdist(np.sqrt(p[:, v]), np.sqrt(q[:, v]), "sqeuclidean") / 2 for v in range(VIEWS)]
    expected = np.sort(np.mean(hellinger, 0), axis=1)[:, :5].mean(1)
    assert_allclose(view_distance(np.sqrt(p), np.sqrt(q), 5), expected, atol=1e-6)


def test_view_distance_of_zero_vectors_is_1_from_all_but_each_other(draw):
    zero, some = np.zeros((1, 1, D)), draw.normal(size=(6, 1, D))
    assert_allclose(view_distance(zero, some, 5), 1, atol=1e-6)
    assert_allclose(view_distance(zero, zero, 1), 0, atol=1e-6)


@pytest.mark.parametrize(("n", "references"), [(3, 5), (300, 1500)])
def test_joint_distance_is_the_mean_over_views_of_the_nearest_concatenation(draw, n, references):
    shared, views = draw.normal(size=(n, 4)), draw.normal(size=(n, 3, 2)) + 10
    normal, normal_views = draw.normal(size=(references, 4)), draw.normal(size=(references, 3, 2)) + 10
    expected = [
        cdist(np.hstack([shared, views[:, view]]), np.hstack([normal, normal_views[:, view]])).min(1)
        for view in range(3)
    ]
    found = joint_distance(shared, views, normal, normal_views)
    assert_allclose(found, np.mean(expected, 0), rtol=1e-6)
    for rows in ([0], slice(1, 3)):
        assert_array_equal(joint_distance(shared[rows], views[rows], normal, normal_views), found[rows])


# --- residuals ---


@pytest.mark.parametrize("size", [4, 5, 1])
def test_the_residual_is_what_a_pca_of_half_the_directions_leaves_over(draw, size):
    reference, vectors = draw.normal(size=(60, size)) * np.arange(1, size + 1), draw.normal(size=(N, size)) * 4
    pca = PCA(-(-size // 2)).fit(reference)
    middle, left_over = principal_residual(reference)
    expected = np.linalg.norm(vectors - pca.inverse_transform(pca.transform(vectors)), axis=1)
    assert_allclose(middle, reference.mean(0))
    assert_allclose(np.linalg.norm((vectors - middle) @ left_over, axis=1), expected, atol=1e-12)


def test_directions_that_never_vary_are_all_left_over(draw):
    reference = np.hstack([draw.normal(size=(60, 4)) * [9, 8, 1, 1], np.zeros((60, 3))])
    middle, left_over = principal_residual(reference)
    residual = np.linalg.norm((np.eye(7) - middle) @ left_over, axis=1)
    assert_allclose(residual[4:], 1, rtol=0.1)
    assert (residual[:2] < 0.3).all()


@pytest.mark.parametrize("k", [1, 3])
def test_distances_among_others_are_those_to_the_nearest_of_other_groups(draw, k):
    reference, groups, scales = draw.normal(size=(300, D)) + 50, draw.integers(9, size=300), draw.uniform(1, 2, 300)
    rows, own_groups = np.arange(0, 300, 2), draw.integers(9, size=150)
    apart = np.where(own_groups[:, None] == groups, np.inf, cdist(reference[rows], reference) / scales)
    apart[np.arange(150), rows] = np.inf
    found = among_others(reference[rows], own_groups, reference, groups, k, scales, rows)
    assert_allclose(found, np.sort(apart, axis=1)[:, :k].mean(1), rtol=1e-6)
    vectors = draw.normal(size=(7, D)) + 50
    nearest = np.sort(np.where(own_groups[:7, None] == groups, np.inf, cdist(vectors, reference)), axis=1)[:, :k]
    assert_allclose(among_others(vectors, own_groups[:7], reference, groups, k), nearest.mean(1), rtol=1e-6)


@pytest.mark.parametrize("k", [1, 3])
def test_a_skipped_row_is_not_compared_with(draw, k):
    reference, scales = draw.normal(size=(300, D)), draw.uniform(1, 2, 300)
    vectors, skip = reference[:50] + 0, np.where(np.arange(50) % 5, np.arange(50), -1)
    apart = cdist(vectors, reference)
    apart[np.arange(50), np.arange(50)] = np.where(skip < 0, 0, np.inf)
    expected = np.sort(apart, axis=1)[:, :k]
    assert_allclose(neighbour_distances(vectors, reference, k, skip), expected, rtol=1e-6, atol=1e-6)
    assert_allclose(local_distances(vectors, reference, scales, skip), (apart / scales).min(1), rtol=1e-6, atol=1e-6)


def test_vectors_without_others_are_infinitely_far(draw):
    one = draw.normal(size=(1, D))
    many, same = np.tile(one, (5, 1)), np.zeros(5)
    assert among_others(one, same[:1], one, same[:1], 1).tolist() == [np.inf]
    assert among_others(one, same[:1], one, same[:1], 3).tolist() == [np.inf]
    assert among_others(many, same, many, same, 1).tolist() == [np.inf] * 5
    assert among_others(one, same[:1], one, same[:1] + 1, 1, skip=np.zeros(1, int)).tolist() == [np.inf]


@pytest.mark.parametrize("k", [1, 8, 30])
def test_local_scales_are_mean_distances_to_the_nearest_others(draw, k):
    reference = draw.normal(size=(25, D))
    nearest = np.sort(cdist(reference, reference), axis=1)[:, 1 : k + 1]
    assert_allclose(local_scales(reference, k=k), nearest.mean(1), rtol=1e-9)


def test_of_many_rows_some_are_compared_with(draw, monkeypatch):
    monkeypatch.setattr("oddkind.model.distances.MOST_COMPARED", 10)
    reference = draw.normal(size=(25, D))
    apart = cdist(reference, reference[::3])
    apart[np.arange(0, 25, 3), np.arange(9)] = np.inf  # not itself
    assert_allclose(local_scales(reference, k=4), np.sort(apart, axis=1)[:, :4].mean(1), rtol=1e-9)


@pytest.mark.parametrize("most", [4096, 10])
def test_local_scales_of_groups_are_distances_to_others(draw, monkeypatch, most):
    monkeypatch.setattr("oddkind.model.distances.MOST_COMPARED", most)
    reference, groups = draw.normal(size=(25, D)), np.arange(25) // 5
    step = -(-25 // most)
    apart = np.where(groups[:, None] == groups[::step], np.inf, cdist(reference, reference[::step]))
    expected = np.sort(apart, axis=1)[:, :4].mean(1)
    assert_allclose(local_scales(reference, groups, 4), expected, rtol=1e-9)
    # A group that is alone has no others, and few others tell less than its own samples.
    assert_array_equal(local_scales(reference, np.zeros(25), 4), local_scales(reference, k=4))
    rare = np.where(np.arange(25) < 22, 0, np.arange(25))
    few = local_scales(reference, rare, 8)
    assert_allclose(few[0], local_scales(reference)[0], rtol=1e-9)


@pytest.mark.parametrize("n", [30, 5, 1])
def test_local_scales_of_others_are_mean_distances_to_the_nearest(draw, n, monkeypatch):
    monkeypatch.setattr("oddkind.model.distances.MOST_COMPARED", 20)
    reference, others = draw.normal(size=(n, D)), draw.normal(size=(9, D)) + 3
    compared = reference[::2] if n == 30 else reference
    nearest = np.sort(cdist(others, compared), axis=1)[:, : min(8, n - 1)]
    found = local_scales_beside(others, reference, local_scales(reference))
    assert_allclose(found, nearest.mean(1) if n > 1 else np.ones(9), rtol=1e-9)


def test_local_scales_of_copies_and_of_one_vector_are_positive(draw):
    assert local_scales(np.ones((9, D))).tolist() == [1] * 9
    assert local_scales(np.ones((1, D))).tolist() == [1]
    reference = np.concatenate([np.ones((9, D)), draw.normal(size=(20, D))])
    scales = local_scales(reference)
    assert (scales[:9] == 1e-3 * np.median(scales[9:])).all()
    assert local_scales_beside(np.ones((1, D)), reference, scales).tolist() == [scales.min()]


@pytest.mark.parametrize("references", [3, REFERENCE_ROWS + 5])
@pytest.mark.parametrize("offset", [0, 1000])
def test_local_distances_are_the_least_quotients(draw, references, offset):
    vectors, reference = draw.normal(size=(N, D)) + offset, draw.normal(size=(references, D)) + offset
    scales = draw.uniform(0.2, 5, references)
    assert_allclose(local_distances(vectors, reference, scales), (cdist(vectors, reference) / scales).min(1), rtol=1e-6)
    assert_allclose(
        local_distances(vectors, reference, np.ones(references)), cdist(vectors, reference).min(1), rtol=1e-6
    )


def test_local_distances_do_not_depend_on_the_other_vectors(draw):
    vectors, reference, scales = draw.normal(size=(300, D)), draw.normal(size=(80, D)), draw.uniform(0.2, 5, 80)
    together = local_distances(vectors, reference, scales)
    for rows in (slice(1), slice(5, 40)):
        assert_array_equal(local_distances(vectors[rows], reference, scales), together[rows])
