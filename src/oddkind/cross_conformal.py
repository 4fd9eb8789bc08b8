"""`CrossConformal`: a promised false-alarm rate from few samples, every one of them both learnt from and held out."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from oddkind.detector import Detector
from oddkind.errors import InputError
from oddkind.fitting import fit_together
from oddkind.model.calibration import alarms, check_enough

Array = npt.NDArray[Any]


class CrossConformal(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """K detectors, each without a fold of the samples, trained at once; a new sample is compared with every fold.

    Cross-conformal prediction (Vovk, "Cross-conformal predictors", Annals of Mathematics and AI 2015): the p-value is
    (1 + Σ_k #{fold k, scored by detector k, ≥ the new sample's score by it}) / (1 + n). It takes half of the
    samples that a `Detector` takes for the same rate, or fewer. Its false-alarm rate is at most twice the promised one
    in theory (Barber et al., "Predictive inference with the jackknife+", Annals of Statistics 2021) and close to it or
    below in practice: `bench/decisions.py`.

    Parameters
    ----------
    detector : Detector or None
        What to fit; its `false_alarm_rate` is the one promised, its `validation_fraction` is not used. None: the
        default.
    folds : int ≥ 2
        K; with groups, folds are whole groups.

    Attributes
    ----------
    detectors_ : list of K detectors
    n_ : int
        How many samples, or groups, the p-values compare with.

    Examples
    --------
    >>> import numpy as np
    >>> from oddkind import Detector
    >>> from oddkind.cross_conformal import CrossConformal
    >>> draw = np.random.default_rng(0)
    >>> kind = draw.integers(3, size=60)
    >>> normal = draw.normal(size=(60, 4)) + 8 * np.eye(3, 4)[kind]
    >>> detector = CrossConformal(Detector(false_alarm_rate=0.02, random_state=0)).fit(normal, kind)
    >>> detector.predict([[8, 0, 0, 0], [0, 0, 0, 20]]).tolist()
    [1, -1]
    """

    def __init__(self, detector: Detector | None = None, *, folds: int = 5) -> None:
        self.detector = detector
        self.folds = folds

    def fit(self, X: Array, y: Array | None = None, groups: Array | None = None) -> Self:
        """Learn from normal samples, as `Detector.fit`.

        Raises
        ------
        InputError
            Where there are fewer samples (or groups) than folds, or than the false-alarm rate takes.
        """
        detector = Detector() if self.detector is None else self.detector
        if not isinstance(self.folds, int | np.integer) or self.folds < 2:
            raise InputError(f"folds={self.folds!r}; it must be a whole number of at least 2")
        if detector.per_label:
            raise InputError("per_label=True is for detectors that hold samples out; here folds are compared with")
        check_consistent_length(X, *(given for given in (y, groups) if given is not None))
        units = np.arange(len(X)) if groups is None else np.unique(groups, return_inverse=True)[1]
        self.n_, what = len(np.unique(units)), "samples" if groups is None else "groups"
        if self.n_ < self.folds:
            raise InputError(f"{self.folds} folds take {self.folds} normal {what}; there are {self.n_}")
        check_enough(self.n_, detector.false_alarm_rate, what)
        held_out = self._folds(units, y, check_random_state(detector.random_state))
        # Each alone promises next to nothing: the folds do together.
        self.detectors_ = [clone(detector).set_params(false_alarm_rate=0.5) for _ in held_out]
        fit_together(self.detectors_, X, y, groups, held_out=held_out)
        return self

    def _folds(self, units: Array, y: Array | None, random_state: np.random.RandomState) -> list[Array]:
        """Deal shuffled units out in turn, label by label, so that no label of two units or more is in one fold."""
        _, first = np.unique(units, return_index=True)
        kinds = np.zeros(len(first)) if y is None else np.unique(y, return_inverse=True)[1][first]
        shuffled = random_state.permutation(len(first))
        fold = np.empty(len(first), int)
        fold[shuffled[np.argsort(kinds[shuffled], kind="stable")]] = np.arange(len(first)) % self.folds
        return [np.flatnonzero(fold[units] == number) for number in range(self.folds)]

    def anomaly_score(self, X: Array, y: Array | None = None) -> Array:
        """Mean of the detectors' anomaly scores, [N]; higher = more anomalous."""
        check_is_fitted(self)
        return sum(detector.anomaly_score(X, y) for detector in self.detectors_) / len(self.detectors_)

    def score_samples(self, X: Array, y: Array | None = None) -> Array:
        """Minus `anomaly_score`, [N]."""
        return -self.anomaly_score(X, y)

    def p_value(self, X: Array, y: Array | None = None) -> Array:
        """Cross-conformal p-values, [N]."""
        check_is_fitted(self)
        above = np.zeros(len(X))
        for detector in self.detectors_:
            p = detector.p_value(X, y)
            above += p * (1 + detector.held_out_[y is not None].count()) - 1
        return (1 + above) / (1 + self.n_)

    def predict(self, X: Array, y: Array | None = None) -> Array:
        """+1 for normal samples, −1 for anomalies: those whose p-value is at most the false-alarm rate."""
        p = self.p_value(X, y)
        rate = (Detector() if self.detector is None else self.detector).false_alarm_rate
        check_enough(self.n_, rate)
        return np.where(alarms(p, rate), -1, 1)
