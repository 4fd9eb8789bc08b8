"""The file of a fitted model: a zip of manifest.json and arrays.safetensors, both stored uncompressed. No pickle."""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load
from safetensors.numpy import save as to_safetensors

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.conformal import Calibration, CalibrationScores
from oddkind.model.fitted_score import FittedScore
from oddkind.model.forward import Forward
from oddkind.model.inputs import InputSpec
from oddkind.model.model import CrossModel, FittedModel, Model, Normal, TrainingReport, example_rows
from oddkind.model.places import Places, unusual_places
from oddkind.model.score import Score
from oddkind.model.scores import SCORES, components_of, fusion_of
from oddkind.model.task import Task
from oddkind.output import written_whole

FORMAT = 5
"""Number of the format, written first; format 4 had no examples and no graphs, and is read too.

Raise it when a file of the last format would be read incorrectly: fields or arrays change, or a name (a network, a
score, a transform) comes to mean something else. Then keep, in `read`, a function that turns what the last format held
into what this one does, and a file of the last format among the tests. Formats 1 to 3 were never released.
"""

READABLE = 4, 5

MANIFEST, ARRAYS = "manifest.json", "arrays.safetensors"
FLEET = b"SQLite format 3\0"  # how the file of a fleet begins
SHARED = "shared."  # begins the name of an array that is the digest of one that is stored elsewhere
UNKNOWN = "0" * 64  # stands for the digest of a file while it is computed

# Blank samples of at most this many numbers in all are scored when a file is read.
MAX_TRIED = 1 << 24
# A damaged file must not ask for memory.
MAX_LABEL_BYTES = 1 << 28

MakeForward = Callable[[Mapping[str, Any], Mapping[str, Array], InputSpec, Task], Forward]
"""(description, weights, inputs, task) → the network."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, ser_json_inf_nan="constants")


def _known(names: tuple[str, ...], name: str) -> str:
    if name not in names:
        raise ValueError(f"unknown; known are {', '.join(map(repr, names))}")
    return name


Count = Annotated[int, Field(ge=1)]
Axis = Annotated[int, Field(ge=1, lt=2**31)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Labels(_Strict):
    """The internal labels learnt, and the numpy type they had."""

    dtype: Annotated[str, Field(pattern=r"^([<>|][biuf]\d{1,2}|[<>]U\d{1,4}|\|O)$")]
    values: Annotated[tuple[bool | int | float | str, ...], Field(min_length=1)]


class FoldManifest(_Strict):
    """All of a `Model` except its arrays, its decisions and its source."""

    input_shape: Annotated[tuple[Axis, ...], Field(min_length=1, max_length=3)]
    standardises: bool
    feature_names: tuple[str, ...] | None
    labels: Labels | None
    view_names: Annotated[tuple[str, ...], Field(min_length=1)]
    n_scored: Count
    members: Annotated[tuple[dict[str, JsonValue], ...], Field(min_length=1)]
    score: Annotated[str, AfterValidator(partial(_known, tuple(SCORES)))] | None
    temperature: Positive
    grouped: bool
    has_normal: bool
    accuracy: float
    perplexity: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    epochs: Count
    train_seconds: float
    parameters: dict[str, JsonValue]


class Manifest(_Strict):
    """All of a file except its arrays."""

    format: int
    oddkind: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    false_alarm_rate: Rate
    per_label: bool
    source: dict[str, JsonValue] | None
    folds: Annotated[tuple[FoldManifest, ...], Field(min_length=1)]


class _Numbered(BaseModel):
    format: Annotated[int, Field(strict=True)]


@dataclass(frozen=True, eq=False)
class Bundle:
    """The content of a file, and its name for messages."""

    file: Path
    manifest: Manifest
    arrays: dict[str, Array]

    def take(self, name: str, shape: tuple[int | None, ...], dtype: Any = None) -> Array:
        """Take out an array that must have this shape, None for any length, and type.

        Raises
        ------
        InputError
            If there is none of that form.
        """
        if name not in self.arrays:
            raise InputError(f"{self.file}: array {name!r} is missing; the file is damaged, save the model again")
        array = self.arrays.pop(name)
        fits = len(shape) == array.ndim and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        if not fits or dtype not in (None, array.dtype) or array.dtype.kind not in "biuf":
            right = " ".join(str(one) for one in (dtype and np.dtype(dtype), shape) if one is not None)
            raise InputError(
                f"{self.file}: array {name!r} is {array.dtype} {array.shape}; it must be {right}. The file is damaged "
                "or of another version of oddkind; fit the model again"
            )
        return array

    def take_all(self, prefix: str) -> dict[str, Array]:
        """Take out all arrays whose names start with a prefix, by the rest of their names."""
        names = [name for name in self.arrays if name.startswith(prefix)]
        return {name[len(prefix) :]: self.arrays.pop(name) for name in names}


# --- writing ---


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

    The content then has the SHA-256 of such an array in its place, under `SHARED` and its name, and `unpacked` is given
    a function that fetches it. So models that have arrays in common can be stored without repeating them.

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
        raise InputError(f"{_first(error)}; it cannot be saved") from error
    except ValueError as error:
        raise InputError(f"source, labels or names of features cannot be saved as JSON ({error})") from error
    text = manifest.model_dump_json(indent=1).encode()
    members = {MANIFEST: text.replace(UNKNOWN.encode(), digest_of(text, content).encode(), 1), ARRAYS: content}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # without the time: same content, same bytes
    return file.getvalue(), parts


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


def digest_of(manifest: bytes, arrays: bytes, own: str = UNKNOWN) -> str:
    """Return the SHA-256 of both members, the manifest with `UNKNOWN` in place of its own digest, `own`."""
    return hashlib.sha256(manifest.replace(own.encode(), UNKNOWN.encode(), 1) + arrays).hexdigest()


# --- reading ---


def fingerprint_of(file: Path) -> str:
    """Return the SHA-256 that a file of a model states of its content.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return str(json.loads(archive.read(MANIFEST))["sha256"])
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{file}: not a saved model, or damaged ({error})") from error


