"""Why is this sample odd? What it claims and looks like, which views fail, what is nearest, where the evidence lies.

Evidence is found by occlusion: parts of the input are replaced by those of the nearest normal sample, and what the
anomaly score loses by it is the part's evidence. It is the detector's own score, whichever that is, and nothing has to
be differentiable. Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014; replacing by
another sample's values instead of grey: Covert et al., "Explaining by removing", JMLR 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.utils.validation import check_is_fitted

from oddkind.detector import Detector, _validated_labels
from oddkind.errors import InputError
from oddkind.metrics import mean_interval
from oddkind.model.calibration import p_values
from oddkind.model.distances import unit_views
from oddkind.model.scores import Outputs, compared, pooled
from oddkind.train.transforms import Task

Array = npt.NDArray[Any]

NEIGHBOURS = 5
# A vector of more numbers than this is replaced some neighbours at a time.
MOST_PARTS = 128


@dataclass(frozen=True)
class View:
    """How one view of a sample was understood.

    Attributes
    ----------
    name, taken_for : str
        The view it is and the one it looks most like.
    probability : float
        Of the view it is, summed over the labels.
    p_value : float or None
        Chance that the view of a normal sample is as improbable: (1 + normal at or below) / (1 + normal). Among those
        learnt from, so a little too small; None where the detector keeps none (its score compares with none).
    fails : bool
        Whether the p-value is at most the false-alarm rate, and where there is none whether it is taken for another.
    """

    name: str
    taken_for: str
    probability: float
    p_value: float | None
    fails: bool


@dataclass(frozen=True)
class Neighbour:
    """A normal sample near to the diagnosed one.

    Attributes
    ----------
    row : int
        Its place among the samples passed to `fit`.
    label : label or None
    distance : float
        Pictures: mean over the views of 1 − cosine of their features. Vectors and signals: ‖a − b‖, a = the input and
        the features of its views, each scaled to a total variance of 1 among normal samples.
    """

    row: int
    label: Any
    distance: float


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What there is to say of one sample.

    Attributes
    ----------
    score, p_value : float
        Anomaly score, and the chance that a normal sample scores as high: (1 + held-out samples at or above) /
        (1 + held-out samples).
    claimed : label or None
        The internal label it claims.
    probabilities : dict label → float
        What it looks like: mean over the views of softmax(z / T) over the labels, the view being known. Empty where the
        detector learnt no labels.
    views : tuple of View
        Those that are scored; without known transforms there is one, which cannot fail.
    neighbours : tuple of Neighbour or None
        The nearest normal samples, nearest first; of the claimed label, as scores compare, where there is one. None
        where the detector keeps no normal samples: its score compares with none.
    normal : array of the sample's shape
        What parts were replaced by: the nearest normal sample; where none is kept the mean of normal samples, or the
        sample's own mean for uint8.
    evidence : array of the sample's shape
        Drop of the anomaly score by the parts that cover a point, their mean, weighted by how much of it they cover;
        where there is most, it is odd.
    """

    score: float
    p_value: float
    claimed: Any
    probabilities: Mapping[Any, float]
    views: tuple[View, ...]
    neighbours: tuple[Neighbour, ...] | None
    normal: Array
    evidence: Array

    @property
    def looks_like(self) -> Any:
        """The most likely label; None without labels."""
        return max(self.probabilities, key=self.probabilities.__getitem__, default=None)

    @property
    def failing(self) -> tuple[View, ...]:
        """The views that fail."""
        return tuple(view for view in self.views if view.fails)


