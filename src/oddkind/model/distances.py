"""Distances of vectors to those of normal samples: nearest neighbours, Mahalanobis, residuals. NumPy only."""

from __future__ import annotations

import numpy as np

from oddkind.arrays import Array

ROWS, REFERENCE_ROWS = 256, 1024  # the block of a product that stays in the cache
MIDDLE_ROWS = 33  # the middle of so many vectors is amid all
FEWEST_ROWS = 16
# OpenBLAS computes products of at most this many multiplications in one thread. More threads would mostly wait for each
# other in products as small as these.
PRODUCT_SIZE = 1 << 18
AMONG_ROWS, MOST_COMPARED = 128, 4096
# In single precision rounding may confuse the nearest with the next ones, and how it rounds depends on the other rows
# of a product. So this many more are found than are asked for, and the exact distances of all decide.
MORE = 3
FEW = 8  # up to so many are found faster one by one than by a partition


def unit(vectors: Array) -> Array:
    """Scale rows [N, D] to length 1; [N, D + 1].

    The additional coordinate is 1 for a row of zeros, which so has length 1 too, and 0 for all others.
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.hstack([vectors / np.where(length > 0, length, 1), length == 0])


def unit_views(views: Array) -> Array:
    """Turn vectors [N, V, D] into [N, V · (D + 1)] in single precision, scaled to length 1 in every view.

    Half the squared Euclidean distance of two rows is mean_v (1 − a_v·b_v / (‖a_v‖ ‖b_v‖)), in [0, 2].
    """
    scaled = unit(views.reshape(-1, views.shape[-1])) / np.sqrt(views.shape[1])
    return scaled.astype(np.float32).reshape(len(views), -1)


def neighbour_distances(vectors: Array, reference: Array, k: int, skip: Array | None = None) -> Array:
    """Euclidean distances of vectors [N, D] to the k nearest of [R, D], nearest first; [N, k].

    `skip` int [N]: a row that each vector is not compared with; none if there is no such row.
    """
    return _nearest_and_distances(vectors, reference, k, skip)[1]


def squares_by_scale(vectors: Array, reference: Array, scales: Array, k: int) -> Array:
    """Mean of ‖a − b‖² / s_b over the k nearest b of each vector [N, D] among [R, D], whose scales are s [R]; [N]."""
    nearest, apart = _nearest_and_distances(vectors, reference, k)
    return np.sort(np.square(apart) / scales[nearest], axis=1).mean(1)


def _nearest_and_distances(vectors: Array, reference: Array, k: int, skip: Array | None = None) -> tuple[Array, Array]:
    """Rows of the k nearest of [R, D] to vectors [N, D], nearest first, and their distances; [N, k] each."""
    (nearest,) = _candidates(vectors[:, :0], vectors[:, None], reference[:, :0], reference[:, None], k)
    apart = [np.linalg.norm(np.subtract(vectors, reference[one], dtype=float), axis=1) for one in nearest.T]
    distances = np.stack(apart, 1)
    if skip is not None:
        distances[nearest == skip[:, None]] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(nearest, order, 1), np.take_along_axis(distances, order, 1)


def local_scales(reference: Array, groups: Array | None = None, k: int = 8) -> Array:
    """Mean distance of each row [R, D] to the k nearest of the others, [R]; at least a thousandth of their median.

    With `groups` [R], the others are those of other groups, unless there are fewer than k of these. Of more than 4,096
    others, evenly spread ones are compared with: all scales then grow alike, and only their ratios matter. It is 1 if
    there are no others, or if all rows are equal.
    """
    step = -(-len(reference) // MOST_COMPARED)
    others = reference[::step]
    count = min(k, len(others) - 1)
    if count < 1:
        return np.ones(len(reference))
    scales = np.full(len(reference), np.inf)
    if groups is not None:
        scales = among_others(reference, groups, others, groups[::step], k)
    few = np.isinf(scales)
    if few.any():
        apart = neighbour_distances(reference, others, count + 1)
        own = apart[:, :count].mean(1)
        own[::step] = apart[::step, 1:].mean(1)  # without themselves
        scales[few] = own[few]
    least = 1e-3 * np.median(scales[scales > 0]) if scales.any() else 1.0
    return np.maximum(scales, least)


def local_scales_beside(vectors: Array, reference: Array, scales: Array, k: int = 8) -> Array:
    """Mean distance of each vector [N, D] to the k nearest of [R, D], whose `local_scales` are `scales` [R]; [N]."""
    others = reference[:: -(-len(reference) // MOST_COMPARED)]
    count = min(k, len(others) - 1)
    if count < 1:
        return np.ones(len(vectors))
    return np.maximum(neighbour_distances(vectors, others, count).mean(1), scales.min())


def among_others(
    vectors: Array,
    own_groups: Array,
    reference: Array,
    groups: Array,
    k: int,
    scales: Array | None = None,
    skip: Array | None = None,
) -> Array:
    """Mean distance of vectors [N, D] to the k nearest of [R, D] of other groups, each divided by its scale [R]; [N].

    The groups are those of the vectors [N] and of the reference [R]; `skip` int [N]: a row that each vector is not
    compared with, or −1. The mean is infinite for vectors with fewer than k others.
    """
    found = np.full(len(vectors), np.inf)
    if len(reference) < k:
        return found
    middle = np.mean(reference, axis=0, dtype=float)
    others = reference - middle
    squares = np.square(others).sum(1)
    for start in range(0, len(vectors), AMONG_ROWS):
        block = slice(start, start + AMONG_ROWS)
        own = vectors[block] - middle
        apart = np.square(own).sum(1)[:, None] - 2 * own @ others.T + squares
        apart = np.sqrt(apart.clip(min=0)) / (1.0 if scales is None else scales)
        apart[own_groups[block, None] == groups] = np.inf
        if skip is not None:
            there = np.flatnonzero(skip[block] >= 0)
            apart[there, skip[block][there]] = np.inf
        found[block] = np.partition(apart, k - 1, axis=1)[:, :k].mean(1)
    return found


def local_distances(vectors: Array, reference: Array, scales: Array, skip: Array | None = None) -> Array:
    """Least distance of each vector [N, D] to one of [R, D], each divided by its scale [R]: min_b ‖a − b‖ / s_b; [N].

    `skip` as in `neighbour_distances`.

    Candidates are found in single precision: ‖a − b‖² / s² is least where a·b / s² − ‖a‖² / 2s² − ‖b‖² / 2s² is
    greatest, a product with two more coordinates. Their quotients are then computed exactly.
    """
    k, n = min(1 + MORE, len(reference)), len(vectors)
    middle = _middle(reference)
    a = (np.pad(vectors, ((0, max(0, FEWEST_ROWS - n)), (0, 0)), "edge") - middle).astype(np.float32)
    a = np.hstack([a, np.square(a).sum(1, keepdims=True), np.ones((len(a), 1), np.float32)])
    nearest, most = np.zeros((len(a), k), int), np.full((len(a), k), -np.inf, np.float32)
    for start in range(0, len(reference), REFERENCE_ROWS):
        block = slice(start, start + REFERENCE_ROWS)
        b, weight = reference[block] - middle, 1 / np.square(scales[block])[:, None]
        beside = np.hstack([b * weight, -weight / 2, -np.square(b).sum(1, keepdims=True) * weight / 2])
        products = beside.astype(np.float32).T
        for first in range(0, len(a), ROWS):
            rows = slice(first, first + ROWS)
            _keep_best(a[rows] @ products, start, most[rows], nearest[rows])
    nearest = nearest[:n]
    apart = [np.linalg.norm(np.subtract(vectors, reference[one], dtype=float), axis=1) for one in nearest.T]
    quotients = np.stack(apart, 1) / scales[nearest]
    if skip is not None:
        quotients[nearest == skip[:, None]] = np.inf
    return quotients.min(1)


def joint_distance(shared: Array, views: Array, reference_shared: Array, reference_views: Array) -> Array:
    """Mean over views of the Euclidean distance to the nearest normal sample; [N, D], [N, V, E] → [N].

    In view v a sample is the concatenation of its vector [D], which all views share, and that of the view [E]; the
    normal samples are [R, D] and [R, V, E], and each view has its own nearest one.
    """
    candidates = _candidates(shared, views, reference_shared, reference_views, 1)
    # Added in sequence: the order in which numpy's mean over views adds depends on the number of samples.
    total = np.zeros(len(shared))
    for view, found in enumerate(candidates):
        squares = []
        for own in found.T:
            squared = np.square(np.subtract(shared, reference_shared[own], dtype=float)).sum(1)
            squared += np.square(np.subtract(views[:, view], reference_views[own, view], dtype=float)).sum(1)
            squares.append(squared)
        total += np.sqrt(np.min(squares, axis=0))
    return total / len(candidates)


def _candidates(shared: Array, views: Array, reference_shared: Array, reference_views: Array, k: int) -> Array:
    """Rows of normal samples among which the k nearest are, in every view, for vectors as in `joint_distance`.

    Int [V, N, at most k + MORE], in the order of the rows. Found in single precision: ‖a − b‖² is least where
    a·b − ‖b‖² / 2 is greatest, a product with one more coordinate.
    The products of the shared vectors are computed once for all views.
    """
    middle, view_middle = _middle(reference_shared), _middle(reference_views)

    def centred(one: Array, each: Array) -> tuple[Array, Array]:
        """Single precision, [n, D] and [V, n, E + 1] with room for one more coordinate."""
        views = np.empty((each.shape[1], each.shape[0], each.shape[2] + 1), np.float32)
        np.subtract(each.swapaxes(0, 1), view_middle[:, None], out=views[..., :-1], casting="same_kind")
        return (one - middle).astype(np.float32, copy=False), views

    n, k = len(shared), min(k + MORE, len(reference_shared))
    padding = max(0, FEWEST_ROWS - n)  # a product with one row is summed in a different order
    a, of = centred(
        np.pad(shared, ((0, padding), (0, 0)), "edge"), np.pad(views, ((0, padding), (0, 0), (0, 0)), "edge")
    )
    of[..., -1] = 1
    shape = len(of), len(a), k
    nearest, most = np.zeros(shape, int), np.full(shape, -np.inf, np.float32)
    for start in range(0, len(reference_shared), REFERENCE_ROWS):
        block = slice(start, start + REFERENCE_ROWS)
        b, beside = centred(reference_shared[block], reference_views[block])
        own = beside[..., :-1]
        beside[..., -1] = -(np.square(b).sum(1) + np.einsum("vre,vre->vr", own, own)) / 2
        for first in range(0, len(a), ROWS):
            rows = slice(first, first + ROWS)
            products = a[rows] @ b.T if b.shape[1] else None
            for view in range(len(of)):
                here = of[view, rows] @ beside[view].T
                if products is not None:
                    here += products
                _keep_best(here, start, most[view, rows], nearest[view, rows])
    return np.sort(nearest[:, :n], axis=2)


def _middle(reference: Array) -> Array:
    """Return a point amid vectors [R, …]: what is near it loses less to rounding, and a few far ones do not move it."""
    return np.asarray(np.median(reference[:: -(-len(reference) // MIDDLE_ROWS)], axis=0))


def _keep_best(values: Array, start: int, most: Array, nearest: Array) -> None:
    """Update the k greatest values found so far [n, k] and their rows, in place, with the values [n, m] of a block."""
    k = most.shape[1]
    better = np.flatnonzero(values.max(1) > most.min(1))
    found, columns = _greatest(values[better], k)
    both, rows = np.hstack([most[better], found]), np.hstack([nearest[better], columns + start])
    best = np.argpartition(both, -k, axis=1)[:, -k:]
    most[better], nearest[better] = np.take_along_axis(both, best, 1), np.take_along_axis(rows, best, 1)


def _greatest(values: Array, k: int) -> tuple[Array, Array]:
    """The k greatest of each row [n, m], or all if there are no more, and their columns; [n, at most k] each.

    `values` are changed.
    """
    n, m = values.shape
    if k > FEW or m <= k:
        columns = np.argpartition(values, -k, axis=1)[:, -k:] if m > k else np.broadcast_to(np.arange(m), (n, m))
        return np.take_along_axis(values, columns, 1), columns
    rows = np.arange(n)
    found, columns = np.empty((n, k), values.dtype), np.empty((n, k), int)
    for place in range(k):
        columns[:, place] = values.argmax(1)
        found[:, place] = values[rows, columns[:, place]]
        values[rows, columns[:, place]] = -np.inf
    return found, columns


def row_products(rows: Array, matrix: Array) -> Array:
    """Return rows [N, D] @ matrix [D, E], each row to the same bits whatever the other rows are.

    BLAS sums a product with few rows in a different order than one with many, so the rows are multiplied in blocks of
    one size, the last one padded with zeros.
    """
    size = max(16, PRODUCT_SIZE // matrix.size)
    padded = np.pad(np.asarray(rows, float), ((0, -len(rows) % size), (0, 0)))
    blocks = padded.reshape(-1, size, padded.shape[1])
    return (blocks @ matrix).reshape(-1, matrix.shape[1])[: len(rows)]


def squared_distances(points: Array, means: Array) -> Array:
    """Squared Euclidean distances of [N, D] to each of [K, D]; [N, K]."""
    return np.stack([np.square(points - mean).sum(1) for mean in means], 1)


def class_means(reference: Array, index: Array) -> Array:
    """Mean of the rows [R, D] of each class, index int [R] from 0; [K, D]."""
    return np.stack([reference[index == number].mean(0) for number in range(index.max() + 1)])


def whitening(reference: Array, index: Array, *, shrink: bool = False) -> Array:
    """Matrix W [D, D] whose distance ‖(a − b) W‖ is Mahalanobis, by the covariance of `reference` within classes.

    reference [R, D], class int [R] from 0. W Wᵀ is the pseudo-inverse of the covariance of the rows minus the mean of
    their class: directions that never vary carry no distance. With `shrink` the covariance is that of Ledoit & Wolf, "A
    well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate Analysis 2004.
    """
    reference = np.asarray(reference, float)
    rows = reference - class_means(reference, index)[index]
    covariance = rows.T @ rows / len(rows)
    if shrink:
        covariance = _shrunk(covariance, rows)
    values, vectors = (found[..., ::-1] for found in np.linalg.eigh(covariance))  # the largest variance first
    least = len(values) * np.finfo(float).eps * np.abs(values).max()
    varies = values > least
    return vectors * np.where(varies, 1 / np.sqrt(np.where(varies, values, 1)), 0)


def _shrunk(covariance: Array, rows: Array) -> Array:
    """Ledoit and Wolf's mixture of a covariance [D, D] of centred rows [R, D] with a multiple of the identity."""
    n, size = rows.shape
    mean = np.trace(covariance) / size
    squares = np.square(covariance).sum()
    spread = (np.square(np.square(rows).sum(1)).sum() / n - squares) / (size * n)
    away = squares / size - mean**2
    shrinkage = min(spread, away) / away if size > 1 and away > 0 and spread > 0 else 0.0
    return (1 - shrinkage) * covariance + shrinkage * mean * np.eye(size)


def principal_residual(reference: Array) -> tuple[Array, Array]:
    """Mean [D], and the directions left over by the principal half of those in which rows [R, D] vary, as [D, D].

    Directions that belong to the principal half are columns of zeros.
    """
    reference = np.asarray(reference, float)
    middle = reference.mean(0)
    values, directions = np.linalg.eigh((reference - middle).T @ (reference - middle))
    varying = (values > 1e-9 * values[-1]).sum()
    left_over = len(middle) - (varying + 1) // 2  # the least eigenvalues come first
    return middle, np.where(np.arange(len(middle)) < left_over, directions, 0)
