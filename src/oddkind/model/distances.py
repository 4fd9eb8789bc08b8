"""How far samples lie from normal ones, in features or any other vectors: neighbours, Mahalanobis, ViM."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.covariance import EmpiricalCovariance

from oddkind.errors import InputError

Array = npt.NDArray[Any]


def neighbour_distance(features: Array, reference: Array, *, k: int = 1, metric: str = "cosine") -> Array:
    """Distance to the k-th nearest normal sample; features [N, D], reference [R, D] → [N].

    "euclidean" is ‖a − b‖; "cosine" is 1 − a·b / (‖a‖ ‖b‖), in [0, 2]. A zero vector is at cosine distance
    1 from everything but another zero vector. Ramaswamy et al., SIGMOD 2000; on learned features: Sun et al.,
    "Out-of-distribution detection with deep nearest neighbors", ICML 2022.

    Raises
    ------
    InputError
        Where k is not in 1…R or the metric is unknown.
    """
    if metric not in ("cosine", "euclidean"):
        raise InputError(f"metric={metric!r}; known are 'cosine' and 'euclidean'")
    if not 1 <= k <= len(reference):
        raise InputError(f"k={k}; {len(reference)} normal samples allow 1 to {len(reference)}")
    if metric == "cosine":
        # On the unit sphere the two metrics agree: ‖a − b‖² = 2 (1 − a·b).
        features, reference = _unit(features), _unit(reference)
    distance = _nearest(features, reference, k)[:, -1]
    return distance**2 / 2 if metric == "cosine" else distance


def view_distance(vectors: Array, reference: Array, *, k: int = 5) -> Array:
    """Mean distance to the k nearest normal samples, all views at once; [N, V, D], reference [R, V, D] → [N].

    Two samples are at distance mean_v (1 − a_v·b_v / (‖a_v‖ ‖b_v‖)), in [0, 2]: what is near must be so in every view.
    Of the roots √p of probabilities this is the squared Hellinger distance, mean_v (1 − Σ_c √(p_vc q_vc)). A mean over
    some neighbours: Angiulli & Pizzuti, "Fast outlier detection in high dimensional spaces", PKDD 2002. With fewer
    than k normal samples it is the mean over all.
    """
    return (_nearest(unit_views(vectors), unit_views(reference), min(k, len(reference))) ** 2).mean(1) / 2


def unit_views(views: Array) -> Array:
    """Vectors [N, V, D] → [N, V · (D + 1)], single precision: half their ‖a − b‖² is `view_distance`'s distance."""
    unit = _unit(views.reshape(-1, views.shape[-1])) / np.sqrt(views.shape[1])
    return unit.astype(np.float32).reshape(len(views), -1)


def joint_distance(shared: Array, views: Array, reference_shared: Array, reference_views: Array) -> Array:
    """Mean over views of the Euclidean distance to the nearest normal sample; [N, D], [N, V, E] → [N].

    In view v a sample is its vector [D] that all views share beside that of the view [E]; so are the normal samples,
    [R, D] and [R, V, E], and each view has its own nearest. Their products are taken once for the shared part.
    """
    middle, view_middle = reference_shared.mean(0), reference_views.mean(0)

    def centred(one: Array, each: Array) -> tuple[Array, Array]:
        """Single precision, [n, D] and [V, n, E]."""
        return (one - middle).astype(np.float32), (each - view_middle).astype(np.float32).swapaxes(0, 1)

    a, of = centred(shared, views)
    of = np.concatenate([of, np.ones_like(of[..., :1])], -1)
    nearest, most = np.zeros(of.shape[:2], int), np.full(of.shape[:2], -np.inf, np.float32)
    for start in range(0, len(reference_shared), 1024):  # blocks that stay in the cache
        b, beside = centred(reference_shared[start : start + 1024], reference_views[start : start + 1024])
        # ‖a − b‖² is least where a·b − ‖b‖² / 2 is greatest: one product, with one coordinate more.
        halves = -(np.square(b).sum(1) + np.square(beside).sum(2)) / 2
        beside = np.concatenate([beside, halves[..., None]], -1)
        for first in range(0, len(a), 256):
            rows = slice(first, first + 256)
            alike = a[rows] @ b.T
            for view in range(len(of)):
                here = of[view, rows] @ beside[view].T
                here += alike
                found = here.argmax(1)
                value = here[np.arange(len(here)), found]
                nearer = value > most[view, rows]
                most[view, rows][nearer] = value[nearer]
                nearest[view, rows][nearer] = found[nearer] + start
    # Added one after another: in which order numpy's mean over views adds depends on how many samples there are.
    total = np.zeros(len(shared))
    for view, own in enumerate(nearest):
        squared = np.square(np.subtract(shared, reference_shared[own], dtype=float)).sum(1)
        squared += np.square(np.subtract(views[:, view], reference_views[own, view], dtype=float)).sum(1)
        total += np.sqrt(squared)
    return total / len(nearest)


