"""From the content of a file to the model that was saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.bundle import Bundle, FoldManifest, Labels
from oddkind.model.conformal import Calibration, CalibrationScores
from oddkind.model.fitted_score import FittedScore
from oddkind.model.forward import Forward
from oddkind.model.inputs import InputSpec
from oddkind.model.model import CrossModel, FittedModel, Model, Normal, TrainingReport, example_rows
from oddkind.model.places import Places, unusual_places
from oddkind.model.score import Score
from oddkind.model.scores import SCORES, components_of, fusion_of
from oddkind.model.task import Task

# Blank samples of at most this many numbers in all are scored when a file is read.
MAX_TRIED = 1 << 24
# A damaged file must not ask for memory.
MAX_LABEL_BYTES = 1 << 28

MakeForward = Callable[[Mapping[str, Any], Mapping[str, Array], InputSpec, Task], Forward]
"""(description, weights, inputs, task) → the network."""


def model_of(bundle: Bundle, make_forward: MakeForward, score: Score | None = None) -> Model | CrossModel:
    """Build the model from the content of a file.

    Parameters
    ----------
    bundle : Bundle
    make_forward : callable (description, weights, inputs, task) → Forward
        Builds a network from what `Forward.describe` and `Forward.weights` returned.
    score : Score or None
        The model's own score, if it was fitted with one.

    Raises
    ------
    InputError
        If an array is missing, has another form or is unexpected, or `score` is missing or not asked for.
    """
    file, manifest = bundle.file, bundle.manifest
    folds = []
    for k, fold in enumerate(manifest.folds):
        own = Bundle(file, manifest, bundle.take_all(f"fold.{k}."))
        folds.append(_model(own, fold, make_forward, score))
        if own.arrays:
            bundle.arrays[f"fold.{k}.{min(own.arrays)}"] = own.arrays[min(own.arrays)]
    if bundle.arrays:
        raise InputError(f"{file}: unexpected array {min(bundle.arrays)!r}; the file is damaged, save the model again")
    if len({_form(fold) for fold in folds}) > 1:
        raise InputError(f"{file}: the folds do not learn the same task; the file is damaged, save the model again")
    if len(folds) > 1:
        model: Model | CrossModel = CrossModel(tuple(folds), manifest.false_alarm_rate, manifest.source)
    else:
        decisions = {name: getattr(manifest, name) for name in ("false_alarm_rate", "per_label", "source")}
        try:
            model = replace(folds[0], **decisions)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
    _try(file, model)
    return model


def _form(model: Model) -> tuple[Any, ...]:
    """Return what all folds of a model have in common."""
    labels = None if model.task.labels is None else tuple(model.task.labels.tolist())
    return model.inputs.shape, model.inputs.standardises, labels, model.task.view_names, model.normal is None


def _model(own: Bundle, fold: FoldManifest, make_forward: MakeForward, score: Score | None) -> Model:
    file, manifest, shape = own.file, own.manifest, fold.input_shape
    if fold.score is None and score is None:
        raise InputError(f"{file}: fitted with a score of its own; pass it: load(file, score_function=...)")
    if fold.score is not None and score is not None:
        raise InputError(f"{file}: names its score, {fold.score!r}; leave out score_function=")
    if fold.feature_names is not None and len(fold.feature_names) != shape[0]:
        raise InputError(f"{file}: {len(fold.feature_names)} names for {shape[0]} features; save the model again")
    each = (shape[0], *[1] * (len(shape) - 1))
    double = "mean" in own.arrays and own.arrays["mean"].dtype == np.float64
    precision = np.float64 if double else np.float32
    mean, scale = (own.take(name, each, precision) if fold.standardises else None for name in ("mean", "scale"))
    bound = own.take("bound", each, np.float32) if fold.standardises and "bound" in own.arrays else None
    if bound is not None and not (bound > 0).all():
        raise InputError(f"{file}: array 'bound' must be above 0; the file is damaged, save the model again")
    inputs = InputSpec(shape, mean, scale, fold.feature_names, bound)
    task = Task(_labels(file, fold.labels), fold.view_names, fold.n_scored)
    if task.n_scored > task.n_views:
        raise InputError(f"{file}: {task.n_scored} of {task.n_views} views are scored; save the model again")
    report = TrainingReport(
        fold.accuracy,
        fold.perplexity,
        own.take("report.losses", (fold.epochs, len(fold.members))),
        fold.epochs,
        fold.train_seconds,
        own.take("report.training_rows", (None,), np.int64),
        own.take("report.calibration_rows", (None,), np.int64),
        fold.parameters,
    )
    members = tuple(
        make_forward(description, own.take_all(f"member.{m}."), inputs, task)
        for m, description in enumerate(fold.members)
    )
    examples = None
    if manifest.format >= 5:
        n = len(example_rows(len(report.calibration_rows), math.prod(shape)))
        examples = own.take("examples", (n, *shape), np.float32 if fold.standardises else np.uint8)
    fitted = _score(own, fold, score)
    return Model(
        inputs,
        task,
        members,
        fold.temperature,
        fitted,
        _calibration(own, fold, task, fitted, len(report.calibration_rows)),
        _normal(own, task, math.prod(shape)) if fold.has_normal else None,
        0.5,
        False,
        report,
        examples=examples,
        places=_places(own, len(members)),
    )


def _labels(file: Path, given: Labels | None) -> Array | None:
    if given is None:
        return None
    with suppress(TypeError, ValueError, OverflowError):
        if np.dtype(given.dtype).itemsize * len(given.values) <= MAX_LABEL_BYTES:
            labels = np.array(given.values, given.dtype)
            if labels.tolist() == list(given.values) and np.array_equal(np.unique(labels), labels):
                return labels
    raise InputError(f"{file}: labels are not sorted values of type {given.dtype!r}; save the model again")


def _score(own: Bundle, fold: FoldManifest, score: Score | None) -> FittedScore:
    named = score if fold.score is None else SCORES[fold.score]
    assert named is not None  # noqa: S101 - refused before
    components = components_of(named)
    learnt = tuple(
        tuple(own.take_all(f"score.{p}.{m}.") for m in range(len(fold.members))) if component.learn else ()
        for p, component in enumerate(components)
    )
    weights = own.take("score.weights", (fusion_of(named).n_numbers * len(components),), np.float64)
    return FittedScore(fold.score, score, learnt, weights)


def _calibration(own: Bundle, fold: FoldManifest, task: Task, score: FittedScore, n: int) -> Calibration:
    groups = own.take("calibration.groups", (n,), np.int64)
    label_index = _label_index(own, "calibration.label_index", n, task)

    def scores(name: str) -> CalibrationScores:
        components = own.take(f"{name}.components", (n, len(score.learnt)))
        return CalibrationScores(components, own.take(f"{name}.scores", (n,)), groups, label_index)

    modes = [component.label_modes(task) for component in score.components]
    unlabelled = all(False in mode for mode in modes)
    return Calibration(scores("labelled"), scores("unlabelled") if unlabelled else None, fold.grouped)


def _normal(own: Bundle, task: Task, size: int) -> Normal:
    rows = own.take("normal.rows", (None,), np.int64)
    n = len(rows)
    if n == 0:
        raise InputError(f"{own.file}: there are no normal samples; the file is damaged, save the model again")
    return Normal(
        own.take("normal.inputs", (n, size)),
        own.take("normal.features", (n, task.n_scored, None)),
        _label_index(own, "normal.label_index", n, task),
        rows,
        own.take("normal.view_nll", (n, task.n_scored)),
    )


def _places(own: Bundle, n_members: int) -> Places | None:
    if "places.mean" not in own.arrays:
        return None
    mean = own.take("places.mean", (n_members, None), np.float64)
    size = mean.shape[1]
    whitening = own.take("places.whitening", (n_members, size, size), np.float64)
    return Places(mean, whitening, own.take("places.usual", (n_members,), np.float64))


def _label_index(own: Bundle, name: str, n: int, task: Task) -> Array | None:
    if task.labels is None:
        return None
    index = own.take(name, (n,), np.int64)
    if ((index < 0) | (index >= len(task.labels))).any():
        raise InputError(f"{own.file}: array {name!r} names labels that there are not; save the model again")
    return index


def _try(file: Path, model: FittedModel) -> None:
    """Score blank samples: what a score learnt has no fixed form, so this finds arrays that do not fit together."""
    size = math.prod(model.inputs.shape)
    if size > MAX_TRIED:  # a damaged file must not ask for memory
        return
    labels = np.zeros(1) if model.task.labels is None else model.task.labels[: max(1, MAX_TRIED // size)]
    try:
        with np.errstate(all="ignore"):
            for n in (2, 3):  # an array that happens to fit 2 samples does not fit 3
                kind = np.float32 if model.inputs.standardises else np.uint8
                blanks = np.zeros((n * len(labels), *model.inputs.shape), kind)
                model.p_value(blanks, np.repeat(labels, n))
                if all(fold.calibration.unlabelled is not None for fold in model.folds):
                    model.p_value(blanks[:n])
            for fold in model.folds:
                if fold.normal is not None:
                    np.subtract(fold.normal.features[:1], fold.outputs(blanks[:1]).features)  # of one form
                if fold.places is not None:
                    unusual_places(fold.members, fold.places, blanks[:1])
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError, AssertionError) as error:
        raise InputError(f"{file}: the arrays do not fit together ({error}); save or fit the model again") from error
