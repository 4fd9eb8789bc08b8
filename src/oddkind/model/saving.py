"""From a fitted model to its file; `oddkind.load` reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors.numpy import save as to_safetensors

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.bundle import FORMAT, SHARED, UNKNOWN, Manifest, first_problem, sealed
from oddkind.model.model import FittedModel, Model
from oddkind.output import written_whole


def save(model: FittedModel, file: str | Path) -> None:
    """Write a fitted model into one file, whole or not at all; `oddkind.load` reads it.

    No pickle: weights and the arrays that scores are computed from as they are in memory, the rest as JSON. A network
    or a score of your own is not written, only its weights and what it learnt.

    Parameters
    ----------
    model : Model or CrossModel
    file : path
        Such as "pump.oddkind"; a file that is there is replaced.

    Raises
    ------
    InputError
        If the file cannot be written, or the source or the labels cannot be represented in JSON.
    """
    with written_whole(Path(file)) as unfinished:
        unfinished.write_bytes(packed(model)[0])


def packed(model: FittedModel, shared: Callable[[str], bool] = lambda name: False) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the content of the file of a model; arrays that are `shared`, by name, are returned beside it.

    The content then has the SHA-256 of such an array in its place, under `SHARED` and its name, and `bundle_of` is
    given a function that fetches it. So models that have arrays in common can be stored without repeating them.

    Raises
    ------
    InputError
        If the source or the labels cannot be represented in JSON.
    """
    arrays = {f"fold.{k}.{name}": array for k, fold in enumerate(model.folds) for name, array in _arrays(fold)}
    parts: dict[bytes, bytes] = {}
    for name in [name for name in arrays if shared(name)]:
        part = to_safetensors({"": np.asarray(arrays.pop(name), order="C")})
        digest = hashlib.sha256(part).digest()
        parts[digest], arrays[SHARED + name] = part, np.frombuffer(digest, np.uint8)
    content = to_safetensors({name: np.asarray(array, order="C") for name, array in arrays.items()})
    facts = {
        "format": FORMAT,
        "oddkind": own_version(),
        "sha256": UNKNOWN,
        "false_alarm_rate": float(model.false_alarm_rate),
        "per_label": bool(model.per_label),
        "source": dict(model.source) if isinstance(model.source, Mapping) else model.source,
        "folds": tuple(_fold_manifest(fold) for fold in model.folds),
    }
    try:
        manifest = Manifest.model_validate(facts)
        Manifest.model_validate_json(manifest.model_dump_json())  # what is written can be read
    except ValidationError as error:
        raise InputError(f"{first_problem(error)}; it cannot be saved") from error
    except ValueError as error:
        raise InputError(f"source, labels or names of features cannot be saved as JSON ({error})") from error
    return sealed(manifest, content), parts


def _fold_manifest(model: Model) -> dict[str, Any]:
    labels, report = model.task.labels, model.report
    return {
        "input_shape": model.inputs.shape,
        "standardises": model.inputs.standardises,
        "feature_names": model.inputs.feature_names,
        "labels": None if labels is None else {"dtype": labels.dtype.str, "values": tuple(labels.tolist())},
        "view_names": model.task.view_names,
        "n_scored": model.task.n_scored,
        "members": tuple(dict(member.describe()) for member in model.members),
        "score": model.score.name,
        "temperature": float(model.temperature),
        "grouped": model.calibration.grouped,
        "has_normal": model.normal is not None,
        "accuracy": report.accuracy,
        "perplexity": report.perplexity,
        "epochs": report.epochs,
        "train_seconds": report.train_seconds,
        "parameters": dict(report.parameters),
    }


def _arrays(model: Model) -> Iterator[tuple[str, Array]]:
    """Name the arrays of a model."""
    if model.inputs.mean is not None and model.inputs.scale is not None:
        yield from (("mean", model.inputs.mean), ("scale", model.inputs.scale))
        if model.inputs.bound is not None:
            yield "bound", model.inputs.bound
    for m, member in enumerate(model.members):
        yield from ((f"member.{m}.{name}", array) for name, array in member.weights().items())
    yield "score.weights", np.asarray(model.score.weights, float)
    for p, learnt in enumerate(model.score.learnt):
        for m, arrays in enumerate(learnt):
            yield from ((f"score.{p}.{m}.{name}", array) for name, array in arrays.items())
    calibration = model.calibration
    for name, scores in (("labelled", calibration.labelled), ("unlabelled", calibration.unlabelled)):
        if scores is not None:
            yield from ((f"{name}.components", scores.components), (f"{name}.scores", scores.scores))
    yield "calibration.groups", calibration.labelled.groups
    if calibration.labelled.label_index is not None:
        yield "calibration.label_index", calibration.labelled.label_index
    if model.normal is not None:
        for name, array in vars(model.normal).items():
            if array is not None:
                yield f"normal.{name}", array
    if model.examples is not None:
        yield "examples", model.examples
    if model.places is not None:
        yield from ((f"places.{name}", array) for name, array in vars(model.places).items())
    for name in ("losses", "training_rows", "calibration_rows"):
        yield f"report.{name}", getattr(model.report, name)


@cache
def own_version() -> str:
    """Return the version of oddkind; finding it takes as long as packing a small model."""
    return installed_version("oddkind")
