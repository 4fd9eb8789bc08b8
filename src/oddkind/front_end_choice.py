"""The front end of labelled sounds, chosen from normal recordings alone, before anything is trained.

Each label is hidden in turn, and its recordings stand in for anomalies: are they further from the recordings of the
other labels than those are from each other? What makes a hidden kind of normal visible makes anomalies visible that
differ as the labels do. The labels decide what matters: a picture of a sound shows which word is spoken, and statistics
of its bands who speaks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from oddkind.arrays import Array
from oddkind.errors import ConcernWarning
from oddkind.files.listing import Entry
from oddkind.files.reading import read
from oddkind.files.source import Source
from oddkind.samples import Samples

USUAL, PICTURE = ("log-mel",), ("mel-spectrogram",)
# The choice is made from at most so many recordings and windows, evenly spread.
MOST_FILES, MOST_WINDOWS = 400, 2000
# The spectrogram is chosen if it is better and the chance of such a difference is at most this.
SIGNIFICANT = 0.01


@dataclass(frozen=True)
class Comparison:
    """How visible hidden labels are in two front ends.

    Attributes
    ----------
    aucs : (float, float)
        The mean AUC over the labels with the one and with the other.
    p_value : float
        The chance of such an advantage of the other, or a larger one, if there is none.
    """

    aucs: tuple[float, float]
    p_value: float


def choose_front_end(
    files: Sequence[Entry],
    source: Source,
    *,
    cache: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> tuple[tuple[str, ...], str]:
    """Choose between statistics of mel bands and a spectrogram for normal recordings; return the names and the reason.

    Parameters
    ----------
    files : Entries
        Those that are learnt from.
    source : Source
        Resolved settings for sounds, whose front end nobody named.
    """
    usual, picture = ", ".join(USUAL), ", ".join(PICTURE)
    if len({entry.label for entry in files}) < 2:
        return USUAL, "because there are no labels to choose another one by"
    some = files[:: -(-len(files) // MOST_FILES)]
    found: list[Samples] = []
    for number, names in enumerate((USUAL, PICTURE)):
        settings = source.model_copy(update={"front_end": names})

        def progress(done: float, before: int = number) -> None:
            on_progress((before + done) / 2)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConcernWarning)  # as refusals, given when all are read
            found.append(
                read(
                    some,
                    settings,
                    cache=cache,
                    on_refused=lambda *_: None,
                    on_progress=progress,
                )
            )
    one, other = (np.asarray(samples.inputs).reshape(len(samples), -1) for samples in found)
    labels, groups, owners = found[0].labels, found[0].groups, found[0].files
    assert labels is not None and groups is not None and owners is not None  # noqa: S101, PT018 - read fills them in
    rows = np.arange(0, len(one), -(-len(one) // MOST_WINDOWS))
    scale = one.std(0)
    one = (one - one.mean(0)) / np.where(scale > 0, scale, 1)
    compared = compare((one[rows], other[rows]), labels[rows], groups[rows], owners[rows])
    if compared is None:
        return USUAL, "because too few recordings have labels to choose another one by"
    chosen = USUAL if compared.p_value > SIGNIFICANT else PICTURE
    here, there = compared.aucs
    shown = f"AUC {there:.3f} in {picture}, {here:.3f} in {usual}, p = {compared.p_value:.2g}"
    better = "is" if chosen == PICTURE else "is not"
    return chosen, f"because a label that is hidden {better} told from the others more clearly in {picture} ({shown})"


def compare(vectors: tuple[Array, Array], labels: Array, groups: Array, files: Array) -> Comparison | None:
    """Compare how visible hidden labels are among two descriptions of the same samples, [N, D] and [N, E].

    Each label is hidden in turn. A sample is scored by its distance to the nearest one of the other labels and of
    another group, and a file by the mean of its samples. The difference of the two AUCs is tested by the variance of
    correlated AUCs: DeLong et al., "Comparing the areas under two or more correlated receiver operating characteristic
    curves", Biometrics 1988; one-sided. None if no label can be hidden.

    Parameters
    ----------
    labels, groups, files : arrays [N]
    """
    names, first, file = np.unique(files, return_index=True, return_inverse=True)
    of_file, group = labels[first], np.unique(groups, return_inverse=True)[1]
    apart = [_distances(one, group) for one in vectors]
    aucs, differences, variances = [], [], []
    for label in np.unique(labels):
        nearest = [one[:, labels != label].min(1, initial=np.inf) for one in apart]
        if not np.isfinite(nearest).all():  # the others are of one group, or there are none
            continue
        hidden = of_file == label
        if min(hidden.sum(), (~hidden).sum()) < 2:
            continue
        scores = [np.bincount(file, one, len(names)) / np.bincount(file) for one in nearest]
        wins = [_wins(own[hidden], own[~hidden]) for own in scores]
        better = wins[1] - wins[0]
        aucs.append([own.mean() for own in wins])
        differences.append(better.mean())
        variances.append(better.mean(1).var(ddof=1) / len(better) + better.mean(0).var(ddof=1) / better.shape[1])
    if not aucs:
        return None
    here, there = np.mean(aucs, 0)
    difference, deviation = float(np.sum(differences)), float(np.sqrt(np.sum(variances)))
    p_value = float(ndtr(-difference / deviation)) if deviation > 0 else float(difference <= 0)
    return Comparison((float(here), float(there)), p_value)


def _distances(vectors: Array, group: Array) -> Array:
    """Euclidean distances between all vectors [N, D]; infinite within a group."""
    vectors = np.asarray(vectors, float)
    squares = np.square(vectors).sum(1)
    apart = np.sqrt((squares[:, None] - 2 * vectors @ vectors.T + squares).clip(min=0))
    apart[group[:, None] == group] = np.inf
    return apart


def _wins(hidden: Array, others: Array) -> Array:
    """Whether each hidden score exceeds each other one, a half if they are equal; [n, m]. The mean is the AUC."""
    return (hidden[:, None] > others) + 0.5 * (hidden[:, None] == others)
