"""Arrays larger than memory: mapped from temporary files, and processed in batches."""

from __future__ import annotations

import math
import mmap
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from oddkind.errors import InputError

Array = npt.NDArray[Any]

BATCH_SIZE = 4096  # samples
GOLDEN = 0x9E3779B97F4A7C15  # 2⁶⁴ divided by the golden ratio, odd


def to_memmap(parts: Iterable[Array]) -> Array:
    """Concatenate arrays [n, ...] of one type into one [N, ...] in a temporary file, deleted with the array.

    Raises
    ------
    InputError
        If there is no room for the file.
    """
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except OSError as error:
        raise _no_room(error) from error
    with file:
        n, first = 0, None
        for part in parts:
            first = part if first is None else first
            n += len(part)
            try:
                file.write(np.ascontiguousarray(part).data)
            except OSError as error:
                raise _no_room(error) from error
        assert first is not None  # noqa: S101 - callers pass at least one
        try:
            file.flush()
            return np.memmap(file, first.dtype, "r+", shape=(n, *first.shape[1:]))
        except OSError as error:
            raise _no_room(error) from error


def _no_room(error: OSError) -> InputError:
    return InputError(
        f"{tempfile.gettempdir()}: cannot be written ({error.strerror}); set TMPDIR to a folder with enough room"
    )


def is_mapped(array: Array) -> bool:
    """Return whether an array, or the array it is a view of, is mapped from a file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


def batches(n: int, size: int | None = None) -> list[slice]:
    """Split n rows into slices of at most `size` rows, by default `BATCH_SIZE`."""
    size = size or BATCH_SIZE
    return [slice(start, start + size) for start in range(0, n, size)]


def digests(rows: Array) -> Array:
    """64-bit digest of each row [N, D], uint64 [N]: equal for equal numbers, on every platform.

    Σ mix(b) · w modulo 2⁶⁴ of the bits b of the numbers, with fixed odd weights w (multilinear hashing: Carter &
    Wegman, "Universal classes of hash functions", 1979; weights by splitmix64). `mix` fills the low bits, which are
    empty in round numbers.
    """
    rows = np.ascontiguousarray(rows + rows.dtype.type(0))  # there are two zeros
    bits = rows.view(np.uint8 if rows.dtype == np.uint8 else np.uint32).astype(np.uint64)
    weights = np.arange(1, bits.shape[1] + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        weights = (weights ^ (weights >> np.uint64(shift))) * np.uint64(factor)
    weights = (weights ^ (weights >> np.uint64(31))) | np.uint64(1)
    bits *= np.uint64(GOLDEN)
    bits ^= bits >> np.uint64(32)
    bits *= weights
    return bits.sum(1, dtype=np.uint64)


def moments(inputs: Array, rows: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature or channel over the given rows of [N, C, ...]; [C, 1, ...] each."""
    axes = (0, *range(2, inputs.ndim))
    n = len(rows) * math.prod(inputs.shape[2:])
    parts = [rows[batch] for batch in batches(len(rows))]
    mean = sum(inputs[part].sum(axes, float, keepdims=True) for part in parts) / n
    square = sum(np.square(inputs[part] - mean).sum(axes, keepdims=True) for part in parts) / n
    return mean[0], np.sqrt(square)[0]


def standardised(inputs: Array, mean: Array, scale: Array, bound: Array | float = math.inf) -> Array:
    """Return (x − mean) / scale of numbers [N, ...] as float32, mapped from a file if the inputs are.

    Values beyond ±`bound` are compressed; see `compressed`.
    """

    def part(x: Array) -> Array:
        with np.errstate(over="ignore"):  # infinity is compressed to 2 · bound
            return compressed(((x - mean) / scale).astype(np.float32, copy=False), bound)

    parts = (part(inputs[batch]) for batch in batches(len(inputs)))
    return to_memmap(parts) if is_mapped(inputs) else np.concatenate(list(parts))


def compressed(z: Array, bound: Array | float) -> Array:
    """Return z where |z| ≤ b, and ±b (2 − b / |z|) beyond: it goes on growing, smoothly, but stays below 2b."""
    size = np.abs(z)
    far = size > bound
    if not far.any():
        return z
    return np.where(far, np.copysign(bound * (2 - bound / np.where(far, size, 1)), z), z).astype(z.dtype)


def expanded(z: Array, bound: Array | float) -> Array:
    """Undo `compressed`, as far as the precision of z allows."""
    size = np.abs(z)
    if not (size > bound).any():
        return z
    room = np.maximum(2 - size / bound, np.finfo(z.dtype).eps)
    return np.where(size > bound, np.copysign(bound / room, z), z).astype(z.dtype)
