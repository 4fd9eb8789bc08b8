"""Where in a picture an anomaly lies: how unusual the features of the network are at each place. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.forward import Forward

# Learnt from at most this many samples, and from so few that their features are at most so many numbers.
MOST_SAMPLES, MOST_NUMBERS = 256, 1 << 24
# Directions in which features hardly vary would decide alone, so this part of the covariance is made even.
SHRINKAGE = 0.1
# A place is unusual if it is farther from the mean than this part of the places of normal samples.
USUAL = 0.99


@dataclass(frozen=True, eq=False)
class Places:
    """What the features of M networks are usually at the places of normal samples.

    Attributes
    ----------
    mean : array [M, K]
    whitening : array [M, K, K]
        The length of (f − mean) W is the Mahalanobis distance of features f.
    usual : array [M]
        How unusual (`_unusual`) 99 in 100 places of normal samples are at most.
    """

    mean: Array
    whitening: Array
    usual: Array


def learn_places(members: Sequence[Forward], inputs: Array) -> Places | None:
    """Learn from standardised normal samples [R, …], or some of them; None if the networks have no local features."""
    learnt = []
    for member in members:
        first = member.local_features(inputs[:1])
        if first is None:
            return None
        most = min(len(inputs), MOST_SAMPLES, max(1, MOST_NUMBERS // first.size))
        features = member.local_features(inputs[np.linspace(0, len(inputs) - 1, most).astype(int)])
        assert features is not None  # noqa: S101 - the first sample has some
        rows = np.moveaxis(features, 1, -1).reshape(-1, features.shape[1]).astype(float)
        mean = rows.mean(0)
        covariance = (rows - mean).T @ (rows - mean) / len(rows)
        even = np.trace(covariance) / len(mean) * np.eye(len(mean))
        values, vectors = np.linalg.eigh((1 - SHRINKAGE) * covariance + SHRINKAGE * even)
        varies = values > 0
        whitening = vectors * np.where(varies, 1 / np.sqrt(np.where(varies, values, 1)), 0)
        usual = np.quantile(_unusual((rows - mean) @ whitening), USUAL)
        learnt.append((mean, whitening, usual or 1.0))
    return Places(*(np.stack(values) for values in zip(*learnt, strict=True)))


def unusual_places(members: Sequence[Forward], places: Places, inputs: Array) -> Array | None:
    """Return how unusual each point of standardised pictures [N, C, H, W] is, [N, H, W]; None without local features.

    It is d² / u − 1, mean over the networks, interpolated between places: d is the Mahalanobis distance of the features
    from those of normal samples at any place, and u the d² that 99 in 100 normal places have at most. Above 0 a place
    is rarer than that. A network that says by a logit how unusual a place is has this one feature, and its standardised
    value stands in place of d².

    After Defard et al., "PaDiM: a patch distribution modeling framework for anomaly detection and localization", ICPR
    2021, with the features of a network that learnt from these samples alone, and one distribution for all places.
    """
    found = []
    for number, member in enumerate(members):
        features = member.local_features(inputs)
        if features is None:
            return None
        if features.shape[1] != len(places.mean[number]):
            raise InputError(f"{features.shape[1]} features at each place; the map needs {len(places.mean[number])}")
        rows = np.moveaxis(features, 1, -1) - places.mean[number]
        found.append(_unusual(rows @ places.whitening[number]) / places.usual[number] - 1)
    down, across = (_interpolation(few, many) for few, many in zip(found[0].shape[1:], inputs.shape[-2:], strict=True))
    return np.asarray(down @ np.mean(found, 0) @ across.T)


def _unusual(whitened: Array) -> Array:
    """How unusual whitened features [..., K] are: their squared length, or a single one itself, which is a logit."""
    return whitened[..., 0] if whitened.shape[-1] == 1 else np.square(whitened).sum(-1)


def _interpolation(few: int, many: int) -> Array:
    """Weights [many, few] with which values at the middles of `few` intervals give those of `many` in between."""
    places = ((np.arange(many) + 0.5) * few / many - 0.5).clip(0, few - 1)
    return (1 - np.abs(places[:, None] - np.arange(few))).clip(min=0)
