"""What is measured of scores, features and rotations, and the map that t-SNE makes of features."""

from __future__ import annotations

from typing import Any

import numpy as np
from openTSNE import TSNE
from sklearn.neighbors import NearestNeighbors

from oddkind.arrays import Array
from oddkind.model.outputs import Outputs
from oddkind.samples import Samples


def known(samples: Samples) -> tuple[Array, Array]:
    """Return the labels [N] and the anomaly flags [N] of samples that have both, as those of the lab do."""
    assert samples.labels is not None  # noqa: S101
    assert samples.anomalous is not None  # noqa: S101
    return samples.labels, samples.anomalous


def ordered_labels(samples: Samples) -> list[tuple[Any, bool]]:
    """Return the pairs (label, whether anomalous) of test samples: normal labels in order, then the anomalous ones."""
    labels, anomalous = known(samples)
    return [(label, odd) for odd in (False, True) for label in np.unique(labels[anomalous == odd]).tolist()]


def found_at(anomalous: Array, scores: Array, rate: float) -> tuple[float, int, int]:
    """Return the lowest threshold with at most `rate` false alarms, the false alarms and the anomalies found.

    An alarm is a score above the threshold; `anomalous` bool [N], `scores` [N]. The threshold is rounded up to six
    decimals, so that it can be written down.
    """
    falling = np.sort(scores[~anomalous])[::-1]
    allowed = min(int(rate * len(falling) + 1e-9), len(falling) - 1)
    cut = float(np.ceil(falling[allowed] * 1e6) / 1e6)
    return cut, int((scores[~anomalous] > cut).sum()), int((scores[anomalous] > cut).sum())


# --- features ---


def nearest_flags(features: Array, anomalous: Array) -> Array:
    """Return whether the nearest other sample of each is anomalous; features [N, D], anomalous [N] → bool [N]."""
    nearest = NearestNeighbors(n_neighbors=1).fit(features).kneighbors(return_distance=False)
    return np.asarray(anomalous[nearest[:, 0]])


def embed(features: Array, random_state: int, *, n_jobs: int = 1) -> Array:
    """Arrange features [N, D] in the plane by t-SNE, [N, 2]; the same bits for the same `random_state` and `n_jobs`.

    Van der Maaten & Hinton, JMLR 2008; openTSNE: Poličar et al., 2024. 1,500 points take about 3 s with one job, which
    is the safe choice: on a busy machine, two jobs wait for each other and take ten times as long.
    """
    # A network whose units are all dead gives N equal points, and then PCA has no direction to start from.
    start = "pca" if np.ptp(features, axis=0).any() else "random"
    perplexity = min(30, (len(features) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, initialization=start, random_state=random_state, n_jobs=n_jobs)
    return np.asarray(tsne.fit(features))


def densest(points: Array) -> int:
    """Return which of points [N, 2] lies where they are densest: the one with the closest quarter of all."""
    away = np.linalg.norm(points[:, None] - points, axis=2)
    return int(np.quantile(away, 0.25, axis=1).argmin())


def separation(features: Array, labels: Array) -> float:
    """Mean distance between class means / mean distance to the mean of the own class; features [N, D], labels [N].

    It is the "inter-class feature distance" of the lecture's slide on label smoothing, made independent of scale.
    """
    classes, index = np.unique(labels, return_inverse=True)
    means = np.stack([features[index == c].mean(0) for c in range(len(classes))])
    between = np.linalg.norm(means[:, None] - means, axis=2)[np.triu_indices(len(classes), 1)].mean()
    within = np.linalg.norm(features - means[index], axis=1).mean()
    return float(between / within) if within > 0 else np.inf


# --- rotations ---


def rotation_confusion(outputs: Outputs) -> Array:
    """Return how often a sample rotated v times is taken for one rotated r times, [V, V]; rows (true v) sum to 1."""
    predicted = outputs.transform_logits().argmax(-1)  # [N, V]
    return (predicted[:, :, None] == np.arange(outputs.n_views)).mean(0)


def rotations_mistaken(outputs: Outputs) -> float:
    """Return the fraction of the rotated pictures whose rotation is mistaken."""
    return float(1 - rotation_confusion(outputs).trace() / outputs.n_views)


def ink_centre(inputs: Array) -> Array:
    """Return how far the centre of the ink of pictures [N, C, H, W] lies below and right of the middle, pixels [N, 2].

    The centre of a picture without ink is its middle.
    """
    ink = inputs.astype(float).mean(1)
    total = np.maximum(ink.sum((1, 2)), np.finfo(float).tiny)
    down, right = (np.arange(size) - (size - 1) / 2 for size in ink.shape[1:])
    return np.stack([np.einsum("nhw,h->n", ink, down) / total, np.einsum("nhw,w->n", ink, right) / total], 1)


def centre_rule(inputs: Array) -> Array:
    """Return whether the centre of the ink lies below and to the right of the middle, [N, C, H, W] → bool [N].

    Each rotation of a picture moves that centre to another quarter. If this holds, all four rotations can therefore be
    recognised without looking at the shape.
    """
    return np.asarray((ink_centre(inputs) > 0).all(1))
