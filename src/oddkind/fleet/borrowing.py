"""Machines with too little data: networks of several machines, each a label, and samples and a calibration of its own.

What a machine that borrows gets from the others are the networks and the whitening of the inputs: what is alike in
machines of its kind. New samples are compared with its own few samples alone. These are too few to hold some out, so
there are several folds, each held out once (`CrossModel`).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from oddkind.arrays import Array
from oddkind.detector import Detector
from oddkind.model.combining import combined_among_others
from oddkind.model.conformal import Calibration, CalibrationScores
from oddkind.model.forward import Forward
from oddkind.model.model import CrossModel, Model, example_rows
from oddkind.model.task import Task
from oddkind.samples import Samples
from oddkind.train.fit import fit_models
from oddkind.train.parameters import Parameters
from oddkind.train.problem import Problem, checked
from oddkind.train.torch_forward import TorchForward

FOLDS = 5
# It compares with samples one by one, so that it can be confined to those of a machine; `bench/fleets.py` compares.
SCORE = "joint-neighbours"


def fit_borrowers(
    own: Mapping[str, Samples], lenders: Mapping[str, Samples], detector: Detector
) -> dict[str, Model | CrossModel]:
    """Fit networks to machines that borrow and to those that lend, and return a model for each that borrows.

    In each of 5 folds a network learns to tell all machines apart, without a fifth of the samples (or groups) of those
    that borrow. The score is "joint-neighbours", with the normal samples of the machine itself; it needs no label.

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
    names = [*parts]
    labels = np.repeat(names, [len(samples) for samples in parts.values()])
    starts = dict(zip(names, np.cumsum([0, *map(len, parts.values())])[:-1].tolist(), strict=True))
    seed = detector.random_state
    assert isinstance(seed, int)  # noqa: S101 - write_fleet refuses all else
    folds = np.full(len(labels), -1)  # what is always learnt from
    for name, samples in own.items():
        folds[starts[name] : starts[name] + len(samples)] = _folds(samples, np.random.default_rng((seed, len(samples))))
    groups = None
    if any(samples.groups is not None for samples in parts.values()):
        groups = np.concatenate([_numbered(samples, starts[name]) for name, samples in parts.items()])
    like = clone(detector).set_params(
        per_label=False, task=_with_labels(detector.task), score_function=SCORE, calibration_fraction="auto"
    )
    feature_names = checked(next(iter(parts.values())).inputs)[3]
    given = checked(np.concatenate([np.asarray(samples.inputs) for samples in parts.values()]), labels, groups)
    problems = [
        Problem(Parameters.of(vars(like)), *given[:3], feature_names, calibration_rows=np.flatnonzero(folds == fold))
        for fold in range(folds.max() + 1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about machines that lend, which are no labels of the user's
        models = fit_models(problems)
    found: dict[str, Model | CrossModel] = {}
    for name, samples in own.items():
        begin, others = starts[name], [one for one in names if one != name]
        held = {*folds[begin : begin + len(samples)].tolist()}
        confined = [_confined(models[fold], given[0], name, begin, len(samples), others) for fold in sorted(held)]
        found[name] = CrossModel(tuple(confined), confined[0].false_alarm_rate)
    return found


def _with_labels(task: str) -> str:
    if task == "auto":
        return "labels"
    return task if "labels" in task.split("+") else f"labels+{task}"


def _folds(samples: Samples, draw: np.random.Generator) -> Array:
    """Draw the fold in which each sample is held out, [N]; samples of a group are in one fold, if there are groups."""
    units = np.arange(len(samples)) if samples.groups is None else np.unique(samples.groups, return_inverse=True)[1]
    if units.max() == 0:  # of a single group, which cannot be held out as a whole
        units = np.arange(len(samples))
    n = int(units.max()) + 1
    return (draw.permutation(n) % min(FOLDS, n))[units]


def _numbered(samples: Samples, start: int) -> Array:
    """Return groups as numbers that no other machine has."""
    if samples.groups is None:
        return start + np.arange(len(samples))
    return start + np.unique(samples.groups, return_inverse=True)[1]


def _confined(model: Model, inputs: Array, name: str, start: int, n: int, others: list[str]) -> Model:
    """Return a fold of the model of one machine: what the networks of all say of it, and its own samples."""
    report, views = model.report, model.task.n_views
    kept = np.flatnonzero((report.calibration_rows >= start) & (report.calibration_rows < start + n))
    learnt = report.training_rows[(report.training_rows >= start) & (report.training_rows < start + n)]
    rows = report.calibration_rows[kept]
    first = int(model.task.label_index(np.array([name]))[0]) * views
    task = Task(np.array([name]), model.task.view_names, model.task.n_scored)
    score = replace(model.score, learnt=(tuple(_of_class(arrays, first) for arrays in model.score.learnt[0]),))
    members = tuple(_of_classes(member, slice(first, first + views)) for member in model.members)
    prepared = model.inputs.standardise(inputs[rows])
    groups = np.unique(model.calibration.labelled.groups[kept], return_inverse=True)[1]

    def of(targets: Array | None) -> CalibrationScores:
        components = score(replace(model, members=members).run(prepared, targets), model.temperature)
        whole = combined_among_others(components, score.weights, score.fuse, groups)
        return CalibrationScores(components, whole, groups, np.zeros(len(rows), int))

    return replace(
        model,
        task=task,
        members=members,
        score=score,
        calibration=Calibration(
            of(task.targets(np.full(len(rows), name), len(rows))),
            of(task.targets(None, len(rows))),
            model.calibration.grouped,
        ),
        report=replace(
            report,
            training_rows=learnt - start,
            calibration_rows=rows - start,
            parameters={**report.parameters, "borrows_from": others},
        ),
        normal=None,
        examples=prepared[example_rows(len(rows), inputs[0].size)],
    )


def _of_classes(forward: Forward, classes: slice) -> TorchForward:
    """Return a network that has only some of its classes."""
    assert isinstance(forward, TorchForward)  # noqa: S101 - it was just trained
    network = copy.deepcopy(forward.network)
    head = network.classifier
    assert isinstance(head, nn.Linear)  # noqa: S101 - as in all networks of oddkind
    fewer = nn.utils.skip_init(nn.Linear, head.in_features, classes.stop - classes.start, device=head.weight.device)
    with torch.no_grad():
        fewer.weight.copy_(head.weight[classes])
        fewer.bias.copy_(head.bias[classes])
    network.classifier = fewer
    return replace(forward, network=network)


def _of_class(arrays: Mapping[str, Array], number: int) -> dict[str, Array]:
    """Return what "joint-neighbours" learnt, with the normal samples of one class alone."""
    place = int(np.searchsorted(arrays["classes"], number))
    begin, end = arrays["starts"][place : place + 2].tolist()
    confined = {name: arrays[name][begin:end] for name in ("inputs", "features")}
    return {**arrays, **confined, "classes": np.zeros(1, int), "starts": np.array([0, end - begin])}
