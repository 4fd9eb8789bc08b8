"""Fitting detectors, many at once: to the same samples, or each to the samples of one machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sklearn.base import clone

from oddkind.arrays import Array
from oddkind.detector import Detector
from oddkind.errors import InputError
from oddkind.samples import Samples
from oddkind.train.fit import fit_models
from oddkind.train.parameters import Parameters
from oddkind.train.problem import Problem, checked


def fit_together(
    detectors: Sequence[Detector],
    X: Array,
    y: Array | None = None,
    groups: Array | None = None,
    *,
    calibration_rows: Sequence[Array] | None = None,
    checkpoints: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> None:
    """Fit detectors to the same samples; those of one form (network, task, epochs, batch size) in one stack.

    Each detector is fitted exactly as if it were alone. `calibration_rows`: the sorted rows that each holds out,
    instead of drawing them. With a folder for `checkpoints`, a run that was killed resumes when it is started again.
    `on_progress` is called with the finished fraction, 0 … 1.

    Raises
    ------
    InputError
        If samples or parameters cannot be used; all detectors then stay as they were.
    """
    if not detectors:
        return
    samples = checked(X, y, groups)
    rows = [None] * len(detectors) if calibration_rows is None else calibration_rows
    problems = [
        Problem(Parameters.of(vars(detector)), *samples, calibration_rows=own)
        for detector, own in zip(detectors, rows, strict=True)
    ]
    models = fit_models(problems, checkpoints=checkpoints, on_progress=on_progress)
    for detector, model in zip(detectors, models, strict=True):
        detector.model_ = model


def fit_fleet(
    machines: Mapping[str, Samples],
    detector: Detector,
    *,
    checkpoints: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Detector]:
    """Fit a clone of `detector` to the samples of each machine, many machines in one stack.

    Raises
    ------
    InputError
        If the samples of a machine cannot be used; the message names the machine.
    """
    fleet = {name: clone(detector) for name in machines}
    problems = []
    for name, samples in machines.items():
        try:
            given = checked(samples.inputs, samples.labels, samples.groups)
        except ValueError as error:
            raise InputError(f"{name}: {error}") from error
        problems.append(Problem(Parameters.of(vars(fleet[name])), *given, name=f"{name}: "))
    models = fit_models(problems, checkpoints=checkpoints, on_progress=on_progress)
    for one, model in zip(fleet.values(), models, strict=True):
        one.model_ = model
    return fleet
