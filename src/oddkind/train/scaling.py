"""The scale of each feature or channel, which one absurd value must not flatten, and the precision that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oddkind.arrays import Array, batches, is_mapped, moments, to_memmap
from oddkind.model.inputs import FAR

# The share of the smallest and of the largest values that is pulled in to the others, at least one value each, to see
# how wide a feature is without its tails. Channels may hold short bursts that are normal.
TAIL, TAIL_OF_CHANNELS = 0.05, 0.01
# A feature is scaled without its tails if its standard deviation is more than this many times what it is without them.
FLATTENED = 5.0
# Then values beyond this many scales are compressed, and rows beyond so many are named; of other features, rows beyond
# FAR_OFF scales, which can only be held-out ones.
BOUND, ABSURD, FAR_OFF = 10.0, 100.0, 1e4
# Single precision rounds to 24 bits. Double is used if the rounding is more than this share of a feature's width.
ROUNDED = 1e-2
# About as many numbers are looked at to find the tails.
MOST_SEEN = 1 << 22


@dataclass(frozen=True, eq=False)
class Scaling:
    """Mean, scale and bound as in `InputSpec`; `warning` says what is absurd, "" if nothing is."""

    mean: Array
    scale: Array
    bound: Array | None = None
    warning: str = ""


def learn_scaling(inputs: Array, rows: Array, feature_names: tuple[str, ...] | None = None) -> Scaling:
    """Learn the mean and the scale of each feature or channel from the given rows of floats [N, …].

    The scale is the standard deviation, and 1 for a feature that never varies. If a few values widen it more than
    `FLATTENED` times, the feature is scaled by mean and deviation of its winsorised values instead (Tukey, "The future
    of data analysis", 1962): a share `TAIL` at each end is replaced by the nearest value of the rest.
    """
    mean, deviation = moments(inputs, rows)
    rounding = 0 if inputs.dtype == np.float32 else 1e-13 * np.abs(mean)  # sums of single precision are exact enough
    scale, bound, warning = np.where(deviation > rounding, deviation, 1), None, ""
    middle, width = (found.reshape(mean.shape) for found in _without_tails(inputs, rows)[1:])
    heavy = (width > 0) & (deviation > FLATTENED * width)
    if heavy.any():
        mean, scale = np.where(heavy, middle, mean), np.where(heavy, width, scale)
        bound = np.where(heavy, BOUND, FAR).astype(np.float32)
    limit = np.where(heavy, ABSURD, FAR_OFF) * scale
    axes = (0, *range(2, inputs.ndim))
    most = np.maximum(inputs.max(axes).reshape(mean.shape) - mean, mean - inputs.min(axes).reshape(mean.shape))
    if heavy.any() or (most > limit).any():
        warning = _absurd(inputs, mean, limit, heavy.ravel(), feature_names)
    return Scaling(mean.astype(inputs.dtype), scale.astype(inputs.dtype), bound, warning)


def in_precision_needed(inputs: Array, given: Array) -> Array:
    """Return samples as float32 [N, …], or as float64 if single precision would round their changes away.

    `inputs` are the samples in single precision, `given` as they were passed: 1e8 with small changes, say.
    """
    if inputs.dtype == np.uint8:
        return inputs
    median, _, width = _without_tails(given, np.arange(len(given)))
    if not ((width > 0) & ((np.abs(median) * 2.0**-24 > ROUNDED * width) | (width < 1e-30))).any():
        return inputs
    if is_mapped(given):
        return to_memmap(given[batch].astype(np.float64) for batch in batches(len(given)))
    return given.astype(np.float64)


def _without_tails(inputs: Array, rows: Array) -> tuple[Array, Array, Array]:
    """Median, winsorised mean and winsorised deviation of each feature or channel, [C] each; 0 for fewer than 5."""
    step = -(-len(rows) * inputs[0].size // MOST_SEEN)
    seen = np.asarray(inputs[rows[::step]], np.float64)
    values = np.moveaxis(seen, 1, -1).reshape(-1, seen.shape[1])
    n = len(values)
    if n < 5:
        return (np.zeros(values.shape[1]),) * 3
    cut = max(1, int(n * (TAIL if inputs.ndim == 2 else TAIL_OF_CHANNELS)))
    values = np.partition(values, [cut, n // 2, n - 1 - cut], axis=0)
    low, median, high = (values[place].copy() for place in (cut, n // 2, n - 1 - cut))
    np.clip(values, low, high, out=values)
    middle = values.mean(0)
    return median, middle, np.where(low < high, np.sqrt(np.square(values - middle).mean(0)), 0)


def _absurd(inputs: Array, mean: Array, limit: Array, heavy: Array, names: tuple[str, ...] | None) -> str:
    """Say which rows hold values more than `limit` from the mean, and which features are scaled without their tails."""
    what, n = "feature" if inputs.ndim == 2 else "channel", len(inputs)
    far = np.zeros(n)
    for batch in batches(n):
        distance = np.abs(inputs[batch] - mean) / limit
        far[batch] = distance.reshape(len(distance), -1).max(1)
    row, absurd = int(far.argmax()), np.flatnonzero(far > 1).tolist()
    found = []
    if absurd:
        worst = inputs[row].ravel()[(np.abs(inputs[row] - mean) / limit).argmax()]
        rows = f"row{'s' * (len(absurd) > 1)} {_list(absurd)}"
        found.append(
            f"{len(absurd)} of {n} samples hold a value far beyond all others ({rows}, counted from 0), such as "
            f"{worst:g} in row {row}; remove these rows if they are errors"
        )
    if heavy.any():
        numbers = np.flatnonzero(heavy).tolist()
        which = numbers if names is None else [names[number] for number in numbers]
        found.append(
            f"{len(numbers)} of {len(heavy)} {what}s, which a few values flatten, are scaled without their tails, "
            f"and values beyond {BOUND:g} scales are compressed ({what}{'s' * (len(numbers) > 1)} {_list(which)}"
            + (")" if names else ", counted from 0)")
        )
    return "; ".join(found)


def _list(values: Sequence[int | str]) -> str:
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return ", ".join(map(str, values[:5])) + more
