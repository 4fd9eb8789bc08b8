"""The file a fitted detector is kept in: a zip of manifest.json and arrays.safetensors, both stored as they are."""

from __future__ import annotations

import math
import os
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from oddkind import __version__
from oddkind.errors import InputError
from oddkind.model.calibration import HeldOut
from oddkind.model.scores import SCORES, Outputs, ScoreFunction, chosen, compared
from oddkind.train.loop import SCHEDULES
from oddkind.train.networks import NETWORKS, Builder, build, builder
from oddkind.train.transforms import TASKS, Affine, Task, make_task

Array = npt.NDArray[Any]
Tensors = dict[str, Tensor]

FORMAT = 2
"""Number of the format, written first.

To be raised when a file of the last format would be read wrongly: fields or tensors change, or a name ("auto", a
network, a score) comes to mean something else. Then keep, in `read`, a function that turns what the last format held
into what this one does, and a file of the last format among the tests. Format 1 was never released.
"""

MANIFEST, ARRAYS = "manifest.json", "arrays.safetensors"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, ser_json_inf_nan="constants")


def _known(names: tuple[str, ...], name: str) -> str:
    if name not in names:
        raise ValueError(f"unknown; known are {', '.join(map(repr, names))}")
    return name


Count = Annotated[int, Field(ge=1)]
Axis = Annotated[int, Field(ge=1, lt=2**31)]
Part = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Parameters(_Strict):
    """The detector's, but `device`; null stands for a network or score of one's own and for a RandomState."""

    task: Annotated[str, AfterValidator(partial(_known, TASKS))]
    network: Annotated[str, AfterValidator(partial(_known, ("auto", *NETWORKS)))] | None
    score: Annotated[str, AfterValidator(partial(_known, ("auto", *SCORES)))] | None
    members: Count
    epochs: Count | Literal["auto"]
    batch_size: Count
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    schedule: Annotated[str, AfterValidator(partial(_known, tuple(SCHEDULES)))]
    shift: Annotated[int, Field(ge=0)] | Literal["auto"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    temperature: Positive | Literal["fit"]
    validation_fraction: Part | Literal["auto"]
    false_alarm_rate: Part
    per_label: bool
    random_state: Annotated[int, Field(ge=0, lt=2**32)] | None
    verbose: bool


class Labels(_Strict):
    """The internal labels learnt, and the numpy type they had."""

    dtype: Annotated[str, Field(pattern=r"^([<>|][biuf]\d{1,2}|[<>]U\d{1,4}|\|O)$")]
    values: Annotated[tuple[bool | int | float | str, ...], Field(min_length=1)]


class Manifest(_Strict):
    """All of a fitted detector but its arrays."""

    format: int
    oddkind: str
    parameters: Parameters
    input_shape: Annotated[tuple[Axis, ...], Field(min_length=1, max_length=3)]
    feature_names: tuple[str, ...] | None
    scaled: bool
    labels: Labels | None
    epochs: Count
    temperature: Positive
    grouped: bool
    accuracy: float
    perplexity: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    train_seconds: float
    source: dict[str, JsonValue] | None


# Fields of the manifest that are attributes of the detector, but for their underscore.
_NUMBERS = ("epochs", "temperature", "accuracy", "perplexity", "train_seconds")


class _Numbered(BaseModel):
    format: Annotated[int, Field(strict=True)]


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a file holds, and its name for messages."""

    file: Path
    manifest: Manifest
    tensors: Tensors

    def take(self, name: str, shape: tuple[int | None, ...], dtype: torch.dtype | None = None) -> Tensor:
        """Take out a tensor that must have this shape, None for any length, and type.

        Raises
        ------
        InputError
            Where there is none of that form.
        """
        if name not in self.tensors:
            raise InputError(f"{self.file}: tensor {name!r} is missing; the file is damaged or of another network")
        tensor = self.tensors.pop(name)
        fits = len(shape) == tensor.ndim and all(n in (None, m) for n, m in zip(shape, tensor.shape, strict=True))
        if not fits or dtype not in (None, tensor.dtype):
            right = " ".join(str(part) for part in (dtype, shape) if part is not None)
            raise InputError(
                f"{self.file}: tensor {name!r} is {tensor.dtype} {tuple(tensor.shape)}; it must be {right}"
            )
        return tensor


def write(file: Path, manifest: Manifest, tensors: Tensors) -> None:
    """Write a file, whole or not at all; what stood there is replaced.

    Raises
    ------
    InputError
        Where it cannot be written.
    """
    members = {MANIFEST: manifest.model_dump_json(indent=1).encode(), ARRAYS: save(tensors)}
    try:
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=file.parent) as folder:
            unfinished = Path(folder, "bundle")
            with zipfile.ZipFile(unfinished, "w") as archive:
                for name, content in members.items():
                    archive.writestr(zipfile.ZipInfo(name), content)  # without the time: same content, same bytes
            os.replace(unfinished, file)
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}); name a file that can") from error


def read(file: Path) -> Bundle:
    """Read a file: its members, then the manifest, then the arrays, each checked before the next.

    Raises
    ------
    InputError
        Where it cannot be read, is not whole, or is of another format.
    """
    members = _members(file)
    manifest = _manifest(file, members[MANIFEST])
    try:
        return Bundle(file, manifest, load(members[ARRAYS]))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{file}: {ARRAYS} is damaged ({error}); save the detector again") from error


def _members(file: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            names = sorted(info.filename for info in infos)
            if names != sorted([MANIFEST, ARRAYS]):
                raise InputError(f"{file}: a zip of {names}; a saved detector holds {MANIFEST} and {ARRAYS}")
            size = file.stat().st_size
            for info in infos:  # a few bytes must not become many
                if info.compress_type != zipfile.ZIP_STORED or not info.compress_size == info.file_size <= size:
                    raise InputError(
                        f"{file}: {info.filename} is not stored as it is, uncompressed, as Detector.save does"
                    )
            return {info.filename: archive.read(info) for info in infos}  # compared with their CRC
    except InputError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{file}: cannot be read ({why}); name a file that Detector.save wrote") from error
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError, OverflowError, struct.error) as error:
        raise InputError(f"{file}: not a saved detector, or damaged ({error}); save it again") from error


def _manifest(file: Path, content: bytes) -> Manifest:
    try:
        number = _Numbered.model_validate_json(content).format
        if number > FORMAT:
            raise InputError(f"{file}: format {number}, written by a newer oddkind; upgrade to read it")
        if number != FORMAT:
            raise InputError(f"{file}: format {number}; this oddkind reads format {FORMAT}")
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"{file}: {MANIFEST}: {_first(error)}; save the detector again") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    field, given = ".".join(map(str, first["loc"])), first["input"]
    # Not a whole file, nor a deep structure.
    shown = f"; got {given!r}" if field and isinstance(given, str | int | float | None) else ""
    return f"{field or 'no JSON'}: {first['msg']}{shown}"


def pack(state: Mapping[str, Any], source: dict[str, Any] | None) -> tuple[Manifest, Tensors]:
    """Take apart the attributes of a fitted detector.

    Raises
    ------
    InputError
        Where `source` or the labels are nothing JSON can hold.
    """
    labels = state["task_"].labels
    given = {name: _plain(state[name]) for name in Parameters.model_fields}
    given |= {name: None for name in ("network", "score") if not isinstance(given[name], str)}
    if not isinstance(given["random_state"], int):
        given["random_state"] = None
    facts = {
        "format": FORMAT,
        "oddkind": __version__,
        "parameters": given | {"verbose": bool(state["verbose"])},
        "input_shape": state["input_shape_"],
        "feature_names": tuple(state["feature_names_in_"].tolist()) if "feature_names_in_" in state else None,
        "scaled": state["scaled_"],
        "grouped": state["_grouped"],
        "labels": None if labels is None else {"dtype": labels.dtype.str, "values": tuple(labels.tolist())},
        **{name: state[f"{name}_"] for name in _NUMBERS},
        "source": source,
    }
    try:
        manifest = Manifest.model_validate(facts)
        Manifest.model_validate_json(manifest.model_dump_json())  # what is written can be read
    except ValidationError as error:
        raise InputError(f"{_first(error)}; it cannot be saved") from error
    except ValueError as error:
        raise InputError(f"source, labels or names of features cannot be saved as JSON ({error})") from error
    return manifest, _tensors(state)


def _tensors(state: Mapping[str, Any]) -> Tensors:
    names = ("losses", "training_rows", "validation_rows", *(("mean", "scale") if state["scaled_"] else ()))
    arrays = {name: state[f"{name}_"] for name in names}
    if isinstance(state["task_"].transform, Affine):
        arrays["matrices"] = state["task_"].transform.matrices
    for known, columns in state["_normal"].items():
        held_out = state["held_out_"][known]
        arrays |= {_calibration(known): columns, f"{_calibration(known)}.score": held_out.scores}
        arrays |= {"held_out.units": held_out.units} | (
            {} if held_out.kinds is None else {"held_out.kinds": held_out.kinds}
        )
    for m, outputs in enumerate(state["_reference"] or []):
        if m == 0:  # inputs and targets are the same for all members
            arrays |= {"reference.inputs": outputs.inputs, "reference.targets": outputs.targets}
        arrays |= {f"reference.{m}.logits": outputs.logits, f"reference.{m}.features": outputs.features}
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    for m, network in enumerate(state["networks_"]):
        for name, tensor in _weights(network).items():
            # A copy: after training all weights of a network share memory.
            tensors[f"network.{m}.{name}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors


def _plain(value: Any) -> Any:
    """Turn numpy's numbers into Python's."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _calibration(known: bool) -> str:
    return "normal.labelled" if known else "normal.unlabelled"


def _weights(network: nn.Module) -> Tensors:
    return dict(chain(network.named_parameters(), network.named_buffers()))


def unpack(bundle: Bundle, network: nn.Module | Builder | None, score: ScoreFunction | None) -> dict[str, Any]:
    """Put the attributes of a fitted detector together again; `network` and `score` where they are its own.

    Raises
    ------
    InputError
        Where a tensor is missing, of another form or has no place, or `network` or `score` is missing or not asked for.
    """
    file, manifest = bundle.file, bundle.manifest
    parameters, shape = manifest.parameters, manifest.input_shape
    for name, named, passed in (("network", parameters.network, network), ("score", parameters.score, score)):
        if named is None and not callable(passed):
            raise InputError(f"{file}: fitted with a {name} of its own; pass it: load(file, {name}=...)")
        if named is not None and passed is not None:
            raise InputError(f"{file}: names its {name}, {named!r}; leave out {name}=")
    state: dict[str, Any] = {
        **dict(parameters),
        "network": parameters.network or network,
        "score": parameters.score or score,
        "input_shape_": shape,
        "n_features_in_": shape[0],
        "scaled_": manifest.scaled,
        "_grouped": manifest.grouped,
        "source_": manifest.source,
        **{f"{name}_": getattr(manifest, name) for name in _NUMBERS},
    }
    if manifest.feature_names is not None:
        if len(manifest.feature_names) != shape[0]:
            raise InputError(f"{file}: {len(manifest.feature_names)} names for {shape[0]} features; save it again")
        state["feature_names_in_"] = np.array(manifest.feature_names, object)
    if manifest.scaled:
        each = (shape[0], *[1] * (len(shape) - 1))
        state |= {f"{name}_": bundle.take(name, each, torch.float32).numpy() for name in ("mean", "scale")}
    state["task_"] = task = _task(bundle)
    if task.labels is not None:
        state["classes_"] = task.labels
    state["losses_"] = bundle.take("losses", (manifest.epochs, parameters.members), torch.float32).numpy()
    for name in ("training_rows", "validation_rows"):
        state[f"{name}_"] = bundle.take(name, (None,), torch.int64).numpy()
    how = chosen(state["score"], shape)
    n = len(state["validation_rows_"])
    units = bundle.take("held_out.units", (n,), torch.int64).numpy()
    kinds = None if task.labels is None else bundle.take("held_out.kinds", (n,), torch.int64).numpy()
    state["_normal"], state["held_out_"] = {}, {}
    for known in how.knowing(task.transform.scored):
        state["_normal"][known] = bundle.take(_calibration(known), (n, len(how.parts) or 1)).numpy()
        scores = bundle.take(f"{_calibration(known)}.score", (n,)).numpy()
        state["held_out_"][known] = HeldOut(scores, units, kinds)
    state["_reference"] = (
        _reference(bundle, task, len(compared(state["training_rows_"]))) if how.needs_reference else None
    )
    state["networks_"] = [_network(bundle, state["network"], task, m) for m in range(parameters.members)]
    if bundle.tensors:
        extra = sorted(bundle.tensors)[0]
        raise InputError(f"{file}: tensor {extra!r} is one too many; the file is damaged or of another network")
    return state


def _task(bundle: Bundle) -> Task:
    name, shape = bundle.manifest.parameters.task, bundle.manifest.input_shape
    # Taken before the task draws matrices of their size, which they replace.
    maps = len(shape) == 1 and name != "labels"
    matrices = bundle.take("matrices", (None, *shape, *shape), torch.float32) if maps else None
    try:
        task = make_task(name, shape, _labels(bundle), np.random.RandomState(0))
    except InputError as error:
        raise InputError(f"{bundle.file}: {error}") from error
    return task if matrices is None else replace(task, transform=Affine(matrices.numpy()))


def _labels(bundle: Bundle) -> Array | None:
    given = bundle.manifest.labels
    if given is None:
        return None
    with suppress(TypeError, ValueError, OverflowError):
        labels = np.array(given.values, given.dtype)
        if labels.tolist() == list(given.values) and np.array_equal(np.unique(labels), labels):
            return labels
    raise InputError(f"{bundle.file}: labels are not sorted values of type {given.dtype!r}; save the detector again")


def _reference(bundle: Bundle, task: Task, n: int) -> list[Outputs]:
    inputs = bundle.take("reference.inputs", (n, math.prod(bundle.manifest.input_shape))).numpy()
    targets = bundle.take("reference.targets", (n, task.transform.scored), torch.int64).numpy()
    return [
        Outputs(
            bundle.take(f"reference.{m}.logits", (n, task.transform.scored, task.n_classes)).numpy(),
            bundle.take(f"reference.{m}.features", (n, task.transform.scored, None)).numpy(),
            targets,
            inputs,
        )
        for m in range(bundle.manifest.parameters.members)
    ]


def _network(bundle: Bundle, network: str | nn.Module | Builder, task: Task, member: int) -> nn.Module:
    """Build a member's network and fill it in."""
    shape = bundle.manifest.input_shape
    try:
        if isinstance(network, str):
            with torch.device("meta"):  # without memory: a damaged file must not ask for any
                module = builder(network, shape, local=task.transform.local)(shape, task.n_classes)
        else:
            module = build(network, shape, task.n_classes, seed=0)
    except (InputError, RuntimeError) as error:
        raise InputError(f"{bundle.file}: {error}") from error
    weights = _weights(module)
    saved = {
        name: bundle.take(f"network.{member}.{name}", tuple(weight.shape), weight.dtype)
        for name, weight in weights.items()
    }
    if isinstance(network, str):
        module.load_state_dict(saved, assign=True)
    else:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(saved[name])
    return module.eval()
