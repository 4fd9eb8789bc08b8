"""Metrics of anomaly scores, and their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score

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
    return float(roc_auc_score(anomalous, scores))


def partial_auc(anomalous: Array, scores: Array, max_false_alarms: float = 0.1) -> float:
    """Area under the ROC curve up to a false-alarm rate, scaled so that chance is 0.5 and the best 1.

    McClish, "Analyzing a portion of the ROC curve", 1989; with 0.1 it is the pAUC of DCASE task 2. Raises the errors of
    `auc`.
    """
    auc(anomalous, scores)
    return float(roc_auc_score(np.asarray(anomalous, bool), scores, max_fpr=max_false_alarms))


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's t interval for the mean of independent runs; None if there are fewer than two."""
    if len(values) < 2:
        return None
    mean, error = np.mean(values), stats.sem(values)
    half = float(error * stats.t.ppf((1 + level) / 2, len(values) - 1))
    return float(mean) - half, float(mean) + half
