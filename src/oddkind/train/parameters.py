"""`Parameters`: what a detector is to be fitted with, read once and checked."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import nn

from oddkind.errors import InputError
from oddkind.model.score import Score
from oddkind.model.scores import SCORES
from oddkind.train.loop import SCHEDULES
from oddkind.train.networks import Builder


@dataclass(frozen=True)
class Parameters:
    """The parameters of `oddkind.Detector`, by the same names."""

    task: str
    network: str | nn.Module | Builder
    score_function: str | Score
    n_members: int | str
    epochs: int | Literal["auto"]
    batch_size: int | Literal["auto"]
    learning_rate: float
    weight_decay: float
    schedule: str
    max_shift: int | Literal["auto"]
    label_smoothing: float
    mixup: float | Literal["auto"]
    warp: float | Literal["auto"]
    temperature: float | Literal["fit"]
    calibration_fraction: float | Literal["auto"]
    false_alarm_rate: float
    per_label: bool
    device: str
    random_state: int | np.random.RandomState | None
    verbose: bool

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Check parameters by name.

        Raises
        ------
        InputError
            If one is out of range; it names the parameter, the value and what would be right.
        """
        parameters = cls(**{field.name: given[field.name] for field in fields(cls)})
        parameters._check()
        return parameters

    def _check(self) -> None:
        def number(name: str, kind: type, accept: Callable[[Any], bool], right: str) -> None:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind) or not accept(value):
                raise InputError(f"{name}={value!r}; it must be {right}")

        if self.n_members != "auto":
            number("n_members", numbers.Integral, lambda v: v >= 1, "a whole number of at least 1, or 'auto'")
        if self.epochs != "auto":
            number("epochs", numbers.Integral, lambda v: v >= 1, "a whole number of at least 1, or 'auto'")
        if self.batch_size != "auto":
            number("batch_size", numbers.Integral, lambda v: v >= 1, "a whole number of at least 1, or 'auto'")
        if self.max_shift != "auto":
            number("max_shift", numbers.Integral, lambda v: v >= 0, "a whole number of at least 0, or 'auto'")
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule={self.schedule!r}; known are {', '.join(map(repr, SCHEDULES))}")
        number("learning_rate", numbers.Real, lambda v: 0 < v < np.inf, "a number above 0")
        number("weight_decay", numbers.Real, lambda v: 0 <= v < np.inf, "a number of at least 0")
        number("label_smoothing", numbers.Real, lambda v: 0 <= v < 1, "a number from 0 to below 1")
        if self.mixup != "auto":
            number("mixup", numbers.Real, lambda v: 0 <= v < np.inf, "a number of at least 0, or 'auto'")
        if self.warp != "auto":
            number("warp", numbers.Real, lambda v: 0 <= v <= 1, "a number from 0 to 1, or 'auto'")
        if self.calibration_fraction != "auto":
            number("calibration_fraction", numbers.Real, lambda v: 0 < v < 1, "a number between 0 and 1, or 'auto'")
        number("false_alarm_rate", numbers.Real, lambda v: 0 < v < 1, "a number between 0 and 1")
        if self.temperature != "fit":
            number("temperature", numbers.Real, lambda v: 0 < v < np.inf, "a number above 0, or 'fit'")
        score = self.score_function
        if isinstance(score, str) and score not in ("auto", *SCORES):
            raise InputError(f"score_function={score!r}; known are 'auto', {', '.join(map(repr, SCORES))}")
        if not isinstance(score, str | Score):
            raise InputError(f"score_function={score!r}; pass a name of oddkind.SCORES or an oddkind.Score")
        try:
            torch.empty(0, device=device_of(self.device))
        except (RuntimeError, TypeError, AssertionError) as error:
            raise InputError(f"device={self.device!r}; it must be 'auto', 'cpu', 'cuda' or 'cuda:0'") from error

    def to_json(self) -> dict[str, Any]:
        """Return the parameters that have a JSON value; null for a network, score or generator of your own."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in given.items() if name != "device"}


def _plain(value: Any) -> Any:
    """Turn NumPy's numbers into Python's, and what is neither a number nor a string into None."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    return None


def device_of(name: str) -> torch.device:
    """Return the torch device of that name; "auto" is the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)