def read(file: Path) -> Bundle:
    """Read a file: its members, then the manifest, then the arrays, each checked before the next.

    The digest of both members finds damage. It is not a signature: whoever changes a file on purpose can change both.

    Raises
    ------
    InputError
        If it cannot be read, is not complete, or is of another format.
    """
    if file.exists() and not file.is_file():  # reading a pipe would wait for ever
        raise InputError(f"{file}: is not a file; name a file that oddkind saved")
    try:
        with file.open("rb") as content:
            return unpacked(file, content, file.stat().st_size)
    except InputError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{file}: cannot be read ({why}); name a file that oddkind saved") from error
    except ValueError as error:  # of the name
        raise InputError(f"{file}: not a saved model ({error}); name a file that oddkind saved") from error


def unpacked(file: Path, content: IO[bytes], size: int, fetch: Callable[[bytes], bytes] | None = None) -> Bundle:
    """Read the content of a file of `size` bytes, as `read` does, for messages that name `file`.

    `fetch`: returns what `packed` returned beside the content, by its digest.
    """
    members = _members(file, content, size)
    manifest = _manifest(file, members[MANIFEST])
    if digest_of(members[MANIFEST], members[ARRAYS], manifest.sha256) != manifest.sha256:
        raise InputError(f"{file}: {MANIFEST} or {ARRAYS} is not what was saved; the file is damaged, save it again")
    arrays = _checked_arrays(file, members[ARRAYS])
    for name in [name for name in arrays if fetch is not None and name.startswith(SHARED)]:
        digest = arrays.pop(name).tobytes()
        part = fetch(digest) if fetch is not None else b""
        if hashlib.sha256(part).digest() != digest:
            raise InputError(f"{file}: a shared array is not what was saved; the file is damaged, save it again")
        arrays[name.removeprefix(SHARED)] = _checked_arrays(file, part)[""]
    return Bundle(file, manifest, arrays)


def _checked_arrays(file: Path, content: bytes) -> dict[str, Array]:
    try:
        arrays = load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{file}: {ARRAYS} is damaged ({error}); save the model again") from error
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not name.endswith("report.losses") and not np.isfinite(array).all():
            raise InputError(f"{file}: array {name!r} holds NaN or infinity; fit the model again")
    return arrays


def _members(file: Path, content: IO[bytes], size: int) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(content) as archive:
            infos = archive.infolist()
            names = sorted(info.filename for info in infos)
            if names != sorted([MANIFEST, ARRAYS]):
                raise InputError(f"{file}: a zip of {names}; a saved model holds {MANIFEST} and {ARRAYS}")
            for info in infos:  # a few bytes must not become many
                if info.compress_type != zipfile.ZIP_STORED or not info.compress_size == info.file_size <= size:
                    raise InputError(f"{file}: {info.filename} is compressed; a saved model stores it uncompressed")
            return {info.filename: archive.read(info) for info in infos}  # compared with their CRC
    except InputError:
        raise
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError, OverflowError, struct.error) as error:
        content.seek(0)
        if content.read(len(FLEET)) == FLEET:
            raise InputError(f"{file}: is a fleet, not a model; 'oddkind fleet score' reads it") from error
        raise InputError(f"{file}: not a saved model, or damaged ({error}); save it again") from error


