"""`InputSpec`: the form of the samples a model takes, and their standardisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from oddkind.arrays import Array, expanded, standardised
from oddkind.errors import InputError

# Standardised values are compressed beyond this bound, unless a feature has its own, so that no square overflows.
FAR = 1e6


@dataclass(frozen=True, eq=False)
class InputSpec:
    """The form of the samples that were learnt from.

    Attributes
    ----------
    shape : tuple of int
        The shape of one sample: (D,), (C, T) or (C, H, W).
    mean, scale : float32 or float64 arrays, or None
        Of each feature of a vector, [D], or each channel, [C, 1, …]. None for uint8 samples, which networks read as
        0 … 1. Samples are read in the precision of `mean`: float64 if their changes are small beside their values.
    bound : float32 array or None
        How many scales from the mean the values of each feature or channel are compressed beyond (see
        `oddkind.train.scaling`); None: a million.
    feature_names : tuple of str or None
        The names of the columns of a data frame.
    """

    shape: tuple[int, ...]
    mean: Array | None = None
    scale: Array | None = None
    feature_names: tuple[str, ...] | None = None
    bound: Array | None = None

    @property
    def standardises(self) -> bool:
        """Whether samples are floats, which are standardised, and not uint8."""
        return self.mean is not None

    def validate(self, X: Any) -> Array:
        """Check samples [N, …] and return them as uint8, or as floats of the precision that was learnt in.

        Raises
        ------
        InputError
            If they are not finite numbers of the shape that was learnt, or floats for a model of uint8 samples.
        """
        names = getattr(X, "columns", None)
        if self.feature_names is not None and names is not None and tuple(map(str, names)) != self.feature_names:
            raise InputError(f"the columns are {list(names)}; the model learnt {list(self.feature_names)}")
        X = as_samples(X, double=self.mean is not None and self.mean.dtype == np.float64)
        if X.shape[1:] != self.shape:
            raise InputError(f"samples have shape {X.shape[1:]}; the model learnt {self.shape}")
        if X.dtype != np.uint8 and not self.standardises:
            raise InputError("samples are floats; the model learnt uint8, 0 to 255")
        return X

    def standardise(self, inputs: Array) -> Array:
        """Turn valid samples into the inputs of networks: floats standardised, uint8 unchanged."""
        if self.mean is None or self.scale is None:
            return np.require(inputs, requirements=["C", "W"])
        return standardised(inputs, self.mean, self.scale, FAR if self.bound is None else self.bound)

    def restore(self, inputs: Array) -> Array:
        """Turn inputs of networks back into the units of the samples."""
        if self.mean is None or self.scale is None:
            return inputs
        return expanded(inputs, FAR if self.bound is None else self.bound) * self.scale + self.mean


def refuse_masked(values: Any, what: str) -> None:
    """Refuse masked values, and missing ones (None) among objects: NumPy would read what lies under a mask.

    Raises
    ------
    InputError
        If there are any, in a masked array or in a list of them.
    """
    parts = values if isinstance(values, list | tuple) else [values]
    masked = sum(int(np.ma.count_masked(part)) for part in parts if isinstance(part, np.ma.MaskedArray))
    if masked:
        raise InputError(f"{what} hold {masked} masked values; leave these rows out, or fill them in")


def as_samples(X: Any, *, double: bool = False) -> Array:
    """Return samples [N, …] as uint8 or float32; with `double` as uint8 or float64.

    Raises
    ------
    InputError
        If X is not an array of finite numbers with 2 to 4 axes, each of at least 1, or values are masked.
    """
    refuse_masked(X, "samples")
    try:
        X = np.asarray(X)
        X = X.astype(np.float64) if X.dtype == object else X
    except (TypeError, ValueError) as error:
        raise InputError(f"samples are not numbers ({error})") from error
    if X.dtype.kind not in "uifb":
        raise InputError(f"samples are {X.dtype}; they must be numbers")
    if not 2 <= X.ndim <= 4:
        raise InputError(f"X has {X.ndim} axes; pass vectors [N, D], signals [N, C, T] or pictures [N, C, H, W]")
    if X.size == 0:
        raise InputError(f"X has shape {X.shape}; every axis needs at least 1")
    if X.dtype == np.uint8:
        return X
    with np.errstate(over="ignore"):  # refused below
        single = X.astype(np.float32, copy=False)
    if not np.isfinite(single).all():
        if np.isfinite(X).all():
            raise InputError("X holds values beyond the range of float32, ±3.4e38")
        raise InputError("X holds NaN or infinity")
    return X.astype(np.float64, copy=False) if double else single
