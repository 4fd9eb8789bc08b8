"""`Model`: a fitted detector that scores, decides and explains, and knows nothing about training."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from oddkind.arrays import Array, batches
from oddkind.errors import InputError, PromiseWarning
from oddkind.language import Message
from oddkind.model.combining import combined
from oddkind.model.conformal import (
    Calibration,
    CalibrationScores,
    alarms,
    check_rate,
    min_calibration_size,
    unpromised,
)
from oddkind.model.fitted_score import FittedScore
from oddkind.model.forward import Forward
from oddkind.model.inputs import InputSpec
from oddkind.model.outputs import Outputs, outputs_of, pooled
from oddkind.model.places import Places
from oddkind.model.task import Task


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal samples that were learnt from and kept, for explanations.

    Attributes
    ----------
    inputs : array [R, D']
        As networks read them, flattened.
    features : array [R, V, D]
        Those of all networks, concatenated.
    label_index : int array [R] or None
        The label of each, counted from 0.
    rows : int array [R]
        The position of each among the samples passed to `fit`.
    view_nll : array [R, V]
        −log p of the view that each view is, summed over the labels.
    """

    inputs: Array
    features: Array
    label_index: Array | None
    rows: Array
    view_nll: Array


MAX_EXAMPLES, MAX_EXAMPLE_VALUES = 256, 1 << 20


