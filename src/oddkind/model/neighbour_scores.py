"""Scores that compare with the nearest normal samples: their features, their softmax, and the inputs themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.distances import (
    joint_distance,
    local_scales,
    neighbour_distances,
    row_products,
    squares_by_scale,
    unit,
    unit_views,
    whitening,
)
from oddkind.model.outputs import Outputs, mean_of
from oddkind.model.score import Arrays, Score, by_class, some_numbers, within_label

# Inputs with more numbers than this are not whitened: their covariance would take longer than the network.
MAX_WHITENED_FEATURES = 1024


def neighbours(k: int = 1, metric: str = "cosine") -> Score:
    """Return the score "distance to the k-th nearest normal sample in the space of features", mean over the views.

    "euclidean" is ‖a − b‖; "cosine" is 1 − a·b / (‖a‖ ‖b‖), in [0, 2]. A vector of zeros is at cosine distance 1 from
    everything except another vector of zeros. Ramaswamy et al., SIGMOD 2000; on learnt features: Sun et al.,
    "Out-of-distribution detection with deep nearest neighbors", ICML 2022.

    Raises
    ------
    InputError
        If the metric is unknown, k is below 1, or, when computed, there are fewer than k normal samples.
    """
    if metric not in ("cosine", "euclidean"):
        raise InputError(f"metric={metric!r}; known are 'cosine' and 'euclidean'")
    if k < 1:
        raise InputError(f"k={k}; it must be at least 1")

    def place(features: Array) -> Array:
        return unit(features) if metric == "cosine" else features

    def learn(normal: Outputs, _: float) -> Arrays:
        order, arrays = by_class(normal)
        views = normal.features[order].swapaxes(0, 1)
        return {"reference": np.stack([place(view) for view in views]), **arrays}

    def compute(outputs: Outputs, arrays: Arrays, _: float) -> Array:
        def distance(some: Outputs, rows: slice, _: int) -> Array:
            if k > rows.stop - rows.start:
                n = rows.stop - rows.start
                raise InputError(f"k={k}; {n} normal samples allow 1 to {n}")
            found = []
            for own, reference in zip(some.features.swapaxes(0, 1), arrays["reference"], strict=True):
                apart = neighbour_distances(place(own), reference[rows], k)[:, -1]
                # On the unit sphere the two metrics agree: ‖a − b‖² = 2 (1 − a·b).
                found.append(apart**2 / 2 if metric == "cosine" else apart)
            return mean_of(found)

        return within_label(outputs, arrays, distance)

    formula = "1 − cos(f, nearest normal f)" if metric == "cosine" else "‖f − nearest normal f‖"
    return Score(formula, compute, learn)


def view_neighbours(formula: str, vectors: Callable[[Outputs, float], Array], *, uses_softmax: bool = False) -> Score:
    """Return the score "mean distance to the 5 nearest normal samples in all views", compared by their `vectors`.

    Two samples are at distance mean_v (1 − a_v·b_v / (‖a_v‖ ‖b_v‖)): near means near in every view. For roots √p of
    probabilities this is the squared Hellinger distance. A mean over some neighbours: Angiulli & Pizzuti, "Fast outlier
    detection in high dimensional spaces", PKDD 2002. With fewer than 5 normal samples it is the mean over all.
    """

    def learn(normal: Outputs, temperature: float) -> Arrays:
        order, arrays = by_class(normal)
        return {"reference": unit_views(vectors(normal[order], temperature)), **arrays}

    def compute(outputs: Outputs, arrays: Arrays, temperature: float) -> Array:
        def distance(some: Outputs, rows: slice, _: int) -> Array:
            own = unit_views(vectors(some, temperature))
            apart = neighbour_distances(own, arrays["reference"][rows], min(5, rows.stop - rows.start))
            return (apart**2).mean(1) / 2

        return within_label(outputs, arrays, distance)

    return Score(formula, compute, learn, uses_softmax=uses_softmax)


def learn_local_inputs(normal: Outputs, _: float) -> Arrays:
    """Learn some numbers of each normal sample, and its mean distance to its 8 nearest."""
    order, arrays = by_class(normal)
    reference = some_numbers(normal)[order]
    return {"reference": reference, "scales": local_scales(reference), **arrays}


def local_input_neighbours(outputs: Outputs, arrays: Arrays, _: float) -> Array:
    """Mean of ‖a − b‖² / s_b over the 5 nearest normal samples b; s_b is the mean distance of b to its own 8 nearest.

    This is a distance, times the same distance in relation to what is usual there. The distance alone says how large
    and how bright an object is, because those are far from everything; the ratio alone (Breunig et al., "LOF:
    identifying density-based local outliers", SIGMOD 2000) exaggerates small differences between samples that are much
    alike. With fewer than 5 normal samples it is the mean over all.
    """

    def distance(some: Outputs, rows: slice, _: int) -> Array:
        reference, scales = arrays["reference"][rows], arrays["scales"][rows]
        return squares_by_scale(some_numbers(some), reference, scales, min(5, len(reference)))

    return within_label(outputs, arrays, distance)


def learn_joint(normal: Outputs, _: float) -> Arrays:
    """Whitening, scales and the placed normal samples.

    Inputs, whitened inputs (unless they are long) and features are each scaled to the same total variance. Only inputs
    are scaled, because features are as many times larger as there are views.
    """
    order, arrays = by_class(normal)
    if normal.inputs is None or normal.targets is None:
        raise InputError("score 'joint-neighbours' compares inputs: pass outputs with inputs")
    if normal.inputs.shape[1] <= MAX_WHITENED_FEATURES:
        index = np.unique(normal.targets[:, 0], return_inverse=True)[1]
        arrays["whitening"] = whitening(normal.inputs, index, shrink=True)
    parts = _joint_inputs(normal.inputs, arrays)
    *scales, scale = (np.sqrt(part.var(0).sum(-1)).mean() or 1.0 for part in (*parts, normal.features))
    arrays["scales"] = np.array([scale / own for own in scales])
    placed = np.concatenate([part * factor for part, factor in zip(parts, arrays["scales"], strict=True)], -1)
    return arrays | {"inputs": placed[order], "features": normal.features[order], "scale": np.array(float(scale))}


def _joint_inputs(inputs: Array, arrays: Arrays) -> list[Array]:
    """Inputs, and whitened inputs if there is a whitening, in single precision."""
    whiten = arrays.get("whitening")
    return [inputs, *([] if whiten is None else [row_products(inputs, whiten).astype(np.float32)])]


def joint_neighbours(outputs: Outputs, arrays: Arrays, _: float) -> Array:
    """Compare inputs, whitened inputs and features jointly, view by view.

    An anomaly may lie far away; or close, but in a direction in which no normal sample varies; or in a direction that
    the network ignores.
    """
    if outputs.inputs is None:
        raise InputError("score 'joint-neighbours' compares inputs: pass outputs with inputs")
    parts = _joint_inputs(outputs.inputs, arrays)
    placed = np.concatenate([part * own for part, own in zip(parts, arrays["scales"], strict=True)], -1)

    def distance(some: Outputs, rows: slice, _: int) -> Array:
        assert some.inputs is not None  # noqa: S101 - placed below
        return joint_distance(some.inputs, some.features, arrays["inputs"][rows], arrays["features"][rows])

    return within_label(replace(outputs, inputs=placed), arrays, distance) / arrays["scale"]
