"""`Detector`: the scikit-learn estimator, and fitting many of them at once."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from torch import nn

from oddkind.arrays import in_parts, moments, standardised
from oddkind.checks import not_learnt
from oddkind.errors import ConcernWarning, InputError
from oddkind.model.bundle import pack, read, unpack, write
from oddkind.model.calibration import (
    HeldOut,
    check_enough,
    combined,
    combined_among_others,
    fit_temperature,
    needed,
    perplexity,
    pool,
)
from oddkind.model.scores import Outputs, Score, ScoreFunction, chosen, compared, pooled
from oddkind.samples import holdout
from oddkind.train.loop import Job, predict
from oddkind.train.networks import Builder, build
from oddkind.train.parameters import check_parameters, device_of
from oddkind.train.stacks import Run
from oddkind.train.transforms import Rotations, ambiguous, make_task

if TYPE_CHECKING:
    from oddkind.model.explain import Diagnosis

Array = npt.NDArray[Any]


# So many samples are looked at before training; where a larger part has views that cannot be told apart, it says so.
LOOKED_AT, AMBIGUOUS = 32, 0.1
# Below this part of a score it does not matter what the softmax says.
BELIEVED = 0.1


class Detector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Finds anomalies by classification: what it cannot place among the kinds of normal is one.

    Inputs are normal samples: vectors [N, D], signals [N, C, T] or pictures [N, C, H, W]. uint8 stands for
    0 … 1; floats are standardised, each feature of a vector or channel of a signal or picture by itself.

    Parameters
    ----------
    task : str
        What to classify. "labels": the internal labels passed to `fit`. Or known transforms: "rotations" of square
        pictures; "pastes" of pieces of a picture into it, for surfaces, where defects are small marks anywhere;
        "reversals" of signals in time, "speeds" (faster and slower), "bands" (without a third of the frequencies),
        "permutations" of their channels; "affine" maps of vectors. "labels+rotations" and so on: both at once, L · V
        classes. "auto": the transforms that suit the shape, together with the labels if there are any (pictures that
        are not square: the labels alone, or pastes without any).
    network : str, callable or torch module
        "lecture", "picture", "local", "mlp", "signal", "auto" (by shape and task); `(input_shape, n_classes) →
        nn.Module`; or a module (a copy is trained, from the weights it has). A module returns `(logits [B, C],
        features [B, D])`.
    score : str or callable
        "auto" ("combined" for pictures, "joint-neighbours" for vectors and signals); a name of
        `oddkind.model.scores.SCORES`; or `(outputs, reference outputs, temperature) → [N]`, such as
        `oddkind.model.scores.neighbours(k=5)`.
    members : int
        How many networks to train, at once and each from its own seed, and to score with together.
    epochs : int or "auto"
        Passes over the samples; "auto": as many as make 900 steps, but at least 3 and at most 100.
    batch_size, learning_rate, weight_decay : training with AdamW; a batch is this many samples in all their views.
    schedule : str
        How the learning rate moves: "one-cycle" (warms up, then falls to 0) or "constant".
    shift : int or "auto"
        In training, pictures and signals are moved by up to so many points along each axis, anew each epoch;
        "auto": a fourteenth of the shortest axis.
    label_smoothing : float in [0, 1)
        Part of the target spread over all classes, in training only.
    temperature : float > 0 or "fit"
        Divides the logits when scoring, never in training. "fit": most likely on the held-out part.
    validation_fraction : float in (0, 1) or "auto"
        Part of the samples (of the groups, where `fit` is given any) held out of training for the threshold, the
        temperature and the accuracy; "auto": a tenth, or as much as the false-alarm rate takes, but at most half.
    false_alarm_rate : float in (0, 1)
        `predict` calls at most this part of new normal samples anomalous, by split-conformal prediction. Set anew
        (`set_params`) after fitting it counts at once. With groups it is the promise for a sample of a new group.
    per_label : bool
        Whether the false-alarm rate holds within each label, where the labels of new samples are known (Mondrian
        conformal prediction: Vovk et al. 2005), rather than over all together.
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
    task_ : Task
    networks_ : list of modules
        The trained networks, one a member.
    temperature_ : float
    offset_, labelled_offset_ : float
        Samples whose `score_samples` lies below it are called anomalous; the second for samples whose labels
        are passed along, with `per_label` one a label, [L].
    accuracy_ : float
        Part of the held-out views classified right; of views drawn at random only the one as it is counts.
    perplexity_ : float
        Between how many of the task's classes the networks hesitate on the held-out part; 1: they are sure and right.
    losses_ : array [epochs, members]
        Mean training loss.
    epochs_ : int
        How many passes were made.
    training_rows_, validation_rows_ : int arrays
        Which samples were learnt from, and which were held out.
    held_out_ : dict bool → HeldOut
        Anomaly scores of those held out, each made beside the others, with their labels known (True) or not (False),
        and their groups and labels: what p-values and thresholds are made from.
    train_seconds_ : float
        Time the training loop took; in a stack of M, its M-th part.
    source_ : JSON object or None
        What was passed to `save` along; absent unless loaded.

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
        score: str | ScoreFunction = "auto",
        members: int = 1,
        epochs: int | Literal["auto"] = "auto",
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.0,
        schedule: str = "one-cycle",
        shift: int | Literal["auto"] = "auto",
        label_smoothing: float = 0.1,
        temperature: float | Literal["fit"] = 1.0,
        validation_fraction: float | Literal["auto"] = "auto",
        false_alarm_rate: float = 0.05,
        per_label: bool = False,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.task = task
        self.network = network
        self.score = score
        self.members = members
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.shift = shift
        self.label_smoothing = label_smoothing
        self.temperature = temperature
        self.validation_fraction = validation_fraction
        self.false_alarm_rate = false_alarm_rate
        self.per_label = per_label
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
        from oddkind.fitting import fit_together

        if not self.verbose:
            fit_together([self], X, y, groups)
            return self
        from rich.progress import Progress

        with Progress(transient=True) as progress:
            bar = progress.add_task("training", total=1.0)
            fit_together([self], X, y, groups, on_progress=lambda done: progress.update(bar, completed=done))
        return self

    def outputs(self, X: Array, y: Array | None = None) -> Outputs:
        """What the networks say of samples [N, …] together; targets are filled in from the labels [N], if given.

        Of several members the logits are log mean probabilities, and the features stand side by side.
        """
        return pooled(self.member_outputs(X, y))

    def member_outputs(self, X: Array, y: Array | None = None) -> list[Outputs]:
        """What each network says by itself: one `Outputs` a member."""
        return self._predict(*self._seen(X, y))

    def _seen(self, X: Array, y: Array | None) -> tuple[torch.Tensor, Array | None]:
        """Check samples and labels; return them as networks take them."""
        check_is_fitted(self)
        inputs = self._validated(X)
        labels = None if y is None or self.task_.labels is None else _validated_labels(y, len(inputs))
        return self._tensor(inputs), labels

    def anomaly_score(self, X: Array, y: Array | None = None) -> Array:
        """Anomaly score [N] of samples [N, …], higher = more anomalous.

        `y` [N]: the internal labels that the samples claim, where known. Scores that can use them do:
        "target-nll" is the claimed label's, neighbours and Mahalanobis compare within the label.
        """
        tensor, labels = self._seen(X, y)
        if labels is not None:
            self.task_.targets(labels, len(labels))  # refuses labels that were not learnt, by their place among all
        return np.concatenate(
            [
                self._scored(self._predict(tensor[some], None if labels is None else labels[some]), y is not None)
                for some in in_parts(len(tensor))
            ]
        )

    def score_samples(self, X: Array, y: Array | None = None) -> Array:
        """Minus `anomaly_score`, [N]: lower = more anomalous, as everywhere in scikit-learn."""
        return -self.anomaly_score(X, y)

    def decision_function(self, X: Array, y: Array | None = None) -> Array:
        """`score_samples − offset_`, [N]: negative for anomalies."""
        if y is None or not self.per_label:
            return self.score_samples(X, y) - (self.offset_ if y is None else self.labelled_offset_)
        return self.score_samples(X, y) - np.asarray(self.labelled_offset_)[self._kinds_of(y)]

    def predict(self, X: Array, y: Array | None = None) -> Array:
        """+1 for normal samples, −1 for anomalies, [N]: those whose p-value is at most `false_alarm_rate`."""
        return np.where(self.decision_function(X, y) < 0, -1, 1)

    def p_value(self, X: Array, y: Array | None = None) -> Array:
        """Conformal p-values of samples [N, …], [N]: how rare such scores are among normal samples.

        Of a new normal sample it is at most α with a chance of at most α. With `per_label` and labels [N] a sample is
        compared with held-out ones of its label. `discoveries` chooses among many samples at once.
        """
        return self._p_value_of(self.anomaly_score(X, y), y)

    def _p_value_of(self, scores: Array, y: Array | None) -> Array:
        """P-values of anomaly scores [N] of samples that claim these labels."""
        kinds = None if y is None or not self.per_label else self._kinds_of(y)
        return self.held_out_[y is not None].p_values(scores, kinds)

    def group_p_value(
        self, X: Array, groups: Array, y: Array | None = None, *, how: str = "mean"
    ) -> tuple[Array, Array]:
        """Conformal p-values of whole groups, such as recordings of which samples [N, …] are windows.

        A group's score is its samples' "mean", "max" or a quantile such as "0.9", and is compared with those of the
        held-out groups, made alike.

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
            Where `fit` was given no groups, `how` is unknown, or with `per_label` a group has two labels.
        """
        check_is_fitted(self)
        if not self._grouped:
            raise InputError("fit was given no groups to compare whole groups with; pass fit groups=")
        scores = self.anomaly_score(X, y)
        check_consistent_length(scores, groups)
        names, first, index = np.unique(groups, return_index=True, return_inverse=True)
        kinds = None
        if y is not None and self.per_label:
            of = self._kinds_of(y)
            kinds = of[first]
            if (of != kinds[index]).any():
                raise InputError("a group has samples of two labels; for a promise within each label it must have one")
        held_out = self.held_out_[y is not None]
        return names, held_out.pooled(held_out.units, how).p_values(pool(scores, index, how), kinds)

    @property
    def offset_(self) -> float:
        """Minus the threshold of scores; follows `false_alarm_rate`."""
        return -self._threshold(known=False not in self.held_out_)

    @property
    def labelled_offset_(self) -> float | Array:
        """That of scores of samples whose labels are known; with `per_label` one a label, [L]."""
        if not self.per_label:
            return -self._threshold(known=True)
        self._need_labels()
        return np.array([-self._threshold(known=True, kind=kind) for kind in range(len(self.classes_))])

    def _threshold(self, known: bool, kind: int | None = None) -> float:
        return self.held_out_[known].threshold(self.false_alarm_rate, kind, self._what(kind))

    def _what(self, kind: int | None = None) -> str:
        """What a promise counts, for messages."""
        what = "groups" if self._grouped else "samples"
        return what if kind is None else f"{what} of label {self.classes_.tolist()[kind]!r}"

    def _need_labels(self) -> None:
        if self.task_.labels is None:
            raise InputError(f"per_label=True needs a task with labels; task={self.task!r} has none here")

    def _kinds_of(self, y: Array) -> Array:
        """Which of the learnt labels each is, [N]."""
        self._need_labels()
        labels = _validated_labels(y, len(y))
        targets = self.task_.targets(labels, len(labels))
        assert targets is not None  # noqa: S101 - per_label needs a task with labels
        return np.asarray(targets[:, 0] // self.task_.transform.count)

    def diagnose(self, X: Array, y: Array | None = None, *, parts: Array | None = None) -> list[Diagnosis]:
        """Why each sample [N, …] is odd, or not: what it looks like, what is near, where the evidence lies.

        `parts` [P, …] in [0, 1]: what is replaced together to find the evidence. See `oddkind.model.explain.diagnose`.
        """
        from oddkind.model.explain import diagnose

        return diagnose(self, X, y, parts=parts)

    def save(self, file: str | Path, *, source: dict[str, Any] | None = None) -> None:
        """Write the fitted detector into one file, whole or not at all; `oddkind.load` reads it.

        No pickle: weights and what scores are made from as they are in memory, the rest as JSON. A network or a score
        of your own is not written, nor are `device` and a RandomState.

        Parameters
        ----------
        file : path
            Such as "pump.oddkind"; one that is there is replaced.
        source : JSON object or None
            Whatever is worth knowing of where it came from; `source_` of the loaded detector.

        Raises
        ------
        InputError
            Where the file cannot be written, or `source` or the labels are nothing JSON can hold.
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        write(Path(file), *pack(vars(self), source))

    def _validated(self, X: Array, reset: bool = False) -> Array:
        """Check samples and return them as uint8 or float32; with `reset`, learn their form."""
        X = validate_data(self, X, reset=reset, dtype=None, allow_nd=True, ensure_min_samples=2 if reset else 1)
        if X.ndim > 4:
            raise InputError(f"X has {X.ndim} axes; pass [N, D], [N, C, T] or [N, C, H, W]")
        if X.size == 0:
            raise InputError(f"X has shape {X.shape}; every axis needs at least 1")
        if X.dtype not in (np.uint8, np.float32):
            with np.errstate(over="ignore"):  # refused below
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
            return torch.from_numpy(np.require(inputs, requirements=["C", "W"]))
        return torch.from_numpy(standardised(inputs, self.mean_, self.scale_))

    def _plan(self, X: Array, y: Array | None, groups: Array | None, held_out: Array | None = None) -> Plan:
        """Check everything, hold out the validation part and draw the initial weights; or hold out what is told."""
        check_parameters(vars(self))
        inputs = self._validated(X, reset=True)
        labels = None if y is None else _validated_labels(y, len(inputs))
        if groups is not None:
            check_consistent_length(inputs, groups)
        random_state = check_random_state(self.random_state)
        self.task_ = make_task(self.task, self.input_shape_, labels, random_state)
        for last in ("classes_", "source_"):
            self.__dict__.pop(last, None)
        if self.task_.labels is not None:
            self.classes_ = self.task_.labels
        if self._score.needs_rotations and not isinstance(self.task_.transform, Rotations):
            raise InputError(f"score={self.score!r} needs a task with rotations; task={self.task!r} has none here")
        if self.per_label:
            self._need_labels()
        units = np.arange(len(inputs)) if groups is None else np.asarray(groups)
        self._grouped = groups is not None
        if held_out is not None:
            self.training_rows_, self.validation_rows_ = np.delete(np.arange(len(inputs)), held_out), held_out
        else:
            self.training_rows_, self.validation_rows_ = holdout(
                len(inputs),
                self._fraction(labels, units),
                random_state,
                labels=labels if self.task_.labels is not None else None,
                groups=groups,
                each_label=self.per_label,
            )
        units = np.unique(units[self.validation_rows_], return_inverse=True)[1]
        if labels is not None and self.task_.labels is not None:
            lost = np.setdiff1d(labels, labels[self.training_rows_]).tolist()
            if lost:
                raise InputError(f"all {self._what()} of label {lost[0]!r} were held out; give each label more")
        held = np.zeros(len(units), int)  # refuse now, not after training
        if self.per_label and labels is not None:
            held = self._kinds_of(labels[self.validation_rows_])
        for kind in range(len(self.classes_) if self.per_label else 1):
            n = len(np.unique(units[held == kind]))
            check_enough(n, self.false_alarm_rate, self._what(kind if self.per_label else None))
        if len(self._score.parts) > 1 and len(np.unique(units)) < 2:
            raise InputError(
                f"score={self.score!r} compares held-out {self._what()} with each other; 1 is held out, it takes 2"
            )
        if self.scaled_:
            mean, scale = moments(inputs, self.training_rows_)
            self.mean_, self.scale_ = mean.astype(np.float32), np.where(scale > 0, scale, 1).astype(np.float32)
        self.epochs_ = int(self.epochs) if self.epochs != "auto" else self._enough_epochs()
        shift = int(self.shift) if self.shift != "auto" else min(self.input_shape_[1:], default=0) // 14
        seeds = random_state.randint(2**31, size=(self.members, 2)).tolist()
        form = self.network, self.input_shape_, self.task_.n_classes
        local = self.task_.transform.local
        self.networks_ = [build(*form, for_weights, local=local) for for_weights, _ in seeds]
        tensor, targets = self._tensor(inputs), self.task_.targets(labels, len(inputs), training=True)
        alike = ambiguous(self.task_.transform, tensor[self.training_rows_[:LOOKED_AT]])
        if alike > AMBIGUOUS:
            name = type(self.task_.transform).__name__.lower()
            warnings.warn(
                f"{name} leave {alike:.0%} of the samples as they are, so telling views apart teaches little "
                f"(task={self.task!r}); choose another task",
                stacklevel=3,
            )
        assert targets is not None  # noqa: S101 - make_task refuses a task with labels where there are none
        jobs = [
            Job(
                network,
                tensor,
                self.task_.transform,
                targets,
                self.training_rows_,
                for_order,
                float(self.label_smoothing),
                float(self.learning_rate),
                float(self.weight_decay),
                shift,
            )
            for network, (_, for_order) in zip(self.networks_, seeds, strict=True)
        ]
        device = device_of(self.device)
        runs = [Run(job, self.epochs_, self.batch_size, self.schedule, device) for job in jobs]
        return Plan(self, inputs, tensor, labels, units, runs)

    def _fraction(self, labels: Array | None, units: Array) -> float:
        """Part of the units to hold out."""
        if self.validation_fraction != "auto":
            return float(self.validation_fraction)
        kinds = labels if self.per_label and labels is not None else np.zeros(len(units))
        n, what = len(units), self._what()
        for kind in np.unique(kinds):
            n = min(n, len(np.unique(units[kinds == kind])))
        enough = needed(self.false_alarm_rate)
        if 2 * enough > n:
            raise InputError(
                f"a false-alarm rate of {self.false_alarm_rate:g} can be promised from {2 * enough} normal {what}"
                f"{' of each label' if self.per_label else ''} on, half of them held out; there are {n}. Pass more, "
                f"a rate of {math.ceil(100 / (n // 2 + 1)) / 100:g} or more, or use CrossConformal"
            )
        return max(0.1, min(0.5, (enough + 1e-6) / n))

    @property
    def _score(self) -> Score:
        return chosen(self.score, self.input_shape_)

    @property
    def _weights(self) -> Array:
        return self._score.weights(self.perplexity_, self.task_.n_classes)

    def _columns(self, members: list[Outputs]) -> Array:
        return self._score.columns(members, self._reference, self.temperature_)

    def _scored(self, members: list[Outputs], known: bool) -> Array:
        return combined(self._columns(members), self._normal[known], self._weights)

    def _enough_epochs(self) -> int:
        steps = -(-len(self.training_rows_) // self.batch_size)
        return int(np.clip(-(-900 // steps), 3, 100))

    def _predict(self, tensor: torch.Tensor, labels: Array | None) -> list[Outputs]:
        return [predict(network, self.task_, tensor, labels) for network in self.networks_]

    def _finish(self, plan: Plan) -> None:
        """Learn from the held-out part what needs the trained networks."""

        def part(rows: Array) -> list[Outputs]:
            return self._predict(plan.tensor[rows], None if plan.labels is None else plan.labels[rows])

        members = part(self.validation_rows_)
        held_out = pooled(members)
        assert held_out.targets is not None  # noqa: S101 - as in _plan
        logits, targets = held_out.logits.reshape(-1, self.task_.n_classes), held_out.targets.ravel()
        self.accuracy_ = float((logits.argmax(1) == targets).mean())
        fitted = fit_temperature(logits, targets)
        self.perplexity_ = perplexity(logits, targets, fitted)
        self.temperature_ = fitted if self.temperature == "fit" else float(self.temperature)
        believed = self._score.believes(self.perplexity_, self.task_.n_classes) > BELIEVED
        if believed and not self.task_.transform.n_draws:  # what is drawn is not scored, so nothing can be said
            for concern in not_learnt(self.accuracy_, len(held_out), targets, held_out.n_views):
                warnings.warn(concern.message, ConcernWarning, stacklevel=5)
        self._reference = part(compared(self.training_rows_)) if self._score.needs_reference else None
        labels = None if plan.labels is None else plan.labels[self.validation_rows_]
        # Scores of the held-out samples, with their labels known or not: a threshold holds for scores made as it was.
        kinds = None if labels is None or self.task_.labels is None else self._kinds_of(labels)
        self._normal, self.held_out_ = {}, {}
        for known in self._score.knowing(self.task_.transform.scored):
            claimed = self.task_.targets(labels if known else None, len(held_out))
            self._normal[known] = self._columns([replace(member, targets=claimed) for member in members])
            scores = combined_among_others(self._normal[known], self._weights, plan.units)
            self.held_out_[known] = HeldOut(scores, plan.units, kinds)


@dataclass(frozen=True)
class Plan:
    """A detector ready to be trained."""

    detector: Detector
    inputs: Array  # as they were passed, checked
    tensor: torch.Tensor  # as networks take them
    labels: Array | None
    units: Array  # of the held-out part: which group each sample is of, or itself
    runs: list[Run]


def load(
    file: str | Path, *, network: nn.Module | Builder | None = None, score: ScoreFunction | None = None
) -> Detector:
    """Read the detector that `Detector.save` wrote, on the GPU if there is one; it scores as it did.

    Parameters
    ----------
    file : path
    network : callable or torch module
        The detector's own, if it had one: as it was passed to it. A copy of a module gets the saved weights.
    score : callable
        Likewise.

    Raises
    ------
    InputError
        Where the file is not a whole saved detector of a format known here, or `network` or `score` is missing or
        not asked for.
    """
    detector = Detector()
    detector.__dict__.update(unpack(read(Path(file)), network, score))
    for own in detector.networks_:
        own.to(device_of(detector.device))
    return detector


def _validated_labels(y: Array, n_samples: int) -> Array:
    y = column_or_1d(y)
    check_classification_targets(y)
    if len(y) != n_samples:
        raise InputError(f"{len(y)} labels for {n_samples} samples; pass one label a sample")
    return np.asarray(y)
