"""Scores of the softmax that need more than a formula for logits: what is usual, a known label, a known transform."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.formulas import label_nll, target_nll
from oddkind.model.outputs import Outputs, log_softmax, logsumexp
from oddkind.model.score import Arrays, refuse_absent


def learn_likelihood(normal: Outputs, temperature: float) -> Arrays:
    """Usual probabilities of each label, and the mean and standard deviation of its `label_nll`."""
    if normal.targets is None:
        raise InputError("score 'likelihood' compares with normal samples: pass their outputs with targets")
    labels, index = np.unique(normal.targets[:, 0] // normal.n_views, return_inverse=True)
    log_p = log_softmax(np.asarray(normal.logits, float) / temperature)
    usual = np.stack(
        [logsumexp(log_p[own], axis=0) - np.log(own.sum()) for own in (index == n for n in range(len(labels)))]
    )
    nll = label_nll(normal.logits, usual, temperature)
    own = [nll[index == number, number] for number in range(len(labels))]
    return {
        "labels": labels,
        "usual": usual,
        "mean": np.array([values.mean() for values in own]),
        "deviation": np.array([values.std() or 1.0 for values in own]),
    }


def likelihood(outputs: Outputs, arrays: Arrays, temperature: float) -> Array:
    """`label_nll` of the known label, or the least over the labels, standardised because some labels are harder."""
    nll = label_nll(outputs.logits, arrays["usual"], temperature)
    standard = (nll - arrays["mean"]) / arrays["deviation"]
    if outputs.targets is None:
        return standard.min(1)
    claimed = outputs.targets[:, 0] // outputs.n_views
    refuse_absent(claimed, arrays["labels"], 1)
    return standard[np.arange(len(nll)), np.searchsorted(arrays["labels"], claimed)]


def known_class_nll(outputs: Outputs, _: Arrays, temperature: float) -> Array:
    """`target_nll` of the known label, or else of the known transform, mean over the views."""
    if outputs.targets is not None:
        return target_nll(outputs.logits, outputs.targets, temperature).mean(1)
    if outputs.n_views > 1:  # the label is not known, but the transform is
        logits = transform_logits(outputs, temperature)
        return target_nll(logits, np.broadcast_to(np.arange(outputs.n_views), logits.shape[:2])).mean(1)
    raise InputError("score 'target-nll' compares with a known label: pass the labels of the samples too")


def transform_logits(outputs: Outputs, temperature: float) -> Array:
    """Logits of the transforms, summed over the labels: `Outputs.transform_logits` at a temperature."""
    return replace(outputs, logits=outputs.logits / temperature).transform_logits()
