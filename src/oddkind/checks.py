"""Whether data and labels can teach anything: a look before training, and a judgement after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from oddkind.samples import Samples

Array = npt.NDArray[Any]

# A label of fewer samples says little of its kind of normal.
FEWEST = 5
# Few rounded features give some copies by chance, such as one among iris's 150. From this part on they matter.
COPIED = 0.02
# One number of the input that tells this part of the samples right leaves a network nothing to learn. Where it is all
# of them, 1 − MSP finds anomalies with an AUC of 0.02 (iris 0, 1) and 0.54 (hydraulic rig); of MNIST's digits the
# easiest pair comes to 0.980, of scikit-learn's to 0.990, with AUCs of 0.98 and 0.86: bench/checks.py.
TOLD = 0.995
# So many samples are enough to see that, and so many numbers of them fit in memory.
LOOKED_AT, LOOKED_AT_NUMBERS = 2000, 1 << 22
# A channel is clipped where it is often exactly at its end, and has many other values, each of them seldom.
AT_END, VALUES, OFTENER = 0.001, 100, 10
# The binomial test's level, and how sure it must be that a task is not half learnt: a dozen samples are not enough.
LEVEL, SURE = 0.05, 0.99


@dataclass(frozen=True)
class Concern:
    """Something about data or a trained task that makes results doubtful.

    Attributes
    ----------
    kind : str
        "single label", "few samples", "confounded", "conflict", "copies", "constant", "clipped", "too easy",
        "resampled", "not learnt".
    message : str
        One sentence: what was seen, and what it does.
    """

    kind: str
    message: str


def look(samples: Samples, splits: Array | None = None) -> list[Concern]:
    """What is doubtful about samples before anything is learnt from them; an empty list for clean ones.

    Labels: all the same; of too few samples; each with a group of its own (what is learnt may be the session or the
    microphone); told by a single number of the input. Inputs: exact copies with other labels, in other groups or
    splits, or, without groups, in such numbers that held-out samples were learnt; channels that never vary or are cut
    off at an end of their range; blank samples.

    Pixels at an end of their range are nobody's concern, for that is what background and ink are; nor is a feature of
    a vector that never varies, unless most do not.

    Parameters
    ----------
    samples : Samples
        Vectors [N, D], signals [N, C, T] or pictures [N, C, H, W]; labels are looked at where samples are not flagged
        as anomalous.
    splits : array [N] or None
        Which part of a data set each belongs to, such as "train" and "test".
    """
    normal = samples if samples.anomalous is None else samples[~samples.anomalous]
    if len(normal) == 0:
        return []
    return [
        Concern(kind, message)
        for kind, messages in (
            ("single label", _single(normal)),
            ("few samples", _few(normal)),
            ("confounded", _confounded(normal)),
            *_copies(samples, splits),
            ("constant", _constant(samples.inputs)),
            ("clipped", _clipped(samples.inputs)),
            ("too easy", _too_easy(normal)),
        )
        for message in messages
    ]


def _list(values: Array, most: int = 5) -> str:
    names = [str(value) for value in values[:most].tolist()]
    return ", ".join(names) + (", …" if len(values) > most else "")


def _some(inputs: Array) -> Array:
    """Rows to look at, evenly spread."""
    most = min(LOOKED_AT, LOOKED_AT_NUMBERS // inputs[0].size)
    return np.unique(np.linspace(0, len(inputs) - 1, max(1, most)).astype(int))


def _single(samples: Samples) -> list[str]:
    if samples.labels is None or (samples.labels != samples.labels[0]).any():
        return []
    return [f"all labels are {samples.labels[0]}, so they tell no kinds of normal apart; pass none"]


def _few(samples: Samples) -> list[str]:
    if samples.labels is None:
        return []
    labels, counts = np.unique(samples.labels, return_counts=True)
    few = labels[counts < FEWEST]
    if not len(few):
        return []
    return [
        f"{len(few)} of {len(labels)} labels have fewer than {FEWEST} samples ({_list(few)}), "
        "too few to learn what is normal for them"
    ]


def _confounded(samples: Samples) -> list[str]:
    """Find labels that are a group each: nothing tells the one from the other."""
    if samples.labels is None or samples.groups is None:
        return []
    labels, label = np.unique(samples.labels, return_inverse=True)
    groups, group = np.unique(samples.groups, return_inverse=True)
    if len(labels) < 2 or len(groups) < 2:
        return []
    pairs = np.unique(np.stack([label, group]), axis=1)
    single = np.bincount(pairs[0])[pairs[0]] == 1  # the label's only group
    alone = np.bincount(pairs[1])[pairs[1]] == 1  # the group's only label
    same = labels[pairs[0, single & alone]]
    if not len(same):
        return []
    return [
        f"{len(same)} of {len(labels)} labels are one group each and nothing else ({_list(same)}): a session, "
        f"microphone or light can be what is learnt, not the label (the label tells "
        f"{association(samples.labels, samples.groups):.0%} of the group); record each label more than once"
    ]


def association(labels: Array, groups: Array) -> float:
    """How much of the group [N] the label [N] tells, from 0 (nothing) to 1 (all), I(label; group) / H(group).

    Theil's uncertainty coefficient: "On the estimation of relationships involving qualitative variables", American
    Journal of Sociology 1970. Where labels have many groups each it is well below 1, and where every label was seen in
    every group it is 0. Of a single group it is 1.
    """

    def entropy(values: Array) -> float:
        part = np.unique(values, return_counts=True, axis=0)[1] / len(values)
        return float(-(part * np.log(part)).sum())

    numbers = [np.unique(values, return_inverse=True)[1] for values in (labels, groups)]
    of_label, of_group, of_both = entropy(numbers[0]), entropy(numbers[1]), entropy(np.stack(numbers, 1))
    return max(0.0, (of_label + of_group - of_both) / of_group) if of_group else 1.0


def _copies(samples: Samples, splits: Array | None) -> list[tuple[str, list[str]]]:
    """Find inputs that are the same to the bit, by their hashes."""
    hashes = np.array([hash(np.ascontiguousarray(one).tobytes()) for one in samples.inputs])
    _, first, original = np.unique(hashes, return_index=True, return_inverse=True)
    copies = np.bincount(original)[original] > 1

    def differing(values: Array | None) -> Array:
        """Which samples have a copy with another value, [N]."""
        if values is None:
            return np.zeros(len(hashes), bool)
        other = values != values[first[original]]  # than the first of the copies
        return np.bincount(original, other)[original] > 0

    def example(rows: Array) -> str:
        row = np.flatnonzero(rows)[0]
        same = np.flatnonzero(original == original[row])[:2]
        names = same if samples.files is None else samples.files[same]
        return f"such as {names[0]} and {names[1]}"

    n, conflict, copied = len(hashes), [], []
    for values, what in ((samples.labels, "another label"), (samples.anomalous, "another condition")):
        rows = differing(values)
        if rows.mean() >= COPIED:
            conflict.append(f"{rows.sum()} of {n} samples are exact copies of one with {what}, {example(rows)}")
    for values, what in ((splits, "split"), (samples.groups, "group")):
        rows = differing(values)
        if rows.mean() >= COPIED:
            copied.append(
                f"{rows.sum()} of {n} samples are exact copies of one in another {what}, {example(rows)}: "
                "what is held out was learnt"
            )
    again = n - len(first)
    if samples.groups is None and not copied and again >= COPIED * n:
        copied.append(
            f"{again} of {n} samples are exact copies of others, {example(copies)}: some are held out and learnt as "
            "well, so accuracy and threshold are too good; pass them once, or groups that keep them together"
        )
    return [("conflict", conflict), ("copies", copied)]


def _constant(inputs: Array) -> list[str]:
    """Find channels and features that never vary, and blank samples."""
    found = []
    low, high = inputs.min(0), inputs.max(0)
    still = low == high
    if inputs.ndim == 3:
        dead = low.min(1) == high.max(1)
        if dead.any():
            found.append(
                f"{dead.sum()} of {len(dead)} channels never vary ({_list(np.flatnonzero(dead) + 1)}, from 1): "
                "dead, or not connected"
            )
    elif len(inputs) > 1 and 2 * still.sum() > still.size:
        found.append(f"{still.sum()} of {still.size} numbers of each sample never vary")
    if inputs.ndim > 2:
        flat = inputs.reshape(len(inputs), -1)
        blank = flat.min(1) == flat.max(1)
        if blank.mean() >= COPIED:
            found.append(f"{blank.sum()} of {len(inputs)} samples are blank, the same value throughout")
    return found


def _clipped(inputs: Array) -> list[str]:
    """Find channels [N, C, T] that are cut off: often exactly at an end of their range, and nowhere else so often.

    An end at 0 is where sensors rest.
    """
    if inputs.ndim != 3:
        return []
    clipped = []
    for number, channel in enumerate(inputs[_some(inputs)].swapaxes(0, 1), start=1):
        values, counts = np.unique(channel, return_counts=True)
        often = max(AT_END * channel.size, OFTENER * np.median(counts))
        ends = [end for end in (0, -1) if values[end] != 0 and counts[end] >= often]
        if len(values) >= VALUES and ends:
            clipped.append(f"{number} (at {_list(values[ends])})")
    if not clipped:
        return []
    return [f"{len(clipped)} of {inputs.shape[1]} channels are cut off at an end of their range: {', '.join(clipped)}"]


def _too_easy(samples: Samples) -> list[str]:
    if samples.labels is None:
        return []
    rows = _some(samples.inputs)
    counts = np.unique(samples.labels[rows], return_counts=True)[1]
    if len(counts) < 2 or counts.min() < FEWEST:
        return []
    told, best = told_by_one_number(samples.inputs[rows], samples.labels[rows])
    if told < TOLD:
        return []
    size = samples.inputs[0].size
    what = f"number {best + 1} of {size}" if best < size else ("their mean", "their spread")[best - size]
    return [
        f"{what} of each sample tells all {len(counts)} labels by itself ({told:.1%} right), so a network need "
        "learn nothing else and its softmax says little of anomalies; score by neighbours, or drop the labels"
    ]


def told_by_one_number(inputs: Array, labels: Array) -> tuple[float, int]:
    """How well a single number of the input tells the labels [N]: part right by the nearest class mean, and which.

    The numbers are those of inputs [N, …], counted through, then each sample's mean and standard deviation.
    """
    kinds, label = np.unique(labels, return_inverse=True)
    x = inputs.reshape(len(inputs), -1).astype(np.float32)
    if x.shape[1] > 1:
        x = np.concatenate([x, x.mean(1, keepdims=True), x.std(1, keepdims=True)], axis=1)
    nearest = np.full(x.shape, np.inf, np.float32)  # distance to the nearest mean of another label
    own = np.empty_like(nearest)
    for number in range(len(kinds)):
        away = np.abs(x - x[label == number].mean(0))
        own[label == number] = away[label == number]
        away[label == number] = np.inf
        np.minimum(nearest, away, out=nearest)
    right = (own < nearest).mean(0)
    return float(right.max()), int(right.argmax())


def not_learnt(accuracy: float, n: int, targets: Array, n_views: int) -> list[Concern]:
    """Say so where held-out samples are told apart no better than by guessing, and there are enough to be sure.

    Guessing is calling everything the most frequent class. Not learnt is what a binomial test cannot tell from it
    (one-sided, at 5 %), while a task half learnt, midway between guessing and perfect, can be excluded (99 % bound of
    Clopper & Pearson, Biometrika 1934). Few samples exclude nothing, and nothing is said.

    Parameters
    ----------
    accuracy : float
        Part of the views told right.
    n : int
        How many samples were held out; views of one are not independent, so it counts once.
    targets : int array [...]
        True class of each view.
    n_views : int
    """
    counts = np.unique(targets, return_counts=True)[1]
    chance = float(counts.max() / counts.sum())
    right = round(accuracy * n)
    above = binomtest(right, n, chance, alternative="greater").pvalue
    most = binomtest(right, n, 0.5, alternative="less").proportion_ci(SURE).high
    if above <= LEVEL or most >= (1 + chance) / 2:
        return []
    what = "labels" if n_views == 1 else f"{n_views} views of a sample"
    return [
        Concern(
            "not learnt",
            f"the {what} were not learnt: {accuracy:.2f} of {n} held-out samples are told right, guessing gives "
            f"{chance:.2f}, so the softmax says nothing of anomalies; give more epochs or samples, or another task",
        )
    ]