def _manifest(file: Path, content: bytes) -> Manifest:
    try:
        number = _Numbered.model_validate_json(content).format
        if number > FORMAT:
            raise InputError(f"{file}: format {number}, written by a newer oddkind; upgrade to read it")
        if number not in READABLE:
            raise InputError(f"{file}: format {number} was never released; fit the model again")
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"{file}: {MANIFEST}: {_first(error)}; save the model again") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    field, given = ".".join(map(str, first["loc"])), first["input"]
    # Not a whole file, nor a deep structure.
    shown = f"; got {given!r}" if field and isinstance(given, str | int | float | None) else ""
    return f"{field or 'no JSON'}: {first['msg']}{shown}"


def unpack(bundle: Bundle, make_forward: MakeForward, score: Score | None = None) -> Model | CrossModel:
    """Build the model from the content of a file.

    Parameters
    ----------
    bundle : Bundle
    make_forward : callable (description, weights, inputs, task) → Forward
        Builds a network from what `Forward.describe` and `Forward.weights` returned.
    score : Score or None
        The model's own score, if it was fitted with one.

    Raises
    ------
    InputError
        If an array is missing, has another form or is unexpected, or `score` is missing or not asked for.
    """
    file, manifest = bundle.file, bundle.manifest
    folds = []
    for k, fold in enumerate(manifest.folds):
        own = Bundle(file, manifest, bundle.take_all(f"fold.{k}."))
        folds.append(_model(own, fold, make_forward, score))
        if own.arrays:
            bundle.arrays[f"fold.{k}.{min(own.arrays)}"] = own.arrays[min(own.arrays)]
    if bundle.arrays:
        raise InputError(f"{file}: unexpected array {min(bundle.arrays)!r}; the file is damaged, save the model again")
    if len({_form(fold) for fold in folds}) > 1:
        raise InputError(f"{file}: the folds do not learn the same task; the file is damaged, save the model again")
    if len(folds) > 1:
        model: Model | CrossModel = CrossModel(tuple(folds), manifest.false_alarm_rate, manifest.source)
    else:
        decisions = {name: getattr(manifest, name) for name in ("false_alarm_rate", "per_label", "source")}
        try:
            model = replace(folds[0], **decisions)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
    _try(file, model)
    return model


def _form(model: Model) -> tuple[Any, ...]:
    """Return what all folds of a model have in common."""
    labels = None if model.task.labels is None else tuple(model.task.labels.tolist())
    return model.inputs.shape, model.inputs.standardises, labels, model.task.view_names, model.normal is None


def _model(own: Bundle, fold: FoldManifest, make_forward: MakeForward, score: Score | None) -> Model:
    file, manifest, shape = own.file, own.manifest, fold.input_shape
    if fold.score is None and score is None:
        raise InputError(f"{file}: fitted with a score of its own; pass it: load(file, score_function=...)")
    if fold.score is not None and score is not None:
        raise InputError(f"{file}: names its score, {fold.score!r}; leave out score_function=")
    if fold.feature_names is not None and len(fold.feature_names) != shape[0]:
        raise InputError(f"{file}: {len(fold.feature_names)} names for {shape[0]} features; save the model again")
    each = (shape[0], *[1] * (len(shape) - 1))
    double = "mean" in own.arrays and own.arrays["mean"].dtype == np.float64
    precision = np.float64 if double else np.float32
    mean, scale = (own.take(name, each, precision) if fold.standardises else None for name in ("mean", "scale"))
    bound = own.take("bound", each, np.float32) if fold.standardises and "bound" in own.arrays else None
    if bound is not None and not (bound > 0).all():
        raise InputError(f"{file}: array 'bound' must be above 0; the file is damaged, save the model again")
    inputs = InputSpec(shape, mean, scale, fold.feature_names, bound)
    task = Task(_labels(file, fold.labels), fold.view_names, fold.n_scored)
    if task.n_scored > task.n_views:
        raise InputError(f"{file}: {task.n_scored} of {task.n_views} views are scored; save the model again")
    report = TrainingReport(
        fold.accuracy,
        fold.perplexity,
        own.take("report.losses", (fold.epochs, len(fold.members))),
        fold.epochs,
        fold.train_seconds,
        own.take("report.training_rows", (None,), np.int64),
        own.take("report.calibration_rows", (None,), np.int64),
        fold.parameters,
    )
    members = tuple(
        make_forward(description, own.take_all(f"member.{m}."), inputs, task)
        for m, description in enumerate(fold.members)
    )
    examples = None
    if manifest.format >= 5:
        n = len(example_rows(len(report.calibration_rows), math.prod(shape)))
        examples = own.take("examples", (n, *shape), np.float32 if fold.standardises else np.uint8)
    fitted = _score(own, fold, score)
    return Model(
        inputs,
        task,
        members,
        fold.temperature,
        fitted,
        _calibration(own, fold, task, fitted, len(report.calibration_rows)),
        _normal(own, task, math.prod(shape)) if fold.has_normal else None,
        0.5,
        False,
        report,
        examples=examples,
        places=_places(own, len(members)),
    )


