"""`Detector`: the scikit-learn estimator, and fitting many of them at once."""

from __future__ import annotations

import functools
import numbers
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from torch import nn

from oddkind.calibration import conformal_threshold, fit_temperature
from oddkind.errors import InputError
from oddkind.networks import Builder, build
from oddkind.samples import holdout
from oddkind.scores import SCORES, Outputs
from oddkind.stacking import stackable
from oddkind.tasks import Rotations, make_task
from oddkind.training import predict, train

Array = npt.NDArray[Any]
ScoreFunction = Callable[[Outputs, Outputs | None, float], Array]


class Detector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Finds anomalies by classification: what it cannot place among the kinds of normal is one.

    Inputs are normal samples: vectors [N, D], signals [N, C, T] or pictures [N, C, H, W]. uint8 stands for
    0 … 1; floats are standardised, each feature of a vector or channel of a signal or picture by itself.

    Parameters
    ----------
    task : str
        What to classify. "labels": the internal labels passed to `fit`; "rotations" (square pictures),
        "reversals" (signals), "affine" (vectors): known transforms; "labels+rotations" and so on: both at
        once, L · V classes; "auto": the labels if there are any, else the transforms that suit the shape.
    network : str, callable or torch module
        "lecture", "mlp", "signal", "auto" (by shape); `(input_shape, n_classes) → nn.Module`; or a module
        (a copy is trained, from the weights it has). A module returns `(logits [B, C], features [B, D])`.
    score : str or callable
        A name of `oddkind.scores.SCORES`, or `(outputs, reference outputs, temperature) → [N]`, such as
        `oddkind.scores.neighbours(k=5)`.
    epochs, batch_size, learning_rate : training with Adam; a batch is this many samples in all their views.
    label_smoothing : float in [0, 1)
        Part of the target spread over all classes, in training only.
    temperature : float > 0 or "fit"
        Divides the logits when scoring, never in training. "fit": most likely on the held-out part.
    validation_fraction : float in (0, 1)
        Part of the samples held out of training for the threshold, the temperature and the accuracy.
    false_alarm_rate : float in (0, 1)
        `predict` calls at most this part of new normal samples anomalous, by split-conformal prediction.
    device : str
        A torch device, or "auto": the GPU if there is one.
    random_state : int, RandomState or None
        Where every random draw comes from.
    verbose : bool
        Show a progress bar while training.

    Attributes
    ----------
    classes_ : array [L]
        The internal labels learnt; absent when the task uses none.
    task_, network_ : the task and the trained network.
    temperature_ : float
    offset_ : float
        Samples whose `score_samples` lies below it are called anomalous.
    accuracy_ : float
        Part of the held-out views the network classifies right.
    losses_ : array [epochs]
        Mean training loss.
    training_rows_, validation_rows_ : int arrays
        Which samples were learnt from, and which were held out.
    train_seconds_ : float
        Time the training loop took; in a stack of M, its M-th part.

    Examples
    --------
    >>> import numpy as np
    >>> from oddkind import Detector
    >>> draw = np.random.default_rng(0)
    >>> kind = draw.integers(3, size=600)
    >>> normal = draw.normal(size=(600, 4)) + 4 * np.eye(3, 4)[kind]
    >>> detector = Detector(random_state=0).fit(normal, kind)
    >>> detector.predict([[4, 0, 0, 0], [0, 0, 0, 9]]).tolist()
    [1, -1]
    """

    def __init__(
        self,
        *,
        task: str = "auto",
        network: str | nn.Module | Builder = "auto",
        score: str | ScoreFunction = "cosine-neighbours",
        epochs: int = 5,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        label_smoothing: float = 0.0,
        temperature: float | Literal["fit"] = 1.0,
        validation_fraction: float = 0.1,
        false_alarm_rate: float = 0.05,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.task = task
        self.network = network
        self.score = score
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.label_smoothing = label_smoothing
        self.temperature = temperature
        self.validation_fraction = validation_fraction
        self.false_alarm_rate = false_alarm_rate
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Array, y: Array | None = None, groups: Array | None = None) -> Self:
        """Learn from normal samples [N, …].

        Parameters
        ----------
        X : array [N, D], [N, C, T] or [N, C, H, W]
            Normal samples.
        y : array [N] or None
            Their internal labels.
        groups : array [N] or None
            The recording or session each was cut from; the held-out part is then whole groups.

        Raises
        ------
        InputError (a ValueError)
            Where data or a parameter cannot be used.
        """
        if not self.verbose:
            fit_together([self], X, y, groups)
            return self
        from rich.progress import Progress

        with Progress(transient=True) as progress:
            bar = progress.add_task("training", total=1.0)
            fit_together([self], X, y, groups, on_progress=lambda done: progress.update(bar, completed=done))
        return self

    def outputs(self, X: Array, y: Array | None = None) -> Outputs:
        """What the network says of samples [N, …]; targets are filled in from the labels [N], where given."""
        check_is_fitted(self)
        inputs = self._validated(X)
        labels = None if y is None or self.task_.labels is None else _validated_labels(y, len(inputs))
        return predict(self.network_, self.task_, self._tensor(inputs), labels)

    def anomaly_score(self, X: Array, y: Array | None = None) -> Array:
        """Anomaly score [N] of samples [N, …], higher = more anomalous.

        `y` [N]: the internal labels that the samples claim, where known. Scores that can use them do:
        "target-nll" is the claimed label's, neighbours and Mahalanobis compare within the label.
        """
        outputs = self.outputs(X, y)
        return _score_function(self.score)[0](outputs, self._reference, self.temperature_)

    def score_samples(self, X: Array, y: Array | None = None) -> Array:
        """Minus `anomaly_score`, [N]: lower = more anomalous, as everywhere in scikit-learn."""
        return -self.anomaly_score(X, y)

    def decision_function(self, X: Array, y: Array | None = None) -> Array:
        """`score_samples − offset_`, [N]: negative for anomalies."""
        return self.score_samples(X, y) - self.offset_

    def predict(self, X: Array, y: Array | None = None) -> Array:
        """+1 for normal samples, −1 for anomalies, [N]."""
        return np.where(self.decision_function(X, y) < 0, -1, 1)

    def _validated(self, X: Array, reset: bool = False) -> Array:
        """Check samples and return them as uint8 or float32; with `reset`, learn their form."""
        if np.ndim(X) > 4:
            raise InputError(f"X has {np.ndim(X)} axes; pass [N, D], [N, C, T] or [N, C, H, W]")
        X = validate_data(self, X, reset=reset, dtype=None, allow_nd=True, ensure_min_samples=2 if reset else 1)
        if X.size == 0:
            raise InputError(f"X has shape {X.shape}; every axis needs at least 1")
        if X.dtype != np.uint8:
            X = X.astype(np.float32)
            if not np.isfinite(X).all():
                raise InputError("X holds values beyond the range of float32, ±3.4e38")
        if reset:
            self.input_shape_, self.scaled_ = X.shape[1:], X.dtype != np.uint8
            return np.asarray(X)
        if X.shape[1:] != self.input_shape_:
            raise InputError(f"samples have shape {X.shape[1:]}; the detector learnt {self.input_shape_}")
        if X.dtype != np.uint8 and not self.scaled_:
            raise InputError("samples are floats; the detector learnt uint8, 0 to 255")
        return np.asarray(X)

    def _tensor(self, inputs: Array) -> torch.Tensor:
        """Samples for `train` and `predict`: floats standardised, uint8 as they are."""
        if not self.scaled_:
            return torch.from_numpy(inputs)
        return torch.from_numpy(((inputs - self.mean_) / self.scale_).astype(np.float32, copy=False))

    def _plan(self, X: Array, y: Array | None, groups: Array | None) -> _Plan:
        """Check everything, hold out the validation part and draw the initial weights."""
        _check_parameters(self)
        inputs = self._validated(X, reset=True)
        labels = None if y is None else _validated_labels(y, len(inputs))
        if groups is not None:
            check_consistent_length(inputs, groups)
        random_state = check_random_state(self.random_state)
        self.task_ = make_task(self.task, self.input_shape_, labels, random_state)
        if self.task_.labels is not None:
            self.classes_ = self.task_.labels
        if (
            isinstance(self.score, str)
            and SCORES[self.score].needs_rotations
            and not isinstance(self.task_.transform, Rotations)
        ):
            raise InputError(f"score={self.score!r} needs a task with rotations; task={self.task!r} has none here")
        self.training_rows_, self.validation_rows_ = holdout(
            len(inputs), self.validation_fraction, random_state, labels=labels, groups=groups
        )
        if self.scaled_:
            axes = (0, *range(2, inputs.ndim))  # all but the feature or channel
            learnt = inputs[self.training_rows_].astype(float)
            scale = learnt.std(axes, keepdims=True)[0]
            self.mean_ = learnt.mean(axes, keepdims=True)[0].astype(np.float32)
            self.scale_ = np.where(scale > 0, scale, 1).astype(np.float32)
        seeds = random_state.randint(2**31, size=2).tolist()
        self.network_ = build(self.network, self.input_shape_, self.task_.n_classes, seeds[0])
        return _Plan(self, self._tensor(inputs), labels, seeds[1])

    def _finish(self, plan: _Plan, losses: Array, seconds: float) -> None:
        """Learn from the held-out part what needs the trained network."""
        self.losses_, self.train_seconds_ = losses, seconds

        def part(rows: Array) -> Outputs:
            labels = None if plan.labels is None else plan.labels[rows]
            return predict(self.network_, self.task_, plan.inputs[rows], labels)

        held_out = part(self.validation_rows_)
        assert held_out.targets is not None  # noqa: S101 - labels were given wherever the task has any
        logits, targets = held_out.logits.reshape(-1, self.task_.n_classes), held_out.targets.ravel()
        self.accuracy_ = float((logits.argmax(1) == targets).mean())
        self.temperature_ = fit_temperature(logits, targets) if self.temperature == "fit" else float(self.temperature)
        compute, needs_reference = _score_function(self.score)
        self._reference = part(self.training_rows_) if needs_reference else None
        # Without their labels: `predict(X)` does not know them either.
        unlabelled = Outputs(held_out.logits, held_out.features, self.task_.targets(None, len(held_out)))
        scores = compute(unlabelled, self._reference, self.temperature_)
        self.offset_ = -conformal_threshold(scores, self.false_alarm_rate)


@dataclass(frozen=True)
class _Plan:
    """One detector ready to be trained."""

    detector: Detector
    inputs: torch.Tensor
    labels: Array | None
    seed: int

    @property
    def form(self) -> Hashable:
        """Plans of one form can be trained in one stack."""
        detector = self.detector
        network = detector.network_
        weights = tuple((name, tuple(p.shape)) for name, p in network.named_parameters())
        alone = None if stackable(network) else id(detector)
        rows = len(detector.training_rows_)
        transform = detector.task_.transform
        return (
            type(network),
            weights,
            alone,
            transform,
            rows,
            detector.epochs,
            detector.batch_size,
            detector.device,
        )


def fit_together(
    detectors: Sequence[Detector],
    X: Array,
    y: Array | None = None,
    groups: Array | None = None,
    *,
    on_progress: Callable[[float], None] = lambda done: None,
) -> None:
    """Fit detectors to the same samples; those of one form (network, task, epochs, batch size) in one stack.

    Each detector ends as if it had been fitted alone. `on_progress` is told the finished part, 0 … 1.
    """
    stacks: dict[Hashable, list[_Plan]] = {}
    for detector in detectors:
        plan = detector._plan(X, y, groups)
        stacks.setdefault(plan.form, []).append(plan)

    def report(done: int, training: int, part: float) -> None:
        on_progress((done + part * training) / len(detectors))

    done = 0
    for plans in stacks.values():
        first = plans[0].detector
        start = time.perf_counter()
        losses = train(
            [plan.detector.network_ for plan in plans],
            first.task_.transform,
            plans[0].inputs,
            torch.as_tensor(first.task_.targets(plans[0].labels, len(plans[0].inputs))),
            torch.as_tensor(np.stack([plan.detector.training_rows_ for plan in plans])),
            seeds=[plan.seed for plan in plans],
            label_smoothing=[plan.detector.label_smoothing for plan in plans],
            learning_rate=[plan.detector.learning_rate for plan in plans],
            epochs=first.epochs,
            batch_size=first.batch_size,
            device=_device(first.device),
            on_progress=functools.partial(report, done, len(plans)),
        )
        seconds = (time.perf_counter() - start) / len(plans)
        for m, plan in enumerate(plans):
            plan.detector._finish(plan, losses[:, m], seconds)
        done += len(plans)


def _score_function(score: str | ScoreFunction) -> tuple[ScoreFunction, bool]:
    """Return the function and whether it needs a reference; one that a user brings is given it."""
    if isinstance(score, str):
        return SCORES[score].compute, SCORES[score].needs_reference
    return score, True


def _device(name: str) -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)


def _validated_labels(y: Array, n_samples: int) -> Array:
    y = column_or_1d(y)
    check_classification_targets(y)
    if len(y) != n_samples:
        raise InputError(f"{len(y)} labels for {n_samples} samples; pass one label a sample")
    return np.asarray(y)


def _check_parameters(detector: Detector) -> None:
    """Refuse parameters out of range, naming the parameter, what was passed and what would be right."""

    def number(name: str, kind: type, accept: Callable[[Any], bool], right: str) -> None:
        value = getattr(detector, name)
        if isinstance(value, bool) or not isinstance(value, kind) or not accept(value):
            raise InputError(f"{name}={value!r}; it must be {right}")

    number("epochs", numbers.Integral, lambda v: v >= 1, "a whole number of at least 1")
    number("batch_size", numbers.Integral, lambda v: v >= 1, "a whole number of at least 1")
    number("learning_rate", numbers.Real, lambda v: 0 < v < np.inf, "a number above 0")
    number("label_smoothing", numbers.Real, lambda v: 0 <= v < 1, "a number from 0 to below 1")
    number("validation_fraction", numbers.Real, lambda v: 0 < v < 1, "a number between 0 and 1")
    number("false_alarm_rate", numbers.Real, lambda v: 0 < v < 1, "a number between 0 and 1")
    if detector.temperature != "fit":
        number("temperature", numbers.Real, lambda v: 0 < v < np.inf, "a number above 0, or 'fit'")
    if isinstance(detector.score, str) and detector.score not in SCORES:
        raise InputError(f"score={detector.score!r}; known are {', '.join(map(repr, SCORES))}")
    try:
        _device(detector.device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device={detector.device!r}; it must be 'auto', 'cpu', 'cuda' or 'cuda:0'") from error
