"""From files to a fitted model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from oddkind.arrays import Array
from oddkind.cross_conformal import fit_cross
from oddkind.detector import Detector
from oddkind.errors import InputError, PromiseWarning
from oddkind.files.listing import Entry, labelled
from oddkind.files.score import fingerprint, promise_problem
from oddkind.files.source import Source, read, resolved
from oddkind.fitting import fit_together
from oddkind.model.conformal import min_calibration_size, pool
from oddkind.model.model import CrossModel, Model
from oddkind.samples import Samples
from oddkind.train.frontends import make_front_end

FOLDS = 5


def fit_files(
    files: Sequence[Entry],
    source: Source,
    detector: Detector,
    *,
    folds: int | Literal["auto"] | None = "auto",
    how: str = "mean",
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[str, float], None] = lambda stage, done: None,
) -> Model | CrossModel:
    """Fit a model to normal files, with the labels and groups that they have.

    Files that are known to be anomalous or that belong to the test split are not learnt from. `detector` holds the
    parameters and is not changed. The score of a file is pooled from those of its samples by `how`: "mean", "max" or a
    quantile such as "0.9". `Model.source` keeps what `score_files` needs.

    `folds`: None holds some files out, once; a number K trains K models, each without a fold of the files
    (`CrossModel`); "auto" uses 5 folds if holding out half of the files would be too few to promise the false-alarm
    rate and the folds together are enough.

    Raises
    ------
    InputError
        If there are too few files, or the detector refuses them.
    """
    pool(np.zeros(1), np.zeros(1), how)  # refuses an unknown name now, not after training
    samples, source = learnable(
        files, source, cache=cache, on_refused=on_refused, on_progress=lambda done: on_progress("reading", done)
    )
    assert samples.files is not None  # noqa: S101 - read fills it in
    labels = samples.labels if samples.labels is not None and len(np.unique(samples.labels)) > 1 else None
    units = np.arange(len(samples)) if samples.groups is None else samples.groups
    k = _folds(folds, len(np.unique(units)), detector)

    def progress(done: float) -> None:
        on_progress("training", done)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromiseWarning)  # given for files, below
        model = _fit(detector, k, samples.inputs, labels, samples.groups, progress)
    names, first = np.unique(samples.files, return_index=True)
    learnt = set(names.tolist())
    noted = {
        "settings": source.model_dump(mode="json"),
        "pool": how,
        "learnt": sorted(fingerprint(entry.path) for entry in files if entry.name in learnt),
        # Each file and the row of its first sample.
        "files": [[str(names[file]), int(first[file])] for file in np.argsort(first)],
    }
    model = replace(model, source=noted, front_end=make_front_end(source))
    problem = promise_problem(model)
    if problem is not None:
        warnings.warn(problem, PromiseWarning, stacklevel=2)
    return model


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
    own = Detector(**detector.get_params(deep=False))
    fit_together([own], inputs, labels, groups, on_progress=on_progress)
    return own.model_


def learnable(
    files: Sequence[Entry],
    source: Source,
    *,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> tuple[Samples, Source]:
    """Read the files that may be learnt from, and return the settings they were read with.

    Those known to be anomalous or of the test split are left out, and those without a label if others have one.

    Raises
    ------
    InputError
        If there is none, or none that can be read, or only one sample.
    """
    normal = [entry for entry in files if entry.anomalous is not True and entry.split != "test"]
    if not normal:
        raise InputError(
            f"none of {len(files)} files is normal and outside the test split; there is nothing to learn; "
            "--normal names the normal ones"
        )
    normal = labelled(normal, on_refused)
    source = resolved(source, normal)
    front_end = make_front_end(source)
    samples = read(normal, source, front_end, cache=cache, on_refused=on_refused, on_progress=on_progress)
    if len(samples) < 2:
        raise InputError(f"{normal[0].name}: the only sample to learn from; it takes 2 at least, and 20 are a start")
    return samples, source