def _labels(file: Path, given: Labels | None) -> Array | None:
    if given is None:
        return None
    with suppress(TypeError, ValueError, OverflowError):
        if np.dtype(given.dtype).itemsize * len(given.values) <= MAX_LABEL_BYTES:
            labels = np.array(given.values, given.dtype)
            if labels.tolist() == list(given.values) and np.array_equal(np.unique(labels), labels):
                return labels
    raise InputError(f"{file}: labels are not sorted values of type {given.dtype!r}; save the model again")


def _score(own: Bundle, fold: FoldManifest, score: Score | None) -> FittedScore:
    named = score if fold.score is None else SCORES[fold.score]
    assert named is not None  # noqa: S101 - refused before
    components = components_of(named)
    learnt = tuple(
        tuple(own.take_all(f"score.{p}.{m}.") for m in range(len(fold.members))) if component.learn else ()
        for p, component in enumerate(components)
    )
    weights = own.take("score.weights", (fusion_of(named).n_numbers * len(components),), np.float64)
    return FittedScore(fold.score, score, learnt, weights)


def _calibration(own: Bundle, fold: FoldManifest, task: Task, score: FittedScore, n: int) -> Calibration:
    groups = own.take("calibration.groups", (n,), np.int64)
    label_index = _label_index(own, "calibration.label_index", n, task)

    def scores(name: str) -> CalibrationScores:
        components = own.take(f"{name}.components", (n, len(score.learnt)))
        return CalibrationScores(components, own.take(f"{name}.scores", (n,)), groups, label_index)

    modes = [component.label_modes(task) for component in score.components]
    unlabelled = all(False in mode for mode in modes)
    return Calibration(scores("labelled"), scores("unlabelled") if unlabelled else None, fold.grouped)


def _normal(own: Bundle, task: Task, size: int) -> Normal:
    rows = own.take("normal.rows", (None,), np.int64)
    n = len(rows)
    if n == 0:
        raise InputError(f"{own.file}: there are no normal samples; the file is damaged, save the model again")
    return Normal(
        own.take("normal.inputs", (n, size)),
        own.take("normal.features", (n, task.n_scored, None)),
        _label_index(own, "normal.label_index", n, task),
        rows,
        own.take("normal.view_nll", (n, task.n_scored)),
    )


def _places(own: Bundle, n_members: int) -> Places | None:
    if "places.mean" not in own.arrays:
        return None
    mean = own.take("places.mean", (n_members, None), np.float64)
    size = mean.shape[1]
    whitening = own.take("places.whitening", (n_members, size, size), np.float64)
    return Places(mean, whitening, own.take("places.usual", (n_members,), np.float64))


def _label_index(own: Bundle, name: str, n: int, task: Task) -> Array | None:
    if task.labels is None:
        return None
    index = own.take(name, (n,), np.int64)
    if ((index < 0) | (index >= len(task.labels))).any():
        raise InputError(f"{own.file}: array {name!r} names labels that there are not; save the model again")
    return index


def _try(file: Path, model: FittedModel) -> None:
    """Score blank samples: what a score learnt has no fixed form, so this finds arrays that do not fit together."""
    size = math.prod(model.inputs.shape)
    if size > MAX_TRIED:  # a damaged file must not ask for memory
        return
    labels = np.zeros(1) if model.task.labels is None else model.task.labels[: max(1, MAX_TRIED // size)]
    try:
        with np.errstate(all="ignore"):
            for n in (2, 3):  # an array that happens to fit 2 samples does not fit 3
                kind = np.float32 if model.inputs.standardises else np.uint8
                blanks = np.zeros((n * len(labels), *model.inputs.shape), kind)
                model.p_value(blanks, np.repeat(labels, n))
                if all(fold.calibration.unlabelled is not None for fold in model.folds):
                    model.p_value(blanks[:n])
            for fold in model.folds:
                if fold.normal is not None:
                    np.subtract(fold.normal.features[:1], fold.outputs(blanks[:1]).features)  # of one form
                if fold.places is not None:
                    unusual_places(fold.members, fold.places, blanks[:1])
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError, AssertionError) as error:
        raise InputError(f"{file}: the arrays do not fit together ({error}); save or fit the model again") from error
