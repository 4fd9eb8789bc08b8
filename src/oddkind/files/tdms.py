"""TDMS files of LabVIEW, DIAdem and other programs of NI."""

from __future__ import annotations

import logging
import os
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO

from oddkind.arrays import Array
from oddkind.errors import InputError

LEAD_IN = 28  # bytes at the beginning of each segment
METADATA, NEW_LIST, BIG_ENDIAN = 1 << 1, 1 << 2, 1 << 6  # in what a segment says about itself
PATH = re.compile(rb"/'(?:[^']|'')*'(?:/'(?:[^']|'')*')?")
MAX_STEPS = 10_000_000  # npTDMS handles each object in each segment, about a million of them in a second
UNFINISHED = 2**64 - 1  # what LabVIEW writes as the size of a segment before it is complete
# A scale that joins two others computes each of them again, so a chain of such scales would never end.
MAX_SCALES, MAX_JOINS = 100, 8
SCALE = re.compile(r"NI_Scale\[(\d+)\]_Scale_Type")


def read_tdms(file: Path, max_bytes: int) -> dict[str, Array]:
    """Return the channels of a file, scaled as it says, under the name "group/channel".

    Raises
    ------
    InputError
        If the file is incomplete, or its channels hold more than `max_bytes`.
    Exception
        Whatever npTDMS raises if the file is damaged.
    """
    from nptdms import TdmsFile

    with file.open("rb") as content:
        if sum(len(channel) * channel.dtype.itemsize for channel in _channels(content).values()) > max_bytes:
            raise InputError(f"unpacks to more than {max_bytes:,} bytes")
        content.seek(0)
        return {name: channel[:] for name, channel in _named(TdmsFile.read(content)).items()}


def rates_of_tdms(file: Path) -> list[tuple[int, float | None]]:
    """Return the number of values and the sample rate in Hz, or None, of each channel of numbers.

    Raises
    ------
    As `read_tdms`.
    """
    with file.open("rb") as content:
        channels = [channel for channel in _channels(content).values() if channel.dtype.kind in "uif"]
    steps = [channel.properties.get("wf_increment") for channel in channels]
    rates = [1 / step if isinstance(step, float) and step > 0 else None for step in steps]
    return [(len(channel), rate) for channel, rate in zip(channels, rates, strict=True)]


def _channels(content: BinaryIO) -> dict[str, Any]:
    """Return the channels of a complete file, whose values are not read, by name."""
    from nptdms import TdmsFile
    from nptdms.log import log_manager

    _check_segments(content)
    log_manager.set_level(logging.ERROR)  # it would write warnings to standard error
    content.seek(0)
    # An open file: npTDMS would read an index next to a named one, which may be of another file.
    known = TdmsFile.read_metadata(content)
    channels = _named(known)
    for properties in [known.properties, *(group.properties for group in known.groups())]:
        _check_scales(properties)
    for channel in channels.values():
        _check_scales(channel.properties)
    return channels


def _named(known: Any) -> dict[str, Any]:
    return {f"{group.name}/{channel.name}": channel for group in known.groups() for channel in group.channels()}


def _check_segments(content: BinaryIO) -> None:
    """Refuse a file that is cut off, of which npTDMS would read what is there, or that would occupy it for minutes."""
    size, at = content.seek(0, os.SEEK_END), 0
    listed = known = steps = 0
    paths: set[bytes] = set()
    while at < size:
        content.seek(at)
        lead = content.read(LEAD_IN)
        if not lead.startswith(b"TDSm"[: len(lead)]):
            raise ValueError(f"there is no segment at byte {at}")
        if len(lead) < LEAD_IN:
            raise InputError(f"is incomplete: it ends within a segment, at byte {size}")
        (kind,) = struct.unpack("<I", lead[4:8])
        order = ">" if kind & BIG_ENDIAN else "<"
        following, n_bytes = struct.unpack_from(f"{order}QQ", lead, 12)
        if following == UNFINISHED:
            raise InputError("is incomplete: the program that wrote it did not finish its last segment")
        at += LEAD_IN + following
        if kind & METADATA and at <= size:
            described = content.read(min(n_bytes, following))
            (announced,) = struct.unpack_from(f"{order}I", described)
            found = PATH.findall(described)
            if announced > len(found) + 1:  # all but the root have such a path
                raise ValueError(f"a segment announces {announced} objects and describes {len(found)}")
            paths.update(found)
            # npTDMS copies the list of the segment before, unless there is a new one.
            known = announced if kind & NEW_LIST else known
            listed = announced if kind & NEW_LIST else listed + announced
        steps += min(listed, known + 1 + len(paths))
    if at > size:
        raise InputError(f"is incomplete: its segments announce {at} bytes, but there are {size}")
    if steps > MAX_STEPS:
        raise InputError(f"describes {steps:,} objects in its segments; at most {MAX_STEPS:,} are read")


def _check_scales(properties: dict[str, Any]) -> None:
    """Refuse properties that announce so many scales that computing them would not end."""
    scales = {int(found[1]): properties[found[0]] for found in filter(None, map(SCALE.fullmatch, properties))}
    n_scales = max(int(properties.get("NI_Number_Of_Scales", 0)), 1 + max(scales, default=0))
    if n_scales > MAX_SCALES or sum(scale in ("Add", "Subtract") for scale in scales.values()) > MAX_JOINS:
        raise InputError(f"has more than {MAX_SCALES} scales, or more than {MAX_JOINS} that join others")
