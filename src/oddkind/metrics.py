"""Metrics of anomaly scores, and their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError


def auc(anomalous: Array, scores: Array) -> float:
    """Area under the ROC curve: the chance that an anomaly scores above a normal sample; ties count half.

    `anomalous` is bool [N], `scores` [N].

    Raises
    ------
    InputError
        If there are no anomalous or no normal samples.
    """
    anomalous = np.asarray(anomalous, bool)
    if anomalous.all() or not anomalous.any():
        raise InputError(f"AUC needs normal and anomalous samples; all {len(anomalous)} are of one kind")
    normal, odd = np.sort(np.asarray(scores)[~anomalous]), np.asarray(scores)[anomalous]
    below, up_to = (np.searchsorted(normal, odd, side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(normal)))


def auc_difference(
    anomalous: Array, first: Array, second: Array, groups: Array | None = None, level: float = 0.95
) -> tuple[float, tuple[float, float] | None]:
    """AUC of a second score minus that of a first one for the same samples, and an interval for it.

    The variance is that of DeLong et al., "Comparing the areas under two or more correlated receiver operating
    characteristic curves", Biometrics 1988, summed over groups as by Obuchowski, "Nonparametric analysis of clustered
    ROC curve data", Biometrics 1997: it is the variance of the influences of whole groups. It is an approximation for
    many samples; if both scores separate all, the interval is the point 0.

    Parameters
    ----------
    anomalous : bool array [N]
    first, second : array [N]
    groups : array [N] or None
        What is independent, such as the recording of a window; None: each sample.
    level : float
        The probability that the interval covers the difference.

    Returns
    -------
    difference, (low, high)
        None in place of the interval if all samples are of one group.

    Raises
    ------
    InputError
        As `auc`.
    """
    anomalous = np.asarray(anomalous, bool)
    difference = auc(anomalous, second) - auc(anomalous, first)
    influence = _influence(anomalous, np.asarray(second)) - _influence(anomalous, np.asarray(first))
    _, index = np.unique(np.arange(len(anomalous)) if groups is None else groups, return_inverse=True)
    of_groups = np.bincount(index, influence)
    n = len(of_groups)
    if n < 2:
        return difference, None
    half = NormalDist().inv_cdf((1 + level) / 2) * float(np.sqrt(n / (n - 1) * np.square(of_groups).sum()))
    return difference, (max(-1.0, difference - half), min(1.0, difference + half))


def _influence(anomalous: Array, scores: Array) -> Array:
    """How much each sample moves the AUC, [N]: its chance of being ordered correctly minus the mean, by its share."""
    found = np.empty(len(scores))
    for kind in (False, True):
        own, others = scores[anomalous == kind], np.sort(scores[anomalous != kind])
        below = (np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")) / (2 * len(others))
        right = below if kind else 1 - below
        found[anomalous == kind] = (right - right.mean()) / len(own)
    return found


def partial_auc(anomalous: Array, scores: Array, max_false_alarms: float = 0.1) -> float:
    """Area under the ROC curve up to a false-alarm rate, scaled so that chance is 0.5 and the best 1.

    McClish, "Analyzing a portion of the ROC curve", 1989; with 0.1 it is the pAUC of DCASE task 2. Raises the errors of
    `auc`.
    """
    auc(anomalous, scores)
    anomalous, scores = np.asarray(anomalous, bool), np.asarray(scores)
    values = np.unique(scores)[::-1]
    false_alarms, found = (
        np.append(0, len(own) - np.searchsorted(np.sort(own), values, "left")) / len(own)
        for own in (scores[~anomalous], scores[anomalous])
    )
    inside = false_alarms < max_false_alarms
    x = np.append(false_alarms[inside], max_false_alarms)
    area = np.trapezoid(np.append(found[inside], _found_at(max_false_alarms, false_alarms, found)), x)
    chance = max_false_alarms**2 / 2
    return float((1 + (area - chance) / (max_false_alarms - chance)) / 2)


def _found_at(rate: float, false_alarms: Array, found: Array) -> float:
    """Height of the ROC curve just before a rate, between the points on both sides."""
    after = int(np.searchsorted(false_alarms, rate, side="left"))
    return float(np.interp(rate, false_alarms[after - 1 : after + 1], found[after - 1 : after + 1]))


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's t interval for the mean of independent runs; None if there are fewer than two."""
    if len(values) < 2:
        return None
    from scipy import stats  # scoring needs no SciPy

    mean, error = np.mean(values), stats.sem(values)
    half = float(error * stats.t.ppf((1 + level) / 2, len(values) - 1))
    return float(mean) - half, float(mean) + half
