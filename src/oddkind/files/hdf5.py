"""HDF5 files, also those that MATLAB calls version 7.3."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError

# The numbers of the filters that are applied when a chunk is read; HDF5 would search others in shared libraries.
DEFLATE, LZF = 1, 32000
FILTERS = {DEFLATE: "gzip", 2: "shuffle", 3: "fletcher32", LZF: "lzf"}
# To how many bytes one packed byte can unpack.
MAX_RATIO = {DEFLATE: 1032, LZF: 88}
# Groups in which MATLAB stores what its variables refer to.
OF_MATLAB = {"#refs#", "#subsystem#"}
# What MATLAB calls a variable that is an array of numbers.
NUMBERS = {
    b"double",
    b"single",
    b"logical",
    *(sign + b"int%d" % bits for sign in (b"", b"u") for bits in (8, 16, 32, 64)),
}


def read_hdf5(file: Path, max_bytes: int) -> dict[str, Array]:
    """Return the data sets at the root of a file by name; what is no array of numbers as an object without axes.

    Those are groups, texts, references, compounds and links inside the file. MATLAB stores arrays with their axes
    reversed, which is undone.

    Raises
    ------
    InputError
        If the data sets hold more than `max_bytes`, lead to another file, or are packed in a way that is not known.
    OSError, KeyError, RuntimeError, ValueError
        If the file is damaged.
    """
    import h5py

    found: dict[str, Array] = {}
    with h5py.File(os.fsencode(file), "r") as content:
        stored = {}
        for name in (name for name in content if name not in OF_MATLAB):
            link = content.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise InputError(f"{name} is a link to another file, which is not followed")
            item = content[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(item, h5py.Dataset) and _is_numbers(item):
                stored[name] = item
            found[name] = np.empty((), object)
        if sum(item.size * item.dtype.itemsize for item in stored.values()) > max_bytes:
            raise InputError(f"unpacks to more than {max_bytes:,} bytes")
        for name, item in stored.items():
            _check(name, item, max_bytes)
            array = item[()]
            found[name] = array.T if "MATLAB_class" in item.attrs else array
    return found


def _is_numbers(item: Any) -> bool:
    """Return whether a data set is an array of real numbers; MATLAB stores texts, and sizes of nothing, as numbers."""
    name = item.attrs.get("MATLAB_class", b"double")
    name = name.encode() if isinstance(name, str) else name
    is_number = isinstance(name, bytes) and name in NUMBERS and "MATLAB_empty" not in item.attrs
    return is_number and item.shape is not None and item.dtype.kind in "uifb"


def _check(name: str, item: Any, max_bytes: int) -> None:
    """Refuse a data set that is in another file, or that needs more memory or another library when it is read."""
    if item.is_virtual or item.external:
        raise InputError(f"{name} is stored in another file, which is not read")
    settings = item.id.get_create_plist()
    filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    packers = [number for number in filters if number in MAX_RATIO]
    if unknown := {*filters} - {*FILTERS}:
        raise InputError(
            f"{name} is packed with the HDF5 filter {min(unknown)}; {', '.join(FILTERS.values())} are read"
        )
    if len(packers) > 1:
        raise InputError(f"{name} is packed more than once")
    if item.chunks is None:
        return
    size = int(np.prod(item.chunks, dtype=object)) * item.dtype.itemsize
    if size > max_bytes:
        raise InputError(f"{name} is stored in chunks of {size:,} bytes; at most {max_bytes:,} are read")
    for packer in packers:
        chunks: list[Any] = []
        item.id.chunk_iter(chunks.append)
        for chunk in chunks:
            is_packed = not chunk.filter_mask >> filters.index(packer) & 1
            if is_packed and chunk.size * MAX_RATIO[packer] > max_bytes and not _unpacks_to(item, chunk, packer, size):
                raise InputError(f"{name} has a chunk that is damaged or unpacks to more than its {size:,} bytes")


def _unpacks_to(item: Any, chunk: Any, packer: int, size: int) -> bool:
    """Return whether a chunk ends where it should; HDF5 itself unpacks all of it, however much that is."""
    if packer != DEFLATE:
        return False
    unpacker = zlib.decompressobj()
    unpacker.decompress(item.id.read_direct_chunk(chunk.chunk_offset)[1], size + 5)  # 4 bytes are a checksum
    return unpacker.eof
