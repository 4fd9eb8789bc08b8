"""The file of a fitted model: a zip of manifest.json and arrays.safetensors, both stored uncompressed. No pickle."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.scores import SCORES

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
            return bundle_of(file, content, file.stat().st_size)
    except InputError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{file}: cannot be read ({why}); name a file that oddkind saved") from error
    except ValueError as error:  # of the name
        raise InputError(f"{file}: not a saved model ({error}); name a file that oddkind saved") from error


def bundle_of(file: Path, content: IO[bytes], size: int, fetch: Callable[[bytes], bytes] | None = None) -> Bundle:
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
        raise InputError(f"{file}: {MANIFEST}: {first_problem(error)}; save the model again") from error


def first_problem(error: ValidationError) -> str:
    """Name the first field that is wrong, and why."""
    first = error.errors()[0]
    field, given = ".".join(map(str, first["loc"])), first["input"]
    # Not a whole file, nor a deep structure.
    shown = f"; got {given!r}" if field and isinstance(given, str | int | float | None) else ""
    return f"{field or 'no JSON'}: {first['msg']}{shown}"


def sealed(manifest: Manifest, arrays: bytes) -> bytes:
    """Return the content of a file with these members; the manifest gets the digest of both in place of `UNKNOWN`."""
    text = manifest.model_dump_json(indent=1).encode()
    members = {MANIFEST: text.replace(UNKNOWN.encode(), digest_of(text, arrays).encode(), 1), ARRAYS: arrays}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # without the time: same content, same bytes
    return file.getvalue()


def digest_of(manifest: bytes, arrays: bytes, own: str = UNKNOWN) -> str:
    """Return the SHA-256 of both members, the manifest with `UNKNOWN` in place of its own digest, `own`."""
    return hashlib.sha256(manifest.replace(own.encode(), UNKNOWN.encode(), 1) + arrays).hexdigest()
