"""The models that are served: read, described, and replaced by newer files while requests go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.errors import InputError
from oddkind.files.score import (
    HeldOut,
    file_source,
    held_out_files,
    judged,
    learnt_from_files,
    n_calibration_files,
    promise_problem,
    settings_of,
)
from oddkind.loading import load
from oddkind.model.bundle import fingerprint_of
from oddkind.model.model import FittedModel
from oddkind.naming import on_one_line, printable
from oddkind.serve.batching import Batcher, Run
from oddkind.serve.formats import JsonReader
from oddkind.serve.limits import Limits

log = logging.getLogger("oddkind.serve")

# Of the formats that the files of a kind have, those that the service reads.
SUFFIXES = {
    "sounds": (".wav", ".flac", ".npy"),
    "pictures": (".png", ".jpg", ".jpeg"),
    "tables": (".csv",),
    "arrays": (".npy",),
}


@dataclass(frozen=True, eq=False)
class Served:
    """A model that is served.

    Attributes
    ----------
    name : str
        That of its file, without the suffix.
    model : FittedModel
    fingerprint : str
        The SHA-256 that its file states of its content.
    loaded : float
        When it was read, in seconds since 1970.
    batcher : Batcher
    reader : JsonReader
    problem, problem_of_files : str or None
        Why the false-alarm rate cannot be promised for samples, and for files.
    """

    name: str
    model: FittedModel
    fingerprint: str
    loaded: float
    batcher: Batcher
    reader: JsonReader
    problem: str | None
    problem_of_files: str | None

    @cached_property
    def kind(self) -> str | None:
        """The kind of files that it learnt from; None if it learnt from arrays."""
        return settings_of(self.model).kind if learnt_from_files(self.model) else None

    @cached_property
    def labels(self) -> list[Any]:
        """The labels that it learnt."""
        return [] if self.model.task.labels is None else self.model.task.labels.tolist()

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type of the samples it takes."""
        mean = self.model.inputs.mean
        return np.dtype(np.uint8) if mean is None else mean.dtype

    @cached_property
    def held_out(self) -> HeldOut:
        """The scores of the files held out of training, computed once."""
        return held_out_files(self.model)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Say what it takes, promises and is, as JSON."""
        model = self.model
        kind = self.kind
        names = model.inputs.feature_names
        held_out = min(model.calibration_sizes().values()) if kind is None else n_calibration_files(model)
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "loaded": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.loaded)),
            "takes": {
                "arrays": {"shape": list(model.inputs.shape), "dtype": str(self.dtype)},
                "feature_names": None if names is None else list(names),
                "kind": kind,
                "files": [".npy"] if kind is None else list(SUFFIXES[kind]),
                "labels": self.labels,
            },
            "judged": "samples" if kind is None else judged(model),
            "false_alarm_rate": model.false_alarm_rate,
            "per_label": model.per_label,
            "promised": (self.problem if kind is None else self.problem_of_files) is None,
            "held_out": held_out,
            "pool": None if kind is None else file_source(model)["pool"],
            "folds": len(model.folds),
            **model.folds[0].describe(),
        }


class Models:
    """All models that are served, by name.

    Parameters
    ----------
    files : sequence of paths
    limits : Limits
    run : callable
        Runs a function in a thread.
    false_alarm_rate : float or None
        Instead of that of the models.

    Raises
    ------
    InputError
        If there is no file, two have the same name, or one cannot be read.
    """

    def __init__(
        self, files: Sequence[Path], limits: Limits, run: Run, *, false_alarm_rate: float | None = None
    ) -> None:
        if not files:
            raise InputError("name at least one model to serve")
        self._limits, self._run, self._rate = limits, run, false_alarm_rate
        self._files: dict[str, Path] = {}
        for file in files:
            name = printable(file.stem)
            if name in self._files:
                raise InputError(f"{self._files[name]} and {file} would both be served as {name!r}; rename one")
            self._files[name] = file
        self._served = {name: self._read(name, file) for name, file in self._files.items()}

    @property
    def served(self) -> Mapping[str, Served]:
        """The models by name. A reload replaces the mapping as a whole."""
        return self._served

    def reload(self) -> dict[str, str]:
        """Read all files again, and then replace the models at once; return the reason for each that stays as it was.

        Requests that have begun are answered by the models with which they began.
        """
        fresh: dict[str, Served] = {}
        problems: dict[str, str] = {}
        for name, file in self._files.items():
            try:
                fresh[name] = self._read(name, file)
            except InputError as error:
                problems[name] = str(error)
                log.error("%s stays as it was: %s", on_one_line(name), on_one_line(str(error)))
            except Exception:  # the models that are there are worth more than this one
                problems[name] = "an error of the service itself"
                log.exception("%s stays as it was", on_one_line(name))
            else:
                known = self._served[name].fingerprint
                what = "is the same" if fresh[name].fingerprint == known else "was replaced"
                log.info("%s %s: %s", on_one_line(name), what, fresh[name].fingerprint[:12])
        self._served = {name: fresh.get(name, self._served[name]) for name in self._files}
        return problems

    def _read(self, name: str, file: Path) -> Served:
        while True:  # until the file was not replaced in between
            fingerprint = fingerprint_of(file)
            model: FittedModel = load(file)
            if fingerprint_of(file) == fingerprint:
                break
        if self._rate is not None:
            model = replace(model, false_alarm_rate=self._rate)  # type: ignore[type-var]
        return Served(
            name,
            model,
            fingerprint,
            time.time(),
            Batcher(model, self._run),
            JsonReader(model.inputs, self._limits),
            model.promise_problem(with_labels=model.per_label),
            promise_problem(model) if learnt_from_files(model) else None,
        )