def _nearest(vectors: Array, reference: Array, k: int) -> Array:
    """Euclidean distances of [N, D] to the k nearest of [R, D], nearest first; [N, k].

    faiss finds the neighbours by ‖a‖² + ‖b‖² − 2a·b in single precision; the distances are then measured as they are.
    """
    middle = reference.mean(0)
    index = faiss.IndexFlatL2(reference.shape[1])
    index.add((reference - middle).astype(np.float32))
    nearest = index.search((vectors - middle).astype(np.float32), k)[1]
    apart = [np.linalg.norm(np.subtract(vectors, reference[one], dtype=float), axis=1) for one in nearest.T]
    return np.sort(np.stack(apart, 1), axis=1)


def _unit(features: Array) -> Array:
    """Rows scaled to length 1, with one coordinate more that is 1 for a zero row, so that it too has length 1."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.hstack([features / np.where(length > 0, length, 1), length == 0])


def mahalanobis(features: Array, reference: Array, classes: Array) -> Array:
    """Squared Mahalanobis distance to the nearest class mean; features [N, D], reference [R, D], classes [R] → [N].

    min_c (f − μ_c)ᵀ Σ⁺ (f − μ_c) with one covariance Σ shared by the classes (pseudo-inverse: features that
    never vary carry no distance). Lee et al., "A simple unified framework for detecting out-of-distribution
    samples and adversarial attacks", NeurIPS 2018.
    """
    whiten = whitening(reference, classes, EmpiricalCovariance(assume_centered=True))
    means = np.stack([np.mean(reference[classes == c], 0, dtype=float) for c in np.unique(classes)])
    return cdist(features @ whiten, means @ whiten, "sqeuclidean").min(1)


def whitening(reference: Array, classes: Array, covariance: EmpiricalCovariance) -> Array:
    """Matrix W [D, D] whose distance ‖(a − b) W‖ is Mahalanobis, under the covariance of `reference` within classes.

    reference [R, D], classes [R]; W Wᵀ is the (pseudo-)inverse of what `covariance`, fitted to the rows less the
    mean of their class, estimates.
    """
    _, index = np.unique(classes, return_inverse=True)
    reference = np.asarray(reference, float)
    means = np.stack([reference[index == c].mean(0) for c in range(index.max() + 1)])
    values, vectors = np.linalg.eigh(covariance.fit(reference - means[index]).precision_)
    return vectors * np.sqrt(values.clip(0))


def vim(features: Array, logits: Array, reference: Array, reference_logits: Array) -> Array:
    """Virtual-logit matching; features [N, D], logits [N, C], reference [R, D], reference logits [R, C] → [N].

    α ‖r(f)‖ − log Σ_c exp z_c, where r(f) is what half of the principal directions in which the normal features vary,
    around their mean, leave over of f, and α makes the mean of α ‖r‖ over the normal samples that of their largest
    logit. Wang et al., "ViM: Out-of-distribution with virtual-logit matching", CVPR 2022 (there around −W⁺b of the
    last layer).
    """
    reference = np.asarray(reference, float)
    middle = reference.mean(0)
    values, directions = np.linalg.eigh((reference - middle).T @ (reference - middle))
    varying = (values > 1e-9 * values[-1]).sum()
    left_over = directions[:, : len(middle) - (varying + 1) // 2]  # least first
    usual = np.linalg.norm((reference - middle) @ left_over, axis=1).mean()
    alpha = np.max(reference_logits, axis=1).mean() / (usual or 1.0)
    residual = np.linalg.norm((features - middle) @ left_over, axis=1)
    return alpha * residual - logsumexp(np.asarray(logits, float), axis=1)
