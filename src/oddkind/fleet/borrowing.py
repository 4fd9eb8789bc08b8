"""Machines with too little data: one network for several, each machine a label, and a calibration of each alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from sklearn.base import clone

from oddkind.arrays import Array
from oddkind.detector import Detector
from oddkind.model.combining import combined_among_others
from oddkind.model.conformal import Calibration, CalibrationScores, min_calibration_size
from oddkind.model.model import Model, example_rows
from oddkind.samples import Samples
from oddkind.train.fit import fit_models
from oddkind.train.parameters import Parameters
from oddkind.train.problem import Problem, checked


def fit_borrowers(own: Mapping[str, Samples], lenders: Mapping[str, Samples], detector: Detector) -> dict[str, Model]:
    """Fit one network to machines that borrow and to those that lend, and return a model for each that borrows.

    The network learns to tell all machines apart. Of each machine that borrows, as many samples (or groups) are held
    out as the false-alarm rate needs, but at least half and never all; its model is calibrated by them alone.

    Parameters
    ----------
    own, lenders : mappings of str to Samples
        At least 2 machines in all; those in `own` have at least 2 samples each. Labels are ignored.

    Raises
    ------
    InputError
        If they cannot be learnt together.
    """
    parts = {**lenders, **own}
    labels = np.repeat([*parts], [len(samples) for samples in parts.values()])
    starts = dict(zip(parts, np.cumsum([0, *map(len, parts.values())])[:-1].tolist(), strict=True))
    seed = detector.random_state
    assert isinstance(seed, int)  # noqa: S101 - write_fleet refuses all else
    needed = min_calibration_size(detector.false_alarm_rate)
    held_out = {
        name: starts[name] + _held_out(samples, needed, np.random.default_rng((seed, len(samples))))
        for name, samples in own.items()
    }
    groups = None
    if any(samples.groups is not None for samples in parts.values()):
        groups = np.concatenate([_numbered(samples, starts[name]) for name, samples in parts.items()])
    like = clone(detector).set_params(per_label=False, task=_with_labels(detector.task))
    names = checked(next(iter(parts.values())).inputs)[3]
    inputs = np.concatenate([np.asarray(samples.inputs) for samples in parts.values()])
    given = checked(inputs, labels, groups)
    rows = np.sort(np.concatenate([*held_out.values()]))
    problem = Problem(Parameters.of(vars(like)), *given[:3], names, calibration_rows=rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about machines that lend, which are no labels of the user's
        (model,) = fit_models([problem])
    lent = [*parts]
    return {
        name: _of_machine(model, given[0], starts[name], len(samples), [one for one in lent if one != name])
        for name, samples in own.items()
    }


def _with_labels(task: str) -> str:
    if task == "auto":
        return "labels"
    return task if "labels" in task.split("+") else f"labels+{task}"


def _held_out(samples: Samples, needed: int, draw: np.random.Generator) -> Array:
    """Draw the rows of a machine that are held out: whole groups, as many as are needed, but not all."""
    units = np.arange(len(samples)) if samples.groups is None else np.unique(samples.groups, return_inverse=True)[1]
    n = int(units.max()) + 1
    count = min(n - 1, max(needed, n // 2))
    if count == 0:  # of a single group
        return np.sort(draw.permutation(len(samples))[: max(1, len(samples) // 2)])
    return np.flatnonzero(np.isin(units, draw.permutation(n)[:count]))


def _numbered(samples: Samples, start: int) -> Array:
    """Return groups as numbers that no other machine has."""
    if samples.groups is None:
        return start + np.arange(len(samples))
    return start + np.unique(samples.groups, return_inverse=True)[1]


def _of_machine(model: Model, inputs: Array, start: int, n: int, others: list[str]) -> Model:
    """Return the model of one machine: the networks and the score of all, with its own held-out samples."""
    report = model.report
    kept = (report.calibration_rows >= start) & (report.calibration_rows < start + n)
    learnt = report.training_rows[(report.training_rows >= start) & (report.training_rows < start + n)]
    held_out = report.calibration_rows[kept]
    groups = np.unique(model.calibration.labelled.groups[kept], return_inverse=True)[1]

    def of(scores: CalibrationScores) -> CalibrationScores:
        components = scores.components[kept]
        whole = combined_among_others(components, model.score.weights, model.score.fuse, groups)
        return CalibrationScores(
            components, whole, groups, None if scores.label_index is None else scores.label_index[kept]
        )

    unlabelled = model.calibration.unlabelled
    return replace(
        model,
        calibration=Calibration(
            of(model.calibration.labelled), None if unlabelled is None else of(unlabelled), model.calibration.grouped
        ),
        report=replace(
            report,
            training_rows=learnt - start,
            calibration_rows=held_out - start,
            parameters={**report.parameters, "borrows_from": others},
        ),
        normal=None,
        examples=model.inputs.standardise(inputs[held_out[example_rows(len(held_out), inputs[0].size)]]),
    )
