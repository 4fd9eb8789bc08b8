"""What OpenAPI says about the bodies that are scored, which are read by hand because they have many formats."""

from __future__ import annotations

from typing import Any

from oddkind.serve.answers import Problem
from oddkind.serve.formats import JSON, TYPES

SCORE_PATH = "/models/{name}/score"

DESCRIPTION = """
Finds anomalies by classification. Each model answers with an anomaly score, a conformal p-value and a decision for each
sample or file: of normal ones, at most the promised fraction raises an alarm. The numbers are those of `oddkind score`.

All errors are JSON, `{"detail": "…"}`, and say what is wrong and what would be right.
"""

SCORE = """
Send **samples** as JSON, `[[…], …]` or `{"samples": [[…], …], "labels": […]}`, or as a `.npy` array `[N, …]`: each
sample is judged. `/models` says which shape a model takes.

Send **files** (WAV, FLAC, PNG, JPEG, CSV, and .npy if the model learnt arrays on disk) as the body, or several as
`multipart/form-data`: each file is judged as a whole, as by `oddkind score`. Files that cannot be read are listed under
`refused`, if others can.

Internal labels, such as the machine, make the decision sharper if the model learnt some.
"""

_SAMPLES = {
    "description": "Samples [N, …]; all have the shape that /models says.",
    "type": "array",
    "minItems": 1,
    "items": {"type": "array", "items": {}},
}
_LABELS = {
    "description": "The label that each sample claims, or one for all.",
    "type": "array",
    "minItems": 1,
    "items": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        _SAMPLES,
                        {
                            "type": "object",
                            "properties": {"samples": _SAMPLES, "labels": _LABELS},
                            "required": ["samples"],
                            "additionalProperties": False,
                        },
                    ]
                },
                "examples": {
                    "two samples": {"value": {"samples": [[0.1, 5.2, -0.3, 0.8], [9.0, -4.1, 7.7, 3.3]]}},
                    "with labels": {"value": {"samples": [[0.1, 5.2, -0.3, 0.8]], "labels": ["pump 1"]}},
                    "as a list": {"value": [[0.1, 5.2, -0.3, 0.8], [9.0, -4.1, 7.7, 3.3]]},
                },
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}},
                        "label": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["file"],
                }
            },
            **{name: _BINARY for name, suffix in TYPES.items() if suffix != JSON},
        },
    }
}

_WHY = {
    400: "The HTTP request itself cannot be read.",
    401: "The token is missing or wrong.",
    403: "Without a token only this computer is answered.",
    404: "There is no such model.",
    408: "The body did not arrive in time.",
    413: "Too many bytes, samples or pixels.",
    415: "The format is not read.",
    422: "The content cannot be scored.",
    429: "Too many requests wait; Retry-After says when to try again.",
    503: "No answer in time; Retry-After says when to try again.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the answers that are no scores."""
    return {status: {"model": Problem, "description": _WHY[status]} for status in statuses}
