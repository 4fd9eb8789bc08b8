"""Lengths of time as users write them, such as 500ms, 10s, 5min, 1h or 1d."""

from __future__ import annotations

import re

from oddkind.language import Message

UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
EXAMPLE = "a number, or a duration with a unit, such as 500ms, 10s, 5min, 1h or 1d"


def seconds_of(text: str) -> tuple[float, bool]:
    """Return the number that a text holds, in seconds if it has a unit, and whether it has one.

    Raises
    ------
    ValueError
        If it is no length of time.
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", text, re.ASCII)
    if found is None or found[2] not in {*UNITS, ""} or float(found[1]) == 0:
        raise ValueError(f"must be {EXAMPLE}, and more than 0")
    return float(found[1]) * UNITS.get(found[2], 1.0), found[2] != ""


def in_words(seconds: float) -> str:
    """Format a length of time with the largest unit of which it is a whole multiple; parts of a second as they are."""
    for unit in ("d", "h", "min"):
        if seconds >= UNITS[unit] and seconds % UNITS[unit] == 0:
            return f"{seconds / UNITS[unit]:.12g} {unit}"
    return f"{seconds:.12g} s"


def clock(seconds: float) -> str:
    """Format a position in a recording as 1:02:03, or 1:02:03.5; after a day as 1 d 02:03:04."""
    days, rest = divmod(round(seconds, 3), UNITS["d"])
    hours, rest = divmod(rest, UNITS["h"])
    minutes, rest = divmod(rest, UNITS["min"])
    tail = f"{int(minutes):02d}:{rest:06.3f}".removesuffix(".000")
    return f"{int(days)} d {int(hours):02d}:{tail}" if days else f"{int(hours)}:{tail}"


def between(start: float, end: float, unit: str) -> str:
    """Format where something begins and ends in a file; seconds of a long file as 1:02:03."""
    if unit == "rows":
        return Message("{first:g}–{last:g} rows", first=start, last=end)
    return f"{clock(start)}–{clock(end)}" if unit == "s" and end >= UNITS["h"] else f"{start:g}–{end:g} {unit}"
