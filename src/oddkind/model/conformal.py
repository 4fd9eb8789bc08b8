"""From anomaly scores to promises: conformal p-values, thresholds, and tests of whether a promise was kept."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.language import Message
from oddkind.model.combining import surprise, surprise_among_others

# Scores that differ by less than this fraction of their size or spread are ties: networks are computed in single
# precision, and another processor, batch or runtime rounds differently.
TIE = 1e-4


def tie_bound(scores: Array) -> Array:
    """Return the largest new score that counts as a tie with each of the held-out scores, [n]: as "at or above" it.

    Counting near ties makes p-values larger, never smaller, so promises hold.
    """
    if len(scores) == 0:
        return scores
    low, high = np.quantile(scores, [0.25, 0.75], method="nearest")
    with np.errstate(over="ignore"):
        return np.minimum(scores + TIE * np.maximum(np.abs(scores), high - low), np.finfo(float).max)


def group_weights(groups: Array) -> Array:
    """Weight of each sample, [n], such that each group (a recording, a session) weighs 1: 1 / its size."""
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / sizes[index]


def weight_above(scores: Array, normal: Array, weights: Array) -> Array:
    """Total weight of the normal scores [n], weights [n], at or above each score [N]; [N]."""
    order = np.argsort(normal, kind="stable")
    above = np.append(np.cumsum(weights[order][::-1])[::-1], 0)
    return above[np.searchsorted(normal[order], scores, side="left")]


def p_values(scores: Array, normal: Array, weights: Array | None = None) -> Array:
    """Conformal p-values of scores [N] among those of held-out normal samples [n]; each in [1 / (n + 1), 1].

    (1 + #{normal ≥ s}) / (1 + n). For a new normal sample that is exchangeable with the held-out ones, P(p ≤ α) ≤ α,
    whatever the score. Vovk et al., "Algorithmic learning in a random world", 2005. With weights [n], such as
    `group_weights` of recordings whose windows are similar, a sample counts with its weight, and the recordings are
    what must be exchangeable: Lee, Barber & Willett, "Distribution-free inference with hierarchical data", 2023.
    """
    weights = np.ones(len(normal)) if weights is None else weights
    return (1 + weight_above(scores, normal, weights)) / (1 + weights.sum())


def alarms(p: Array, rate: float) -> Array:
    """Return which p-values raise an alarm at a false-alarm rate: those at most as large, except for rounding."""
    return p <= rate * (1 + 1e-9)


def discoveries(p: Array, false_discovery_rate: float) -> Array:
    """Return which of many samples to call anomalous such that, on average, this fraction of them is normal; [N].

    Benjamini & Hochberg, "Controlling the false discovery rate", JRSS B 1995. It holds for conformal p-values that
    share one calibration set: Bates et al., "Testing for outliers with conformal p-values", Annals of Statistics 2023.

    Raises
    ------
    InputError
        If the rate is not in (0, 1).
    """
    if not 0 < false_discovery_rate < 1:
        raise InputError(f"false_discovery_rate={false_discovery_rate!r}; it must lie between 0 and 1")
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")
    passes = np.flatnonzero(alarms(p[order] * len(p) / np.arange(1, len(p) + 1), false_discovery_rate))
    found = np.zeros(len(p), bool)
    found[order[: passes[-1] + 1 if len(passes) else 0]] = True
    return found


def conformal_threshold(
    scores: Array, false_alarm_rate: float, weights: Array | None = None, what: str = "samples"
) -> float:
    """Return the least of the held-out scores [n] such that every score above it has a p-value of at most the rate.

    Without weights it is the ⌈(n + 1)(1 − rate)⌉-th smallest: if new samples are exchangeable with the held-out ones,
    P(score > threshold) ≤ rate, whatever the score. Papadopoulos et al., "Inductive confidence machines", ECML 2002.
    weights [n] as in `p_values`; `what` names what is counted, for the message.

    Raises
    ------
    InputError
        If the rate is not in (0, 1), or n is too small for it: 1 / (n + 1) > rate.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    check_calibration_size(weights.sum(), false_alarm_rate, what)
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    # The weight that may lie at or above a score that raises an alarm; rounded up, because 0.05 · 20 − 1 is not 0.
    allowed = false_alarm_rate * (1 + weights.sum()) - 1
    index = np.searchsorted(np.cumsum(weights[order]), allowed + 1e-9, side="right")
    return float(scores[order[min(index, len(order) - 1)]])


def check_rate(false_alarm_rate: float) -> None:
    """Refuse a false-alarm rate outside (0, 1)."""
    if not 0 < false_alarm_rate < 1:
        raise InputError(f"false_alarm_rate={false_alarm_rate!r}; it must lie between 0 and 1")


def min_calibration_size(false_alarm_rate: float) -> int:
    """Number of held-out normal samples that a false-alarm rate takes: the least n with 1 / (n + 1) ≤ rate."""
    return int(np.ceil(np.round(1 / false_alarm_rate, 9))) - 1


def check_calibration_size(n: float, false_alarm_rate: float, what: str = "samples") -> None:
    """Refuse a false-alarm rate that n held-out normal samples (or groups) cannot promise.

    Raises
    ------
    InputError
        With the number it would take.
    """
    check_rate(false_alarm_rate)
    if round(n) < min_calibration_size(false_alarm_rate):
        raise InputError(unpromised(n, false_alarm_rate, what))


def unpromised(n: float, false_alarm_rate: float, what: str) -> Message:
    """Explain why a false-alarm rate cannot be promised, and what to do."""
    least = 1 / (round(n) + 1)
    digits = 1 - math.floor(math.log10(least))  # two of them, rounded up: the rate named must be enough
    values = {
        "rate": false_alarm_rate,
        "least": min_calibration_size(false_alarm_rate),
        "what": what,
        "n": round(n),
        "higher": math.ceil(least * 10**digits - 1e-9) / 10**digits,
    }
    if least >= 0.5:  # an alarm for every other normal sample is none
        return Message(
            "a false-alarm rate of {rate:g} takes at least {least} held-out normal {what}; there are {n}. Pass more "
            "{what}",
            **values,
        )
    return Message(
        "a false-alarm rate of {rate:g} takes at least {least} held-out normal {what}; there are {n}. Pass more "
        "{what}, or raise the rate to {higher:g} or more",
        **values,
    )


@dataclass(frozen=True, eq=False)
class CalibrationScores:
    """The scores of held-out normal samples, with which others are compared.

    Attributes
    ----------
    components : array [n, P]
        The score of each component.
    scores : array [n]
        The anomaly scores.
    groups : int array [n]
        The group of each sample, counted from 0. Without groups each sample is one.
    label_index : int array [n] or None
        The label of each sample, counted from 0.
    """

    components: Array
    scores: Array
    groups: Array
    label_index: Array | None

    def of_label(self, label: int | None) -> CalibrationScores:
        """Return the samples of one label, or all if it is None."""
        if label is None:
            return self
        own = np.asarray(self.label_index) == label
        return CalibrationScores(
            self.components[own], self.scores[own], self.groups[own], np.asarray(self.label_index)[own]
        )

    @property
    def count(self) -> int:
        """The number of groups: what a promise counts."""
        return len(np.unique(self.groups))

    def independent(self, labels: Array | None = None) -> dict[str, Array]:
        """Return the first score of each group, because samples of one group are not independent.

        By the name of its label if the `labels` that were learnt are given; otherwise all are named "".
        """
        first = np.unique(self.groups, return_index=True)[1]
        if labels is None:
            return {"": self.scores[first]}
        index = np.asarray(self.label_index)[first]
        return {str(label): self.scores[first[index == number]] for number, label in enumerate(labels.tolist())}

    def weight_above(self, scores: Array, label_index: Array | None = None) -> tuple[Array, Array]:
        """Weight of the held-out scores at or above each score [N], and of all compared with; [N] each.

        Near ties count: see `tie_bound`. If `label_index` [N] is given, each score is compared only with those of its
        label.
        """
        if label_index is None:
            normal = tie_bound(self.scores)
            return weight_above(scores, normal, group_weights(self.groups)), np.full(len(scores), self.count)
        above, total = np.empty(len(scores)), np.empty(len(scores))
        for label in np.unique(label_index):
            own = label_index == label
            above[own], total[own] = self.of_label(int(label)).weight_above(scores[own])
        return above, total

    def threshold(self, false_alarm_rate: float) -> float:
        """`conformal_threshold` with near ties; if the rate cannot be promised, the greatest; ∞ if there is none."""
        if self.count < min_calibration_size(false_alarm_rate):
            return float(self.scores.max()) if len(self.scores) else math.inf
        return conformal_threshold(tie_bound(self.scores), false_alarm_rate, group_weights(self.groups))

    def pooled(self, owner: Array, how: str) -> CalibrationScores:
        """Return one score for each owner [n], such as the recording of a window; each owner lies in one group."""
        first = np.unique(owner, return_index=True)[1]
        label_index = None if self.label_index is None else self.label_index[first]
        scores = surprise_among_others(self.scores, self.groups) if how == "fisher" else self.scores
        return CalibrationScores(self.components[first, :0], pool(scores, owner, how), self.groups[first], label_index)

    def pool_new(self, scores: Array, owner: Array, how: str) -> Array:
        """Return one score for each new recording from those of its windows [n], as `pool`."""
        return pool(surprise(scores, self.scores) if how == "fisher" else scores, owner, how)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What held-out normal samples scored with their labels known, and with their labels not known.

    Attributes
    ----------
    labelled, unlabelled : CalibrationScores
        A threshold holds only for scores computed in the same way. `unlabelled` is None for a score that needs labels.
    grouped : bool
        Whether groups were passed to `fit`.
    """

    labelled: CalibrationScores
    unlabelled: CalibrationScores | None
    grouped: bool

    def of(self, *, with_labels: bool) -> CalibrationScores:
        """Return the scores to compare samples with, whose labels are known or not.

        Raises
        ------
        InputError
            If the score needs labels.
        """
        if with_labels:
            return self.labelled
        if self.unlabelled is None:
            raise InputError("this score compares with a known label: pass the labels of the samples too")
        return self.unlabelled

    @property
    def what(self) -> str:
        """What a promise counts, for messages."""
        return "groups" if self.grouped else "samples"


def false_alarm_test(n_alarms: int, n_new: int, n_calibration: int, false_alarm_rate: float) -> float:
    """Return the chance of this many false alarms or more among n_new normal samples that are like the held-out ones.

    Given n held-out samples, the chance of an alarm is Beta(k, n + 1 − k), k = ⌊rate (n + 1)⌋, so the number of alarms
    is beta-binomial: exact, for any score without ties. A small chance means that the promise does not hold for these
    samples. Vovk, "Conditional validity of inductive conformal predictors", ACML 2012.

    Raises
    ------
    InputError
        As `check_calibration_size`.
    """
    check_calibration_size(n_calibration, false_alarm_rate)
    a = math.floor(round(false_alarm_rate * (n_calibration + 1), 9))
    b = n_calibration + 1 - a

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    def chance(k: int) -> float:
        ways = -math.log(n_new + 1) - log_beta(n_new - k + 1, k + 1)
        return math.exp(ways + log_beta(k + a, n_new - k + b) - log_beta(a, b))

    return min(1.0, math.fsum(chance(k) for k in range(max(0, n_alarms), n_new + 1)))


def pool(scores: Array, owner: Array, how: str = "mean") -> Array:
    """Return one score for each recording from those of its windows [n], in the order of `np.unique(owner)`; owner [n].

    how : "mean", "max", a quantile between 0 and 1, such as "0.9", or "fisher": the mean of scores that are −log p
        (Fisher, "Statistical methods for research workers", 1925). A few windows with very small p-values raise it more
        than they raise a mean of other scores, so it responds to a short fault as well as to one in all windows.

    Raises
    ------
    InputError
        If `how` is none of these.
    """
    index = np.unique(owner, return_inverse=True)[1]
    if how in ("mean", "fisher"):
        return np.bincount(index, scores) / np.bincount(index)
    quantile = 1.0 if how == "max" else _quantile(how)
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(np.bincount(index))[:-1]
    return np.array([np.quantile(own, quantile) for own in np.split(np.asarray(scores)[order], ends)])


def _quantile(how: str) -> float:
    with suppress(ValueError):
        if 0 <= float(how) <= 1:
            return float(how)
    raise InputError(f"pool={how!r}; it must be 'fisher', 'mean', 'max' or a quantile between 0 and 1, such as '0.9'")
