"""Calibration of probabilities: confidence compared with accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.outputs import softmax


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence and accuracy in bins; NaN in empty bins.

    Attributes
    ----------
    edges : array [bins + 1]
        Bin b contains confidences in (edges[b], edges[b + 1]]; the first bin also contains its lower edge.
    confidence, accuracy : array [bins]
        Mean predicted probability, and the fraction of correct predictions.
    count : int array [bins]
        The number of samples.
    """

    edges: Array
    confidence: Array
    accuracy: Array
    count: Array

    @property
    def expected_error(self) -> float:
        """Calibration error Σ_b (n_b / N) |accuracy_b − confidence_b|, in [0, 1].

        With equal-width bins it is the expected calibration error: Naeini et al., AAAI 2015; Guo et al., ICML 2017.
        With equal-mass bins it is the adaptive one: Nguyen & O'Connor, "Posterior calibration and exploratory analysis
        for natural language processing models", EMNLP 2015.
        """
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.count) / self.count.sum())


def reliability(
    logits: Array, targets: Array, *, temperature: float = 1.0, bins: int = 15, equal_mass: bool = False
) -> Reliability:
    """Compare the confidence max softmax(z/T) with the accuracy; logits [N, C], targets [N].

    The bins have equal width, or contain equal numbers of samples (`equal_mass`; samples with the same confidence stay
    together), since nearly all confidences of a good network lie in the last bin of equal width.

    Raises
    ------
    InputError
        If there are no samples.
    """
    probabilities = _probabilities(logits, temperature)
    return _binned(probabilities.max(1), probabilities.argmax(1) == targets, bins, equal_mass)


def classwise_error(logits: Array, targets: Array, *, temperature: float = 1.0, bins: int = 15) -> float:
    """Difference between the probability of each class and its frequency, averaged over the classes, in [0, 1].

    (1 / C) Σ_c Σ_b (n_bc / N) |fraction of class c − mean softmax(z/T)_c| over equal-width bins; logits [N, C], targets
    [N]. It shows what the confidence of the predicted class hides: a class whose probability is too high, and another
    whose probability is too low.

    Class-wise error of Kull et al., "Beyond temperature scaling", NeurIPS 2019; static calibration error of Nixon et
    al., "Measuring calibration in deep learning", CVPR workshops 2019. Raises the errors of
    `reliability`.
    """
    classes = enumerate(_probabilities(logits, temperature).T)
    return float(np.mean([_binned(p, np.asarray(targets) == number, bins).expected_error for number, p in classes]))


def _probabilities(logits: Array, temperature: float) -> Array:
    if len(logits) == 0:
        raise InputError("a reliability diagram needs samples; there are 0")
    return softmax(np.asarray(logits, float), temperature)


def _binned(confidence: Array, right: Array, bins: int, equal_mass: bool = False) -> Reliability:
    """Compare the predicted probability of events [N] with whether they occurred [N], bin by bin."""
    edges = np.linspace(0, 1, bins + 1)
    if equal_mass:
        last = (
            -(-np.arange(bins + 1) * len(confidence) // bins) - 1
        )  # the last sample of each bin: ⌈b N / bins⌉ samples up to it
        edges = np.sort(confidence)[last.clip(0)]
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)  # bins (a, b]
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            edges,
            np.bincount(index, confidence, bins) / count,
            np.bincount(index, right, bins) / count,
            count,
        )
