"""What a detector's parameters may be."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from oddkind.errors import InputError
from oddkind.model.scores import SCORES
from oddkind.train.loop import SCHEDULES


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters out of range, naming the parameter, what was passed and what would be right."""

    def number(name: str, kind: type, accept: Callable[[Any], bool], right: str) -> None:
        value = parameters[name]
        if isinstance(value, bool) or not isinstance(value, kind) or not accept(value):
            raise InputError(f"{name}={value!r}; it must be {right}")

    number("members", numbers.Integral, lambda v: v >= 1, "a whole number of at least 1")
    if parameters["epochs"] != "auto":
        number("epochs", numbers.Integral, lambda v: v >= 1, "a whole number of at least 1, or 'auto'")
    if parameters["shift"] != "auto":
        number("shift", numbers.Integral, lambda v: v >= 0, "a whole number of at least 0, or 'auto'")
    if parameters["schedule"] not in SCHEDULES:
        raise InputError(f"schedule={parameters['schedule']!r}; known are {', '.join(map(repr, SCHEDULES))}")
    number("batch_size", numbers.Integral, lambda v: v >= 1, "a whole number of at least 1")
    number("learning_rate", numbers.Real, lambda v: 0 < v < np.inf, "a number above 0")
    number("weight_decay", numbers.Real, lambda v: 0 <= v < np.inf, "a number of at least 0")
    number("label_smoothing", numbers.Real, lambda v: 0 <= v < 1, "a number from 0 to below 1")
    if parameters["validation_fraction"] != "auto":
        number("validation_fraction", numbers.Real, lambda v: 0 < v < 1, "a number between 0 and 1, or 'auto'")
    number("false_alarm_rate", numbers.Real, lambda v: 0 < v < 1, "a number between 0 and 1")
    if parameters["temperature"] != "fit":
        number("temperature", numbers.Real, lambda v: 0 < v < np.inf, "a number above 0, or 'fit'")
    score = parameters["score"]
    if isinstance(score, str) and score not in ("auto", *SCORES):
        raise InputError(f"score={score!r}; known are 'auto', {', '.join(map(repr, SCORES))}")
    if not isinstance(score, str) and not callable(score):
        raise InputError(f"score={score!r}; pass a name of oddkind.SCORES or a function")
    try:
        torch.empty(0, device=device_of(parameters["device"]))
    except (RuntimeError, TypeError, AssertionError) as error:
        raise InputError(f"device={parameters['device']!r}; it must be 'auto', 'cpu', 'cuda' or 'cuda:0'") from error


def device_of(name: str) -> torch.device:
    """Return the torch device of that name, "auto": the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)
