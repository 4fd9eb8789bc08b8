"""The samples that are held out of training: their number, and the choice of them."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from oddkind.arrays import Array
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
    `groups`, whole groups are held out instead: samples of one group are never on both sides.

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
        If nothing would be left to learn from, or a group has two labels but may have only one.
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
        n_groups = len(np.unique(groups))
        if n_groups < 2:
            raise InputError("all samples are of one group; to hold out whole groups, pass at least 2 groups")
        n_held = min(n_groups - 1, max(1, round(fraction * n_groups)))
        splitter = GroupShuffleSplit(1, test_size=n_held, random_state=random_state)
        learn, held_out = next(splitter.split(np.empty(n_samples), groups=groups))
        return np.sort(learn), np.sort(held_out)
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
