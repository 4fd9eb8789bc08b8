"""From scores and logits to probabilities that can be believed: temperature, calibration error, thresholds."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import betabinom, false_discovery_control

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
    """Confidence against accuracy in bins; empty bins hold NaN.

    Attributes
    ----------
    edges : array [bins + 1]
        Bin b holds confidences in (edges[b], edges[b + 1]]; the first its lower edge, too.
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
        """Calibration error Σ_b (n_b / N) |accuracy_b − confidence_b|, in [0, 1].

        Of equal-width bins the expected calibration error: Naeini et al., AAAI 2015; Guo et al., ICML 2017. Of
        equal-mass bins the adaptive one: Nguyen & O'Connor, "Posterior calibration and exploratory analysis for
        natural language processing models", EMNLP 2015.
        """
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.count) / self.count.sum())


def reliability(
    logits: Array, targets: Array, *, temperature: float = 1.0, bins: int = 15, equal_mass: bool = False
) -> Reliability:
    """Compare confidence max softmax(z/T) with accuracy; logits [N, C], targets [N].

    The bins are equally wide, or hold equally many samples (`equal_mass`; samples of one confidence stay together):
    nearly all confidences of a good network lie in the last of equally wide ones.

    Raises
    ------
    InputError
        Where there are no samples.
    """
    probabilities = _probabilities(logits, temperature)
    return _binned(probabilities.max(1), probabilities.argmax(1) == targets, bins, equal_mass)


def classwise_error(logits: Array, targets: Array, *, temperature: float = 1.0, bins: int = 15) -> float:
    """Mean over the classes of how far their probability is from how often they are true, in [0, 1].

    (1 / C) Σ_c Σ_b (n_bc / N) |part of class c − mean softmax(z/T)_c| over equal-width bins; logits [N, C], targets
    [N]. Sees what the predicted class's confidence hides: a class that is believed too often, another too seldom.
    Class-wise error of Kull et al., "Beyond temperature scaling", NeurIPS 2019; static calibration error of Nixon et
    al., "Measuring calibration in deep learning", CVPR workshops 2019. Raises as `reliability`.
    """
    classes = enumerate(_probabilities(logits, temperature).T)
    return float(np.mean([_binned(of, np.asarray(targets) == number, bins).expected_error for number, of in classes]))


def _probabilities(logits: Array, temperature: float) -> Array:
    if len(logits) == 0:
        raise InputError("a reliability diagram needs samples; there are 0")
    return softmax(np.asarray(logits, float) / temperature, axis=1)


