"""MATLAB files of version 5 to 7. The format is described in "MAT-File Format" (MathWorks).

SciPy's reader can crash the process if a file is damaged.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from oddkind.arrays import Array

# MATLAB's numbers for types of elements, for types of stored values, and for classes of arrays.
MATRIX, COMPRESSED = 14, 15
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX = 0x0800


def read_matlab(file: Path, max_bytes: int) -> dict[str, Array]:
    """Return the variables of a file by name; those that are not real numbers as objects without axes.

    Raises
    ------
    ValueError, LookupError, zlib.error, struct.error, StopIteration
        If the file is damaged, or unpacks to more than `max_bytes`.
    """
    content = file.read_bytes()
    order = "<" if content[126:128] == b"IM" else ">"
    found, unpacked = {}, 0
    for kind, data in _elements(content[128:], order):
        if kind == COMPRESSED:
            unpacker = zlib.decompressobj()
            whole = unpacker.decompress(data, max_bytes - unpacked)
            unpacked += len(whole)
            if unpacker.unconsumed_tail or not unpacker.eof:
                raise ValueError(f"a variable is cut off, or the file unpacks to more than {max_bytes:,} bytes")
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
