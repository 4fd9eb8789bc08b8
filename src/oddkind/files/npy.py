"""NumPy arrays on disk, one sample in each file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError


def read_array(file: Path) -> Array:
    """Read a vector [D], a signal [C, T] or a picture [C, H, W], uint8 or float32.

    Raises
    ------
    InputError
        If the file is not such an array, or holds values that are not finite numbers.
    """
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"is not an array that NumPy can read without pickle ({error})") from error
    if not 1 <= array.ndim <= 3 or array.size == 0:
        raise InputError(
            f"has shape {array.shape}; a sample must be a vector [D], a signal [C, T] or a picture [C, H, W]"
        )
    if array.dtype.kind not in "uifb":
        raise InputError(f"holds values of type {array.dtype}; a sample must hold numbers")
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):  # refused below
            array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError("holds values that are NaN, infinite or too large")
    return np.asarray(array)
