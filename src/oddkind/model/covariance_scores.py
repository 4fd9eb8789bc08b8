"""Scores by the covariance of normal features: Mahalanobis distances, and what principal directions leave over."""

from __future__ import annotations

import numpy as np

from oddkind.arrays import Array
from oddkind.model.distances import class_means, principal_residual, row_products, squared_distances, whitening
from oddkind.model.outputs import Outputs, logsumexp, mean_of
from oddkind.model.score import Arrays, by_class, refuse_absent, some_numbers, within_label


def learn_mahalanobis(normal: Outputs, _: float) -> Arrays:
    """Whitening and whitened class means of every view: of all labels, and of each label alone."""
    arrays = by_class(normal)[1]
    assert normal.targets is not None  # noqa: S101 - by_class refuses
    features = np.asarray(normal.features.swapaxes(0, 1), float)  # [V, R, D]
    index = np.searchsorted(arrays["classes"], normal.targets[:, 0])

    def places(rows: Array, of: Array) -> tuple[Array, Array]:
        """Whitening [V, D, D] and whitened means [V, K, D] of some samples, of these classes."""
        whitenings = [whitening(view[rows], of) for view in features]
        means = [class_means(view[rows], of) @ own for view, own in zip(features, whitenings, strict=True)]
        return np.stack(whitenings), np.stack(means)

    labels = [np.flatnonzero(index == number) for number in range(len(arrays["classes"]))]
    alone = [places(rows, np.zeros(len(rows), int)) for rows in labels]
    together, overall = places(np.arange(len(index)), index), places(np.arange(len(index)), np.zeros(len(index), int))
    return arrays | {
        "whitening": together[0],
        "means": together[1],
        "label_whitening": np.stack([one for one, _ in alone]),
        "label_means": np.stack([one for _, one in alone]),
        "overall_whitening": overall[0],
        "overall_means": overall[1],
    }


def mahalanobis(outputs: Outputs, arrays: Arrays, _: float) -> Array:
    """Squared Mahalanobis distance to the nearest class mean, mean over the views.

    min_c (f − μ_c)ᵀ Σ⁺ (f − μ_c) with one covariance Σ shared by the classes. Lee et al., "A simple unified framework
    for detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018. With known labels the mean and the
    covariance are those of the label.
    """

    def distance(some: Outputs, _: slice, number: int) -> Array:
        if number < 0:
            return _to_means(some.features, arrays["whitening"], arrays["means"])
        return _to_means(some.features, arrays["label_whitening"][number], arrays["label_means"][number])

    return within_label(outputs, arrays, distance)


def _to_means(features: Array, whitenings: Array, means: Array) -> Array:
    """Squared distance of whitened features [N, V, D] to the nearest of the means [V, K, D], mean over views; [N]."""
    views = zip(features.swapaxes(0, 1), whitenings, means, strict=True)
    return mean_of([squared_distances(row_products(view, whiten), own).min(1) for view, whiten, own in views])


def relative_mahalanobis(outputs: Outputs, arrays: Arrays, temperature: float) -> Array:
    """Squared Mahalanobis distance to the label, minus that to all normal samples of the view taken as one class.

    Distances in directions that do not tell labels apart count less. Ren et al., "A simple fix to Mahalanobis distance
    for improving near-OOD detection", 2021.
    """
    overall = _to_means(outputs.features, arrays["overall_whitening"], arrays["overall_means"])
    return mahalanobis(outputs, arrays, temperature) - overall


def _joined(outputs: Outputs) -> Array:
    """Inputs beside the mean features over the views, [N, D + E]; of large inputs some numbers."""
    features = np.asarray(outputs.features, float)
    # Added view by view: the order in which NumPy's mean adds depends on the number of samples.
    return np.hstack([some_numbers(outputs), mean_of([*features.swapaxes(0, 1)])])


