"""Arrays on disk, of NumPy, MATLAB and programs that measure: one sample in each file, or a recording."""

from __future__ import annotations

import ast
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.edf import rates_of_edf, read_edf
from oddkind.files.hdf5 import read_hdf5
from oddkind.files.matlab import read_matlab
from oddkind.files.tdms import rates_of_tdms, read_tdms

T = TypeVar("T")

NPY = b"\x93NUMPY"
# What a file may hold when it is unpacked, in bytes: more is a mistake or an attack.
MAX_UNPACKED = 1 << 32
TRIES = 5
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
    if array.dtype.kind not in "uifb":
        raise InputError(f"holds values of type {array.dtype}; a sample must hold numbers")
    if not 1 <= array.ndim <= 3 or array.size == 0:
        raise InputError(
            f"has shape {array.shape}; a sample must be a vector [D], a signal [C, T] or a picture [C, H, W]"
        )
    if array.dtype != np.uint8:
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
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
    with np.errstate(over="ignore", invalid="ignore"):  # refused with its time
        recording = np.concatenate([signal.astype(np.float32) for signal in kept.values()], axis=1)
    return recording, [name for name in sorted(arrays) if name not in kept]


def sample_rate_in(file: Path) -> int | None:
    """Return the sample rate that a file states for its longest signals, in Hz; None if it states none.

    Raises
    ------
    InputError
        If the file is damaged, or the rate is not one whole number from 1 to 10,000,000.
    """
    one = _format_of(file)
    rates = one.rates
    found = [] if rates is None else _guarded(one, lambda: rates(file))
    longest = max((length for length, _ in found), default=0)
    stated = sorted({rate for length, rate in found if length == longest and rate is not None})
    if not stated:
        return None
    if stated[-1] > 10_000_000 or round(stated[0]) < 1 or not all(_near(rate, round(stated[0])) for rate in stated):
        named = " and ".join(f"{rate:g}" for rate in stated[:3])
        raise InputError(f"has signals at {named} Hz; one whole number from 1 to 10,000,000 is needed")
    return round(stated[0])


def _near(rate: float, whole: int) -> bool:
    return abs(rate - whole) <= 1e-3 * whole


def _named(arrays: dict[str, Array]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in [*arrays.items()][:5]) or "no array"


def _read_numpy(file: Path, max_bytes: int) -> dict[str, Array]:
    """Return the arrays of a file by name; an array that is alone in a file has no name."""
    with file.open("rb") as content:
        if not content.read(6).startswith((NPY, b"PK")):  # NumPy would recommend to unpickle it
            raise ValueError("it does not begin as .npy and .npz do")
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > max_bytes:
                raise InputError(f"unpacks to more than {max_bytes:,} bytes")
            names = packed.namelist()
            if len({*names}) < len(names):
                raise InputError("holds several arrays of the same name; write each under a name of its own")
    with file.open("rb") as content:
        loaded = np.load(content, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:  # a member that is no array is only bytes
            return {
                name: member if isinstance(member, np.ndarray) else np.empty((), object)
                for name, member in loaded.items()
            }


@dataclass(frozen=True)
class _Format:
    """A format of arrays. The first bytes of a file decide which it has; if they are unknown, its suffix.

    Attributes
    ----------
    magics, suffixes : tuple
    problem : str
        What is said of a file that cannot be read.
    read : callable (file, max_bytes)
        Returns the arrays by name, and what is no array of numbers as an object without axes.
    rates : callable (file) or None
        Returns the number of samples and the sample rate in Hz, if it is known, of each signal.
    """

    magics: tuple[bytes, ...]
    suffixes: tuple[str, ...]
    problem: str
    read: Callable[[Path, int], dict[str, Array]]
    rates: Callable[[Path], list[tuple[int, float | None]]] | None = None


NUMPY = _Format((), (), "is not an array that NumPy can read without pickle", _read_numpy)
FORMATS = (
    _Format((b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3"), (".h5", ".hdf5"), "is damaged, or not a file of HDF5", read_hdf5),
    _Format((b"MATLAB",), (), "is damaged, or not a file of MATLAB 5 to 7", read_matlab),
    _Format((b"TDSm",), (".tdms",), "is damaged, or not a file of TDMS", read_tdms, rates_of_tdms),
    _Format(
        (b"0       ", b"\xffBIOSEMI"),
        (".edf", ".bdf"),
        "is damaged, or not a file of EDF or BDF",
        read_edf,
        rates_of_edf,
    ),
)


def _format_of(file: Path) -> _Format:
    try:
        with file.open("rb") as content:
            head = content.read(16)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    of_bytes = [one for one in FORMATS if head.startswith(one.magics)]
    of_suffix = [one for one in FORMATS if file.suffix.lower() in one.suffixes]
    return [*of_bytes, *of_suffix, NUMPY][0]


def _arrays_of(file: Path) -> dict[str, Array]:
    """Return the arrays of a file by name; what is no array of numbers may be an object without axes."""
    one = _format_of(file)
    return _guarded(one, lambda: one.read(file, MAX_UNPACKED))


def _guarded(one: _Format, read: Callable[[], T]) -> T:
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused
            return _again(read)
    except InputError:
        raise
    except Exception as error:  # readers do not say which exceptions a damaged file can raise
        raise InputError(f"{one.problem} ({' '.join(str(error).split())})") from error


def _again(read: Callable[[], T]) -> T:
    """Read, several times if it takes that.

    In Python up to 3.11.4, threads that parse the headers of .npy files at the same time can disturb each other, which
    raises SystemError (https://github.com/python/cpython/issues/106905). The file is not to blame.
    """
    for _ in range(TRIES - 1):
        try:
            return read()
        except SystemError:
            continue
    return read()


# --- what is sent, and not yet a file ---


def read_npy(content: bytes) -> Array:
    """Return the array that a .npy file holds, as a view of its bytes.

    Nothing is reserved that is not there: what the header announces must be what follows it.

    Raises
    ------
    InputError
        If it is damaged, incomplete, or holds anything but numbers.
    """
    shape, order, dtype, start = npy_header(content)
    array = np.frombuffer(content, dtype, count=math.prod(shape), offset=start)
    return array.reshape(shape, order=order)


def npy_header(content: bytes) -> tuple[tuple[int, ...], Any, np.dtype[Any], int]:
    """Return shape, order, type and the place of the first value of a .npy file; see `read_npy`."""
    wrong = "is not a complete .npy file of numbers; numpy.save writes one"
    if not content.startswith(NPY) or len(content) < 12 or content[6] not in (1, 2, 3):
        raise InputError(wrong)
    width = 2 if content[6] == 1 else 4
    start = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    if start - 8 > 10_000:
        raise InputError(wrong)
    try:
        header = _again(lambda: ast.literal_eval(content[8 + width : start].decode("latin-1").strip()))
        shape, order, descr = header["shape"], "F" if header["fortran_order"] else "C", header["descr"]
        dtype = np.dtype(descr) if isinstance(descr, str) else np.dtype(object)
        sizes = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        raise InputError(wrong) from None
    if dtype.kind not in "uifb" or not sizes or len(shape) > 8:
        raise InputError(wrong)
    if math.prod(shape) * dtype.itemsize != len(content) - start:
        raise InputError(
            f"announces {math.prod(shape) * dtype.itemsize} bytes of values; {len(content) - start} follow"
        )
    return shape, order, dtype, start