def _binned(confidence: Array, right: Array, bins: int, equal_mass: bool = False) -> Reliability:
    """Compare how likely events [N] were called with whether they came true [N], bin by bin."""
    edges = np.linspace(0, 1, bins + 1)
    if equal_mass:
        last = -(-np.arange(bins + 1) * len(confidence) // bins) - 1  # of each part, ⌈b N / bins⌉ samples below
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


def combined_among_others(normal: Array, weights: Array, units: Array | None = None) -> Array:
    """`combined` of each normal sample [n, P] among the others, as a new one would be among all of them; [n].

    Of more than 200, each is compared with those outside its 200th part. Samples of one unit [n] stand in one part.
    """
    if normal.shape[1] == 1:
        return normal[:, 0]
    index = np.arange(len(normal)) if units is None else np.unique(units, return_inverse=True)[1]
    part_of = index * min(index.max() + 1, 200) // (index.max() + 1)
    scores = np.empty(len(normal))
    for part in range(part_of.max() + 1):
        own = part_of == part
        scores[own] = combined(normal[own], normal[~own], weights)
    return scores


def shares(units: Array) -> Array:
    """What each sample counts, [n], where each unit (a recording, a session) counts 1 in all: 1 / its size."""
    _, index, sizes = np.unique(units, return_inverse=True, return_counts=True)
    return 1 / sizes[index]


def p_values(scores: Array, normal: Array, counts: Array | None = None) -> Array:
    """Conformal p-values of scores [N] beside those of held-out normal samples [n]; each in [1 / (n + 1), 1].

    (1 + #{normal ≥ s}) / (1 + n): of a new normal sample, exchangeable with the held-out ones, it is at most α with
    a chance of at most α, whatever the score. Vovk et al., "Algorithmic learning in a random world", 2005. With
    counts [n], such as `shares` of recordings whose windows are alike, a sample counts so much, and what must be
    exchangeable are the recordings: Lee, Barber & Willett, "Distribution-free inference with hierarchical data", 2023.
    """
    counts = np.ones(len(normal)) if counts is None else counts
    order = np.argsort(normal, kind="stable")
    above = np.append(np.cumsum(counts[order][::-1])[::-1], 0)
    return (1 + above[np.searchsorted(normal[order], scores, side="left")]) / (1 + counts.sum())


def alarms(p: Array, rate: float) -> Array:
    """Which p-values raise an alarm at a false-alarm rate: those at most as large, but for rounding."""
    return p <= rate * (1 + 1e-9)


def discoveries(p: Array, false_discovery_rate: float) -> Array:
    """Which of many samples to call anomalous, so that at most this part of those called is normal on average; [N].

    Benjamini & Hochberg, "Controlling the false discovery rate", JRSS B 1995; it holds for conformal p-values beside
    one calibration set: Bates et al., "Testing for outliers with conformal p-values", Annals of Statistics 2023.

    Raises
    ------
    InputError
        Where the rate is not in (0, 1).
    """
    if not 0 < false_discovery_rate < 1:
        raise InputError(f"false_discovery_rate={false_discovery_rate!r}; it must lie between 0 and 1")
    if len(p) == 0:
        return np.zeros(0, bool)
    return alarms(false_discovery_control(p, method="bh"), false_discovery_rate)


def conformal_threshold(
    scores: Array, false_alarm_rate: float, counts: Array | None = None, what: str = "samples"
) -> float:
    """Least of the held-out scores [n] above which every score's p-value is at most `false_alarm_rate`.

    Without counts it is the ⌈(n + 1)(1 − rate)⌉-th smallest: if new samples are exchangeable with the held-out ones,
    P(score > threshold) ≤ rate, whatever the score. Papadopoulos et al., "Inductive confidence machines", ECML 2002;
    counts [n] as in `p_values`; `what` is counted, for the refusal.

    Raises
    ------
    InputError
        Where the rate is not in (0, 1), or n is too small for it: 1 / (n + 1) > rate.
    """
    counts = np.ones(len(scores)) if counts is None else counts
    check_enough(counts.sum(), false_alarm_rate, what)
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    # So much may lie at or above a score that raises an alarm; summed and rounded alike, for 0.05 · 20 − 1 is not 0.
    allowed = false_alarm_rate * (1 + counts.sum()) - 1
    index = np.searchsorted(np.cumsum(counts[order]), allowed + 1e-9, side="right")
    return float(scores[order[min(index, len(order) - 1)]])


def needed(false_alarm_rate: float) -> int:
    """How many held-out normal samples a false-alarm rate takes: the least n with 1 / (n + 1) ≤ rate."""
    return int(np.ceil(np.round(1 / false_alarm_rate, 9))) - 1


def check_enough(n: float, false_alarm_rate: float, what: str = "samples") -> None:
    """Refuse a false-alarm rate that n held-out normal samples (or groups) cannot promise.

    Raises
    ------
    InputError
        Saying how many it takes.
    """
    if not 0 < false_alarm_rate < 1:
        raise InputError(f"false_alarm_rate={false_alarm_rate!r}; it must lie between 0 and 1")
    if round(n) < needed(false_alarm_rate):
        raise InputError(
            f"a false-alarm rate of {false_alarm_rate:g} can be promised from {needed(false_alarm_rate)} held-out "
            f"normal {what} on; there are {round(n)}. Pass more {what}, or raise false_alarm_rate or "
            "validation_fraction"
        )


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What held-out normal samples scored, to compare others with.

    Attributes
    ----------
    scores : array [n]
    units : int array [n]
        Which group each is of, from 0; without groups each is one.
    kinds : int array [n] or None
        Which label each has, from 0.
    """

    scores: Array
    units: Array
    kinds: Array | None

    def p_values(self, scores: Array, kinds: Array | None = None) -> Array:
        """P-values of scores [N] beside all, or of samples of these kinds [N] each beside its own."""
        if kinds is None:
            return p_values(scores, self.scores, shares(self.units))
        p = np.empty(len(scores))
        for kind in np.unique(kinds):
            own = self._of(kind)
            p[kinds == kind] = p_values(scores[kinds == kind], self.scores[own], shares(self.units[own]))
        return p

    def threshold(self, false_alarm_rate: float, kind: int | None = None, what: str = "samples") -> float:
        """`conformal_threshold` of all, or of a kind."""
        own = self._of(kind)
        return conformal_threshold(self.scores[own], false_alarm_rate, shares(self.units[own]), what)

    def count(self, kind: int | None = None) -> int:
        """How many units there are, of all or of a kind: what a promise is made from."""
        return len(np.unique(self.units[self._of(kind)]))

    def pooled(self, owner: Array, how: str) -> HeldOut:
        """One score for each owner (a recording of its windows) of the samples [n], by `pool`; each of one unit."""
        first = np.unique(owner, return_index=True)[1]
        kinds = None if self.kinds is None else self.kinds[first]
        return HeldOut(pool(self.scores, owner, how), self.units[first], kinds)

    def _of(self, kind: int | None) -> Array:
        return np.ones(len(self.scores), bool) if kind is None else np.asarray(self.kinds) == kind


def promise_kept(n_alarms: int, n_new: int, n_held_out: int, false_alarm_rate: float) -> float:
    """Chance of so many false alarms or more among n_new normal samples, if they are like the held-out ones.

    The chance of an alarm, given n held-out samples, is Beta(k, n + 1 − k), k = ⌊rate (n + 1)⌋, so their number is
    beta-binomial: exact, for any score without ties. Small: the promise does not hold for these samples. Vovk,
    "Conditional validity of inductive conformal predictors", ACML 2012.

    Raises
    ------
    InputError
        As `check_enough`.
    """
    check_enough(n_held_out, false_alarm_rate)
    rank = int(np.floor(np.round(false_alarm_rate * (n_held_out + 1), 9)))
    return float(betabinom.sf(n_alarms - 1, n_new, rank, n_held_out + 1 - rank))


def pool(scores: Array, owner: Array, how: str = "mean") -> Array:
    """One score for each recording from those of its windows [n], in the order of `np.unique(owner)`; owner [n].

    how : "mean", "max", or a quantile between 0 and 1, such as "0.9".

    Raises
    ------
    InputError
        Where `how` is none of these.
    """
    index = np.unique(owner, return_inverse=True)[1]
    if how == "mean":
        return np.bincount(index, scores) / np.bincount(index)
    quantile = 1.0 if how == "max" else _quantile(how)
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(np.bincount(index))[:-1]
    return np.array([np.quantile(own, quantile) for own in np.split(np.asarray(scores)[order], ends)])


def _quantile(how: str) -> float:
    with suppress(ValueError):
        if 0 <= float(how) <= 1:
            return float(how)
    raise InputError(f"pool={how!r}; it must be 'mean', 'max' or a quantile between 0 and 1, such as '0.9'")