def learn_joint_mahalanobis(normal: Outputs, _: float) -> Arrays:
    """One covariance within the labels, as a packed triangular whitening, and the whitened mean of each label.

    W Wᵀ = Rᵀ R for the triangle R of the QR decomposition of Wᵀ: half of the numbers of W, in single precision.
    """
    classes = by_class(normal)[1]["classes"]
    assert normal.targets is not None  # noqa: S101 - by_class refuses
    index = np.searchsorted(classes, normal.targets[:, 0])
    vectors = _joined(normal)
    triangle = np.asarray(np.linalg.qr(whitening(vectors, index).T, mode="r"))
    packed = triangle[np.triu_indices(len(triangle))].astype(np.float32)
    means = row_products(class_means(vectors, index), _unpacked(packed, vectors.shape[1]).T)
    return {"classes": classes, "triangle": packed, "means": means}


def _unpacked(packed: Array, size: int) -> Array:
    triangle = np.zeros((size, size))
    triangle[np.triu_indices(size)] = packed
    return triangle


def joint_mahalanobis(outputs: Outputs, arrays: Arrays, _: float) -> Array:
    """Squared Mahalanobis distance of (x, f) to the mean of the label, or to the nearest one if it is not known.

    f is the mean of the features over the views, and the covariance is that within the labels, one for all: a label
    with few samples needs a mean alone (Lee et al., "A simple unified framework for detecting out-of-distribution
    samples and adversarial attacks", NeurIPS 2018). It keeps no sample, so its size does not grow with their number.
    """
    vectors = _joined(outputs)
    whitened = row_products(vectors, _unpacked(arrays["triangle"], vectors.shape[1]).T)
    if outputs.targets is None:
        return squared_distances(whitened, arrays["means"]).min(1)
    own = outputs.targets[:, 0]
    refuse_absent(own, arrays["classes"], outputs.n_views)
    places = np.searchsorted(arrays["classes"], own)
    return np.square(whitened - arrays["means"][places]).sum(1)


def learn_vim(normal: Outputs, _: float) -> Arrays:
    """Mean, left-over directions and α of every view: of all labels (row 0), and of each label alone."""
    arrays = by_class(normal)[1]
    assert normal.targets is not None  # noqa: S101 - by_class refuses
    index = np.searchsorted(arrays["classes"], normal.targets[:, 0])
    learnt = []
    for rows in (index >= 0, *(index == number for number in range(len(arrays["classes"])))):
        for view in range(normal.n_views):
            features, logits = normal.features[rows, view], normal.logits[rows, view]
            middle, left_over = principal_residual(features)
            usual = np.linalg.norm((features - middle) @ left_over, axis=1).mean()
            learnt.append((middle, left_over, np.max(logits, axis=1).mean() / (usual or 1.0)))
    stacked = (np.stack([np.asarray(one, float) for one in values]) for values in zip(*learnt, strict=True))
    names, shape = ("middle", "left_over", "alpha"), (len(arrays["classes"]) + 1, normal.n_views)
    return arrays | {
        name: values.reshape(*shape, *values.shape[1:]) for name, values in zip(names, stacked, strict=True)
    }


def vim(outputs: Outputs, arrays: Arrays, _: float) -> Array:
    """Virtual-logit matching, mean over the views.

    α ‖r(f)‖ − log Σ_c exp z_c, where r(f) is what half of the principal directions in which the normal features vary,
    around their mean, leave over of f, and α makes the mean of α ‖r‖ over the normal samples that of their largest
    logit. Wang et al., "ViM: Out-of-distribution with virtual-logit matching", CVPR 2022 (there around −W⁺b of the last
    layer).
    """

    def distance(some: Outputs, _: slice, number: int) -> Array:
        found = []
        for view in range(some.n_views):
            middle, left_over, alpha = (arrays[name][number + 1, view] for name in ("middle", "left_over", "alpha"))
            residual = np.linalg.norm(row_products(some.features[:, view] - middle, left_over), axis=1)
            found.append(alpha * residual - logsumexp(np.asarray(some.logits[:, view], float), axis=1))
        return mean_of(found)

    return within_label(outputs, arrays, distance)
