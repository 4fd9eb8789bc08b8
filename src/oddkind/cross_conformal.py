"""`CrossConformal`: a promised false-alarm rate from few samples, each of which is both learnt from and held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from oddkind.arrays import Array
from oddkind.detector import Detector
from oddkind.errors import InputError
from oddkind.fitting import fit_together
from oddkind.model.conformal import min_calibration_size
from oddkind.model.explain import Explanation, explain
from oddkind.model.model import CrossModel
from oddkind.model.saving import save
from oddkind.train.estimator import Estimator, validated
from oddkind.train.holdout import copy_groups
from oddkind.train.onnx_export import checked_graphs
from oddkind.train.parameters import Parameters
from oddkind.train.problem import checked

# More do not help: nearly all draws put a label of several units into several folds.
MOST_SHUFFLES = 100


class CrossConformal(Estimator):
    """K models, each trained without a fold of the samples; a new sample is compared with every fold.

    Cross-conformal prediction: see `oddkind.CrossModel`, which it fits. It takes half of the samples that a `Detector`
    takes for the same false-alarm rate, or fewer, and about K times as long.

    Parameters
    ----------
    detector : Detector or None
        What to fit. Its `false_alarm_rate` is the one promised; its `calibration_fraction` is not used. None: the
        default.
    folds : int ≥ 2
        K; with groups, folds are whole groups. Exact copies of a sample are in one fold.

    Attributes
    ----------
    model_ : CrossModel

    Examples
    --------
    >>> import numpy as np
    >>> from oddkind import CrossConformal, Detector
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
            If there are fewer samples (or groups) than folds.
        """
        detector = Detector() if self.detector is None else self.detector
        model = fit_cross(detector, self.folds, X, y, groups)
        model.warn_unpromised()
        self.model_ = model
        return self

    @property
    def model(self) -> CrossModel:
        """The fitted model, with the false-alarm rate that the detector has now."""
        check_is_fitted(self)
        rate = self.model_.false_alarm_rate if self.detector is None else self.detector.false_alarm_rate
        return replace(self.model_, false_alarm_rate=rate)

    def anomaly_score(self, X: Array, y: Array | None = None) -> Array:
        """Mean anomaly score of the models, [N]; higher = more anomalous."""
        return self.model.anomaly_score(*validated(self, X, y))

    def score_samples(self, X: Array, y: Array | None = None) -> Array:
        """Minus `anomaly_score`, [N]."""
        return self.model.score_samples(*validated(self, X, y))

    def decision_function(self, X: Array, y: Array | None = None) -> Array:
        """P-value minus false-alarm rate, [N]: negative for anomalies."""
        return self.model.decision_function(*validated(self, X, y))

    def p_value(self, X: Array, y: Array | None = None) -> Array:
        """Cross-conformal p-values, [N]; see `CrossModel`."""
        return self.model.p_value(*validated(self, X, y))

    def group_p_value(
        self, X: Array, groups: Array, y: Array | None = None, *, how: str = "mean"
    ) -> tuple[Array, Array]:
        """Cross-conformal p-values of whole groups; see `Model.group_p_value`."""
        X, y = validated(self, X, y)
        return self.model.group_p_value(X, groups, y, how=how)

    def predict(self, X: Array, y: Array | None = None) -> Array:
        """+1 for normal samples, −1 for anomalies: those whose p-value is at most the false-alarm rate."""
        model, given = self.model, validated(self, X, y)
        if model.false_alarm_rate != self.model_.false_alarm_rate:
            model.warn_unpromised(with_labels=given[1] is not None)  # else fit has warned
        return model.decide(*given)

    def fit_predict(self, X: Array, y: Array | None = None, groups: Array | None = None) -> Array:
        """Fit to samples [N, …] and return `predict` of the same samples, [N]."""
        return self.fit(X, y, groups).predict(X, y)

    def explain(self, X: Array, y: Array | None = None, *, parts: Array | None = None) -> list[Explanation]:
        """Explain why each sample [N, …] is anomalous, or why not; see `oddkind.explain`."""
        return explain(self.model, *validated(self, X, y), parts=parts)

    def save(self, file: str | Path, *, onnx: bool = False) -> None:
        """Write the fitted model into one file; `oddkind.load` reads it. `onnx` as in `Detector.save`."""
        save(checked_graphs(self.model)[0] if onnx else self.model, file)


def fit_cross(
    detector: Detector,
    folds: int,
    X: Array,
    y: Array | None = None,
    groups: Array | None = None,
    *,
    on_progress: Callable[[float], None] = lambda done: None,
) -> CrossModel:
    """Fit K models at once, each without a fold of the samples; `detector` holds the parameters and is not changed.

    Raises
    ------
    InputError
        As `CrossConformal.fit`.
    """
    if not isinstance(folds, int | np.integer) or folds < 2:
        raise InputError(f"folds={folds!r}; it must be a whole number of at least 2")
    Parameters.of(vars(detector))  # refuses the false-alarm rate too, which the folds do not use
    if detector.per_label:
        raise InputError("folds compare with all labels together; leave out either the folds or per_label")
    inputs, labels, groups, _ = checked(X, y, groups)
    together = groups
    if groups is None:
        together = copy_groups(inputs, max(folds, min_calibration_size(detector.false_alarm_rate)))
    units = np.arange(len(inputs)) if together is None else np.unique(together, return_inverse=True)[1]
    n, what = len(np.unique(units)), "groups"
    if groups is None:
        what = "samples" if together is None else "different samples"
    if n < folds:
        raise InputError(f"{folds} folds take {folds} normal {what}; there are {n}")
    rows = _fold_rows(units, labels, folds, check_random_state(detector.random_state))
    # One fold alone promises next to nothing: the folds do so together.
    detectors = [clone(detector).set_params(false_alarm_rate=0.5) for _ in rows]
    fit_together(detectors, X, y, groups, calibration_rows=rows, on_progress=on_progress)
    return CrossModel(tuple(one.model_ for one in detectors), float(detector.false_alarm_rate))


def _fold_rows(units: Array, y: Array | None, folds: int, random_state: np.random.RandomState) -> list[Array]:
    """Deal shuffled units out in turn, label by label, so that no label of two units or more is in one fold.

    If units have several labels, that can fail; then they are shuffled again.
    """
    _, first = np.unique(units, return_index=True)
    of_rows = np.zeros(len(units), int) if y is None else np.unique(y, return_inverse=True)[1]
    labels = of_rows[first]
    fold = np.empty(len(first), int)
    for _ in range(MOST_SHUFFLES):
        shuffled = random_state.permutation(len(first))
        fold[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(first)) % folds
        folds_of = np.bincount(np.unique(np.stack([of_rows, fold[units]]), axis=1)[0])
        units_of = np.bincount(np.unique(np.stack([of_rows, units]), axis=1)[0])
        if (folds_of[units_of > 1] > 1).all():
            break
    return [np.flatnonzero(fold[units] == number) for number in range(folds)]
