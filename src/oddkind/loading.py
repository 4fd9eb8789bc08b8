"""From a file to a fitted model; `model.bundle` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.bundle import read, unpack
from oddkind.model.inputs import InputSpec
from oddkind.model.model import CrossModel, Model
from oddkind.model.scores import Score
from oddkind.model.task import Task
from oddkind.train.frontends import front_end_of
from oddkind.train.networks import Builder
from oddkind.train.parameters import device_of
from oddkind.train.torch_forward import TorchForward, restore_forward


def load(
    file: str | Path,
    *,
    network: nn.Module | Builder | None = None,
    score_function: Score | None = None,
    device: str = "auto",
) -> Model | CrossModel:
    """Read a model that `save` or `Detector.save` wrote; it scores as it did when it was saved, to the same bits.

    Parameters
    ----------
    file : path
    network : callable or torch module
        The model's own, if it was fitted with one, as it was passed to `Detector`. A copy of a module gets the weights.
    score_function : Score
        Likewise.
    device : str
        A torch device, or "auto": the GPU if there is one.

    Raises
    ------
    InputError
        If the file is not a complete saved model of a format known here, or `network` or `score_function` is missing
        or not asked for.
    """
    file = Path(file)

    def make(
        description: Mapping[str, Any], weights: Mapping[str, Array], inputs: InputSpec, task: Task
    ) -> TorchForward:
        try:
            return restore_forward(description, weights, inputs, task, network=network, device=device_of(device))
        except (InputError, RuntimeError) as error:
            raise InputError(f"{file}: {error}") from error

    model = unpack(read(file), make, score_function)
    try:
        front_end = front_end_of(model.source)
    except ValueError as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise InputError(f"{file}: the settings of its files cannot be used ({why}); save the model again") from error
    return replace(model, front_end=front_end)
