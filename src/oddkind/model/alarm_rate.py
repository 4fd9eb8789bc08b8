"""The observed rate of alarms, with bounds and evidence that are valid at any time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# What is stated about the rate is ever wrong in at most this fraction of runs.
ERROR = 0.01


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@dataclass
class AlarmRate:
    """Alarms among new samples, counted against the promised false-alarm rate, whenever one looks.

    Attributes
    ----------
    n_calibration : int
        The number of held-out samples or groups, n.
    false_alarm_rate : float
        The promised rate, α.
    n, n_alarms : int
        New samples so far, and alarms among them.
    log_evidence : float
        The logarithm of the evidence that there are more alarms than promised.
    """

    n_calibration: int
    false_alarm_rate: float
    n: int = 0
    n_alarms: int = 0
    log_evidence: float = 0.0

    def add(self, alarm: bool) -> None:
        """Count one new sample.

        Given n held-out samples and no ties, the number of false alarms is beta-binomial (`false_alarm_test`), so the
        next sample raises one with probability q₀ = (k + A) / (n + 1 + N) after A alarms among N samples, k =
        ⌊α (n + 1)⌋. The evidence is multiplied by q / q₀ at an alarm and by (1 − q) / (1 − q₀) otherwise, q the larger
        of q₀ and (A + ½) / (N + 1), the estimate of Krichevsky and Trofimov. If the new samples are exchangeable with
        the held-out ones, it is a martingale that begins at 1: the probability that it ever reaches c is at most 1 / c.
        For a model of several folds, of which n counts all held-out samples, it is approximate.
        """
        k = math.floor(round(self.false_alarm_rate * (self.n_calibration + 1), 9))
        if k > 0:  # otherwise no alarm can be raised
            null = (k + self.n_alarms) / (self.n_calibration + 1 + self.n)
            other = max(null, (self.n_alarms + 0.5) / (self.n + 1))
            self.log_evidence += math.log(other / null) if alarm else math.log((1 - other) / (1 - null))
        self.n += 1
        self.n_alarms += alarm

    @property
    def evidence(self) -> float:
        """Evidence that there are more alarms than promised: at least 100 without a reason in 1 of 100 runs at most."""
        return math.exp(min(self.log_evidence, 690))

    def bounds(self, error: float = ERROR) -> tuple[float, float]:
        """Bounds of the rate of alarms of this model, which hold at all times together with probability 1 − `error`.

        They assume that the new samples are independent and from one source, so that each raises an alarm with the same
        probability θ; it may be any. θ is excluded if B(A + ½, N − A + ½) / (B(½, ½) θᴬ (1 − θ)ᴺ⁻ᴬ), a martingale,
        reaches 1 / `error`: Robbins, "Statistical methods related to the law of the iterated logarithm", 1970.
        """
        alarms, others = self.n_alarms, self.n - self.n_alarms
        if not self.n:
            return 0.0, 1.0
        limit = _log_beta(alarms + 0.5, others + 0.5) - _log_beta(0.5, 0.5) + math.log(error)

        def allowed(rate: float) -> bool:
            terms = (alarms, rate), (others, 1 - rate)
            return math.fsum(count * math.log(p) if p else -math.inf for count, p in terms if count) > limit

        def edge(inside: float, outside: float) -> float:
            if allowed(outside):
                return outside
            for _ in range(60):
                middle = (inside + outside) / 2
                inside, outside = (middle, outside) if allowed(middle) else (inside, middle)
            return outside

        return edge(alarms / self.n, 0.0), edge(alarms / self.n, 1.0)


def together(rates: Sequence[AlarmRate]) -> AlarmRate:
    """Join what was counted within labels: the sums of the counts, and the product of the evidence, a martingale."""
    return AlarmRate(
        sum(rate.n_calibration for rate in rates),
        rates[0].false_alarm_rate,
        sum(rate.n for rate in rates),
        sum(rate.n_alarms for rate in rates),
        sum(rate.log_evidence for rate in rates),
    )
