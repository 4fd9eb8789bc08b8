"""What a request holds: arrays as JSON or .npy, or files; each is checked before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, FailFast, Field, FiniteFloat, TypeAdapter, ValidationError, create_model

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.npy import NPY
from oddkind.model.inputs import InputSpec
from oddkind.naming import on_one_line
from oddkind.serve.limits import Limits, RequestError, too_many_samples

# The first bytes of each format, by the suffix of its files. A table of text has none.
MAGIC: dict[str, tuple[bytes, ...]] = {
    ".npy": (NPY,),
    ".wav": (b"RIFF", b"RF64"),
    ".flac": (b"fLaC",),
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".jpg": (b"\xff\xd8\xff",),
    ".csv": (),
}
ALIKE = {".jpeg": ".jpg"}
JSON = "json"
TYPES = {
    "application/json": JSON,
    "application/x-npy": ".npy",
    "application/npy": ".npy",
    "application/vnd.numpy.npy": ".npy",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/wave": ".wav",
    "audio/vnd.wave": ".wav",
    "audio/flac": ".flac",
    "audio/x-flac": ".flac",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "text/csv": ".csv",
}
# What programs send if they do not say what it is; curl --data-binary is the second one.
UNSAID = ("", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain")
MAX_LABEL = 1000  # characters


@dataclass(frozen=True, eq=False)
class Arrays:
    """Samples of one request, as the model takes them.

    Attributes
    ----------
    X : array [N, …]
    y : array [N] or None
        The labels that they claim.
    paths : list of str or None
        The file that each comes from, if they came in files.
    """

    X: Array
    y: Array | None
    paths: list[str] | None = None


@dataclass(frozen=True)
class Upload:
    """A file of one request.

    Attributes
    ----------
    name : str
        As the client calls it; for messages and results only.
    content : bytes
    label : str or None
        The label that it claims, if the client says one.
    """

    name: str
    content: bytes
    label: str | None = None


# --- formats ---


def format_of(content_type: str, content: bytes) -> str:
    """Return the format of a body: `JSON`, or the suffix of a file.

    Raises
    ------
    RequestError
        415, if it is not known, or is not what its type says.
    """
    said = content_type.partition(";")[0].strip().lower()
    if said in TYPES:
        suffix = TYPES[said]
        problem = None if suffix == JSON else problem_of(suffix, content)
        if problem is not None:
            raise RequestError(415, f"Content-Type: {said}: {problem}")
        return suffix
    if said not in UNSAID:
        raise RequestError(415, f"Content-Type: {on_one_line(said)!r} is not read; {KNOWN}")
    for suffix, magics in MAGIC.items():
        if magics and content.startswith(magics):
            return suffix
    if content.lstrip()[:1] in (b"{", b"["):
        return JSON
    raise RequestError(415, f"the format of the body is not known; {KNOWN}")


KNOWN = f"send {', '.join(dict.fromkeys(name for name in ('application/json', *TYPES)))}, or multipart/form-data"


def suffix_of(name: str, content: bytes) -> str:
    """Return the format of a file by its name, or if that says nothing by its first bytes.

    Raises
    ------
    InputError
        If it is not known, or not what its name says.
    """
    suffix = "." + name.rpartition(".")[2].lower() if "." in name else ""
    suffix = ALIKE.get(suffix, suffix)
    if not suffix:
        suffix = next((known for known, magics in MAGIC.items() if magics and content.startswith(magics)), "")
    if suffix not in MAGIC:
        raise InputError(f"is not read; send files that end in {', '.join([*MAGIC, *ALIKE])}")
    if (problem := problem_of(suffix, content)) is not None:
        raise InputError(problem)
    return suffix


def problem_of(suffix: str, content: bytes) -> str | None:
    """Say that a file does not begin as those of its format do; a table must not begin as another format does."""
    magics = MAGIC[suffix]
    if not content:
        return "is empty"
    others = tuple(magic for known in MAGIC.values() for magic in known)
    if content.startswith(magics) if magics else not content.startswith(others):
        return None
    return f"the content does not begin as {suffix} files do"


# --- arrays ---


class JsonReader:
    """Reads JSON that holds samples of one form: a list of them, or an object with "samples" and perhaps "labels".

    The numbers are checked while they are read, so that text, nulls and lists of other depths are named with their
    place, and so that nothing else is ever built from them.

    Parameters
    ----------
    inputs : InputSpec
    limits : Limits
    """

    def __init__(self, inputs: InputSpec, limits: Limits) -> None:
        self._inputs, self._limits = inputs, limits
        form: Any = FiniteFloat if inputs.standardises else Annotated[int, Field(ge=0, le=255)]
        for length in reversed(inputs.shape):
            form = Annotated[list[form], Field(min_length=length, max_length=length), FailFast()]
        count = Field(min_length=1, max_length=limits.max_samples)
        samples: Any = Annotated[list[form], count, FailFast()]
        label: Any = Annotated[str, Field(max_length=MAX_LABEL)] | int | float | bool
        labels: Any = Annotated[list[label], count, FailFast()]
        config = ConfigDict(extra="forbid", strict=True)
        self._object = create_model("Body", __config__=config, samples=(samples, ...), labels=(labels, None))
        self._list: TypeAdapter[list[Any]] = TypeAdapter(samples, config=ConfigDict(strict=True))

    def read(self, content: bytes) -> tuple[Array, list[Any] | None]:
        """Return the samples [N, …], uint8 or float64, and the labels [N] or None.

        Raises
        ------
        RequestError
            413 for too many samples, 422 for what cannot be read.
        """
        # Commas separate numbers: what has too many of them need not be read.
        most = self._limits.max_samples * (math.prod(self._inputs.shape) + 2)
        if content.count(b",") > most:
            raise RequestError(
                413, f"the body holds more than {self._limits.max_samples:,} samples; send fewer at a time"
            )
        try:
            if content.lstrip()[:1] == b"[":
                samples, labels = self._list.validate_json(content), None
            else:
                body: Any = self._object.model_validate_json(content)
                samples, labels = body.samples, body.labels
        except ValidationError as error:
            raise self._problem(error) from None
        X = np.array(samples, np.float64 if self._inputs.standardises else np.uint8)
        return X, labels

    def _problem(self, error: ValidationError) -> RequestError:
        first = error.errors(include_url=False, include_context=False)[0]
        if first["type"] == "too_long" and len(first["loc"]) <= 1:
            return RequestError(
                413, f"the body holds more than {self._limits.max_samples:,} samples; send fewer at a time"
            )
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        shape = ", ".join(map(str, ("N", *self._inputs.shape)))
        kind = "numbers" if self._inputs.standardises else "whole numbers from 0 to 255"
        right = f'send {kind} [{shape}], or {{"samples": …, "labels": …}}'
        return RequestError(422, on_one_line(f"{place or 'JSON'}: {first['msg']}; {right}"))


def as_learnt(X: Array, inputs: InputSpec, limits: Limits) -> Array:
    """Check samples [N, …] and return them in the type that the model computes with.

    Raises
    ------
    RequestError
        413, if there are too many.
    InputError
        If they do not suit the model.
    """
    if len(X) > limits.max_samples:
        raise too_many_samples(limits)
    X = inputs.validate(X)
    return X if inputs.mean is None else X.astype(inputs.mean.dtype, copy=False)


def labels_learnt(given: list[Any], learnt: Array | None, n: int, *, as_text: bool = False) -> Array:
    """Return one label for each of n samples, of the type that was learnt.

    Parameters
    ----------
    given : list
        As many labels, or one for all.
    learnt : array [L] or None
    as_text : bool
        Whether they come as text, even if numbers were learnt.

    Raises
    ------
    InputError
        If there are as many as neither, one was not learnt, or none were.
    """
    if learnt is None:
        raise InputError("the model learnt no labels; leave them out")
    if len(given) not in (1, n):
        raise InputError(f"{len(given)} labels for {n} samples; send one for each, or one for all")
    key: Callable[[Any], Any] = str if as_text else lambda label: label
    place = {key(label): number for number, label in enumerate(learnt.tolist())}
    unseen = [label for label in given if label not in place]
    if unseen:
        known = [*place][:20]
        raise InputError(f"label {unseen[0]!r} was not learnt; known are {', '.join(map(repr, known))}")
    index = [place[label] for label in given]
    return learnt[np.array(index * (n if len(given) == 1 else 1))]
