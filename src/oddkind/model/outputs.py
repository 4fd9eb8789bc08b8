"""`Outputs`: what a trained network says about samples, and the softmax of its logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.model.forward import Forward
from oddkind.model.signal_statistics import signal_statistics


@dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of a network for N samples, each shown in V views (V = 1 without known transforms).

    Class number l·V + v stands for internal label l under known transform v.

    Attributes
    ----------
    logits : array [N, V, C]
        The values before the softmax; no temperature has been applied.
    features : array [N, V, D]
        The input of the last layer.
    targets : int array [N, V] or None
        The true class of each view. None if the task has internal labels and the labels are not known.
    inputs : array [N, D'] or None
        The standardised samples before any transform, flattened.
    groups : int array [N] or None
        The group of each normal sample, such as its recording: samples of one group are more alike than others, so they
        do not tell what is usual. None: each sample is one.
    statistics : array [N, S, C] or None
        The `oddkind.model.signal_statistics` of standardised signals with C channels; None for other samples.
    """

    logits: Array
    features: Array
    targets: Array | None = None
    inputs: Array | None = None
    groups: Array | None = None
    statistics: Array | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: Any) -> Outputs:
        """Return the outputs of the chosen samples."""
        others = (self.targets, self.inputs, self.groups, self.statistics)
        return Outputs(
            self.logits[rows], self.features[rows], *(None if values is None else values[rows] for values in others)
        )

    @property
    def n_views(self) -> int:
        """The number of views of each sample, V."""
        return int(self.logits.shape[1])

    def transform_logits(self) -> Array:
        """Logits of the V transforms alone, [N, V, V]: log Σ_l exp z_{l·V+v}, summed over the internal labels."""
        n, v, c = self.logits.shape
        return logsumexp(self.logits.reshape(n, v, c // v, v), axis=2)


def outputs_of(
    members: Sequence[Forward], inputs: Array, targets: Array | None, groups: Array | None = None
) -> list[Outputs]:
    """Run each network on standardised samples [N, …]."""
    flat = inputs.reshape(len(inputs), -1)
    statistics = signal_statistics(inputs) if inputs.ndim == 3 else None
    return [Outputs(*member(inputs), targets, flat, groups, statistics) for member in members]


def log_softmax(logits: Array) -> Array:
    """Return z − log Σ exp z over the last axis."""
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def logsumexp(values: Array, axis: int) -> Array:
    """Return log Σ exp z over an axis: max + log m + log(1 + Σ exp(z − max) / m), the sum without the m largest."""
    top = np.max(values, axis=axis, keepdims=True)
    largest = values == top
    others = np.where(largest, -np.inf, values - top)
    count = largest.sum(axis, keepdims=True, dtype=values.dtype)
    return np.squeeze(np.log1p(np.exp(others).sum(axis, keepdims=True) / count) + np.log(count) + top, axis)


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Return the probabilities softmax(z / T) over the last axis."""
    return np.exp(log_softmax(logits / temperature))


def pooled(members: Sequence[Outputs], temperature: float = 1.0) -> Outputs:
    """Combine the outputs of M networks for the same samples into one.

    The logits are log mean_m softmax(z_m / T), and the features are concatenated to [N, V, M · D]. Lakshminarayanan et
    al., "Simple and scalable predictive uncertainty estimation using deep ensembles", NeurIPS 2017.
    """
    if len(members) == 1:
        return members[0] if temperature == 1 else replace(members[0], logits=members[0].logits / temperature)
    log_p = np.stack([log_softmax(np.asarray(member.logits, float) / temperature) for member in members])
    logits = logsumexp(log_p, axis=0) - np.log(len(members))
    return replace(members[0], logits=logits, features=np.concatenate([member.features for member in members], -1))


def mean_of(arrays: Sequence[Array]) -> Array:
    """Return the mean of arrays of one shape.

    They are added in sequence: the order in which `np.mean` adds depends on the number of samples.
    """
    return sum(arrays[1:], arrays[0]) / len(arrays)
