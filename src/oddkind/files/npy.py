"""Arrays on disk, of NumPy, MATLAB and programs that measure: one sample in each file, or a recording."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.hdf5 import read_hdf5
from oddkind.files.matlab import read_matlab

# What a file may hold when it is unpacked, in bytes: more is a mistake or an attack.
MAX_UNPACKED = 1 << 32
AS_RECORDING = "Signals at a sample rate are read as recordings with --sample-rate"


def read_array(file: Path) -> Array:
    """Read a vector [D], a signal [C, T] or a picture [C, H, W], uint8 or float32.

    Raises
    ------
    InputError
        If the file does not hold one such array, or holds values that are not finite numbers.
    """
    arrays = _arrays_of(file)
    if len(arrays) != 1:
        raise InputError(f"holds {_named(arrays)}; a file must hold one array. {AS_RECORDING}")
    (array,) = arrays.values()
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


def read_recording(file: Path) -> tuple[Array, list[str]]:
    """Read the longest signals of a file, float32 [T, C], and name the arrays that are left out.

    Of an array with two axes the longer one is time. Signals of the same length are channels, in the order of their
    names.

    Raises
    ------
    InputError
        If the file holds no signal.
    """
    signals = {}
    arrays = _arrays_of(file)
    for name, array in sorted(arrays.items()):
        if array.dtype.kind in "uifb" and 1 <= array.ndim <= 2 and array.size > 1:
            signal = array[:, None] if array.ndim == 1 else array
            signals[name] = signal.T if signal.shape[0] < signal.shape[1] else signal
    if not signals:
        raise InputError(
            f"holds no signal, an array of numbers [T] or [C, T], but {_named(arrays)}; structures are not read"
        )
    length = max(map(len, signals.values()))
    kept = {name: signal for name, signal in signals.items() if len(signal) == length}
    with np.errstate(over="ignore"):  # what is infinite is refused with its time
        recording = np.concatenate([signal.astype(np.float32) for signal in kept.values()], axis=1)
    return recording, [name for name in sorted(arrays) if name not in kept]


def _named(arrays: dict[str, Array]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in [*arrays.items()][:5]) or "no array"


def _read_numpy(file: Path, max_bytes: int) -> dict[str, Array]:
    """Return the arrays of a file by name; an array that is alone in a file has no name."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > max_bytes:
                raise InputError(f"unpacks to more than {max_bytes:,} bytes")
    with file.open("rb") as content:
        loaded = np.load(content, allow_pickle=False)
        return {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())


Reader = Callable[[Path, int], dict[str, Array]]
# The first bytes and the suffixes of a format, what a damaged file is called, and the reader: by name, the arrays, and
# what is no array of numbers as an object without axes. The bytes decide; if they are unknown, the suffix.
FORMATS: tuple[tuple[tuple[bytes, ...], tuple[str, ...], str, Reader], ...] = (
    ((b"MATLAB 7.3", b"\x89HDF\r\n\x1a\n"), (".h5", ".hdf5"), "is damaged, or not a file of HDF5", read_hdf5),
    ((b"MATLAB",), (), "is damaged, or not a file of MATLAB 5 to 7", read_matlab),
    ((), (), "is not an array that NumPy can read without pickle", _read_numpy),
)


def _arrays_of(file: Path) -> dict[str, Array]:
    """Return the arrays of a file by name; what is no array of numbers may be an object without axes."""
    try:
        with file.open("rb") as content:
            head = content.read(16)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    of_bytes = [(problem, reader) for magics, _, problem, reader in FORMATS if magics and head.startswith(magics)]
    of_suffix = [(problem, reader) for _, suffixes, problem, reader in FORMATS if file.suffix.lower() in suffixes]
    problem, reader = [*of_bytes, *of_suffix, FORMATS[-1][2:]][0]
    try:
        return reader(file, MAX_UNPACKED)
    except InputError:
        raise
    except Exception as error:  # readers do not say which exceptions a damaged file can raise
        raise InputError(f"{problem} ({' '.join(str(error).split())})") from error
