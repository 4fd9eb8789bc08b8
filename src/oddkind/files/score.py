"""Scoring files: a file may hold many samples (a recording its windows), and gets one score and one p-value.

The score of a file is pooled from those of its samples, and its p-value compares it with whole files that were held out
of training.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.arrays import BATCH_SIZE, Array
from oddkind.errors import InputError, PromiseWarning
from oddkind.files.blocks import in_blocks
from oddkind.files.listing import Entry
from oddkind.files.reading import each
from oddkind.files.remote import last_change
from oddkind.files.source import Source, changed, warn_of_losses
from oddkind.language import Message
from oddkind.model.conformal import (
    CalibrationScores,
    alarms,
    discoveries,
)
from oddkind.model.model import FittedModel

HeldOut = Callable[[bool], list[CalibrationScores]]
"""Whether labels are known → the scores of the files held out of training, for each fold."""


@dataclass(frozen=True)
class Verdict:
    """The score and the decision for a file.

    Attributes
    ----------
    path : str
        Inside the data set.
    label : str or None
        The internal label it claims.
    score : float
        Anomaly score, pooled over its samples.
    p_value : float
        Chance that a normal file scores as high: (1 + held-out files at or above) / (1 + held-out files). The files of
        one group count as one.
    anomalous : bool
        Whether the p-value is at most the false-alarm rate, or the file is among the discoveries.
    """

    path: str
    label: str | None
    score: float
    p_value: float
    anomalous: bool


def score_files(
    files: Sequence[Entry],
    model: FittedModel,
    *,
    false_discovery_rate: float | None = None,
    cache: Path | None = None,
    held_out: HeldOut | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> list[Verdict]:
    """Score files. A label is used if it was learnt, and ignored otherwise.

    A file is anomalous if its p-value is at most the model's false-alarm rate; a rate that cannot be promised raises no
    alarm and warns (`PromiseWarning`). With a false discovery rate, the files called anomalous are chosen such that on
    average at most this fraction of them is normal (`oddkind.discoveries`).

    `held_out`: what `held_out_files` returned for the model, so that many calls do not pool its held-out files again.

    Raises
    ------
    InputError
        If a file cannot be read and `on_refused` is None.
    """
    held_out = held_out or held_out_files(model)
    if false_discovery_rate is not None:
        discoveries(np.ones(1), false_discovery_rate)  # refuses a rate out of range
    elif (problem := promise_problem(model, held_out)) is not None:
        warnings.warn(problem, PromiseWarning, stacklevel=2)
    verdicts: list[Verdict] = []
    for part in in_parts(files, model, cache, on_refused):
        verdicts += _verdicts(part, model, held_out)
        on_progress(len(verdicts) / len(files))
    on_progress(1.0)  # some may have been refused
    if false_discovery_rate is None:
        return verdicts
    called = discoveries(np.array([verdict.p_value for verdict in verdicts]), false_discovery_rate)
    return [replace(verdict, anomalous=bool(odd)) for verdict, odd in zip(verdicts, called, strict=True)]


def _verdicts(part: Sequence[tuple[Entry, Array]], model: FittedModel, held_out: HeldOut) -> list[Verdict]:
    """Score some files, given their samples."""
    how = file_source(model)["pool"]
    classes = np.array([]) if model.task.labels is None else model.task.labels
    owner = np.repeat(np.arange(len(part)), [len(inputs) for _, inputs in part])
    inputs = np.concatenate([inputs for _, inputs in part])
    claimed = np.array([entry.label for entry, _ in part], object)
    known = np.array([label in classes.tolist() for label in claimed])
    whole, p = np.empty(len(part)), np.empty(len(part))
    for with_labels in np.unique(known):
        own = known == with_labels
        rows = own[owner]
        labels = claimed[own].astype(classes.dtype) if with_labels else None
        of_samples = claimed[owner[rows]].astype(classes.dtype) if with_labels else None
        scores = np.stack(
            [
                fold.calibration.of(with_labels=bool(with_labels)).pool_new(found, owner[rows], how)
                for fold, found in zip(model.folds, model.fold_scores(inputs[rows], of_samples), strict=True)
            ]
        )
        whole[own] = scores[0] if len(scores) == 1 else scores.mean(0)
        p[own] = model.p_value_of(scores, labels, held_out(bool(with_labels)))
    return [
        Verdict(entry.name, entry.label, float(score), float(chance), bool(alarm))
        for (entry, _), score, chance, alarm in zip(part, whole, p, alarms(p, model.false_alarm_rate), strict=True)
    ]


def held_out_files(model: FittedModel) -> HeldOut:
    """Return a function that computes `calibration_files`, with labels or without, once."""
    return functools.cache(lambda with_labels: calibration_files(model, with_labels=with_labels))


def calibration_files(model: FittedModel, *, with_labels: bool = True) -> list[CalibrationScores]:
    """Return the scores of the files held out of training, for each fold."""
    source = file_source(model)
    starts = [row for _, row in source["files"]]
    found = []
    for fold in model.folds:
        file = np.searchsorted(starts, fold.report.calibration_rows, side="right")
        found.append(fold.calibration.of(with_labels=with_labels).pooled(file, source["pool"]))
    return found


def n_calibration_files(model: FittedModel) -> int:
    """Return the number of files or groups that a file is compared with; with `per_label` the fewest of a label."""
    return min(model.calibration_sizes(calibration=calibration_files(model)).values())


def promise_problem(model: FittedModel, held_out: HeldOut | None = None) -> str | None:
    """Explain why the false-alarm rate cannot be promised for files, or return None if it can."""
    return model.promise_problem(
        calibration=(held_out or held_out_files(model))(True), what=Message("{what} or groups", what=judged(model))
    )


def judged(model: FittedModel) -> str:
    """Return what is judged: "files", or "blocks" if files are cut."""
    return Message("files") if settings_of(model).block is None else Message("blocks")


def in_parts(
    files: Sequence[Entry],
    model: FittedModel,
    cache: Path | None,
    on_refused: Callable[[str, str], None] | None,
) -> Iterator[list[tuple[Entry, Array]]]:
    """Read files, some thousand samples at a time: memory stays constant however many there are.

    Yields lists of files with their samples [n, …]. One that cannot be read, or not as those learnt from, is passed to
    `on_refused` with the reason.

    Raises
    ------
    InputError
        If there is one and `on_refused` is None.
    """
    part: list[tuple[Entry, Array]] = []
    n_samples = 0
    for entry, inputs in each(files, settings_of(model), cache=cache):
        if not isinstance(inputs, str) and inputs.shape[1:] != model.inputs.shape:
            inputs = f"gives samples of shape {inputs.shape[1:]}; the model learnt {model.inputs.shape}"
        if not isinstance(inputs, str):
            part.append((entry, inputs))
            n_samples += len(inputs)
        elif on_refused is None:
            raise InputError(f"{entry.name}: {inputs}")
        else:
            on_refused(entry.name, inputs)
        if n_samples >= BATCH_SIZE:
            yield part
            part, n_samples = [], 0
    if part:
        yield part


def read_as_learnt(
    model: FittedModel,
    data: Path,
    *,
    follow: bool = False,
    only: Container[str] | None = None,
    **changes: str | None,
) -> tuple[list[Entry], dict[str, str]]:
    """List the files of a data set as the files learnt from were listed, except for the settings that are changed.

    A data set without the field that groups were taken from is listed without groups. With `only`, files of other names
    are not returned. Files are cut into blocks if those learnt from were. What new pictures lose when they are read as
    those was is a `ConcernWarning`.
    """
    return read_with(changed(settings_of(model), changes), data, follow=follow, only=only)


def read_with(
    settings: Source, data: Path, *, follow: bool = False, only: Container[str] | None = None
) -> tuple[list[Entry], dict[str, str]]:
    """List the files of a data set with the settings of another one, as `read_as_learnt` does."""
    try:
        files, refused = settings.entries(data, follow=follow, only=only)
    except InputError:
        if settings.group is None:
            raise
        files, refused = settings.model_copy(update={"group": None}).entries(data, follow=follow, only=only)
    warn_of_losses(settings, files)
    return in_blocks(files, settings, apart=False), refused


def learnt_mark(entry: Entry) -> str:
    """Return what identifies a file, or a block of one, that a model learnt from or held out."""
    digest = fingerprint(entry.path)
    return digest if entry.windows is None else f"{digest} {entry.windows[0]} {entry.windows[1]}"


def learnt_by(model: FittedModel) -> Callable[[Entry], bool]:
    """Return a function that says whether a model learnt from a file or held it out, at least a window of it.

    Of a file that cannot be read it says no; who reads it is told the reason.
    """
    spans: dict[str, list[tuple[float, float]]] = {}
    for mark in file_source(model)["learnt"]:
        digest, *span = mark.split()
        spans.setdefault(digest, []).append((float(span[0]), float(span[1])) if span else (0, np.inf))

    def learnt(entry: Entry) -> bool:
        start, stop = entry.windows or (0, np.inf)
        try:
            digest = fingerprint(entry.path)
        except InputError:
            return False
        return any(begin < stop and start < end for begin, end in spans.get(digest, ()))

    return learnt


def learnt_before(files: Sequence[Entry], model: FittedModel) -> list[Entry]:
    """Return the files, or blocks, that a model learnt from or held out and that still have the name they had then.

    Only files of such names are compared by their content, so that an archive is not read twice.
    """
    names = {_own_name(name) for name, _ in file_source(model)["files"]}
    was_learnt = learnt_by(model)
    return [entry for entry in files if _own_name(entry.name) in names and was_learnt(entry)]


def _own_name(name: str) -> str:
    """Return the name of a file without its folders; of a block that of its file."""
    return name.rpartition("/")[2].partition(",")[0]


def fingerprint(file: Path) -> str:
    """Return a digest that identifies a file by its content, wherever it lies.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return _fingerprint(file, last_change(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error


@functools.lru_cache(maxsize=100_000)  # a report asks for that of each file several times
def _fingerprint(file: Path, _: tuple[int, int]) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:32]


def settings_of(model: FittedModel) -> Source:
    """Return the settings with which the files learnt from were read."""
    return Source.model_validate(file_source(model)["settings"])


def learnt_from_files(model: FittedModel) -> bool:
    """Whether a model knows how the files that it learnt from were read; `source` may say something else, too."""
    return model.source is not None and {"settings", "files", "learnt", "pool"} <= set(model.source)


def file_source(model: FittedModel) -> dict[str, Any]:
    """Return what `fit_files` noted about the files: settings, pool, files and learnt.

    Raises
    ------
    InputError
        If the model learnt from arrays.
    """
    if not learnt_from_files(model):
        raise InputError("the model learnt from arrays, not files; pass it arrays")
    return dict(model.source or {})