def parts_of(shape: tuple[int, ...]) -> Array:
    """Parts of a sample that are replaced together: how much of each point, [P, *shape] in [0, 1].

    Pictures: soft squares (Hann windows) of a quarter of the shorter side, all channels, half overlapping; a hard edge
    would be an oddity of its own. Signals: eighths of each channel in time, half overlapping. Vectors: every number, or
    about `MOST_PARTS` windows of a longer one.
    """
    if len(shape) == 1:
        size = -(-shape[0] // MOST_PARTS)
        return np.arange(-(-shape[0] // size))[:, None] == np.arange(shape[0]) // size
    if len(shape) == 2:
        size = -(-shape[1] // 8)
        spans = np.stack([_span(shape[1], start, np.ones(size)) for start in _starts(shape[1], size)])
        return np.einsum("cd,pt->cpdt", np.eye(shape[0]), spans).reshape(-1, *shape)
    size = -(-min(shape[1:]) // 4)
    soft = np.hanning(size + 2)[1:-1]
    down, across = (
        np.stack([_span(length, start, soft) for start in range(-size // 2, length, max(1, size // 2))])
        for length in shape[1:]
    )
    squares = np.einsum("ph,qw->pqhw", down, across).reshape(-1, 1, *shape[1:])
    return np.repeat(squares[squares.max((1, 2, 3)) > 0], shape[0], 1)


def _starts(length: int, size: int) -> list[int]:
    return sorted({*range(0, length - size, max(1, size // 2)), length - size})


def _span(length: int, start: int, values: Array) -> Array:
    """A line [length] that holds the values from `start` on, cut off where it ends, and 0 elsewhere."""
    line = np.zeros(length)
    inside = np.arange(len(values))[max(0, -start) : max(0, length - start)]
    line[start + inside] = values[inside]
    return line


def diagnose(detector: Detector, X: Array, y: Array | None = None, *, parts: Array | None = None) -> list[Diagnosis]:
    """Say of each sample [N, …] why it is odd, or not; each by itself, so that no other changes a bit of it.

    A detector that compares with many normal samples takes as long for one sample as it takes to score one alone.

    Parameters
    ----------
    X : array [N, …]
    y : array [N] or None
        The internal labels that the samples claim.
    parts : array [P, *sample's shape] in [0, 1] or None
        What is replaced together, and how much of it: the channels of a sensor, the features of a band. None:
        `parts_of` the shape.

    Raises
    ------
    InputError
        Where samples, labels or parts do not suit the detector.
    NotFittedError
        Before `fit`.
    """
    case = _case(detector, X, y)
    shape = detector.input_shape_
    parts = parts_of(shape) if parts is None else np.asarray(parts)
    if parts.ndim != len(shape) + 1 or parts.shape[1:] != shape or len(parts) == 0 or parts.dtype.kind not in "biuf":
        raise InputError(f"parts are {parts.dtype} {parts.shape}; they must be numbers of shape {('P', *shape)}")
    parts = parts.astype(np.float32)
    if not ((parts >= 0) & (parts <= 1)).all():
        raise InputError("parts hold values outside 0 (stays as it is) to 1 (is replaced)")
    return [_diagnosis(case, number, parts) for number in range(len(case.tensor))]


@dataclass(frozen=True, eq=False)
class Deletion:
    """Whether evidence lies where it should: N samples, of which the points with the most evidence were replaced.

    Attributes
    ----------
    drops : array [N]
        What the anomaly score lost by it.
    elsewhere : array [N]
        What it lost where as many points in the same constellation, moved at random, were replaced; mean over moves.
    """

    drops: Array
    elsewhere: Array

    @property
    def gain(self) -> float:
        """Mean of the difference; above 0 where evidence is better than chance."""
        return float(np.mean(self.drops - self.elsewhere))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Paired 95 % interval of the gain, Student's t; None for one sample."""
        return mean_interval((self.drops - self.elsewhere).tolist())

    @property
    def won(self) -> float:
        """Part of the samples whose score fell more; ties count half."""
        return float((np.sign(self.drops - self.elsewhere).mean() + 1) / 2)

    @property
    def p_value(self) -> float:
        """Of Wilcoxon's signed-rank test that evidence is no better than chance, one-sided, by its normal limit."""
        difference = self.drops - self.elsewhere
        if not difference.any():
            return 1.0
        return float(stats.wilcoxon(difference, alternative="greater", method="asymptotic").pvalue)


def deletion_test(
    detector: Detector,
    X: Array,
    evidence: Array,
    y: Array | None = None,
    *,
    part: float = 0.1,
    moves: int = 10,
    random_state: int = 0,
) -> Deletion:
    """Replace what evidence points at by the nearest normal sample, and as much elsewhere, and compare the drops.

    The control has the same constellation, moved cyclically, so that a compact map gains nothing by being compact. In
    pictures what is replaced has soft borders. After the deletion metric of Petsiuk et al., "RISE", BMVC 2018.

    Parameters
    ----------
    X, evidence : arrays [N, …] of one shape
        Of pictures the sum of the evidence over the channels counts.
    y : array [N] or None
    part : float in (0, 1)
        How much of each sample is replaced, at least one point.
    moves : int
        How many random moves of each sample the control is the mean of.
    random_state : int

    Raises
    ------
    InputError
        As `diagnose`, and where evidence is not finite or of another shape, or `part` leaves nothing to compare.
    """
    case = _case(detector, X, y)
    shape = detector.input_shape_
    evidence = np.asarray(evidence, float)
    if evidence.shape != (len(case.tensor), *shape) or not np.isfinite(evidence).all():
        raise InputError(f"evidence must be finite numbers of shape {(len(case.tensor), *shape)}, a map a sample")
    maps = evidence.sum(1) if len(shape) == 3 else evidence
    points = int(np.prod(maps.shape[1:]))
    count = max(1, round(part * points))
    if not 0 < part < 1 or count >= points:
        raise InputError(f"part={part:g} of {points} points; it must leave some of them, and take some")
    drops, elsewhere = [], []
    for number, of in enumerate(maps):
        draw = np.random.default_rng([random_state, number])
        top = np.zeros(points, bool)
        top[np.argsort(-of, axis=None, kind="stable")[:count]] = True
        top = top.reshape(of.shape)
        shifts = 1 + draw.choice(points - 1, moves)  # never back to where it was
        moved = [np.roll(top, np.unravel_index(shift, of.shape), range(of.ndim)) for shift in shifts]
        masks = np.stack([top, *moved]).astype(np.float32)
        if len(shape) == 3:
            blurred = gaussian_filter(masks, min(shape[1:]) / 28, axes=(1, 2))  # a hard edge would be odd by itself
            masks = np.repeat(blurred[:, None].clip(0, 1), shape[0], 1)
        scores = _occluded(case, number, masks, _normal(case, number)[0])
        drops.append(scores[0] - scores[1])
        elsewhere.append(float(np.mean(scores[0] - scores[2:])))
    return Deletion(np.array(drops), np.array(elsewhere))


@dataclass(frozen=True, eq=False)
class _Case:
    """Samples to look into, and what the detector knows of normal ones, computed once.

    Attributes
    ----------
    tensor : [N, …] as networks see them
    labels : array [N] or None
        Claimed ones, where the task has any.
    claimed : array [N] or None
        As they were passed, whether the task has any or not: what a score is compared with depends on it.
    reference : Outputs or None
        Of the normal samples kept, all members' as one.
    vectors : array [R, D'] or None
        What those are compared by.
    scales : (float, float)
        Of inputs and of features.
    view_nll : array [R, V] or None
    """

    detector: Detector
    tensor: torch.Tensor
    labels: Array | None
    claimed: Array | None
    reference: Outputs | None
    vectors: Array | None
    scales: tuple[float, float]
    view_nll: Array | None

    @property
    def known(self) -> bool:
        """Whether labels were passed."""
        return self.claimed is not None


def _case(detector: Detector, X: Array, y: Array | None) -> _Case:
    check_is_fitted(detector)
    inputs = detector._validated(X)
    claimed = None if y is None else _validated_labels(y, len(inputs))
    task = detector.task_
    labels = None if task.labels is None else claimed
    task.targets(labels, len(inputs))  # refuses labels that were not learnt, by their place among all
    return _Case(detector, detector._tensor(inputs), labels, claimed, *_known(detector))


# What a detector knows of its normal samples, for as long as those live: files are explained one by one.
_KNOWN: WeakKeyDictionary[Outputs, tuple[Outputs, Array, tuple[float, float], Array]] = WeakKeyDictionary()


def _known(detector: Detector) -> tuple[Outputs | None, Array | None, tuple[float, float], Array | None]:
    """Reference, vectors, scales and view_nll of a `_Case`."""
    if detector._reference is None:
        return None, None, (1.0, 1.0), None
    key = detector._reference[0]
    if key not in _KNOWN:
        reference = pooled(detector._reference)
        assert reference.inputs is not None  # noqa: S101 - predict fills it in
        scales = _spread(reference.inputs[:, None]), _spread(reference.features)
        view_nll = _view_nll(pooled(detector._reference, detector.temperature_).logits, detector.task_)
        if reference is key:  # or it would never be let go
            reference = replace(key)
        _KNOWN[key] = reference, _vectors(reference, len(detector.input_shape_), scales), scales, view_nll
    return _KNOWN[key]


def _diagnosis(case: _Case, number: int, parts: Array) -> Diagnosis:
    detector = case.detector
    normal, neighbours, outputs = _normal(case, number)
    scores = _occluded(case, number, parts, normal)
    flat = parts.reshape(len(parts), -1)
    covered = flat.sum(0)
    drops = (scores[0] - scores[1:]).astype(np.float32)  # as the parts: a copy of those would be large
    evidence = (drops @ flat / np.where(covered > 0, covered, 1)).astype(float)
    return Diagnosis(
        float(scores[0]),
        float(detector._p_value_of(scores[:1], None if case.claimed is None else case.claimed[number : number + 1])[0]),
        None if case.claimed is None else case.claimed.tolist()[number],
        _probabilities(outputs, detector.task_),
        _views(case, outputs),
        neighbours,
        _in_units(detector, normal),
        evidence.reshape(detector.input_shape_),
    )


def _occluded(case: _Case, number: int, parts: Array, normal: torch.Tensor) -> Array:
    """Anomaly scores of a sample as it is, then with each part as the normal one has it, [1 + P]."""
    x = case.tensor[number]
    mixed = torch.lerp(x.float(), normal.float(), torch.from_numpy(parts))
    variants = torch.cat([x[None], mixed if x.dtype == torch.float32 else mixed.round().to(x.dtype)])
    labels = None if case.labels is None else np.repeat(case.labels[number : number + 1], len(variants))
    return case.detector._scored(case.detector._predict(variants, labels), known=case.known)


def _normal(case: _Case, number: int) -> tuple[torch.Tensor, tuple[Neighbour, ...] | None, Outputs]:
    """Return what takes the place of parts of a sample, its nearest normal samples, and what is said of it."""
    detector, x = case.detector, case.tensor[number : number + 1]
    members = detector._predict(x, None if case.labels is None else case.labels[number : number + 1])
    outputs = pooled(members, detector.temperature_)
    if case.reference is None or case.vectors is None:
        if detector.scaled_:
            return torch.zeros_like(x[0]), None, outputs  # floats are standardised
        axes = tuple(range(1, x[0].ndim)) or (0,)
        own = x[0].double().mean(axes, keepdim=True).round().to(x.dtype)
        return own.expand_as(x[0]), None, outputs
    assert case.reference.targets is not None  # noqa: S101 - those of normal samples are known
    assert case.reference.inputs is not None  # noqa: S101
    rows = np.arange(len(case.vectors))
    if outputs.targets is not None:
        rows = np.flatnonzero(case.reference.targets[:, 0] == outputs.targets[0, 0])
    own = _vectors(pooled(members), len(detector.input_shape_), case.scales)[0]
    distance = np.linalg.norm(np.subtract(case.vectors[rows], own, dtype=np.float32), axis=1)
    nearest = np.argsort(distance, kind="stable")[:NEIGHBOURS]
    of_fit, task = compared(detector.training_rows_), detector.task_
    neighbours = tuple(
        Neighbour(
            int(of_fit[row]),
            None if task.labels is None else task.labels.tolist()[label],
            float(apart**2 / 2 if len(detector.input_shape_) == 3 else apart),
        )
        for row, label, apart in zip(
            rows[nearest],
            case.reference.targets[rows[nearest], 0] // task.transform.count,
            distance[nearest].astype(float),
            strict=True,
        )
    )
    normal = torch.from_numpy(case.reference.inputs[rows[nearest[0]]]).reshape(detector.input_shape_)
    return normal, neighbours, outputs


def _spread(vectors: Array) -> float:
    """Root of the total variance of [R, V, D], mean over the views; 1 where there is none."""
    return float(np.sqrt(vectors.var(0).sum(-1)).mean()) or 1.0


def _vectors(outputs: Outputs, rank: int, scales: tuple[float, float]) -> Array:
    """Vectors [N, D'] whose distances are those of `Neighbour`."""
    if rank == 3:
        return unit_views(outputs.features)
    assert outputs.inputs is not None  # noqa: S101 - predict fills it in
    features = outputs.features.reshape(len(outputs), -1) / (scales[1] * np.sqrt(outputs.n_views))
    return np.hstack([outputs.inputs / scales[0], features]).astype(np.float32)


def _of_classes(logits: Array, task: Task) -> Array:
    """Log probabilities [N, V, C] → [N, V, L, V'], V' the transforms of the task."""
    log_p = log_softmax(np.asarray(logits, float), axis=-1)
    return log_p.reshape(*log_p.shape[:2], -1, task.transform.count)


def _view_nll(logits: Array, task: Task) -> Array:
    """−log p of the view that each is, summed over labels; logits [N, V, C] → [N, V]."""
    of_views = logsumexp(_of_classes(logits, task), axis=2)  # [N, V, V']
    return -np.diagonal(of_views, axis1=1, axis2=2)


def _probabilities(outputs: Outputs, task: Task) -> dict[Any, float]:
    if task.labels is None:
        return {}
    of_labels = np.diagonal(_of_classes(outputs.logits, task)[0], axis1=0, axis2=2)  # [L, V]
    mean = softmax(of_labels, axis=0).mean(1)
    return dict(zip(task.labels.tolist(), mean.tolist(), strict=True))


def _views(case: _Case, outputs: Outputs) -> tuple[View, ...]:
    detector, transform = case.detector, case.detector.task_.transform
    of_views = logsumexp(_of_classes(outputs.logits, detector.task_)[0], axis=1)  # [V, V']
    nll = _view_nll(outputs.logits, detector.task_)[0]
    found = []
    for view, taken_for in enumerate(of_views.argmax(1)):
        p_value = None if case.view_nll is None else float(p_values(nll[view : view + 1], case.view_nll[:, view])[0])
        fails = bool(taken_for != view) if p_value is None else p_value <= detector.false_alarm_rate
        fails = fails and transform.count > 1
        name, other = transform.names[view], transform.names[taken_for]
        found.append(View(name, other, float(np.exp(-nll[view])), p_value, fails))
    return tuple(found)


def _in_units(detector: Detector, normal: torch.Tensor) -> Array:
    """A sample as networks see it → in the units of X."""
    sample = normal.numpy()
    return sample * detector.scale_ + detector.mean_ if detector.scaled_ else sample
