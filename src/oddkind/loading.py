"""From a file to a fitted model; `oddkind.model.saving` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.source import Source
from oddkind.model.bundle import Bundle, read
from oddkind.model.forward import Forward
from oddkind.model.inputs import InputSpec
from oddkind.model.model import CrossModel, Model
from oddkind.model.onnx_forward import GRAPH, restore_graph
from oddkind.model.restoring import model_of
from oddkind.model.score import Score
from oddkind.model.task import Task

if TYPE_CHECKING:
    from torch import nn

    from oddkind.train.networks import Builder

RUNTIMES = "auto", "onnx", "torch"


def load(
    file: str | Path,
    *,
    network: nn.Module | Builder | None = None,
    score_function: Score | None = None,
    runtime: str = "auto",
    device: str = "auto",
) -> Model | CrossModel:
    """Read a model that `save`, `Detector.save` or `oddkind export` wrote.

    Parameters
    ----------
    file : path
    network : callable or torch module
        The model's own, if it was fitted with one, as it was passed to `Detector`. A copy of a module gets the weights.
    score_function : Score
        Likewise.
    runtime : "auto", "onnx" or "torch"
        What runs the networks. "torch" scores as when the model was saved, to the same bits. "onnx" needs a file with
        ONNX graphs and no torch; `oddkind export` made sure that it decides alike. "auto" is "onnx" if the file has
        graphs and neither `network` nor `device` is given.
    device : str
        A torch device, or "auto": the GPU if there is one.

    Raises
    ------
    InputError
        If the file is not a complete saved model of a format known here, `network` or `score_function` is missing or
        not asked for, what `runtime` needs is not installed or not in the file, or it is "onnx" and `network` or
        `device` is given.
    """
    return restored(read(file if isinstance(file, Path) else Path(file)), network, score_function, runtime, device)


def restored(
    bundle: Bundle,
    network: nn.Module | Builder | None = None,
    score_function: Score | None = None,
    runtime: str = "auto",
    device: str = "auto",
) -> Model | CrossModel:
    """Build the model from what `oddkind.model.bundle` read, as `load` does."""
    file = bundle.file
    if runtime not in RUNTIMES:
        raise InputError(f"runtime={runtime!r}; known are {', '.join(map(repr, RUNTIMES))}")
    for_torch = runtime == "torch" or network is not None or device != "auto"
    if runtime == "onnx" and for_torch:
        raise InputError("network and device are for torch; leave them out, or use runtime='torch'")

    def make(description: Mapping[str, Any], weights: Mapping[str, Array], inputs: InputSpec, task: Task) -> Forward:
        if runtime == "onnx" and GRAPH not in weights:
            raise InputError(f"{file}: holds no ONNX graph; 'oddkind export {file} --onnx' adds it")
        try:
            if GRAPH in weights and not for_torch:
                return restore_graph(description, weights)
            from oddkind.train.parameters import device_of
            from oddkind.train.torch_forward import restore_forward

            own = {name: array for name, array in weights.items() if name != GRAPH}
            return restore_forward(description, own, inputs, task, network=network, device=device_of(device))
        except ImportError as error:
            why = f"{file}: torch is not installed ({error}): pip install 'oddkind[train]'"
            if GRAPH in weights:
                raise InputError(f"{why}; or use the ONNX graph in the file, with runtime='onnx'") from error
            raise InputError(
                f"{why}; or add ONNX graphs to the file where torch is installed, with 'oddkind export {file} --onnx'"
            ) from error
        except (InputError, RuntimeError) as error:
            raise InputError(f"{file}: {error}") from error

    model = model_of(bundle, make, score_function)
    try:
        if model.source is not None and "settings" in model.source:
            Source.model_validate(model.source["settings"]).make_front_end()
    except ValueError as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise InputError(f"{file}: the settings of its files cannot be used ({why}); save the model again") from error
    return model
