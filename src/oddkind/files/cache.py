"""A folder that keeps what was read from files, for the next command."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.output import sweep, written_whole


def cached(folder: Path, content: Path, settings: str, make: Callable[[], Array]) -> Array:
    """Return what `make` returns for a file and settings, from the folder if it was made before.

    The key is the content of the file, not its name. An array is written whole or not at all. If it cannot be read, it
    is made again; if it cannot be written, it is not kept.
    """
    try:
        with content.open("rb") as file:
            key = hashlib.sha256(settings.encode() + hashlib.file_digest(file, "sha256").digest()).hexdigest()
    except OSError:  # the error of `make` explains it better
        return make()
    name = folder / key[:2] / f"{key[2:]}.npy"
    with suppress(OSError, ValueError, EOFError):
        return np.asarray(np.load(name))
    array = make()
    _sweep_cache(folder)
    with suppress(OSError, InputError):
        name.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(name) as unfinished, unfinished.open("wb") as file:
            np.save(file, array)
    return array


@functools.cache
def _sweep_cache(folder: Path) -> None:
    """Remove what killed processes left unfinished in a cache, before the first array is written into it."""
    for part in folder.glob("??"):
        sweep(part)
