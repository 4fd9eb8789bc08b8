"""Several scores made comparable by how rare their values are among normal samples, and combined into one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from oddkind.arrays import Array
from oddkind.language import Message

PARTS = 200
# Standard deviations taken off a distance for each unit of contrast that it has less than the first one.
DISCOUNT = 0.5


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


@dataclass(frozen=True)
class Surprises:
    """Σ_p w_p (−log p_p) of P scores, each compared with held-out normal samples.

    Fisher's method ("Statistical methods for research workers", 1925), weighted as by Good, "On the weighted
    combination of significance tests", 1955.

    Attributes
    ----------
    made_of : tuple of P of "features", "softmax", "inputs"
        What each score is made of, which decides its weight.
    """

    made_of: tuple[Literal["features", "softmax", "inputs"], ...] = ("features",)
    n_numbers: ClassVar[int] = 1
    """How many numbers say how each score is combined."""
    compares: ClassVar[bool] = True
    """Whether held-out samples are needed."""

    def weights(self, perplexity: float, n_classes: int, label_perplexity: float = 1.0) -> Array:
        """Weight of each score, [P].

        The softmax has the weight w, the fourth power of the fraction of the classes that the network rules out,
        divided by the number of labels between which it hesitates: where normal samples of several labels look alike,
        it is unsure of what is normal. What it does not tell is left to the inputs, with the weight (1 − w)² / 2.
        """
        known = ((1 - perplexity / n_classes) / label_perplexity) ** 4
        weight = {"features": 1.0, "softmax": known, "inputs": (1 - known) ** 2 / 2}
        return np.array([weight[source] for source in self.made_of])

    def counts(self, weights: Array) -> Array:
        """Return whether each score counts, bool [P]."""
        return np.asarray(weights) > 0

    def describe(self, names: Sequence[str], weights: Array) -> str:
        """Say how much each score counts, given their names [P]."""
        parts = [f"{weight:.2g} × {name}" for name, weight in zip(names, weights, strict=True)]
        return Message(
            "{weights}; the softmax counts the more, the better the classes are told apart", weights=" + ".join(parts)
        )

    def __call__(self, scores: Array, normal: Array, weights: Array) -> Array:
        """Combine [N, P] among [n, P] with the weights [P]; [N]."""
        found = [surprise(own, among) for own, among in zip(scores.T, normal.T, strict=True)]
        return np.sum(np.asarray(weights)[:, None] * found, axis=0)


class StandardisedLogs(Surprises):
    """Σ_p w_p z_p of P scores, z the logarithm in standard deviations from its mean among held-out normal samples.

    What is computed from the softmax is a logarithm already. With few held-out samples it is steadier than `Surprises`,
    whose tail depends on the largest tenth of them.
    """

    def weights(self, perplexity: float, n_classes: int, label_perplexity: float = 1.0) -> Array:
        """Weight of each score, [P]: the softmax has that of the fraction of the other classes that are ruled out."""
        known = (n_classes - perplexity) / max(1, n_classes - 1)
        return np.array([known if source == "softmax" else 1.0 for source in self.made_of])

    def __call__(self, scores: Array, normal: Array, weights: Array) -> Array:
        """Combine [N, P] among [n, P] with the weights [P]; [N]."""
        finite = np.nan_to_num(scores, nan=np.finfo(float).max)  # distances of damaged arrays overflow
        total = np.zeros(len(scores))
        for source, own, among, weight in zip(self.made_of, finite.T, normal.T, weights, strict=True):
            if source == "softmax":
                middle, deviation = (among.mean(), among.std() or 1.0) if len(among) else (0.0, 1.0)
                total += weight * (own - middle) / deviation
            else:
                least, middle, deviation = usual_log(among)
                total += weight * (np.log(own.clip(min=0) + least) - middle) / deviation
        return total


def usual_log(usual: Array) -> tuple[float, float, float]:
    """What is added to a score ≥ 0 before the logarithm is taken, and mean and deviation of the logarithms.

    `usual` [n] are the scores of normal samples. As a distance of 0 has no logarithm, a thousandth of the median is
    added.
    """
    middle = float(np.median(usual)) if len(usual) else 0.0
    least = 1e-3 * middle if middle > 0 else 1e-9
    logs = np.log(usual + least) if len(usual) else np.zeros(1)
    return least, float(logs.mean()), float(logs.std()) or 1.0


def contrast_of(usual: Array, apart: float) -> float:
    """How much farther two normal samples are `apart` than one and its nearest, `usual` [n], as a logarithm."""
    least, middle, _ = usual_log(usual)
    return float(np.log(apart + least) - middle)


@dataclass(frozen=True)
class FarOrLocal:
    """The largest of some distances, or, if many dimensions make all distances alike, the mean of local ones.

    All are logarithms, in standard deviations from their mean among normal samples. In few dimensions an anomaly is far
    away in some respect: the largest counts, so that a useless one does little harm. The less contrast a distance has,
    the less near and far mean (Beyer et al., "When is 'nearest neighbor' meaningful?", ICDT 1999): half a standard
    deviation is taken off for each unit that it has less than the first one. The contrast is how much farther two
    samples are apart than a sample and its nearest one, as a logarithm. In many dimensions some normal samples are near
    to everything and others to nothing ("hubness"), and distances relative to those among normal samples tell more:
    Schnitzer et al., "Local and global scaling reduce hubs in space", JMLR 2012. Between `few` and `many` dimensions
    the two are mixed.

    What is usual for the largest is told by the samples that were learnt from. In many dimensions whitening makes these
    alike, so that all others look unusual; what is usual for the mean is therefore told by samples that the whitening
    did not learn from (cross-fitting: Chernozhukov et al., The Econometrics Journal 2018).

    Attributes
    ----------
    far : tuple of int
        The columns of the distances whose largest is taken; none: always the mean.
    local : mapping of int to float
        The columns, with their weights, whose mean is taken: of the local distances and of others.
    instead : mapping of int to float
        The same if there are too few samples for one of these.
    spread : int
        The column whose spread tells how many dimensions the samples fill.
    few, many : int
        With at most `few` dimensions the largest distance counts alone, with at least `many` the mean.
    rows_needed : mapping of int to float
        The columns that take at least so many normal samples for each number of the input.
    groups_needed : mapping of int to int
        The columns that take, on average, at least so many groups of normal samples for each label.
    contrast_needed : mapping of int to float
        The columns that take at least this share of the contrast of the first one.
    """

    far: tuple[int, ...]
    local: Mapping[int, float]
    instead: Mapping[int, float]
    spread: int = 0
    few: int = 0
    many: int = 1
    rows_needed: Mapping[int, float] = field(default_factory=dict)
    groups_needed: Mapping[int, int] = field(default_factory=dict)
    contrast_needed: Mapping[int, float] = field(default_factory=dict)
    n_numbers: ClassVar[int] = 7
    compares: ClassVar[bool] = False

    def weights(
        self,
        reliable: Array,
        learnt: Array,
        usual: Sequence[Array],
        contrast: Sequence[float],
        fresh: Callable[[int], Array],
    ) -> Array:
        """Return the weights of each score in the maximum and in the mean, and what is usual for both; [7 · P].

        What is usual is the `usual_log` for the maximum, and mean and deviation of the logarithm for the mean.

        Parameters
        ----------
        reliable, learnt : bool [P]
            Whether there are enough samples for a score, and whether what it uses was learnt.
        usual : P arrays [n]
            The scores of samples that were learnt from, each compared with the others.
        contrast : P floats
            The `contrast_of` each score.
        fresh : callable int → [n]
            The scores in a column of samples that the whitening did not learn from.
        """
        logs = np.transpose([*map(usual_log, usual)])
        share = np.clip((self._dimensions(logs[2]) - self.few) / (self.many - self.few), 0, 1) if self.far else 1.0
        usable = reliable & learnt
        largest, mean, usual_fresh = np.zeros(len(usable)), np.zeros(len(usable)), logs[1:].copy()
        largest[[column for column in self.far if usable[column]]] = 1 - share
        enough = all(reliable[column] for column in self.local if column not in self.far)
        for column, weight in (self.local if enough else self.instead).items():
            mean[column] = weight * learnt[column]
        mean *= share / mean.sum()
        for column in np.flatnonzero(mean).tolist():
            found = np.log(fresh(column) + logs[0, column])
            if len(found) > 1 and found.std() > 0:
                usual_fresh[:, column] = found.mean(), found.std()
        for column in self.far:
            logs[1, column] += DISCOUNT * logs[2, column] * max(0.0, contrast[self.far[0]] - contrast[column])
        return np.concatenate([largest, mean, *logs, *usual_fresh])

    def _dimensions(self, deviation: Array) -> float:
        """Number of dimensions that samples fill, from the deviations of the logarithms [P].

        The length of a Gaussian vector of m dimensions has a logarithm of variance 1 / 2m, nearly.
        """
        return float(1 / (2 * deviation[self.spread] ** 2))

    def counts(self, weights: Array) -> Array:
        """Return whether each score counts, bool [P]."""
        return np.asarray(np.any(np.reshape(weights, (self.n_numbers, -1))[:2] > 0, axis=0))

    def describe(self, names: Sequence[str], weights: Array) -> str:
        """Say which scores count and why, given their names [P] and the `weights`."""
        largest, mean, _, _, deviation, *_ = np.reshape(weights, (self.n_numbers, -1))
        of_largest, of_mean = (
            ", ".join(name for name, weight in zip(names, row, strict=True) if weight > 0) for row in (largest, mean)
        )
        what = Message("the largest of {names}", names=of_largest)
        if of_mean:
            one = len(np.unique(mean[mean > 0])) < 2
            means = Message("the mean of {names}", names=of_mean)
            means = means if one else Message("the weighted mean of {names}", names=of_mean)
            what = Message("{one} and {other}", one=what, other=means) if of_largest else means
        if not self.far:
            if any(mean[column] == 0 for column in self.rows_needed):
                return Message(
                    "{what}, because the samples are too few, or too different, to be compared value by value",
                    what=what,
                )
            return Message("{what}, because the samples are alike enough to be compared value by value", what=what)
        n = self._dimensions(deviation)
        return Message("{what}, because the samples fill about {n:.0f} dimensions", what=what, n=n)

    def __call__(self, scores: Array, normal: Array, weights: Array) -> Array:
        """Combine [N, P]; [N]. Held-out samples are not needed."""
        largest, mean, least, middle, deviation, fresh_middle, fresh_deviation = np.reshape(
            weights, (self.n_numbers, -1)
        )
        logs = np.log(np.nan_to_num(scores, nan=np.finfo(float).max) + least)  # distances of damaged arrays overflow
        found, among = ((logs - fresh_middle) / fresh_deviation * mean).sum(1), largest > 0
        if among.any():
            found += largest.max() * ((logs - middle) / deviation)[:, among].max(1)
        return np.asarray(found)


Fusion = Surprises | FarOrLocal


def combined(scores: Array, normal: Array, weights: Array, fuse: Fusion) -> Array:
    """Combine P scores [N, P] into one [N], each compared with normal ones [n, P]; one score stays as it is."""
    return scores[:, 0] if scores.shape[1] == 1 else fuse(scores, normal, weights)


def combined_among_others(normal: Array, weights: Array, fuse: Fusion, groups: Array | None = None) -> Array:
    """Return `combined` of each normal sample [n, P] among the others, as a new sample is combined among all; [n].

    If there are more than 200 samples, each is compared with those outside its 200th of the data. Samples of one group
    [n] are never compared with each other. A single group has nothing to be compared with; it gets the greatest number
    there is, so that no other sample looks rare compared with it.
    """
    if normal.shape[1] == 1 or not fuse.compares:
        return combined(normal, normal, weights, fuse)
    return _among_others(normal, groups, lambda own, others: combined(own, others, weights, fuse))


def surprise_among_others(normal: Array, groups: Array) -> Array:
    """Return the `surprise` of each normal score [n] among those outside its group or its 200th of the groups; [n]."""
    return _among_others(normal, groups, surprise)


def _among_others(normal: Array, groups: Array | None, compare: Callable[[Array, Array], Array]) -> Array:
    index = np.arange(len(normal)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_groups = index.max() + 1 if len(index) else 0
    if n_groups == 1:
        return np.full(len(normal), np.finfo(float).max)
    part_of = index * min(n_groups, PARTS) // max(n_groups, 1)
    scores = np.empty(len(normal))
    for part in range(part_of.max() + 1 if len(part_of) else 0):
        own = part_of == part
        scores[own] = compare(normal[own], normal[~own])
    return scores
