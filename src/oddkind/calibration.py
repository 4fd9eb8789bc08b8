"""From scores and logits to probabilities that can be believed: temperature, calibration error, thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from oddkind.errors import InputError

Array = npt.NDArray[Any]


def fit_temperature(logits: Array, targets: Array, *, bounds: tuple[float, float] = (0.05, 20.0)) -> float:
    """Temperature that makes held-out normal samples most likely: argmin_T −Σ log softmax(z/T)_target.

    logits [N, C], targets [N]; the likelihood is concave in 1/T, so the optimum is unique; a network that
    makes no mistake on the held-out part would ask for T → 0 and gets the lower bound. Guo et al., "On
    calibration of modern neural networks", ICML 2017.

    Raises
    ------
    InputError
        Where there are no samples.
    """
    if len(logits) == 0:
        raise InputError("fitting the temperature needs held-out samples; there are 0")
    logits = np.asarray(logits, float)
    rows = np.arange(len(logits))

    def mean_nll(log_inverse: float) -> float:
        return float(-log_softmax(logits * np.exp(log_inverse), axis=1)[rows, targets].mean())

    low, high = (-np.log(bound) for bound in reversed(bounds))
    return float(np.exp(-minimize_scalar(mean_nll, bounds=(low, high), method="bounded").x))


def perplexity(logits: Array, targets: Array, temperature: float) -> float:
    """Between how many classes the network hesitates on held-out samples, exp(NLL), from 1 (sure and right) to C.

    logits [N, C], targets [N]; the NLL is cut at that of guessing. At the temperature of `fit_temperature` it is the
    same however the logits are scaled. Jelinek et al., "Perplexity – a measure of the difficulty of speech recognition
    tasks", 1977.
    """
    log_p = log_softmax(np.asarray(logits, float) / temperature, axis=1)
    nll = -log_p[np.arange(len(targets)), targets].mean()
    return float(min(np.exp(nll), log_p.shape[1]))


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy in equal-width bins; empty bins hold NaN.

    Attributes
    ----------
    edges : array [bins + 1]
    confidence, accuracy : array [bins]
        Mean predicted probability, and the part predicted right.
    count : int array [bins]
    """

    edges: Array
    confidence: Array
    accuracy: Array
    count: Array

    @property
    def expected_error(self) -> float:
        """Expected calibration error, Σ_b (n_b / N) |accuracy_b − confidence_b|, in [0, 1].

        Naeini et al., AAAI 2015; Guo et al., ICML 2017.
        """
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.count) / self.count.sum())


def reliability(logits: Array, targets: Array, *, temperature: float = 1.0, bins: int = 15) -> Reliability:
    """Compare confidence max softmax(z/T) with accuracy; logits [N, C], targets [N].

    Raises
    ------
    InputError
        Where there are no samples.
    """
    if len(logits) == 0:
        raise InputError("a reliability diagram needs samples; there are 0")
    probabilities = softmax(np.asarray(logits, float) / temperature, axis=1)
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == targets
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)  # bins (a, b]
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            edges,
            np.bincount(index, confidence, bins) / count,
            np.bincount(index, right, bins) / count,
            count,
        )


def surprise(scores: Array, normal: Array) -> Array:
    """How rare such scores [N] are among normal ones [n], −log p, ≥ 0.

    p is the part of the normal scores at or above, (#{≥ s} + 1) / (n + 1), and −log p a straight line between them;
    above their 90 % quantile it goes on as an exponential tail with their mean excess, so that far anomalies stay
    apart.
    """
    n = len(normal)
    if n == 0:
        return np.zeros(len(scores))
    known = np.unique(np.asarray(normal, float))
    above = n - np.searchsorted(np.sort(normal), known, side="left")
    usual = -np.log((above + 1) / (n + 1))
    start = np.quantile(normal, 0.9, method="lower")
    excess = np.asarray(normal)[normal > start] - start
    if len(excess) == 0:  # no spread above: what was seen is all there is to go by
        return np.interp(scores, known, usual, right=np.log(n + 1))
    tail = np.interp(start, known, usual) + (scores - start) / excess.mean()
    return np.where(scores > start, tail, np.interp(scores, known, usual))


def combined(scores: Array, normal: Array, weights: Array) -> Array:
    """Make one score [N] of P scores [N, P], each by its surprise among normal ones [n, P]; one stays as it is.

    Σ_p w_p (−log p_p), weights [P]: Fisher's method ("Statistical methods for research workers", 1925), weighted as
    by Good, "On the weighted combination of significance tests", 1955.
    """
    if scores.shape[1] == 1:
        return scores[:, 0]
    surprises = [surprise(own, among) for own, among in zip(scores.T, normal.T, strict=True)]
    return np.sum(np.asarray(weights)[:, None] * surprises, axis=0)


def combined_among_others(normal: Array, weights: Array) -> Array:
    """`combined` of each normal sample [n, P] among the others, as a new one would be among all of them; [n].

    Of more than 200, each is compared with those outside its 200th part.
    """
    if normal.shape[1] == 1:
        return normal[:, 0]
    parts = np.array_split(np.arange(len(normal)), min(len(normal), 200))
    return np.concatenate([combined(normal[part], np.delete(normal, part, 0), weights) for part in parts])


def p_values(scores: Array, normal: Array) -> Array:
    """Split-conformal p-values of scores [N] beside those of held-out normal samples [n]; each in [1 / (n + 1), 1].

    (1 + #{normal ≥ s}) / (1 + n): of a new normal sample, exchangeable with the held-out ones, it is at most α with
    a chance of at most α, whatever the score. Vovk et al., "Algorithmic learning in a random world", 2005.
    """
    above = len(normal) - np.searchsorted(np.sort(normal), scores, side="left")
    return (1 + above) / (1 + len(normal))


def conformal_threshold(scores: Array, false_alarm_rate: float) -> float:
    """Threshold above which at most `false_alarm_rate` of new normal samples fall, from held-out ones [n].

    The ⌈(n + 1)(1 − rate)⌉-th smallest held-out score: if new samples are exchangeable with the held-out
    ones, P(score > threshold) ≤ rate, whatever the score. Vovk et al., "Algorithmic learning in a random
    world", 2005; Papadopoulos et al., "Inductive confidence machines", ECML 2002.

    Raises
    ------
    InputError
        Where the rate is not in (0, 1), or n is too small for it: 1 / (n + 1) > rate.
    """
    rank = conformal_rank(len(scores), false_alarm_rate)
    return float(np.partition(np.asarray(scores, float), rank - 1)[rank - 1])


def conformal_rank(n: int, false_alarm_rate: float) -> int:
    """Which of n held-out scores, from 1 for the smallest, `conformal_threshold` is; refuses as it does."""
    if not 0 < false_alarm_rate < 1:
        raise InputError(f"false_alarm_rate={false_alarm_rate!r}; it must lie between 0 and 1")
    # Rounded first: (9 + 1)(1 − 0.7) is 3.0000000000000004 in floating point, and must be 3.
    rank = int(np.ceil(np.round((n + 1) * (1 - false_alarm_rate), 9)))
    if rank > n:
        needed = int(np.ceil(np.round(1 / false_alarm_rate, 9))) - 1
        raise InputError(
            f"a false-alarm rate of {false_alarm_rate:g} can be promised from {needed} held-out normal samples on; "
            f"there are {n}. Pass more samples, or raise false_alarm_rate or validation_fraction"
        )
    return rank
