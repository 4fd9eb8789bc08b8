"""How facts travel in a page: as JSON that no HTML parser takes for anything else, arrays as base64."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from oddkind.arrays import Array

TYPES = {"f8": "<f8", "f4": "<f4", "i4": "<i4", "i1": "<i1", "u1": "<u1"}


def packed(values: Any, kind: str) -> dict[str, Any]:
    """Return an array as an object of JSON: its type, a key of `TYPES`, its shape, and its values as base64."""
    array = np.ascontiguousarray(values, TYPES[kind])
    return {"type": kind, "shape": list(array.shape), "base64": base64.b64encode(array.tobytes()).decode("ascii")}


def as_bytes_of(values: Array, low: float, high: float) -> dict[str, Any]:
    """Return values between `low` and `high`, for drawing, in 256 steps; what lies beyond is at an end."""
    steps = (np.asarray(values, float) - low) * (255 / ((high - low) or 1))
    return packed(steps.round().clip(0, 255), "u1")


def as_json(content: Any) -> str:
    r"""Return JSON for a script element: "<", ">" and "&" are escaped as \u003c and so on, so nothing ends it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def data_uri(content: bytes, media: str) -> str:
    """Return content as an address that holds it."""
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"
