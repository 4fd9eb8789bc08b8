"""Several scores made comparable by how rare their values are among normal samples, and combined into one."""

from __future__ import annotations

import numpy as np

from oddkind.arrays import Array

PARTS = 200


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


def combined(scores: Array, normal: Array, weights: Array) -> Array:
    """Combine P scores [N, P] into one [N], each by its surprise among normal ones [n, P]; one score stays as it is.

    Σ_p w_p (−log p_p), weights [P]: Fisher's method ("Statistical methods for research workers", 1925), weighted as by
    Good, "On the weighted combination of significance tests", 1955.
    """
    if scores.shape[1] == 1:
        return scores[:, 0]
    surprises = [surprise(own, among) for own, among in zip(scores.T, normal.T, strict=True)]
    return np.sum(np.asarray(weights)[:, None] * surprises, axis=0)


def combined_among_others(normal: Array, weights: Array, groups: Array | None = None) -> Array:
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
        scores[own] = combined(normal[own], normal[~own], weights)
    return scores
