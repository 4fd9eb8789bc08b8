"""`Problem`: samples to fit one model to, checked, and the parameters to fit it with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, validate_data

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.inputs import as_samples, refuse_masked
from oddkind.model.model import checked_labels
from oddkind.train.parameters import Parameters
from oddkind.train.scaling import in_precision_needed


@dataclass(frozen=True, eq=False)
class Problem:
    """Samples to fit one model to, and how.

    Attributes
    ----------
    parameters : Parameters
    inputs : array [N, …]
        Valid samples: uint8 pictures, or float32; float64 if single precision would round their changes away.
    labels, groups : arrays [N] or None
    feature_names : tuple of str or None
    calibration_rows : sorted int array or None
        The samples to hold out; None: they are drawn.
    name : str
        Stands in front of messages, if there are several data sets.
    """

    parameters: Parameters
    inputs: Array
    labels: Array | None = None
    groups: Array | None = None
    feature_names: tuple[str, ...] | None = None
    calibration_rows: Array | None = None
    name: str = ""


def checked(
    X: Array, y: Array | None = None, groups: Array | None = None
) -> tuple[Array, Array | None, Array | None, tuple[str, ...] | None]:
    """Check normal samples as scikit-learn's estimators do; return inputs, labels, groups and names of columns.

    Raises
    ------
    InputError (a ValueError)
        If they cannot be learnt from.
    """
    refuse_masked(X, "samples")
    for values, what in ((y, "labels"), (groups, "groups")):
        refuse_masked(values, what)
        _refuse_missing(values, what)
    form = BaseEstimator()  # takes what scikit-learn writes into an estimator: a refused fit must change nothing
    X = validate_data(form, X, dtype="numeric", allow_nd=True, ensure_min_samples=2, estimator="Detector")
    names = getattr(form, "feature_names_in_", None)
    if X.dtype == np.uint8 and X.ndim < 4:  # numbers, not the grey levels of a picture
        X = X.astype(np.float32)
    inputs = in_precision_needed(as_samples(X), X)
    if inputs.dtype == np.uint8:
        inputs = np.require(inputs, requirements=["C", "W"])  # copied at most once, however many are fitted
    labels = None
    if y is not None:
        labels = checked_labels(column_or_1d(y), len(inputs))
        check_classification_targets(labels)
    if groups is not None:
        check_consistent_length(inputs, groups)
    return inputs, labels, None if groups is None else np.asarray(groups), None if names is None else tuple(names)


def _refuse_missing(values: Any, what: str) -> None:
    found = np.asarray(values)
    if values is None or found.dtype.kind not in "Of":
        return
    missing = sum(
        value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value))
        for value in found.ravel().tolist()
    )
    if missing:
        raise InputError(
            f"{missing} of {found.size} {what} are missing; pass one for each sample, or leave these samples out"
        )
