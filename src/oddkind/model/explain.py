"""Why a sample is anomalous: what it claims and resembles, which views fail, what is nearest, where the evidence lies.

Evidence is found by occlusion: parts of the input are replaced by those of the nearest normal sample, and the drop of
the anomaly score is the evidence of the part. It explains the model's own score, whichever that is, and nothing has to
be differentiable. Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014; replacing by the
values of another sample instead of grey: Covert et al., "Explaining by removing", JMLR 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.conformal import p_values, tie_bound
from oddkind.model.distances import unit_views
from oddkind.model.model import FittedModel, Model, Normal, checked_labels
from oddkind.model.outputs import Outputs, log_softmax, logsumexp, pooled, softmax
from oddkind.model.places import unusual_places
from oddkind.model.task import Task

N_NEIGHBOURS = 5
# A vector with more numbers than this is replaced several neighbouring numbers at a time.
MAX_PARTS = 128


@dataclass(frozen=True)
class View:
    """How the model understood one view of a sample.

    Attributes
    ----------
    name, taken_for : str
        The view it is, and the view it resembles most.
    probability : float
        The probability of the view it is, summed over the labels.
    p_value : float or None
        Chance that the view of a normal sample is as improbable: (1 + normal at or below) / (1 + normal). Because the
        model learnt from those samples it is a little too small. None if the model keeps no normal samples.
    fails : bool
        Whether the p-value is at most the false-alarm rate; without one, whether it is taken for another view.
    """

    name: str
    taken_for: str
    probability: float
    p_value: float | None
    fails: bool


@dataclass(frozen=True)
class Neighbour:
    """A normal sample close to the explained one.

    Attributes
    ----------
    row : int
        Its position among the samples passed to `fit`.
    label : label or None
    distance : float
        Pictures: mean over the views of 1 − cosine of their features. Vectors and signals: ‖a − b‖, where a is the
        input and the features of its views, each scaled to a total variance of 1 among normal samples.
    """

    row: int
    label: Any
    distance: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """What there is to say about one sample.

    Attributes
    ----------
    score, p_value : float
        Anomaly score, and the chance that a normal sample scores as high.
    claimed : label or None
        The internal label that it claims.
    probabilities : dict label → float
        What it resembles: mean over the views of softmax(z / T) over the labels, given the view. Empty if the model
        learnt no labels.
    views : tuple of View
        Those that are scored. Without known transforms there is one, which cannot fail.
    neighbours : tuple of Neighbour or None
        The nearest normal samples, nearest first; if a label is claimed, those of that label. None if the model keeps
        no normal samples because its score compares with none.
    normal : array of the sample's shape
        The sample that parts were replaced by: the nearest normal one. If none is kept, the mean of normal samples, or
        for uint8 the sample's own mean.
    evidence : array of the sample's shape
        At each point the mean drop of the anomaly score over the parts that cover it, weighted by how much they cover
        it. The anomaly lies where there is most.
    map : array [H, W] or None
        How unusual the features of the network are at each point of a picture, `oddkind.model.places.unusual_places`:
        above 0 where that is rarer than at one normal place in a hundred. It shows where a small mark lies more sharply
        than the evidence. None if the network has no features of places, as only the network for local defects has.
    """

    score: float
    p_value: float
    claimed: Any
    probabilities: Mapping[Any, float]
    views: tuple[View, ...]
    neighbours: tuple[Neighbour, ...] | None
    normal: Array
    evidence: Array
    map: Array | None = None

    @property
    def where(self) -> Array:
        """What shows best where the anomaly lies: the map, [1, H, W], or else the evidence."""
        return self.evidence if self.map is None else self.map[None]

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

    Pictures: soft squares (Hann windows) of a quarter of the shorter side, all channels, half overlapping, because a
    hard edge would be an anomaly itself. Signals: eighths of each channel in time, half overlapping. Vectors: every
    number, or about `MAX_PARTS` windows of a longer one.
    """
    if len(shape) == 1:
        size = -(-shape[0] // MAX_PARTS)
        return np.arange(-(-shape[0] // size))[:, None] == np.arange(shape[0]) // size
    if len(shape) == 2:
        size = -(-shape[1] // 8)
        starts = sorted({*range(0, shape[1] - size, max(1, size // 2)), shape[1] - size})
        spans = np.stack([_span(shape[1], start, np.ones(size)) for start in starts])
        return np.einsum("cd,pt->cpdt", np.eye(shape[0]), spans).reshape(-1, *shape)
    size = -(-min(shape[1:]) // 4)
    soft = np.hanning(size + 2)[1:-1]
    down, across = (
        np.stack([_span(length, start, soft) for start in range(-size // 2, length, max(1, size // 2))])
        for length in shape[1:]
    )
    squares = np.einsum("ph,qw->pqhw", down, across).reshape(-1, 1, *shape[1:])
    return np.repeat(squares[squares.max((1, 2, 3)) > 0], shape[0], 1)


def _span(length: int, start: int, values: Array) -> Array:
    """Return a line [length] that holds the values from `start` on, cut off at its ends, and 0 elsewhere."""
    line = np.zeros(length)
    inside = np.arange(len(values))[max(0, -start) : max(0, length - start)]
    line[start + inside] = values[inside]
    return line


def explain(
    model: FittedModel,
    X: Array,
    y: Array | None = None,
    *,
    parts: Array | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> list[Explanation]:
    """Explain each sample [N, …]. No other sample changes a bit of its explanation.

    With several folds (`CrossModel`) evidence, probabilities and views are means over the folds, and the nearest normal
    samples are the nearest of any fold.

    Parameters
    ----------
    X : array [N, …]
    y : array [N] or None
        The internal labels that the samples claim.
    parts : array [P, *sample's shape] in [0, 1] or None
        What is replaced together, and how much of it: the channels of a sensor, the features of a band. None:
        `parts_of` the shape.
    on_progress : callable
        Called after each sample with the finished fraction, 0 … 1.

    Raises
    ------
    InputError
        If samples, labels or parts do not suit the model.
    """
    parts = checked_parts(parts_of(model.inputs.shape) if parts is None else np.asarray(parts), model.inputs.shape)
    cases = [occlusion_cases(fold, X, y) for fold in model.folds]
    found = []
    for number in range(len(cases[0])):
        claimed = None if y is None else np.asarray(y)[number : number + 1]
        of_folds = [_explanation(case[number], parts) for case in cases]
        scores = np.array([[one.score] for one in of_folds])
        p_value = float(model.p_value_of(scores, claimed)[0])
        found.append(_mean(of_folds, p_value, None if claimed is None else claimed.tolist()[0]))
        on_progress(len(found) / len(cases[0]))
    return found


def checked_parts(parts: Array, shape: tuple[int, ...]) -> Array:
    """Refuse parts that are not numbers in [0, 1] of shape [P, *shape]; return them in single precision."""
    if parts.ndim != len(shape) + 1 or parts.shape[1:] != shape or len(parts) == 0 or parts.dtype.kind not in "biuf":
        raise InputError(f"parts are {parts.dtype} {parts.shape}; they must be numbers of shape {('P', *shape)}")
    parts = parts.astype(np.float32)
    if not ((parts >= 0) & (parts <= 1)).all():
        raise InputError("parts hold values outside 0 (stays as it is) to 1 (is replaced)")
    return parts


def _mean(of_folds: Sequence[Explanation], p_value: float, claimed: Any) -> Explanation:
    """Combine the explanations of one sample by each fold."""

    def mean(values: list[Any]) -> Any:
        return sum(values[1:], values[0]) / len(values)

    views = []
    for of_view in zip(*(one.views for one in of_folds), strict=True):
        p = None if of_view[0].p_value is None else mean([view.p_value for view in of_view])
        likeliest = max({view.taken_for for view in of_view}, key=[view.taken_for for view in of_view].count)
        probability = mean([view.probability for view in of_view])
        fails = 2 * sum(view.fails for view in of_view) > len(of_view)
        views.append(View(of_view[0].name, likeliest, probability, p, fails))
    nearest: dict[int, Neighbour] = {}
    for neighbour in sorted((one for of in of_folds for one in of.neighbours or ()), key=lambda one: one.distance):
        nearest.setdefault(neighbour.row, neighbour)
    first = of_folds[0]
    return Explanation(
        mean([one.score for one in of_folds]),
        p_value,
        claimed,
        {label: mean([one.probabilities[label] for one in of_folds]) for label in first.probabilities},
        tuple(views),
        None if first.neighbours is None else tuple(nearest.values())[:N_NEIGHBOURS],
        min(of_folds, key=lambda one: one.neighbours[0].distance if one.neighbours else 0.0).normal,
        mean([one.evidence for one in of_folds]),
        None if first.map is None else mean([one.map for one in of_folds]),
    )


@dataclass(frozen=True, eq=False)
class Case:
    """One sample whose parts are replaced by those of a normal sample.

    Attributes
    ----------
    model : Model
    sample, normal : arrays of the sample's shape
        As networks read them; `normal` takes the place of parts.
    targets : int array [1, V] or None
    with_labels : bool
        Whether labels were passed, even if the task has none: what a score is compared with depends on it.
    neighbours : tuple of Neighbour or None
    outputs : Outputs
        Of the sample, all networks together, at the model's temperature.
    """

    model: Model
    sample: Array
    normal: Array
    targets: Array | None
    with_labels: bool
    neighbours: tuple[Neighbour, ...] | None
    outputs: Outputs

    def occluded(self, parts: Array) -> Array:
        """Anomaly scores of the sample as it is, then with each part [P, …] as the normal one has it, [1 + P]."""
        x, normal = self.sample.astype(np.float32), self.normal.astype(np.float32)
        mixed = x + parts * (normal - x)
        if self.sample.dtype != np.float32:
            mixed = mixed.round().astype(self.sample.dtype)
        variants = np.concatenate([self.sample[None], mixed])
        targets = None if self.targets is None else np.repeat(self.targets, len(variants), 0)
        return self.model.score_outputs(self.model.run(variants, targets), with_labels=self.with_labels)


def occlusion_cases(model: Model, X: Array, y: Array | None) -> list[Case]:
    """Prepare samples [N, …] with labels [N] or None for occlusion: find the normal sample nearest to each."""
    labels = None if y is None else checked_labels(y, len(X))
    inputs, targets = model.prepare(X, labels)
    place, placed = (None, None) if model.normal is None else _space(model.normal, len(model.inputs.shape))
    cases = []
    for number in range(len(inputs)):
        x, own = inputs[number : number + 1], None if targets is None else targets[number : number + 1]
        members = model.run(x, own)
        normal, neighbours = _blank(model, x[0]), None
        if place is not None and placed is not None:
            vector = place(x.reshape(1, -1), pooled(members).features)[0]
            normal, neighbours = _nearest(model, vector, placed, own)
        outputs = pooled(members, model.temperature)
        cases.append(Case(model, x[0], normal, own, labels is not None, neighbours, outputs))
    return cases


def _nearest(model: Model, vector: Array, placed: Array, targets: Array | None) -> tuple[Array, tuple[Neighbour, ...]]:
    """Return the nearest normal sample, as networks read it, and the nearest ones; of the label, if it is known."""
    known = model.normal
    assert known is not None  # noqa: S101 - `placed` are its samples
    rows = np.arange(len(placed))
    if targets is not None and known.label_index is not None:
        rows = np.flatnonzero(known.label_index == targets[0, 0] // model.task.n_views)
        if len(rows) == 0:
            raise InputError(
                f"there is no normal sample of label {targets[0, 0] // model.task.n_views} to compare with"
            )
    distance = np.linalg.norm(np.subtract(placed[rows], vector, dtype=np.float32), axis=1)
    nearest = np.argsort(distance, kind="stable")[:N_NEIGHBOURS]
    neighbours = tuple(
        Neighbour(
            int(known.rows[row]),
            None
            if known.label_index is None or model.task.labels is None
            else model.task.labels.tolist()[known.label_index[row]],
            float(apart**2 / 2 if len(model.inputs.shape) == 3 else apart),
        )
        for row, apart in zip(rows[nearest], distance[nearest].astype(float), strict=True)
    )
    return known.inputs[rows[nearest[0]]].reshape(model.inputs.shape), neighbours


def _blank(model: Model, x: Array) -> Array:
    """Return what replaces parts if no normal sample is kept: the mean of normal samples, or the sample's own mean."""
    if model.inputs.standardises:
        return np.zeros_like(x)
    axes = tuple(range(1, x.ndim)) or (0,)
    return np.broadcast_to(x.mean(axes, dtype=float, keepdims=True).round().astype(x.dtype), x.shape)


def _explanation(case: Case, parts: Array) -> Explanation:
    """Explain one sample by one fold; the p-value and the claimed label are filled in by the caller."""
    scores = case.occluded(parts)
    flat = parts.reshape(len(parts), -1)
    covered = flat.sum(0)
    drops = (scores[0] - scores[1:]).astype(np.float32)  # as the parts: a copy of those would be large
    evidence = (drops @ flat / np.where(covered > 0, covered, 1)).astype(float)
    places, sample = case.model.places, case.sample[None]
    unusual = None if places is None else unusual_places(case.model.members, places, sample)
    return Explanation(
        float(scores[0]),
        1.0,
        None,
        _probabilities(case.outputs, case.model.task),
        _views(case),
        case.neighbours,
        case.model.inputs.restore(case.normal),
        evidence.reshape(case.model.inputs.shape),
        None if unusual is None else unusual[0],
    )


def _space(known: Normal, rank: int) -> tuple[Callable[[Array, Array], Array], Array]:
    """Return what places inputs [N, D'] and features [N, V, D] where distances are those of `Neighbour`.

    Also the normal samples, placed.
    """
    input_scale, feature_scale = _spread(known.inputs[:, None]), _spread(known.features)

    def place(inputs: Array, features: Array) -> Array:
        if rank == 3:
            return unit_views(features)
        flat = features.reshape(len(features), -1) / (feature_scale * np.sqrt(features.shape[1]))
        return np.hstack([inputs / input_scale, flat]).astype(np.float32)

    return place, place(known.inputs, known.features)


def _spread(vectors: Array) -> float:
    """Root of the total variance of [R, V, D], mean over the views; 1 if there is none."""
    return float(np.sqrt(vectors.var(0).sum(-1)).mean()) or 1.0


def _by_label(logits: Array, task: Task) -> Array:
    """Log probabilities of logits [N, V, C] as [N, V, L, V'], V' the transforms of the task."""
    log_p = log_softmax(np.asarray(logits, float))
    return log_p.reshape(*log_p.shape[:2], -1, task.n_views)


def view_nll(logits: Array, task: Task) -> Array:
    """−log p of the view that each view is, summed over labels; logits [N, V, C] → [N, V]."""
    of_views = logsumexp(_by_label(logits, task), axis=2)  # [N, V, V']
    return -np.diagonal(of_views, axis1=1, axis2=2)


def _probabilities(outputs: Outputs, task: Task) -> dict[Any, float]:
    if task.labels is None:
        return {}
    of_labels = np.diagonal(_by_label(outputs.logits, task)[0], axis1=0, axis2=2)  # [L, V]
    mean = softmax(of_labels.T).mean(0)
    return dict(zip(task.labels.tolist(), mean.tolist(), strict=True))


def _views(case: Case) -> tuple[View, ...]:
    model, task = case.model, case.model.task
    of_views = logsumexp(_by_label(case.outputs.logits, task)[0], axis=1)  # [V, V']
    nll = view_nll(case.outputs.logits, task)[0]
    found = []
    for view, taken_for in enumerate(of_views.argmax(1)):
        p_value = None
        if model.normal is not None:
            p_value = float(p_values(nll[view : view + 1], tie_bound(model.normal.view_nll[:, view]))[0])
        fails = bool(taken_for != view) if p_value is None else p_value <= model.false_alarm_rate
        if task.n_views == 1:  # there is no other view, and its probability is 1 except for rounding
            p_value, fails = None if model.normal is None else 1.0, False
        name, other = task.view_names[view], task.view_names[taken_for]
        found.append(View(name, other, float(np.exp(-nll[view])), p_value, fails))
    return tuple(found)
