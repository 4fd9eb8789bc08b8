"""From files to a fitted model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oddkind.arrays import Array
from oddkind.cross_conformal import fit_cross
from oddkind.detector import Detector
from oddkind.errors import ConcernWarning, InputError, PromiseWarning
from oddkind.files.blocks import cutting, in_blocks, with_blocks
from oddkind.files.listing import Entry, labelled
from oddkind.files.reading import read
from oddkind.files.score import learnt_mark, promise_problem
from oddkind.files.source import Source, like_recordings, resolved
from oddkind.fitting import fit_together
from oddkind.front_end_choice import PICTURE, choose_front_end
from oddkind.model.conformal import min_calibration_size, pool
from oddkind.model.model import CrossModel, Model
from oddkind.samples import Samples

FOLDS = 5
CHOOSING = 0.3  # of the progress of reading
MIN_COMPARED = 19  # groups that are held out, for p-values of windows to be pooled


def fit_files(
    files: Sequence[Entry],
    source: Source,
    detector: Detector,
    *,
    folds: int | Literal["auto"] | None = "auto",
    how: str = "auto",
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[str, float], None] = lambda stage, done: None,
) -> Model | CrossModel:
    """Fit a model to normal files, with the labels and groups that they have.

    Files that are known to be anomalous or that belong to the test split are not learnt from. `detector` holds the
    parameters and is not changed. The score of a file is pooled from those of its samples by `how`, as in
    `oddkind.model.conformal.pool`; "auto": "fisher", or "mean" if each file has one sample, or if fewer than 19 groups
    are held out, whose p-values would be too coarse. `Model.source` keeps what `score_files` needs.

    If `source` names no front end and `detector` no task and no network, the front end of labelled sounds is chosen:
    `oddkind.front_end_choice`. The reason is kept in `Model.source["front_end_reason"]`.

    `folds`: None holds some files out, once; a number K trains K models, each without a fold of the files
    (`CrossModel`); "auto" uses 5 folds if holding out half of the files would be too few to promise the false-alarm
    rate and the folds together are enough.

    Raises
    ------
    InputError
        If there are too few files, or the detector refuses them.
    """
    if how != "auto":
        pool(np.zeros(1), np.zeros(1), how)  # refuses an unknown name now, not after training
    named = source.front_end is not None
    entries, source = learnable(files, source, min_calibration_size(detector.false_alarm_rate), on_refused=on_refused)
    reason, chosen = "", 0.0
    if source.kind == "sounds" and named:
        reason = "as named"
    elif source.kind == "sounds" and not _open(detector):
        reason = "because a task or a network is named, which may read vectors only"
    elif source.kind == "sounds":
        front_end, reason = choose_front_end(
            entries, source, cache=cache, on_progress=lambda done: on_progress("reading", CHOOSING * done)
        )
        source = source.model_copy(update={"front_end": front_end})
        chosen = CHOOSING if len({entry.label for entry in entries}) > 1 else 0.0
    samples = read(
        entries,
        source,
        cache=cache,
        on_refused=on_refused,
        on_progress=lambda done: on_progress("reading", chosen + (1 - chosen) * done),
    )
    assert samples.files is not None  # noqa: S101 - read fills it in
    if (doubt := like_recordings(source, samples.inputs.shape[1:])) is not None:
        warnings.warn(doubt, ConcernWarning, stacklevel=2)
    labels = samples.labels if samples.labels is not None and len(np.unique(samples.labels)) > 1 else None
    units = np.arange(len(samples)) if samples.groups is None else samples.groups
    kinds = np.zeros(len(samples)) if labels is None else labels
    pairs = {*zip(units.tolist(), kinds.tolist(), strict=True)}
    if len(pairs) == len({kind for _, kind in pairs}):
        name = (samples.files if samples.groups is None else samples.groups)[0]
        one = "that can be learnt from" if len(pairs) == 1 else f"of label {kinds.tolist()[0]!r}"
        raise InputError(
            f"{name} is the only file or group {one}, so nothing can be held out; learn from several files, or cut "
            "long ones into blocks with --block, such as --block 10min"
        )
    k = _folds(folds, len(np.unique(units)), detector)
    detector = _suited(detector, source, labels)

    def progress(done: float) -> None:
        on_progress("training", done)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromiseWarning)  # given for files, below
        model = _fit(detector, k, samples.inputs, labels, samples.groups, progress)
    model = replace(model, source=noted(model, samples, entries, source, how, reason))
    problem = promise_problem(model)
    if problem is not None:
        if source.block is None and len(samples) > len(np.unique(samples.files)):
            problem += "; --block cuts long files, such as --block 10min, if the blocks may count as separate files"
        warnings.warn(problem, PromiseWarning, stacklevel=2)
    return model


def noted(
    model: Model | CrossModel, samples: Samples, entries: Sequence[Entry], source: Source, how: str, reason: str
) -> dict[str, Any]:
    """Return what `score_files` needs to know of the files that a model learnt from, its `source`."""
    names, first = np.unique(np.asarray(samples.files), return_index=True)
    learnt = set(names.tolist())
    return {
        "settings": source.model_dump(mode="json"),
        "front_end_reason": reason,
        "pool": _pooling(how, model, windows=len(samples) > len(names)),
        "learnt": sorted(learnt_mark(entry) for entry in entries if entry.name in learnt),
        # Each file and the row of its first sample.
        "files": [[str(names[file]), int(first[file])] for file in np.argsort(first)],
    }


def _open(detector: Detector) -> bool:
    """Return whether a detector leaves open what is learnt from labelled sounds."""
    return detector.task in ("auto", "labels") and isinstance(detector.network, str) and detector.network == "auto"


def _suited(detector: Detector, source: Source, labels: Array | None) -> Detector:
    """Return the detector, for spectrograms of labelled sounds with their task and network unless others are named."""
    given = detector.get_params(deep=False)
    if source.front_end == PICTURE and labels is not None and _open(detector):
        given |= {"task": "labels", "network": "spectrogram"}
    return Detector(**given)


def _pooling(how: str, model: Model | CrossModel, *, windows: bool) -> str:
    """Return how the scores of the samples of a file are pooled; "auto" is resolved."""
    if how != "auto":
        return how
    fewest = min(fold.calibration.labelled.count for fold in model.folds)
    return "fisher" if windows and fewest >= MIN_COMPARED else "mean"


def _folds(folds: int | str | None, n: int, detector: Detector) -> int | None:
    if folds != "auto":
        return None if folds is None else int(folds)
    needed = min_calibration_size(detector.false_alarm_rate)
    return FOLDS if n // 2 < needed <= n and n >= FOLDS and not detector.per_label else None


def _fit(
    detector: Detector,
    folds: int | None,
    inputs: Array,
    labels: Array | None,
    groups: Array | None,
    on_progress: Callable[[float], None],
) -> Model | CrossModel:
    if folds is not None:
        return fit_cross(detector, folds, inputs, labels, groups, on_progress=on_progress)
    fit_together([detector], inputs, labels, groups, on_progress=on_progress)
    return detector.model_


def learnable(
    files: Sequence[Entry],
    source: Source,
    min_groups: int = 1,
    *,
    on_refused: Callable[[str, str], None] | None = None,
) -> tuple[list[Entry], Source]:
    """Return the files, or the blocks of files, that may be learnt from, and the settings to read them with.

    Those known to be anomalous or of the test split are left out, and those without a label if others have one. Whether
    files are cut into blocks is decided by `oddkind.files.blocks.with_blocks`, and is a `ConcernWarning`.

    Raises
    ------
    InputError
        If there is none, or none that can be read, or only one sample.
    """
    learnt = [entry for entry in files if entry.split != "test"]
    normal = [entry for entry in learnt if entry.anomalous is not True]
    partly = [entry for entry in learnt if entry.truth is not None]  # only some of its rows are marked
    if not normal and not partly:
        raise InputError(
            f"none of {len(files)} files is normal and outside the test split; there is nothing to learn; "
            "--normal names the normal ones"
        )
    normal = labelled(normal, on_refused)
    source = with_blocks(resolved(source, normal or partly), normal or partly, min_groups)
    if source.block is not None:
        cut = [entry for entry in learnt if entry in normal or entry.truth is not None]
        blocks = in_blocks(cut, source, apart=True)
        normal = labelled([entry for entry in blocks if entry.anomalous is not True], on_refused)
        warnings.warn(cutting(source, len(cut), len(normal)), ConcernWarning, stacklevel=2)
    if not normal:
        raise InputError(
            "no table is without marked rows, and there is no block without them; --block 10min, for example, cuts "
            "tables into blocks, and those without a marked row are learnt from"
        )
    return normal, source
