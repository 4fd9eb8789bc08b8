"""Several scores made comparable by how rare their values are among normal samples, and combined into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oddkind.arrays import Array
from oddkind.model.outputs import mean_of

PARTS = 200
# With more dimensions than `MANY` local distances are compared, with fewer than `FEW` distances.
FEW, MANY = 20, 30


def surprise(scores: Array, normal: Array) -> Array:
    """Return how rare scores [N] are among those of normal samples [n], −log p, ≥ 0.

    p is the fraction of the normal scores at or above a score, (#{≥ s} + 1) / (n + 1), and −log p is linear between two
    of them. Above their 90 % quantile it continues as an exponential tail with their mean excess, so that distant
    anomalies remain distinguishable.
    """
    n = len(normal)
    if n == 0:
        return np.zeros(len(scores))
    known = np.unique(np.asarray(normal, float))
    above = n - np.searchsorted(np.sort(normal), known, side="left")
    usual = -np.log((above + 1) / (n + 1))
    start = np.quantile(normal, 0.9, method="lower")
    excess = np.asarray(normal)[normal > start] - start
    if len(excess) == 0:  # no spread above: the rarest value is all there is to go by
        return np.interp(scores, known, usual, right=np.log(n + 1))
    tail = np.interp(start, known, usual) + (scores - start) / excess.mean()
    return np.where(scores > start, tail, np.interp(scores, known, usual))


def surprises(scores: Array, normal: Array, weights: Array) -> Array:
    """Σ_p w_p (−log p_p) of P scores [N, P] among normal ones [n, P], weights [P]; [N].

    Fisher's method ("Statistical methods for research workers", 1925), weighted as by Good, "On the weighted
    combination of significance tests", 1955.
    """
    found = [surprise(own, among) for own, among in zip(scores.T, normal.T, strict=True)]
    return np.sum(np.asarray(weights)[:, None] * found, axis=0)


def standardised_logs(scores: Array, normal: Array) -> Array:
    """Logarithms of scores ≥ 0 [N, P], in standard deviations from the mean of those of normal samples [n, P]."""
    middle = np.median(normal, axis=0)
    least = np.where(middle > 0, 1e-3 * middle, 1e-9)  # a distance of 0 has no logarithm
    usual = np.log(normal + least)
    deviation = usual.std(0)
    return (np.log(scores + least) - usual.mean(0)) / np.where(deviation > 0, deviation, 1)


def dimension(distances: Array) -> float:
    """Number of dimensions that samples fill, from the spread of their distances [n]: 1 / (2 Var(log distance)).

    The length of a Gaussian vector of m dimensions has a logarithm of standard deviation 1 / √(2 m), nearly.
    """
    variance = np.log(distances + max(1e-3 * float(np.median(distances)), 1e-9)).var()
    return float(1 / (2 * variance)) if variance > 0 else np.inf


@dataclass(frozen=True)
class FarOrLocal:
    """The largest of some distances, or, where many dimensions make all distances alike, the mean of local ones.

    All are `standardised_logs`. In few dimensions an anomaly is far away in some respect: the largest counts, so that a
    useless one does little harm. In many dimensions some normal samples are near to everything and others to nothing
    ("hubness"), and distances relative to those among normal samples tell more: Schnitzer et al., "Local and global
    scaling reduce hubs in space", JMLR 2012. Between 20 and 30 dimensions the two are mixed.

    Attributes
    ----------
    local : tuple of P bool
        Which scores are local. Scores of weight 0 are left out.
    spread : int
        The column of the distances from which the number of dimensions is estimated.
    """

    local: tuple[bool, ...]
    spread: int

    def __call__(self, scores: Array, normal: Array, weights: Array) -> Array:
        """Combine [N, P] among [n, P]; [N]."""
        if len(normal) < 2:
            return np.zeros(len(scores))
        values, used, local = standardised_logs(scores, normal), np.asarray(weights) > 0, np.array(self.local)
        far = values[:, used & ~local].max(1)
        if not (used & local).any():
            return far
        share = float(np.clip((dimension(normal[:, self.spread]) - FEW) / (MANY - FEW), 0, 1))
        return (1 - share) * far + share * mean_of(list(values[:, used & local].T))


Fusion = Callable[[Array, Array, Array], Array]


def combined(scores: Array, normal: Array, weights: Array, fuse: Fusion = surprises) -> Array:
    """Combine P scores [N, P] into one [N], each compared with normal ones [n, P]; one score stays as it is."""
    return scores[:, 0] if scores.shape[1] == 1 else fuse(scores, normal, weights)


def combined_among_others(
    normal: Array, weights: Array, groups: Array | None = None, fuse: Fusion = surprises
) -> Array:
    """Return `combined` of each normal sample [n, P] among the others, as a new sample is combined among all; [n].

    If there are more than 200 samples, each is compared with those outside its 200th of the data. Samples of one group
    [n] are never compared with each other. A single group has nothing to be compared with; it gets the greatest number
    there is, so that no other sample looks rare compared with it.
    """
    if normal.shape[1] == 1:
        return normal[:, 0]
    index = np.arange(len(normal)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_groups = index.max() + 1 if len(index) else 0
    if n_groups == 1:
        return np.full(len(normal), np.finfo(float).max)
    part_of = index * min(n_groups, PARTS) // max(n_groups, 1)
    scores = np.empty(len(normal))
    for part in range(part_of.max() + 1 if len(part_of) else 0):
        own = part_of == part
        scores[own] = combined(normal[own], normal[~own], weights, fuse)
    return scores
