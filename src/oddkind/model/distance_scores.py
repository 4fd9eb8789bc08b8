"""Distances to normal samples as scores, in inputs, statistics or features; held-out samples are compared with, too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from oddkind.arrays import Array, digests
from oddkind.errors import InputError
from oddkind.model.distances import (
    among_others,
    local_distances,
    local_scales,
    local_scales_beside,
    neighbour_distances,
    row_products,
    whitening,
)
from oddkind.model.outputs import Outputs, mean_of
from oddkind.model.score import Arrays, Score, by_class, refuse_absent, some_numbers, within_label
from oddkind.model.signal_statistics import N_LEVELS

Space = Literal["inputs", "values", "statistics", "features"]

# This share of the median amplitude among normal signals is added to each amplitude, so that silence has a logarithm.
FLOOR = 0.03
# So much is added to the deviations by which numbers are divided, so that one that never varies does not decide alone.
LEAST_DEVIATION = 0.001
# Vectors with more numbers than this are not whitened: their covariance would take longer than the network.
MAX_WHITENED_NUMBERS = 2048

# The usual distances are those of at most about this many samples.
MAX_USUAL = 1000
# Among more normal samples than this, a single nearest one is more often an accident.
MANY_ROWS = 1000


def distance_score(formula: str, space: Space, *, whiten: bool, local: bool = False, labelled: bool = True) -> Score:
    """Return a score that compares samples with normal ones by Euclidean distance.

    Compared are the inputs, the features of all views, the values of the inputs (at most `MAX_COMPARED_NUMBERS` of
    them) or the statistics of signals (of amplitudes the logarithms). Values and statistics are standardised one by
    one. With `whiten` they are whitened by the shrunk covariance within labels, unless they are long. The score is the
    distance to the nearest normal sample, or the mean over the 3 nearest if there are more than `MANY_ROWS`. With
    `local` it is the least distance to one of them, each divided by the mean distance of that one to its 8 nearest.
    Without `labelled` labels are ignored, known or not.
    """
    distance = Distance(space, whiten, local, labelled)
    return Score(
        formula,
        distance.compute,
        distance.learn,
        distance.usual,
        apart,
        distance.extend,
        distance.left_out,
        needs_learnt=space == "features",
        needs_signals=space == "statistics",
    )


@dataclass(frozen=True)
class Distance:
    """What a `distance_score` learns and computes, with its attributes."""

    space: Space
    whiten: bool
    local: bool
    labelled: bool

    def learn(self, normal: Outputs, _: float) -> Arrays:
        """Learn the whitening, the placed normal samples and their local scales."""
        if not self.labelled:
            normal = replace(normal, targets=np.zeros((len(normal), 1), int))
        order, arrays = by_class(normal)
        if self.space == "statistics":
            usual = np.median(_statistics(normal)[:, N_LEVELS:], 0)
            # A channel that never varies is compared with one that varies as the standardised signals do.
            arrays["floors"] = FLOOR * np.where(usual > 0, usual, 1)
        vectors = self._described(normal, arrays)
        if self.space in ("statistics", "values"):
            arrays |= {"means": vectors.mean(0), "deviations": vectors.std(0) + LEAST_DEVIATION}
            vectors = (vectors - arrays["means"]) / arrays["deviations"]
        if self.whiten and vectors.shape[1] <= MAX_WHITENED_NUMBERS:
            index = np.unique(self._classes(normal), return_inverse=True)[1]
            arrays["whitening"] = whitening(vectors, index, shrink=True)
        arrays["reference"] = _whitened(vectors, arrays)[order]
        if self.local:
            parts = [slice(start, stop) for start, stop in pairwise(arrays["starts"].tolist())]
            groups = None if normal.groups is None else normal.groups[order]
            arrays["scales"] = np.concatenate(
                [local_scales(arrays["reference"][part], None if groups is None else groups[part]) for part in parts]
            )
        return arrays

    def compute(self, outputs: Outputs, arrays: Arrays, _: float) -> Array:
        """Compute the score, [N]."""

        def distance(some: Outputs, rows: slice, _: int) -> Array:
            reference = arrays["reference"][rows]
            own, skip = self._placed(some, arrays), _itself(some, arrays)
            skip = None if skip is None else skip - rows.start
            if self.local:
                return local_distances(own, reference, arrays["scales"][rows], skip)
            return mean_of(list(neighbour_distances(own, reference, self._count(len(reference)), skip).T))

        known = outputs.targets if self.labelled else None
        return within_label(replace(outputs, targets=known), arrays, distance)

    def usual(self, arrays: Arrays, normal: Outputs) -> Array:
        """Score some of the samples that were learnt from, each among those of other groups."""
        order = by_class(normal)[0] if self.labelled else np.arange(len(normal))
        of = order if normal.groups is None else normal.groups[order]
        rows = np.arange(0, len(order), -(-len(order) // MAX_USUAL))
        parts = np.searchsorted(arrays["starts"], rows, "right") - 1
        found = self._among_others(arrays, of, rows, of[rows], parts)
        return found[np.isfinite(found)]

    def extend(self, arrays: Arrays, held_out: Outputs) -> Arrays:
        """Add the held-out samples; what was learnt stays as it is, and gives them local scales.

        Of copies one is added. Its digest tells later that a sample is that one, not to be compared with itself.
        """
        assert held_out.inputs is not None  # noqa: S101 - as in `Outputs` of samples
        found, first = np.unique(digests(held_out.inputs), return_index=True)
        held_out = held_out[first]
        own, of = self._placed(held_out, arrays), self._classes(held_out)
        refuse_absent(of, arrays["classes"], held_out.n_views)
        known = np.repeat(arrays["classes"], np.diff(arrays["starts"]))
        order = np.argsort(np.concatenate([known, of]), kind="stable")
        extended = arrays | {
            "reference": np.concatenate([arrays["reference"], own])[order],
            "starts": arrays["starts"] + np.searchsorted(np.sort(of), [*arrays["classes"], np.inf]),
            "held_out": np.stack([found, np.argsort(order)[len(known) :].astype(np.uint64)]),
        }
        if self.local:
            scales = np.empty(len(own))
            for number in np.unique(of):
                learnt, new = known == number, of == number
                scales[new] = local_scales_beside(own[new], arrays["reference"][learnt], arrays["scales"][learnt])
            extended["scales"] = np.concatenate([arrays["scales"], scales])[order]
        return extended

    def left_out(self, extended: Arrays, held_out: Outputs, groups: Array, with_labels: bool) -> Array:
        """Score the held-out samples, each among all but those of its group [n]."""
        rows, index = _itself(held_out, extended), np.unique(groups, return_inverse=True)[1]
        assert rows is not None  # noqa: S101 - it is extended
        among = np.full(len(extended["reference"]), -1)
        among[rows[::-1]] = index[::-1]  # the group of the first of copies, which is the one that was added
        parts = np.searchsorted(extended["classes"], self._classes(held_out)) if with_labels and self.labelled else None
        return self._among_others(extended, among, rows, index, parts)

    def _placed(self, outputs: Outputs, arrays: Arrays) -> Array:
        vectors = self._described(outputs, arrays)
        if "means" in arrays:
            vectors = (vectors - arrays["means"]) / arrays["deviations"]
        return _whitened(vectors, arrays)

    def _described(self, outputs: Outputs, arrays: Arrays) -> Array:
        if self.space == "features":
            return outputs.features.reshape(len(outputs), -1)
        if self.space == "statistics":
            levels, amplitudes = np.split(_statistics(outputs), [N_LEVELS], axis=1)
            return np.concatenate([levels, np.log(amplitudes + arrays["floors"])], 1).reshape(len(outputs), -1)
        if self.space == "values":
            return some_numbers(outputs)
        if outputs.inputs is None:
            raise InputError("this score compares inputs: pass outputs with inputs")
        return outputs.inputs

    def _classes(self, normal: Outputs) -> Array:
        if not self.labelled:
            return np.zeros(len(normal), int)
        assert normal.targets is not None  # noqa: S101 - normal samples have them, as by_class checks
        return normal.targets[:, 0]

    def _count(self, n: int) -> int:
        """How many nearest ones of n count."""
        return 3 if n > MANY_ROWS and not self.local else 1

    def _among_others(
        self, arrays: Arrays, groups: Array, rows: Array, own_groups: Array, parts: Array | None
    ) -> Array:
        """Compare rows [n] of the reference, of groups [R], with those of other groups.

        `parts` [n]: the number of the label among whose samples each is compared, which may be another than that of the
        row, if the row is a copy with another label; None: all are compared with all.
        """
        bounds, found = [0, len(groups)], np.empty(len(rows))
        for number, (start, stop) in enumerate(pairwise(bounds if parts is None else arrays["starts"].tolist())):
            own, part = np.ones(len(rows), bool) if parts is None else parts == number, slice(start, stop)
            skip = np.where((start <= rows) & (rows < stop), rows - start, -1)[own]
            scales = arrays["scales"][part] if self.local else None
            k, vectors = self._count(stop - start), arrays["reference"][rows[own]]
            found[own] = among_others(
                vectors, own_groups[own], arrays["reference"][part], groups[part], k, scales, skip
            )
        return found


def _whitened(vectors: Array, arrays: Arrays) -> Array:
    whitener = arrays.get("whitening")
    return (vectors if whitener is None else row_products(vectors, whitener)).astype(np.float32)


def _statistics(outputs: Outputs) -> Array:
    if outputs.statistics is None:
        raise InputError("this score compares statistics of signals: pass outputs with statistics")
    return outputs.statistics.astype(float)


def apart(arrays: Arrays) -> float:
    """Return the root mean square distance of two normal samples of one label, as told by some of them."""
    reference, squares, total = arrays["reference"], 0.0, 0
    for start, stop in pairwise(arrays["starts"].tolist()):
        some = reference[start : stop : -(-len(reference) // MAX_USUAL)]
        squares += 2 * np.var(some, 0, dtype=float).sum() * len(some)
        total += len(some)
    return float(np.sqrt(squares / total))


def _itself(outputs: Outputs, arrays: Arrays) -> Array | None:
    """Row of the reference [N] that is a copy of each sample and was held out; −1: none. None if there can be none."""
    if "held_out" not in arrays:
        return None
    assert outputs.inputs is not None  # noqa: S101 - as in `extend`
    (known, rows), found = arrays["held_out"], digests(outputs.inputs)
    place = np.searchsorted(known, found).clip(max=len(known) - 1)
    return np.where(known[place] == found, rows[place].astype(int), -1)
