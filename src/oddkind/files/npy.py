"""NumPy arrays on disk, one sample a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oddkind.errors import InputError
from oddkind.samples import Array


def read_array(file: Path) -> Array:
    """Read a vector [D], a signal [C, T] or a picture [C, H, W], uint8 or float32.

    Raises
    ------
    InputError
        Where it is no such array, or holds what is not a finite number.
    """
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"no array that NumPy reads without pickle ({error})") from error
    if not 1 <= array.ndim <= 3 or array.size == 0:
        raise InputError(f"shape {array.shape}; a sample is a vector [D], a signal [C, T] or a picture [C, H, W]")
    if array.dtype.kind not in "uifb":
        raise InputError(f"holds {array.dtype}; a sample holds numbers")
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):  # refused below
            array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError("holds NaN, infinite or too large values")
    return np.asarray(array)
