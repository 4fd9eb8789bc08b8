"""The samples that are held out of training: their number, and the choice of them."""

from __future__ import annotations

import numpy as np

from oddkind.arrays import Array
from oddkind.checks import copy_index, is_whole_numbers
from oddkind.errors import InputError

# A threshold with this many held-out scores at or above it is stable (`bench/holdout.py`); used if a fifth suffices.
SHARP, SHARP_FRACTION = 3, 0.2
LEAST = 0.1


def calibration_fraction(n: int, false_alarm_rate: float) -> float:
    """Fraction of n samples (or groups) to hold out for a false-alarm rate.

    With ⌈k / rate⌉ − 1 samples held out, the threshold is the k-th largest of their scores. k = 1 is enough to promise
    the rate, but then a single sample determines the threshold. Therefore k = 3 is used if it takes at most a fifth of
    the samples, otherwise the largest k that a fifth allows; if there are many samples, a tenth is held out. More
    samples than ⌈k / rate⌉ − 1, but too few for k + 1, would only raise the threshold, so the number is rounded down.
    If even k = 1 takes more than half of the samples, half of them are held out.
    """

    def enough(k: int) -> int:
        return int(np.ceil(np.round(k / false_alarm_rate, 9))) - 1

    wanted = max(enough(1), LEAST * n, min(enough(SHARP), SHARP_FRACTION * n))
    k = int(np.floor(np.round(false_alarm_rate * (wanted + 1), 9)))
    half = max(0.5, n // 2)  # rounded down: more are learnt from than held out
    return min(half, enough(max(1, k)) + 1e-6) / n


def copy_groups(inputs: Array, fewest: int, labels: Array | None = None, *, index: Array | None = None) -> Array | None:
    """Group of each sample [N], to hold exact copies out together; None if each sample is on its own.

    With `labels` [N], copies are samples that have the same label, too. `index`: `copy_index` of the inputs, if known.

    A copy of a sample that was learnt from says nothing about new samples, such as the repeated lines of a logger. None
    if there are no copies, and if fewer than `fewest` samples would be left and they are vectors of whole numbers:
    then copies are no accident, because new samples will be copies, too.
    """
    index = copy_index(inputs) if index is None else index
    distinct = int(index.max()) + 1
    if distinct in (1, len(index)) or (distinct < fewest and is_whole_numbers(inputs)):
        return None
    if labels is not None:
        numbers = np.unique(labels, return_inverse=True)[1]
        index = np.unique(index * (numbers.max() + 1) + numbers, return_inverse=True)[1]
    return index


def holdout(
    n_samples: int,
    fraction: float,
    random_state: np.random.RandomState,
    *,
    labels: Array | None = None,
    groups: Array | None = None,
    each_label: bool = False,
) -> tuple[Array, Array]:
    """Split row numbers into those to learn from and those to hold out, both sorted.

    Every label has the same share on both sides (to within one sample), and at least one sample to learn from. With
    `groups`, whole groups are held out instead: samples of one group are never on both sides. A group whose label would
    have nothing left to learn from is not held out; another one is drawn in its place.

    Parameters
    ----------
    n_samples : int
        The number of samples.
    fraction : float
        The fraction to hold out, in [0, 1). Rounded to whole samples (or groups), at least one if it is above 0.
    random_state : RandomState
        Draws the samples that are held out.
    labels, groups : array [n_samples] or None
        As in `Samples`.
    each_label : bool
        Whether every label also has the same share of the groups on both sides; each group must then have one label.

    Returns
    -------
    learn, held_out : int arrays
        Together they contain every row once.

    Raises
    ------
    InputError
        If nothing would be left to learn from, each group is the only one of some label, or a group has two labels
        but may have only one.
    """
    if fraction == 0:
        return np.arange(n_samples), np.arange(0)
    if groups is not None and each_label and labels is not None:
        names, first, index = np.unique(groups, return_index=True, return_inverse=True)
        group_labels = np.asarray(labels)[first]
        mixed = np.flatnonzero(group_labels[index] != labels)
        if len(mixed):
            raise InputError(
                f"group {names.tolist()[index[mixed[0]]]!r} has samples of two labels; for a promise within each "
                "label every group must have one"
            )
        held_out = np.isin(index, holdout(len(names), fraction, random_state, labels=group_labels)[1])
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if groups is not None:
        return _whole_groups(groups, labels, fraction, random_state)
    label_index = np.zeros(n_samples, int) if labels is None else np.unique(labels, return_inverse=True)[1]
    counts = np.bincount(label_index)
    if (counts == 1).all():
        raise InputError(
            f"{n_samples} samples of {len(counts)} labels leave none to hold out; give each label 2 or more"
        )
    # Each label's share is rounded down; those that lose most get one more, until the total is reached.
    share = fraction * counts
    held = np.floor(share).astype(int)
    wanted = max(1, round(fraction * n_samples))
    for number in np.argsort(held - share, kind="stable"):
        if held.sum() < wanted and held[number] < min(np.ceil(share[number]), counts[number] - 1):
            held[number] += 1
    shuffled = random_state.permutation(n_samples)
    held_out = np.sort(np.concatenate([shuffled[label_index[shuffled] == number][:n] for number, n in enumerate(held)]))
    return np.delete(np.arange(n_samples), held_out), held_out


def _whole_groups(
    groups: Array, labels: Array | None, fraction: float, random_state: np.random.RandomState
) -> tuple[Array, Array]:
    """Hold groups out in a random order, except for those that hold the last of a label."""
    names, index = np.unique(groups, return_inverse=True)
    n_groups = len(names)
    if n_groups < 2:
        raise InputError("all samples are of one group; to hold out whole groups, pass at least 2 groups")
    kinds, label = np.unique(np.zeros(len(index)) if labels is None else labels, return_inverse=True)
    pairs = np.unique(np.stack([index, label]), axis=1)
    labels_of = np.split(pairs[1], np.searchsorted(pairs[0], np.arange(1, n_groups)))
    left = np.bincount(pairs[1])  # groups of each label that are learnt from
    wanted = min(n_groups - 1, max(1, round(fraction * n_groups)))
    chosen: list[int] = []
    for group in random_state.permutation(n_groups):
        if len(chosen) < wanted and (left[labels_of[group]] > 1).all():
            left[labels_of[group]] -= 1
            chosen.append(group)
    if not chosen:
        label_left = kinds[left == 1].tolist()[0]
        raise InputError(
            f"each of the {n_groups} groups is the only one of some label, such as {label_left!r}, so none can be held "
            "out; pass more groups of each label, or no labels"
        )
    rows = np.isin(index, chosen)
    return np.flatnonzero(~rows), np.flatnonzero(rows)
