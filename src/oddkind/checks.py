"""Checks of data and labels before training, and of what was learnt after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oddkind.arrays import Array
from oddkind.language import Message
from oddkind.naming import condition_of, first_names
from oddkind.samples import Samples

# Pairs of labels that are the truth if one is much rarer: at most this fraction of the samples.
TRUTHS = [{"0", "1"}, {"-1", "1"}, {"false", "true"}, {"no", "yes"}, {"n", "y"}, {"negative", "positive"}]
MAX_RARE = 0.25
# A label with fewer samples shows too little of its kind of normal.
MIN_SAMPLES_PER_LABEL = 5
# A few rounded features give some copies by chance, such as one among iris's 150. From this fraction on they matter.
MIN_COPIED_FRACTION = 0.02
# If a single number of the input classifies this fraction of the samples correctly, a network has nothing to learn. If
# it classifies all of them, 1 − MSP finds anomalies with an AUC of 0.02 (iris 0, 1) and 0.54 (hydraulic rig). The
# easiest pair of MNIST's digits reaches 0.980 and that of scikit-learn's digits 0.990, with AUCs of 0.98 and 0.86:
# bench/checks.py.
TOO_EASY = 0.995
# This many samples are enough to see that, and this many numbers fit in memory.
MAX_EXAMINED_SAMPLES, MAX_EXAMINED_NUMBERS = 2000, 1 << 22
# A channel is clipped if at least this fraction of it lies exactly at an end of its range, this many times as often as
# its median value occurs, and it has at least this many different values.
MIN_CLIPPED_FRACTION, MIN_CLIPPED_RATIO, MIN_VALUES = 0.001, 10, 100
# Significance level of the binomial test, and confidence with which a half-learnt task must be excluded (a dozen
# samples are too few).
SIGNIFICANCE, CONFIDENCE = 0.05, 0.99


@dataclass(frozen=True)
class Issue:
    """A property of the data or of a trained task that makes results doubtful.

    Attributes
    ----------
    kind : str
        "truth", "single label", "few samples", "confounded", "conflict", "copies", "constant", "clipped", "too easy",
        "resampled", "not learnt"; of recordings "silent", "cancelling", "averaged" and "left out"; of pictures
        "transparency", "pages", "depth" and "colours".
    message : str
        One sentence that says what was found and what it causes.
    """

    kind: str
    message: str


def check_data(samples: Samples, splits: Array | None = None, *, copies: Array | None = None) -> list[Issue]:
    """Find what is doubtful about samples before anything is learnt from them; an empty list for clean samples.

    Labels: they look like the truth (normal or anomalous) instead of kinds of normal; all are the same; a label has too
    few samples; each label has a group of its own (the network may learn the session or the microphone); a single
    number of the input determines the label. Inputs: exact copies with other labels, or in other groups or splits, or,
    without groups, so many copies that held-out samples were also learnt from; channels that never vary or are clipped
    at an end of their range; blank samples.

    Pixels at an end of their range are not reported, because background and ink are such pixels. A feature of a vector
    that never varies is reported only if most features never vary.

    Parameters
    ----------
    samples : Samples
        Vectors [N, D], signals [N, C, T] or pictures [N, C, H, W]. Only the labels of samples that are not flagged as
        anomalous are checked.
    splits : array [N] or None
        The split of the data set that each sample belongs to, such as "train" or "test".
    copies : int array [N] or None
        `copy_index` of the inputs, if it is known already.
    """
    normal = samples if samples.anomalous is None else samples[~samples.anomalous]
    if len(normal) == 0:
        return []
    return [
        Issue(kind, message)
        for kind, messages in (
            ("truth", [] if normal.labels is None else labels_like_truth(normal.labels)),
            ("single label", _single(normal)),
            ("few samples", _few(normal)),
            ("confounded", _confounded(normal)),
            *_copies(samples, splits, copy_index(samples.inputs) if copies is None else copies),
            ("constant", _constant(samples.inputs)),
            ("clipped", _clipped(samples.inputs)),
            ("too easy", _too_easy(normal)),
        )
        for message in messages
    ]


def _list(values: Array) -> str:
    return first_names([str(value) for value in values.tolist()])


def _some(inputs: Array) -> Array:
    """Return the rows to examine, evenly spread."""
    most = min(MAX_EXAMINED_SAMPLES, MAX_EXAMINED_NUMBERS // inputs[0].size)
    return np.unique(np.linspace(0, len(inputs) - 1, max(1, most)).astype(int))


def labels_like_truth(labels: Array) -> list[str]:
    """Find labels [N] that look like the truth, normal or anomalous, instead of kinds of normal; at most one sentence.

    Two names such as "normal" and "anomaly" always do. Two values that also number or describe kinds of normal, such as
    0 and 1, do if one is much rarer than the other.
    """
    values, counts = np.unique(labels, return_counts=True)
    if len(values) != 2:
        return []
    names = [str(value).strip().lower().removesuffix(".0") for value in values.tolist()]
    meant = [condition_of(name)[0] if not condition_of(name)[1] else None for name in names]
    rare = int(counts.argmin())
    if {*meant} == {True, False}:
        odd = meant.index(True)
    elif {*names} in TRUTHS and counts[rare] <= MAX_RARE * counts.sum():
        odd = rare
    else:
        return []
    usual, unusual = (repr(values.tolist()[number]) for number in (1 - odd, odd))
    return [
        f"the labels {usual} and {unusual} ({counts[odd]} of {counts.sum()}) look like the truth, normal or anomalous, "
        "but labels must be kinds of normal: every sample is learnt as normal. Pass only the normal samples, without "
        "these labels; if both are kinds of normal, give them other names, such as 'machine 0' and 'machine 1'"
    ]


def _single(samples: Samples) -> list[str]:
    if samples.labels is None or (samples.labels != samples.labels[0]).any():
        return []
    return [f"all labels are {samples.labels[0]}, so they do not distinguish kinds of normal; pass none"]


def _few(samples: Samples) -> list[str]:
    if samples.labels is None:
        return []
    labels, counts = np.unique(samples.labels, return_counts=True)
    few = labels[counts < MIN_SAMPLES_PER_LABEL]
    if not len(few):
        return []
    return [
        f"{len(few)} of {len(labels)} labels have fewer than {MIN_SAMPLES_PER_LABEL} samples ({_list(few)}), "
        "too few to learn what is normal for them"
    ]


def _confounded(samples: Samples) -> list[str]:
    """Find labels that have one group each, with no other label in it: label and group cannot be distinguished."""
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
        f"{len(same)} of {len(labels)} labels have one group each that has no other label ({_list(same)}): the "
        "network may learn the session, microphone or light instead of the label (the label determines "
        f"{association(samples.labels, samples.groups):.0%} of the group); record each label more than once"
    ]


def association(labels: Array, groups: Array) -> float:
    """Fraction of the information on the group [N] that the label [N] gives, I(label; group) / H(group), from 0 to 1.

    Theil's uncertainty coefficient: "On the estimation of relationships involving qualitative variables", American
    Journal of Sociology 1970. If labels have many groups each, it is well below 1; if every label occurs equally in
    every group, it is 0; if there is a single group, it is 1.
    """

    def entropy(values: Array) -> float:
        fraction = np.unique(values, return_counts=True, axis=0)[1] / len(values)
        return float(-(fraction * np.log(fraction)).sum())

    numbers = [np.unique(values, return_inverse=True)[1] for values in (labels, groups)]
    of_label, of_group, of_both = entropy(numbers[0]), entropy(numbers[1]), entropy(np.stack(numbers, 1))
    return max(0.0, (of_label + of_group - of_both) / of_group) if of_group else 1.0


def copy_index(inputs: Array) -> Array:
    """Number of the distinct sample [N] that each sample [N, …] is an exact copy of, counted as they first appear."""
    hashes = np.array([hash(np.ascontiguousarray(sample).tobytes()) for sample in inputs])
    _, first, original = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.empty(len(first), int)
    order[np.argsort(first)] = np.arange(len(first))  # hashes differ from process to process
    return order[original]


def is_whole_numbers(inputs: Array) -> bool:
    """Return whether samples are vectors of whole numbers, which may be equal by chance."""
    return inputs.ndim == 2 and bool((inputs == np.round(inputs)).all())


def _copies(samples: Samples, splits: Array | None, original: Array) -> list[tuple[str, Sequence[str]]]:
    """Find what exact copies cause; `original` as `copy_index`."""
    first = np.unique(original, return_index=True)[1]
    copies = np.bincount(original)[original] > 1

    def differing(values: Array | None) -> Array:
        """Return whether each sample has a copy with another value, [N]."""
        if values is None:
            return np.zeros(len(original), bool)
        other = values != values[first[original]]  # than the first of the copies
        return np.bincount(original, other)[original] > 0

    def example(rows: Array, values: Array | None) -> Message:
        assert values is not None  # noqa: S101 - `differing` finds no row without values
        row = np.flatnonzero(rows)[0]
        same = np.flatnonzero(original == original[row])
        pair = np.array([row, same[values[same] != values[row]][0]])
        names = pair if samples.files is None else samples.files[pair]
        if names[0] != names[1]:
            return Message("such as {first} and {second}", first=names[0], second=names[1])
        return Message("such as two of {name}", name=names[0])

    n, conflict, copied = len(original), [], []
    conflicting = Message("a sample with another label"), Message("a sample with another condition")
    for values, what in zip((samples.labels, samples.anomalous), conflicting, strict=True):
        rows = differing(values)
        if rows.mean() >= MIN_COPIED_FRACTION:
            pair = example(rows, values)
            conflict.append(
                Message(
                    "{copies} of {n} samples are exact copies of {what}, {pair}",
                    copies=rows.sum(),
                    n=n,
                    what=what,
                    pair=pair,
                )
            )
    elsewhere = Message("a sample in another split"), Message("a sample in another group")
    for values, what in zip((splits, samples.groups), elsewhere, strict=True):
        rows = differing(values)
        if rows.mean() >= MIN_COPIED_FRACTION:
            pair = example(rows, values)
            copied.append(
                Message(
                    "{copies} of {n} samples are exact copies of {what}, {pair}: held-out samples were also learnt "
                    "from",
                    copies=rows.sum(),
                    n=n,
                    what=what,
                    pair=pair,
                )
            )
    again = n - len(first)
    if samples.groups is None and not copied and again >= MIN_COPIED_FRACTION * n:
        text = Message(
            "{copies} of {n} samples are exact copies of others, {pair}: copies are learnt from or held out together, "
            "so a false-alarm rate is promised from the {differing} that differ",
            copies=again,
            n=n,
            pair=example(copies, np.arange(n)),
            differing=len(first),
        )
        whole = is_whole_numbers(samples.inputs)
        copied.append(Message("{sentence}, unless these are too few", sentence=text) if whole else text)
    return [("conflict", conflict), ("copies", copied)]


def _constant(inputs: Array) -> Sequence[str]:
    """Find channels and features that never vary, and blank samples."""
    found = []
    low, high = inputs.min(0), inputs.max(0)
    still = low == high
    if inputs.ndim == 3:
        dead = low.min(1) == high.max(1)
        if dead.any():
            found.append(
                Message(
                    "{dead} of {n} channels never vary ({numbers}, counted from 1): dead, or not connected",
                    dead=dead.sum(),
                    n=len(dead),
                    numbers=_list(np.flatnonzero(dead) + 1),
                )
            )
    elif len(inputs) > 1 and 2 * still.sum() > still.size:
        found.append(Message("{still} of {n} numbers of each sample never vary", still=still.sum(), n=still.size))
    if inputs.ndim > 2:
        flat = inputs.reshape(len(inputs), -1)
        blank = flat.min(1) == flat.max(1)
        if blank.mean() >= MIN_COPIED_FRACTION:
            found.append(
                Message(
                    "{blank} of {n} samples are blank: they have the same value everywhere",
                    blank=blank.sum(),
                    n=len(inputs),
                )
            )
    return found


def _clipped(inputs: Array) -> Sequence[str]:
    """Find channels [N, C, T] that are clipped: exactly at an end of their range far more often than at other values.

    An end at 0 does not count, because it is the value of sensors at rest.
    """
    if inputs.ndim != 3:
        return []
    clipped = []
    for number, channel in enumerate(inputs[_some(inputs)].swapaxes(0, 1), start=1):
        values, counts = np.unique(channel, return_counts=True)
        often = max(MIN_CLIPPED_FRACTION * channel.size, MIN_CLIPPED_RATIO * np.median(counts))
        ends = [end for end in (0, -1) if values[end] != 0 and counts[end] >= often]
        if len(values) >= MIN_VALUES and ends:
            clipped.append(Message("{number} (at {ends})", number=number, ends=_list(values[ends])))
    if not clipped:
        return []
    return [
        Message(
            "{clipped} of {n} channels are clipped at an end of their range: {which}",
            clipped=len(clipped),
            n=inputs.shape[1],
            which=", ".join(clipped),
        )
    ]


def _too_easy(samples: Samples) -> list[str]:
    if samples.labels is None:
        return []
    rows = _some(samples.inputs)
    counts = np.unique(samples.labels[rows], return_counts=True)[1]
    if len(counts) < 2 or counts.min() < MIN_SAMPLES_PER_LABEL:
        return []
    accuracy, best = best_single_feature(samples.inputs[rows], samples.labels[rows])
    if accuracy < TOO_EASY:
        return []
    size = samples.inputs[0].size
    what = f"number {best + 1} of {size}" if best < size else ("the mean", "the standard deviation")[best - size]
    return [
        f"{what} of each sample alone determines all {len(counts)} labels ({accuracy:.1%} right), so a network need "
        "not learn anything else and its softmax reveals little about anomalies; score by neighbours, or pass no labels"
    ]


def best_single_feature(inputs: Array, labels: Array) -> tuple[float, int]:
    """Find the number of the input that classifies the labels [N] best, by the nearest class mean.

    The numbers are those of inputs [N, …] flattened, then each sample's mean and standard deviation.

    Returns
    -------
    accuracy : float
        The fraction of the samples that it classifies correctly.
    feature : int
        Its position, counted from 0.
    """
    classes, label = np.unique(labels, return_inverse=True)
    x = inputs.reshape(len(inputs), -1).astype(np.float32)
    if x.shape[1] > 1:
        x = np.concatenate([x, x.mean(1, keepdims=True), x.std(1, keepdims=True)], axis=1)
    nearest = np.full(x.shape, np.inf, np.float32)  # distance to the nearest mean of another label
    to_own = np.empty_like(nearest)
    for number in range(len(classes)):
        distance = np.abs(x - x[label == number].mean(0))
        to_own[label == number] = distance[label == number]
        distance[label == number] = np.inf
        np.minimum(nearest, distance, out=nearest)
    right = (to_own < nearest).mean(0)
    return float(right.max()), int(right.argmax())


def check_learnt(accuracy: float, n: int, targets: Array, n_views: int) -> list[Issue]:
    """Report a task that was not learnt: held-out samples are classified no better than by guessing.

    Guessing means predicting the most frequent class for everything. A task counts as not learnt if a binomial test
    cannot distinguish it from guessing (one-sided, at 5 %) and a half-learnt task, midway between guessing and perfect,
    can be excluded (99 % bound of Clopper & Pearson, Biometrika 1934). A few samples cannot exclude that, and then
    nothing is reported.

    Parameters
    ----------
    accuracy : float
        The fraction of the views that are classified correctly.
    n : int
        The number of held-out samples; the views of a sample are not independent, so it counts once.
    targets : int array [...]
        The true class of each view.
    n_views : int
        The number of views of a sample.
    """
    from scipy.stats import binomtest  # looking at files needs no SciPy

    counts = np.unique(targets, return_counts=True)[1]
    chance = float(counts.max() / counts.sum())
    right = round(accuracy * n)
    above = binomtest(right, n, chance, alternative="greater").pvalue
    most = binomtest(right, n, 0.5, alternative="less").proportion_ci(CONFIDENCE).high
    if above <= SIGNIFICANCE or most >= (1 + chance) / 2:
        return []
    what = "labels" if n_views == 1 else f"{n_views} views of a sample"
    return [
        Issue(
            "not learnt",
            f"the {what} were not learnt: {accuracy:.2f} of {n} held-out samples are classified correctly, guessing "
            f"gives {chance:.2f}, so the softmax reveals nothing about anomalies; use more epochs or samples, or "
            "another task",
        )
    ]
