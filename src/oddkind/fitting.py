"""Fitting detectors, many at once: to the same samples, or each to a machine's own."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from oddkind.checks import look
from oddkind.detector import Detector, Plan
from oddkind.errors import ConcernWarning, InputError
from oddkind.samples import Samples
from oddkind.train.stacks import train_together

Array = npt.NDArray[Any]


def fit_together(
    detectors: Sequence[Detector],
    X: Array,
    y: Array | None = None,
    groups: Array | None = None,
    *,
    held_out: Sequence[Array] | None = None,
    checkpoints: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> None:
    """Fit detectors to the same samples; those of one form (network, task, epochs, batch size) in one stack.

    Each detector ends as if it had been fitted alone. `held_out`: the sorted rows that each holds out, instead of
    drawing them. With a folder for `checkpoints` a run that was killed goes on where it was when it is started again.
    `on_progress` is told the finished part, 0 … 1.
    """
    if getattr(X, "dtype", None) == np.uint8:
        X = np.require(X, requirements=["C", "W"])
    rows = [None] * len(detectors) if held_out is None else held_out
    plans = [detector._plan(X, y, groups, own) for detector, own in zip(detectors, rows, strict=True)]
    if plans:
        _warn_of(plans, groups)
    _fit(plans, checkpoints, on_progress)


def fit_fleet(
    machines: Mapping[str, Samples],
    detector: Detector,
    *,
    checkpoints: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Detector]:
    """Fit a clone of `detector` to each machine's samples, many machines in one stack.

    Raises
    ------
    InputError
        Naming the machine whose samples cannot be used.
    """
    plans = {}
    for name, samples in machines.items():
        try:
            plans[name] = clone(detector)._plan(samples.inputs, samples.labels, samples.groups)
        except ValueError as error:
            raise InputError(f"{name}: {error}") from error
        _warn_of([plans[name]], samples.groups, f"{name}: ")
    _fit(list(plans.values()), checkpoints, on_progress)
    return {name: plan.detector for name, plan in plans.items()}


def _warn_of(plans: Sequence[Plan], groups: Array | None, name: str = "") -> None:
    """Warn of what is doubtful about the samples that all these detectors are about to learn from."""
    labelled = [plan for plan in plans if plan.detector.task_.labels is not None]
    samples = Samples(
        plans[0].inputs,
        plans[0].labels if labelled else None,
        groups=None if groups is None else np.asarray(groups),
    )
    for concern in look(samples):
        # Easy labels are no matter where the network learns known transforms too, or its softmax is not asked.
        if concern.kind != "too easy" or any(
            plan.detector.task_.transform.count == 1
            and plan.detector._score.believes(1.0, plan.detector.task_.n_classes)
            for plan in labelled
        ):
            warnings.warn(name + concern.message, ConcernWarning, stacklevel=4)


def _fit(plans: Sequence[Plan], checkpoints: Path | None, on_progress: Callable[[float], None]) -> None:
    """Train all networks of all plans, and finish each detector."""
    if checkpoints is not None and any(plan.detector.random_state is None for plan in plans):
        raise InputError("random_state=None draws anew at each start; pass a number to go on from checkpoints")
    results = iter(train_together([run for plan in plans for run in plan.runs], checkpoints, on_progress))
    for plan in plans:
        own = list(itertools.islice(results, len(plan.runs)))
        plan.detector.losses_ = np.stack([losses for losses, _ in own], 1)
        plan.detector.train_seconds_ = sum(seconds for _, seconds in own)
        plan.detector._finish(plan)
