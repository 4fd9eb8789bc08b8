"""What `Detector` and `CrossConformal` share as estimators of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from oddkind.arrays import Array
from oddkind.model.inputs import refuse_masked
from oddkind.model.model import FittedModel


class Estimator(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator that keeps what it learnt in `model_`, and nowhere else."""

    def __getattr__(self, name: str) -> Any:
        """Return what scikit-learn expects of a fitted estimator; absent before `fit`, or if the model has none."""
        if hasattr(type(self), name):  # a property that raised an AttributeError: NotFittedError is one
            check_is_fitted(self)
        model: FittedModel | None = self.__dict__.get("model_")
        if model is not None:
            names = model.inputs.feature_names
            found = {
                "classes_": model.task.labels,
                "n_features_in_": model.inputs.shape[0],
                "feature_names_in_": None if names is None else np.array(names, object),
            }.get(name)
            if found is not None:
                return found
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def validated(estimator: Estimator, X: Array, y: Array | None) -> tuple[Array, Array | None]:
    """Check samples and labels to score as scikit-learn's estimators do; the model checks the rest."""
    check_is_fitted(estimator)
    refuse_masked(X, "samples")
    refuse_masked(y, "labels")
    X = validate_data(estimator, X, reset=False, dtype="numeric", allow_nd=True)
    return X, None if y is None else column_or_1d(y)