def example_rows(n: int, size: int) -> Array:
    """Return which of n held-out samples of `size` numbers are kept as examples: some, evenly spread."""
    count = min(n, MAX_EXAMPLES, max(2, MAX_EXAMPLE_VALUES // size))
    return np.linspace(0, n - 1, count).round().astype(int)


@dataclass(frozen=True, eq=False)
class TrainingReport:
    """How training went. It informs; nothing is computed from it.

    Attributes
    ----------
    accuracy : float
        Fraction of the held-out views classified correctly. Of views that are drawn at random only the first counts.
    perplexity : float
        The number of classes between which the networks hesitate on the held-out samples; 1: they are sure and right.
    losses : array [epochs, M]
        Mean training loss of each network.
    epochs : int
        The number of passes over the samples.
    train_seconds : float
        The time that the training loop took; of a stack of networks, this model's share.
    training_rows, calibration_rows : int arrays
        Which of the samples passed to `fit` were learnt from, and which were held out.
    parameters : mapping
        The parameters of the detector that have a JSON value; null for a network, score or generator of your own.
    """

    accuracy: float
    perplexity: float
    losses: Array
    epochs: int
    train_seconds: float
    training_rows: Array
    calibration_rows: Array
    parameters: Mapping[str, Any] = field(default_factory=dict)


class FittedModel(ABC):
    """The questions that a fitted model answers, whether it consists of one fold (`Model`) or several (`CrossModel`).

    Each fold scores a sample, and compares it with the normal samples held out when that fold was trained.
    """

    inputs: InputSpec
    task: Task
    false_alarm_rate: float
    per_label: bool
    source: Mapping[str, Any] | None

    @property
    @abstractmethod
    def folds(self) -> tuple[Model, ...]:
        """The models it consists of."""

    @property
    def first_fold(self) -> Model:
        """The first fold as a model of its own, for what compares scores: folds score differently."""
        return replace(self.folds[0], source=self.source)

    def fold_scores(self, X: Array, y: Array | None = None) -> Array:
        """Anomaly score of samples [N, …] by each fold, [K, N]; `y` as in `anomaly_score`."""
        return np.stack([fold.fold_score(X, y) for fold in self.folds])

    def anomaly_score(self, X: Array, y: Array | None = None) -> Array:
        """Anomaly score [N] of samples [N, …], higher = more anomalous; with several folds their mean.

        `y` [N]: the internal labels that the samples claim, if known. Scores that can use them do so: "target-nll" is
        that of the claimed label, neighbours and Mahalanobis compare within the label.
        """
        scores = self.fold_scores(X, y)
        return scores[0] if len(scores) == 1 else scores.mean(0)

    def score_and_p_value(self, X: Array, y: Array | None = None) -> tuple[Array, Array]:
        """`anomaly_score` and `p_value` of samples [N, …], [N] each, for the price of one."""
        scores = self.fold_scores(X, y)
        return scores[0] if len(scores) == 1 else scores.mean(0), self.p_value_of(scores, y)

    def score_samples(self, X: Array, y: Array | None = None) -> Array:
        """Minus `anomaly_score`, [N]: lower = more anomalous, as everywhere in scikit-learn."""
        return -self.anomaly_score(X, y)

    def p_value(self, X: Array, y: Array | None = None) -> Array:
        """Conformal p-values of samples [N, …], [N]: how rare such scores are among normal samples.

        For a new normal sample, P(p ≤ α) ≤ α (with several folds: see `CrossModel`). The smallest is 1 / (n + 1), n the
        number of held-out samples or groups. With `per_label` and labels [N] a sample is compared with held-out ones of
        its label. `oddkind.discoveries` chooses among many samples at once.
        """
        return self.p_value_of(self.fold_scores(X, y), y)

    def p_value_of(
        self, scores: Array, y: Array | None, calibration: Sequence[CalibrationScores] | None = None
    ) -> Array:
        """P-values [N] of scores by each fold [K, N], of samples that claim the labels y [N].

        `calibration`: one for each fold, to compare with instead of the held-out samples.
        """
        label_index = None if y is None or not self.per_label else self._label_index(y)
        if calibration is None:
            calibration = [fold.calibration.of(with_labels=y is not None) for fold in self.folds]
        found = [own.weight_above(fold, label_index) for own, fold in zip(calibration, scores, strict=True)]
        above, total = (np.sum(values, axis=0) for values in zip(*found, strict=True))
        return np.asarray((1 + above) / (1 + total))

    def group_p_value(
        self, X: Array, groups: Array, y: Array | None = None, *, how: str = "mean"
    ) -> tuple[Array, Array]:
        """Conformal p-values of whole groups, such as recordings of which samples [N, …] are windows.

        The score of a group is pooled from those of its samples by `how`, as in `oddkind.model.conformal.pool`, and is
        compared with the scores of the held-out groups, computed in the same way.

        Parameters
        ----------
        X, y : as in `p_value`; groups : array [N]
        how : str

        Returns
        -------
        names [G], p-values [G] of the groups, in the order of `np.unique`.

        Raises
        ------
        InputError
            If `fit` was given no groups, `how` is unknown, or, with `per_label`, a group has two labels.
        """
        if not self.folds[0].calibration.grouped:
            raise InputError("fit was given no groups to compare whole groups with; pass fit groups=")
        groups = np.asarray(groups)
        scores = self.fold_scores(X, y)
        if groups.shape != scores.shape[1:]:
            raise InputError(f"groups have shape {groups.shape}; {scores.shape[1]} samples need one group each")
        names, first, index = np.unique(groups, return_index=True, return_inverse=True)
        labels = None if y is None else np.asarray(y)[first]
        if labels is not None and self.per_label and (np.asarray(y) != labels[index]).any():
            raise InputError("a group has samples of two labels; for a promise within each label it must have one")
        held_out = [fold.calibration.of(with_labels=y is not None) for fold in self.folds]
        whole = np.stack([own.pool_new(found, index, how) for own, found in zip(held_out, scores, strict=True)])
        return names, self.p_value_of(whole, labels, [own.pooled(own.groups, how) for own in held_out])

    def predict(self, X: Array, y: Array | None = None) -> Array:
        """+1 for normal samples, −1 for anomalies, [N]: those whose p-value is at most `false_alarm_rate`.

        A rate that the number of held-out samples cannot promise raises no alarm, and warns (`PromiseWarning`).
        """
        self.warn_unpromised(with_labels=y is not None)
        return self.decide(X, y)

    def decide(self, X: Array, y: Array | None = None) -> Array:
        """`predict`, without the warning."""
        return np.where(alarms(self.p_value(X, y), self.false_alarm_rate), -1, 1)

    def calibration_sizes(
        self, *, with_labels: bool = True, calibration: Sequence[CalibrationScores] | None = None
    ) -> dict[Any, int]:
        """Number of held-out samples or groups by label, if the promise is made within each; else of all: None.

        `calibration`: as in `p_value_of`.
        """
        if calibration is None:
            calibration = [fold.calibration.of(with_labels=with_labels) for fold in self.folds]
        if not self.per_label or not with_labels:
            return {None: sum(own.count for own in calibration)}
        self._need_labels()
        labels = self.task.labels.tolist() if self.task.labels is not None else []
        return {label: sum(own.of_label(number).count for own in calibration) for number, label in enumerate(labels)}

    def warn_unpromised(self, *, with_labels: bool = True) -> None:
        """Give a `PromiseWarning` if the false-alarm rate cannot be promised."""
        problem = self.promise_problem(with_labels=with_labels)
        if problem is not None:
            warnings.warn(problem, PromiseWarning, stacklevel=3)

    def promise_problem(
        self,
        *,
        with_labels: bool = True,
        calibration: Sequence[CalibrationScores] | None = None,
        what: str | None = None,
    ) -> str | None:
        """Explain why the false-alarm rate cannot be promised, or return None if it can.

        `calibration`: as in `p_value_of`; `what` it counts, for the message.
        """
        sizes = self.calibration_sizes(with_labels=with_labels, calibration=calibration)
        label, least = min(sizes.items(), key=lambda item: item[1])
        if least >= min_calibration_size(self.false_alarm_rate):
            return None
        what = what or self.folds[0].calibration.what
        if label is not None:
            what = Message("{what} of label {label!r}", what=what, label=label)
        return Message("no alarm is raised: {why}", why=unpromised(least, self.false_alarm_rate, what))

    def _need_labels(self) -> None:
        if self.task.labels is None:
            raise InputError("per_label=True needs a task with labels; the task learnt has none")

    def _label_index(self, y: Array) -> Array:
        self._need_labels()
        return self.task.label_index(checked_labels(y, len(y)))


@dataclass(frozen=True, eq=False)
class Model(FittedModel):
    """A fitted detector: all it takes to score and decide, and nothing it took to learn.

    Frozen: another false-alarm rate is `dataclasses.replace(model, false_alarm_rate=0.01)`.

    Attributes
    ----------
    inputs : InputSpec
    task : Task
    members : tuple of Forward
        The trained networks.
    temperature : float
        Divides the logits.
    score : FittedScore
    calibration : Calibration
        The scores of the held-out normal samples, from which p-values and thresholds are computed.
    normal : Normal or None
        Normal samples for explanations; None if the score compares with none.
    false_alarm_rate : float
        The largest p-value that raises an alarm.
    per_label : bool
        Whether samples with known labels are compared with held-out samples of their label only.
    report : TrainingReport
    source : mapping or None
        A JSON object about where the samples came from; for files, how they are read.
    examples : array [E, …] or None
        Held-out samples as the networks read them, those of `example_rows`: what else may run the networks must agree
        on them. None for models of older versions.
    places : Places or None
        What is usual at the places of a picture, for maps; None if the networks have no local features.
    """

    inputs: InputSpec
    task: Task
    members: tuple[Forward, ...]
    temperature: float
    score: FittedScore
    calibration: Calibration
    normal: Normal | None
    false_alarm_rate: float
    per_label: bool
    report: TrainingReport
    source: Mapping[str, Any] | None = None
    examples: Array | None = None
    places: Places | None = None

    def __post_init__(self) -> None:
        check_rate(self.false_alarm_rate)
        if self.per_label:
            self._need_labels()

    @property
    def folds(self) -> tuple[Model, ...]:
        """The model itself."""
        return (self,)

    def describe(self) -> dict[str, str]:
        """Say what the networks classify ("task") and how samples are scored ("score"), one line each."""
        transform = str(self.members[0].describe().get("transform", ""))
        task = "+".join([*(["labels"] if self.task.labels is not None else []), *([transform] if transform else [])])
        if task == "defects" and self.report.parameters.get("task") == "auto":
            task = Message(
                "{task}, because the pictures vary equally at every place, as those of surfaces do", task=task
            )
        return {"task": task, "score": self.score.describe()}

    def outputs(self, X: Array, y: Array | None = None) -> Outputs:
        """Outputs of the networks together for samples [N, …]; targets are filled in from the labels [N], if given.

        With several networks the logits are log mean probabilities, and the features are concatenated.
        """
        return pooled(self.member_outputs(X, y))

    def member_outputs(self, X: Array, y: Array | None = None) -> list[Outputs]:
        """Outputs of each network, one `Outputs` each."""
        inputs, targets = self.prepare(X, y)
        return self.run(inputs, targets)

    def prepare(self, X: Array, y: Array | None) -> tuple[Array, Array | None]:
        """Check samples and labels; return the inputs of the networks and the classes of the views, if known."""
        samples = self.inputs.validate(X)
        labels = None if y is None or self.task.labels is None else checked_labels(y, len(samples))
        return self.inputs.standardise(samples), self.task.targets(labels, len(samples))

    def run(self, inputs: Array, targets: Array | None) -> list[Outputs]:
        """Run each network on standardised inputs [N, …]; targets [N, V] or None."""
        return outputs_of(self.members, inputs, targets)

    def score_outputs(self, members: Sequence[Outputs], *, with_labels: bool) -> Array:
        """Anomaly score [N] from the outputs of each network; `with_labels`: whether the labels were known."""
        held_out = self.calibration.of(with_labels=with_labels)
        components = self.score(members, self.temperature)
        scores = combined(components, held_out.components, self.score.weights, self.score.fuse)
        if scores.dtype.kind != "f":  # a score of the user's own may count
            return scores
        return np.nan_to_num(scores, nan=np.finfo(scores.dtype).max)  # what overflows is as anomalous as can be

    def fold_score(self, X: Array, y: Array | None = None) -> Array:
        """Anomaly score [N], as `anomaly_score`."""
        inputs, targets = self.prepare(X, y)
        return np.concatenate(
            [
                self.score_outputs(
                    self.run(inputs[batch], None if targets is None else targets[batch]), with_labels=y is not None
                )
                for batch in batches(len(inputs))
            ]
        )

    def threshold(self, *, with_labels: bool) -> float | Array:
        """Score above which an alarm is raised; with `per_label` and labels one for each label, [L]."""
        held_out = self.calibration.of(with_labels=with_labels)
        if not self.per_label or not with_labels or self.task.labels is None:
            return held_out.threshold(self.false_alarm_rate)
        labels = range(len(self.task.labels))
        return np.array([held_out.of_label(label).threshold(self.false_alarm_rate) for label in labels])

    def decision_function(self, X: Array, y: Array | None = None) -> Array:
        """Threshold minus anomaly score, [N]: negative for anomalies.

        If the false-alarm rate cannot be promised, the threshold is the greatest held-out score; `predict` then raises
        no alarm.
        """
        threshold = self.threshold(with_labels=y is not None)
        if y is not None and self.per_label:
            threshold = np.asarray(threshold)[self._label_index(y)]
        return threshold - self.anomaly_score(X, y)


@dataclass(frozen=True, eq=False)
class CrossModel(FittedModel):
    """K models, each trained without a fold of the normal samples; a new sample is compared with every fold.

    Cross-conformal prediction (Vovk, "Cross-conformal predictors", Annals of Mathematics and AI 2015): the p-value is
    (1 + Σ_k #{fold k, scored by model k, ≥ the new sample's score by model k}) / (1 + n). Its false-alarm rate is at
    most twice the promised one in theory (Barber et al., "Predictive inference with the jackknife+", Annals of
    Statistics 2021), and close to it or below in practice: `bench/decisions.py`.

    Attributes
    ----------
    models : tuple of K Models
    false_alarm_rate : float
    source : as in `Model`
    """

    models: tuple[Model, ...]
    false_alarm_rate: float
    source: Mapping[str, Any] | None = None
    per_label: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        check_rate(self.false_alarm_rate)

    @property
    def folds(self) -> tuple[Model, ...]:
        """The models, one for each fold."""
        return self.models

    @property
    def inputs(self) -> InputSpec:  # type: ignore[override]
        """The form of the samples it takes."""
        return self.models[0].inputs

    @property
    def task(self) -> Task:  # type: ignore[override]
        """What its networks classify."""
        return self.models[0].task

    def decision_function(self, X: Array, y: Array | None = None) -> Array:
        """P-value minus false-alarm rate, [N]: negative for anomalies."""
        return self.p_value(X, y) - self.false_alarm_rate * (1 + 1e-9)


def checked_labels(y: Any, n_samples: int) -> Array:
    """Return labels as an array [N].

    Raises
    ------
    InputError
        If there is not one label for each sample.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(f"labels have shape {labels.shape}; pass one label a sample, [N]")
    if len(labels) != n_samples:
        raise InputError(f"{len(labels)} labels for {n_samples} samples; pass one label a sample")
    return labels
