"""Arrays on disk, mapped into memory: as large as the disk; the system takes back what is not being read."""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oddkind.errors import InputError

Array = npt.NDArray[Any]

AT_ONCE = 4096  # samples


def gathered(parts: Iterable[Array]) -> Array:
    """Put parts [n, ...] of one type one after another, [N, ...], in a temporary file that is gone with the array.

    Raises
    ------
    InputError
        Where there is no room for it.
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
        assert first is not None  # noqa: S101 - as promised
        try:
            file.flush()
            return np.memmap(file, first.dtype, "r+", shape=(n, *first.shape[1:]))
        except OSError as error:
            raise _no_room(error) from error


def _no_room(error: OSError) -> InputError:
    return InputError(f"{tempfile.gettempdir()}: cannot be written ({error.strerror}); set TMPDIR to a folder that can")


def is_mapped(array: Array) -> bool:
    """Whether an array, or what it is a view of, lies on disk."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


def in_parts(n: int) -> list[slice]:
    """N rows, some at a time."""
    return [slice(start, start + AT_ONCE) for start in range(0, n, AT_ONCE)]


def moments(inputs: Array, rows: Array) -> tuple[Array, Array]:
    """Mean and deviation of each feature or channel in these rows of [N, C, ...], some at a time; [C, 1 ...] each."""
    axes = (0, *range(2, inputs.ndim))
    n = len(rows) * math.prod(inputs.shape[2:])
    parts = [rows[some] for some in in_parts(len(rows))]
    mean = sum(inputs[part].sum(axes, float, keepdims=True) for part in parts) / n
    square = sum(np.square(inputs[part] - mean).sum(axes, keepdims=True) for part in parts) / n
    return mean[0], np.sqrt(square)[0]


def standardised(inputs: Array, mean: Array, scale: Array) -> Array:
    """(x − mean) / scale of floats [N, ...], on disk where they are."""
    parts = ((inputs[some] - mean) / scale for some in in_parts(len(inputs)))
    return gathered(parts) if is_mapped(inputs) else np.concatenate(list(parts))


def kept(folder: Path, content: Path, settings: str, make: Callable[[], Array]) -> Array:
    """Return what `make` makes of a file with settings, from the folder if it was made before.

    The key is the file's content, not its name. An array is written whole or not at all; one that cannot be read is
    made again, and where there is no room for it, it is not kept.
    """
    try:
        with content.open("rb") as file:
            key = hashlib.sha256(settings.encode() + hashlib.file_digest(file, "sha256").digest()).hexdigest()
    except OSError:  # `make` says it better
        return make()
    name = folder / key[:2] / f"{key[2:]}.npy"
    with suppress(OSError, ValueError, EOFError):
        return np.asarray(np.load(name))
    array = make()
    unfinished = name.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            np.save(file, array)
        os.replace(unfinished, name)
    except OSError:
        unfinished.unlink(missing_ok=True)
    return array
