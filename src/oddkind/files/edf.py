"""EDF and BDF files, also EDF+ and BDF+: Kemp & Olivan, "European data format 'plus'", Clin. Neurophysiol. 2003."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError

ANNOTATIONS = {b"EDF Annotations", b"BDF Annotations"}
# Where the fields of the header are: the sizes of a file come first, and then 256 bytes for each signal.
HEADER, LABEL, SIZES = 256, 16, 216
RESERVED, N_RECORDS = slice(192, 197), slice(236, 244)


@dataclass(frozen=True)
class _Header:
    """What determines the size of a file.

    Attributes
    ----------
    n_bytes : int
        Those of the header and of all whole records.
    n_records : int
    duration : float
        Of a record, in seconds.
    sizes : list of int
        The number of samples of each signal in a record.
    labels : list of bytes
    """

    n_bytes: int
    n_records: int
    duration: float
    sizes: list[int]
    labels: list[bytes]


def read_edf(file: Path, max_bytes: int) -> dict[str, Array]:
    """Return the signals of a file in their physical units by label, float32; one without a range as an object.

    Raises
    ------
    InputError
        If the file is incomplete, has gaps in time, or holds more than `max_bytes`.
    ValueError, Exception
        If the file is damaged.
    """
    import edfio

    with file.open("rb") as source:
        header = _header(source)
        if 4 * header.n_records * sum(header.sizes) > max_bytes:
            raise InputError(f"unpacks to more than {max_bytes:,} bytes")
        source.seek(0)
        content = bytearray(source.read(header.n_bytes))
    content[N_RECORDS] = b"%-8d" % header.n_records
    is_bdf = content.startswith(b"\xff")
    known = edfio.read_bdf(content) if is_bdf else edfio.read_edf(content)
    if bytes(content[RESERVED]) in (b"EDF+D", b"BDF+D") and not known.is_continuous:
        raise InputError("has gaps in time, so windows would join moments that were apart")
    found: dict[str, Array] = {}
    for number, signal in enumerate(known.signals, start=1):
        name = signal.label if signal.label not in found else f"{signal.label} ({number})"
        has_range = signal.digital_min != signal.digital_max and signal.physical_min != signal.physical_max
        found[name] = signal.data.astype(np.float32) if has_range else np.empty((), object)
    return found


def rates_of_edf(file: Path) -> list[tuple[int, float | None]]:
    """Return the number of samples and the sample rate in Hz of each signal.

    Raises
    ------
    As `read_edf`.
    """
    with file.open("rb") as source:
        header = _header(source)
    sizes = [size for size, label in zip(header.sizes, header.labels, strict=True) if label not in ANNOTATIONS]
    return [(header.n_records * size, size / header.duration) for size in sizes]


def _header(source: BinaryIO) -> _Header:
    """Read the header, and refuse a file that is incomplete, of which edfio reads what is there."""
    fixed = source.read(HEADER)
    start, n_records, duration, n = int(fixed[184:192]), int(fixed[N_RECORDS]), float(fixed[244:252]), int(fixed[252:])
    if n < 1 or start != HEADER * (1 + n) or n_records < -1 or not 0 < duration < math.inf:
        raise ValueError("its header contradicts itself")
    signals = source.read(HEADER * n)
    labels = [signals[LABEL * i : LABEL * (i + 1)].strip() for i in range(n)]
    sizes = [int(signals[SIZES * n + 8 * i : SIZES * n + 8 * (i + 1)]) for i in range(n)]
    if min(sizes) < 1:
        raise ValueError("a signal has no samples in a record")
    record = (3 if fixed.startswith(b"\xff") else 2) * sum(sizes)
    there = (source.seek(0, os.SEEK_END) - start) // record
    if n_records == -1:  # a recording that was not closed ends with the file
        n_records = there
    if there < n_records:
        raise InputError(f"is incomplete: its header announces {n_records} records, but there are {max(there, 0)}")
    if n_records < 1:
        raise InputError("has no samples")
    return _Header(start + n_records * record, n_records, duration, sizes, labels)
