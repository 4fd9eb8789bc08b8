"""Evidence of drift that is valid at any time: a conformal test martingale.

The p-values of `conformal` compare every new sample with one fixed set of held-out ones. They share that set, so they
are not independent: bets on them gain without any drift if the set happens to be unusual. A score that is compared with
the held-out scores *and all new ones before it* has a p-value that is independent of the earlier ones and uniform, if
all are exchangeable. Bets on these p-values are a martingale.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Drift is declared at this evidence: without drift it is ever reached in at most 1 of 100 runs.
DRIFT = 100.0
# Densities that are bet on, as (a, b) of a Beta distribution, with the fraction of the capital for each. Half of it
# is for scores that rise, so that p-values fall; the rest for scores that fall, spread out, or move to the middle.
BETS = (
    *(((a, 1.0), 1 / 10) for a in (0.1, 0.25, 0.5, 0.75)),
    ((1.0, 2.0), 1 / 10),
    *(((1.0, a), 1 / 20) for a in (0.1, 0.25, 0.5, 0.75)),
    ((2.0, 1.0), 1 / 20),
    ((0.5, 0.5), 1 / 8),
    ((3.0, 3.0), 1 / 8),
)
LARGEST = 1e300  # evidence beyond is not told apart
SMALLEST_P = 1e-15


def _log_density(p: float) -> np.ndarray:
    """Return the logarithm of each density of `BETS` at p, [B]."""
    p = min(max(p, SMALLEST_P), 1 - SMALLEST_P)
    return _A * math.log(p) + _B * math.log1p(-p) - _LOG_BETA


_A, _B = (np.array([of[place] - 1 for of, _ in BETS]) for place in (0, 1))
_LOG_BETA = np.array([math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b) for (a, b), _ in BETS])
_LOG_SHARE = np.log([share for _, share in BETS])


@dataclass
class Capital:
    """A capital that is bet against uniform p-values, from a start that is not known.

    It begins at 1 and waits. Before p-value number n = 1, 2, … a fraction 1 / (n + 1) of what still waits is divided
    among `BETS` and stays there; each bet multiplies its part by its density at the p-value. If the p-values are
    independent and uniform, the sum S is a martingale, so by Ville's inequality P(S ever reaches c) ≤ 1 / c. What waits
    is 1 / (n + 1) after n p-values, so a drift that begins late is found nearly as soon as an early one, whereas a
    capital that is always bet is lost by then.

    Attributes
    ----------
    n : int
        The number of p-values.
    log_waiting : float
        The logarithm of what waits.
    log_betted : tuple of float
        That of the part of each bet.
    log_highest : float
        The logarithm of the largest S so far.

    References
    ----------
    Ville, "Étude critique de la notion de collectif", 1939. Vovk, Nouretdinov & Gammerman, "Testing exchangeability
    on-line", ICML 2003 (the bets a pᵃ⁻¹ and their mixture). Vovk, "Testing randomness online", Statistical Science
    2021.
    """

    n: int = 0
    log_waiting: float = 0.0
    log_betted: tuple[float, ...] = (-math.inf,) * len(BETS)
    log_highest: float = 0.0

    def bet(self, p: float) -> None:
        """Bet against one p-value in [0, 1]."""
        self.n += 1
        begins = self.log_waiting - math.log(self.n + 1)
        self.log_waiting += math.log(self.n) - math.log(self.n + 1)
        bet = np.logaddexp(np.array(self.log_betted), begins + _LOG_SHARE) + _log_density(p)
        self.log_betted = tuple(bet.tolist())
        self.log_highest = max(self.log_highest, self.log_evidence)

    @property
    def log_evidence(self) -> float:
        """The logarithm of the capital S."""
        return float(np.logaddexp.reduce([self.log_waiting, *self.log_betted]))


class ConformalMartingale:
    """Evidence that new samples are not exchangeable with held-out ones, valid whenever one stops.

    The p-value of each new score s is p = (#{> s} + U (1 + #{= s})) / (1 + n) among the n held-out and earlier new
    scores, U uniform. If all scores are exchangeable, these p-values are independent and uniform, whatever the
    distribution of the scores and however few are held out (Vovk, Gammerman & Shafer, "Algorithmic learning in a random
    world", 2005, theorem 8.1), so `evidence` is a martingale (`Capital`): the probability that it ever reaches `DRIFT`
    is at most 1 / 100.

    Parameters
    ----------
    calibration : mapping of str to array [n]
        Held-out scores by category. A new score is compared within its category, which need not be here (Mondrian);
        scores need be exchangeable only within one. One score for each group of samples that are not independent.
    seed : int
        Of the random numbers U. That of the n-th score depends on the seed and n alone.

    Notes
    -----
    Shaer, Bar, Prinster & Romano, "Testing for distribution shifts with conditional conformal test martingales", ICML
    2026 (arXiv:2602.13848), compare with the held-out scores alone, so that shifted scores do not hide those that
    follow, and pay for the uncertainty of that fixed set. With tens to hundreds of held-out scores that price is
    higher: `bench/watching.py`.

    It takes 8 bytes a score: 8 MB for a million.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> martingale = ConformalMartingale({"": random.normal(size=50)})
    >>> for score in random.normal(size=100):
    ...     p = martingale.add(score)
    >>> martingale.evidence < DRIFT
    True
    >>> for score in random.normal(2, size=30):
    ...     p = martingale.add(score)
    >>> martingale.evidence > DRIFT
    True
    """

    def __init__(self, calibration: Mapping[str, Any], seed: int = 0) -> None:
        self._sorted = {
            category: array("d", np.sort(np.asarray(scores, float))) for category, scores in calibration.items()
        }
        self._seed = seed
        self._capital = Capital()

    def add(self, score: float, category: str = "") -> float:
        """Add one new score and return its p-value.

        Raises
        ------
        ValueError
            If it is NaN.
        """
        score = float(score)
        if math.isnan(score):
            raise ValueError("the score is NaN")
        known = self._sorted.setdefault(category, array("d"))
        below, up_to = bisect_left(known, score), bisect_right(known, score)
        u = np.random.default_rng((self._seed, self._capital.n)).random()
        p = (len(known) - up_to + u * (1 + up_to - below)) / (1 + len(known))
        self._capital.bet(p)
        insort(known, score)
        return float(p)

    @property
    def n(self) -> int:
        """The number of new scores."""
        return self._capital.n

    @property
    def evidence(self) -> float:
        """The capital: 1 at the start; it grows if there is drift, and falls if there is none."""
        return float(min(math.exp(min(self._capital.log_evidence, 700)), LARGEST))

    @property
    def drifted(self) -> bool:
        """Whether the evidence has ever reached `DRIFT`."""
        return self._capital.log_highest >= math.log(DRIFT)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs besides the new scores, as a JSON object of constant size."""
        capital = self._capital
        bet = [None if value == -math.inf else value for value in capital.log_betted]
        return {"n": capital.n, "waiting": capital.log_waiting, "bet": bet, "highest": capital.log_highest}

    def restore(self, state: Mapping[str, Any], scores: Iterable[tuple[float, str]]) -> None:
        """Continue from a state, given all new scores with their categories up to it; the path is then the same.

        Raises
        ------
        ValueError
            If there are not as many scores as in the state.
        """
        added: dict[str, list[float]] = {}
        for score, category in scores:
            added.setdefault(category, []).append(score)
        if sum(map(len, added.values())) != state["n"]:
            raise ValueError(f"{sum(map(len, added.values()))} scores for a state after {state['n']}")
        for category, new in added.items():
            self._sorted[category] = array("d", np.sort([*self._sorted.get(category, ()), *new]))
        bet = tuple(-math.inf if value is None else float(value) for value in state["bet"])
        self._capital = Capital(int(state["n"]), float(state["waiting"]), bet, float(state["highest"]))
