"""Arrays on disk, of NumPy and MATLAB: one sample in each file, or a recording."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError

# What a compressed file may unpack to, in bytes: more is a mistake or an attack.
MAX_UNPACKED = 1 << 32
# What NumPy, zipfile and struct raise if a file is damaged.
DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError),
    RuntimeError,  # of zipfile: a password is needed, or a method of compression is not known
    *(zlib.error, struct.error, zipfile.BadZipFile, StopIteration, SyntaxError, tokenize.TokenError),
)
# MATLAB's numbers for types of elements, for types of stored values, and for classes of arrays.
MATRIX, COMPRESSED = 14, 15
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX = 0x0800
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


def _arrays_of(file: Path) -> dict[str, Array]:
    """Return the arrays of a file by name; an array of NumPy has no name."""
    try:
        with file.open("rb") as content:
            head = content.read(128)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    if head.startswith(b"MATLAB 7.3"):
        raise InputError("is a MATLAB file of version 7.3; save it with: save -v7")
    if head.startswith(b"MATLAB"):
        try:
            return _arrays_of_matlab(file.read_bytes())
        except DAMAGE as error:
            raise InputError(f"is damaged, or not a file of MATLAB 5 to 7 ({error})") from error
    if not head.startswith((b"\x93NUMPY", b"PK")):  # NumPy would recommend to unpickle it
        raise InputError(
            "is not an array that NumPy can read without pickle (it does not begin as .npy, .npz or MATLAB 5 to 7 do)"
        )
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as packed:
                if sum(entry.file_size for entry in packed.infolist()) > MAX_UNPACKED:
                    raise InputError(f"unpacks to more than {MAX_UNPACKED:,} bytes")
                names = packed.namelist()
                if len({*names}) < len(names):
                    raise InputError("holds several arrays of the same name; write each under a name of its own")
        with file.open("rb") as content:
            loaded = np.load(content, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            with loaded:  # a member that is no array is only bytes
                return {
                    name: content if isinstance(content, np.ndarray) else np.empty((), object)
                    for name, content in loaded.items()
                }
    except DAMAGE as error:
        raise InputError(f"is not an array that NumPy can read without pickle ({error})") from error


def _arrays_of_matlab(content: bytes) -> dict[str, Array]:
    """Return the variables of a MAT-file of version 5 to 7; those that are not real numbers as objects without axes.

    The format is described in "MAT-File Format" (MathWorks). SciPy's reader can crash the process if a file is damaged.
    """
    order = "<" if content[126:128] == b"IM" else ">"
    found, unpacked = {}, 0
    for kind, data in _elements(content[128:], order):
        if kind == COMPRESSED:
            unpacker = zlib.decompressobj()
            whole = unpacker.decompress(data, MAX_UNPACKED - unpacked)
            unpacked += len(whole)
            if unpacker.unconsumed_tail or not unpacker.eof:
                raise ValueError(f"a variable is cut off, or the file unpacks to more than {MAX_UNPACKED:,} bytes")
            kind, data = next(_elements(whole, order))
        if kind == MATRIX:
            (_, flags), (_, dims), (_, name), *values = islice(_elements(data, order), 4)
            (what,) = struct.unpack_from(f"{order}I", flags)
            array: Array = np.empty((), object)
            if values and what & 0xFF in CLASSES and not what & COMPLEX:
                form = np.frombuffer(dims, f"{order}i4")
                if (form < 0).any():
                    raise ValueError("an axis has a negative length")
                stored = np.frombuffer(values[0][1], order + STORED[values[0][0]])
                array = stored.reshape(form, order="F").astype(CLASSES[what & 0xFF])
            found[name.decode("latin-1")] = array
    return found


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the bytes of each element of a MAT-file."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        begin, after = at + 8, at + 8 + size + (0 if kind == COMPRESSED else -size % 8)
        if kind >> 16:  # at most 4 bytes, next to their type
            kind, size, begin, after = kind & 0xFFFF, min(kind >> 16, 4), at + 4, at + 8
        if begin + size > len(content):
            raise ValueError("an element is cut off")
        yield kind, content[begin : begin + size]
        at = after
