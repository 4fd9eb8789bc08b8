"""Anomaly scores: what a score learns from the outputs of normal samples, and how it scores others; higher = odder.

`SCORES` names the scores; their formulae for logits are in `formulas`. A score learns once, in `fit`; computing it
estimates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.language import Message
from oddkind.model.combining import FarOrLocal, Fusion, StandardisedLogs, Surprises
from oddkind.model.distance_scores import MAX_WHITENED_FEATURES, distance_score
from oddkind.model.distances import (
    class_means,
    joint_distance,
    local_scales,
    neighbour_distances,
    principal_residual,
    row_products,
    squared_distances,
    squares_by_scale,
    unit,
    unit_views,
    whitening,
)
from oddkind.model.formulas import (
    energy,
    entropy,
    expected_rotation_distance,
    label_nll,
    max_logit,
    msp,
    rotation_distance,
    target_nll,
)
from oddkind.model.outputs import Outputs, log_softmax, logsumexp, mean_of, pooled
from oddkind.model.score import Arrays, Score, by_class, refuse_absent, within_label
from oddkind.model.task import Task

# Samples are compared with at most this many normal ones: more would take more time and memory than most users have.
MAX_REFERENCE_ROWS = 65_536

# Of pictures with more numbers, this many evenly spread ones are compared.
MAX_COMPARED_NUMBERS = 1024


@dataclass(frozen=True)
class Combination:
    """Several scores combined into one, each made comparable on normal samples.

    Attributes
    ----------
    formula : str
        One line, for tables.
    components : tuple of P names of `SCORES`
    fuse : Surprises or FarOrLocal
        How they are combined.
    """

    formula: str
    components: tuple[str, ...]
    fuse: Fusion


@dataclass(frozen=True, eq=False)
class FittedScore:
    """A score with all that it learnt.

    Attributes
    ----------
    name : str or None
        Its name in `SCORES`; None for a `Score` of your own.
    own : Score or None
    learnt : tuple of tuples of dicts of arrays
        What each of the P components learnt from each network; empty for a component that learns nothing.
    weights : array [P], or [5 · P] for `oddkind.model.combining.FarOrLocal`
        The weight of each component, or all that combining them needs.
    """

    name: str | None
    own: Score | None
    learnt: tuple[tuple[Arrays, ...], ...]
    weights: Array

    @property
    def components(self) -> tuple[Score, ...]:
        """The scores it is made of."""
        return components_of(self.own if self.name is None else SCORES[self.name])  # type: ignore[arg-type]

    @property
    def fuse(self) -> Fusion:
        """How its components are combined."""
        return fusion_of(self.own if self.name is None else SCORES[self.name])  # type: ignore[arg-type]

    def describe(self) -> str:
        """Say what the score is made of and how much each component counts, in one line."""
        score = None if self.name is None else SCORES[self.name]
        if not isinstance(score, Combination):
            return self.name or Message("a score of your own")
        return Message("{name}: {how}", name=self.name, how=score.fuse.describe(score.components, self.weights))

    def __call__(self, members: Sequence[Outputs], temperature: float) -> Array:
        """Compute the score of each component, [N, P]; `oddkind.model.combining.combined` makes one of them.

        A component that does not count is not computed; its scores are 0.
        """
        return self._of_each(len(members[0]), lambda score, learnt: _over_members(score, members, learnt, temperature))

    def _of_each(self, n: int, compute: Callable[[Score, tuple[Arrays, ...]], Array]) -> Array:
        counts = self.fuse.counts(self.weights)
        return np.stack(
            [
                compute(score, learnt) if counted else np.zeros(n)
                for score, learnt, counted in zip(self.components, self.learnt, counts, strict=True)
            ],
            1,
        )

    def extended(self, held_out: Sequence[Outputs]) -> FittedScore:
        """Return the score with the held-out samples to compare with, too, where it can leave them out again.

        `held_out`: the outputs of each network for them, with targets. Nothing else is learnt from them.
        """
        counts = self.fuse.counts(self.weights)
        learnt = tuple(
            tuple(score.extend(*pair) for pair in zip(own, held_out, strict=True))
            if score.extend is not None and counted
            else own
            for score, own, counted in zip(self.components, self.learnt, counts, strict=True)
        )
        return replace(self, learnt=learnt)

    def of_held_out(
        self, held_out: Sequence[Outputs], groups: Array | None, temperature: float, task: Task, *, with_labels: bool
    ) -> Array:
        """Compute the score of the held-out samples that it was `extended` by, as if each were new, [n, P].

        Each is compared with all normal samples but itself and those of its own group [n]; None: each is a group, and
        is not compared with itself anyway. `held_out` as in `extended`.
        """
        n = len(held_out[0])
        known = held_out
        if not with_labels:
            known = [replace(outputs, targets=task.targets(None, n)) for outputs in held_out]

        def compute(score: Score, learnt: tuple[Arrays, ...]) -> Array:
            if score.left_out is None or groups is None:
                return _over_members(score, known, learnt, temperature)
            pairs = zip(learnt, held_out, strict=True)
            return mean_of([score.left_out(arrays, outputs, groups, with_labels) for arrays, outputs in pairs])

        return self._of_each(n, compute)


def components_of(score: Score | Combination) -> tuple[Score, ...]:
    """Return the scores that a score is made of: itself, or those that it combines."""
    if isinstance(score, Score):
        return (score,)
    found = [SCORES[name] for name in score.components]
    return tuple(component for component in found if isinstance(component, Score))


def fusion_of(score: Score | Combination) -> Fusion:
    """Return how the components of a score are combined; a single one is what it is."""
    return score.fuse if isinstance(score, Combination) else Surprises()


def _weights_of_distances(
    components: Sequence[Score],
    fuse: FarOrLocal,
    learnt: Sequence[Sequence[Arrays]],
    normal: Sequence[Outputs],
    groups: Array | None,
    perplexity: float,
    n_classes: int,
) -> Array:
    """Weights of distances: which are reliable, and what is usual among the samples that were learnt from."""
    assert normal[0].inputs is not None  # noqa: S101 - the distances need them
    rows_per_number = len(normal[0]) / normal[0].inputs.shape[1]
    half_learnt = n_classes - perplexity >= (n_classes - 1) / 2
    reliable = np.array([rows_per_number >= component.rows_needed for component in components])
    useful = np.array([half_learnt or not component.needs_learnt for component in components])
    if groups is not None and 2 * len(np.unique(groups)) < len(groups):
        # A network knows the groups that it was trained with, so their features do not show how far others are apart.
        reliable[[column for column in fuse.far if components[column].needs_learnt]] = False
    usual = [
        mean_of([component.usual(own, outputs, groups) for own, outputs in zip(arrays, normal, strict=True)])
        for component, arrays in zip(components, learnt, strict=True)
        if component.usual is not None
    ]
    apart = [
        float(np.mean([component.apart(own) for own in arrays]))
        for component, arrays in zip(components, learnt, strict=True)
        if component.apart is not None
    ]
    return fuse.weights(reliable, useful, usual, apart)


def softmax_share(
    score: Score | Combination, perplexity: float, n_classes: int, label_perplexity: float = 1.0
) -> float:
    """Return how much of a score is computed from the softmax, from 0 to 1."""
    uses, fuse = [component.uses_softmax for component in components_of(score)], fusion_of(score)
    if not any(uses) or isinstance(fuse, FarOrLocal):  # distances need no softmax
        return 0.0
    weights = fuse.weights(perplexity, n_classes, label_perplexity)
    return float(weights[uses].sum() / weights.sum())


def learn_score(
    name: str | None,
    score: Score | Combination,
    normal: Sequence[Outputs] | None,
    temperature: float,
    perplexity: float = 1.0,
    n_classes: int = 2,
    groups: Array | None = None,
    label_perplexity: float = 1.0,
) -> FittedScore:
    """Learn a score from the outputs of each network for normal samples; None is enough for one that learns nothing.

    The perplexities among the classes and among the labels decide how much each component of a combination counts.
    `groups` [n]: normal samples of one group are more alike than others, so they are not compared to see what is usual.
    """
    learnt: list[tuple[Arrays, ...]] = []
    for component in components_of(score):
        if component.learn is None:
            learnt.append(())
            continue
        if normal is None:
            raise InputError(f"score {name!r} compares with normal samples: pass their outputs")
        learnt.append(tuple(component.learn(outputs, temperature) for outputs in normal))
    fuse = fusion_of(score)
    if isinstance(fuse, FarOrLocal):
        assert normal is not None  # noqa: S101 - refused above
        weights = _weights_of_distances(components_of(score), fuse, learnt, normal, groups, perplexity, n_classes)
    else:
        weights = fuse.weights(perplexity, n_classes, label_perplexity)
    kept = [
        own if counted else tuple({} for _ in own) for own, counted in zip(learnt, fuse.counts(weights), strict=True)
    ]
    return FittedScore(name, score if name is None and isinstance(score, Score) else None, tuple(kept), weights)


def _over_members(score: Score, members: Sequence[Outputs], learnt: Sequence[Arrays], temperature: float) -> Array:
    """Compute a score from the outputs of one or several networks, [N]."""
    if len(members) > 1 and score.pool == "probability":
        return score.compute(pooled(members, temperature), {}, 1.0)
    if len(members) > 1 and score.pool == "logit":
        mean = mean_of([member.logits for member in members])
        return score.compute(replace(members[0], logits=mean), {}, temperature)
    arrays: Sequence[Arrays] = learnt or [{}] * len(members)
    return mean_of([score.compute(member, own, temperature) for member, own in zip(members, arrays, strict=True)])


def neighbours(k: int = 1, metric: str = "cosine") -> Score:
    """Return the score "distance to the k-th nearest normal sample in the space of features", mean over the views.

    "euclidean" is ‖a − b‖; "cosine" is 1 − a·b / (‖a‖ ‖b‖), in [0, 2]. A vector of zeros is at cosine distance 1 from
    everything except another vector of zeros. Ramaswamy et al., SIGMOD 2000; on learnt features: Sun et al.,
    "Out-of-distribution detection with deep nearest neighbors", ICML 2022.

    Raises
    ------
    InputError
        If the metric is unknown, k is below 1, or, when computed, there are fewer than k normal samples.
    """
    if metric not in ("cosine", "euclidean"):
        raise InputError(f"metric={metric!r}; known are 'cosine' and 'euclidean'")
    if k < 1:
        raise InputError(f"k={k}; it must be at least 1")

    def place(features: Array) -> Array:
        return unit(features) if metric == "cosine" else features

    def learn(normal: Outputs, _: float) -> Arrays:
        order, arrays = by_class(normal)
        views = normal.features[order].swapaxes(0, 1)
        return {"reference": np.stack([place(view) for view in views]), **arrays}

    def compute(outputs: Outputs, arrays: Arrays, _: float) -> Array:
        def distance(some: Outputs, rows: slice, _: int) -> Array:
            if k > rows.stop - rows.start:
                n = rows.stop - rows.start
                raise InputError(f"k={k}; {n} normal samples allow 1 to {n}")
            found = []
            for own, reference in zip(some.features.swapaxes(0, 1), arrays["reference"], strict=True):
                apart = neighbour_distances(place(own), reference[rows], k)[:, -1]
                # On the unit sphere the two metrics agree: ‖a − b‖² = 2 (1 − a·b).
                found.append(apart**2 / 2 if metric == "cosine" else apart)
            return mean_of(found)

        return within_label(outputs, arrays, distance)

    formula = "1 − cos(f, nearest normal f)" if metric == "cosine" else "‖f − nearest normal f‖"
    return Score(formula, compute, learn)


def _view_neighbours(formula: str, vectors: Callable[[Outputs, float], Array], *, uses_softmax: bool = False) -> Score:
    """Return the score "mean distance to the 5 nearest normal samples in all views", compared by their `vectors`.

    Two samples are at distance mean_v (1 − a_v·b_v / (‖a_v‖ ‖b_v‖)): near means near in every view. For roots √p of
    probabilities this is the squared Hellinger distance. A mean over some neighbours: Angiulli & Pizzuti, "Fast outlier
    detection in high dimensional spaces", PKDD 2002. With fewer than 5 normal samples it is the mean over all.
    """

    def learn(normal: Outputs, temperature: float) -> Arrays:
        order, arrays = by_class(normal)
        return {"reference": unit_views(vectors(normal[order], temperature)), **arrays}

    def compute(outputs: Outputs, arrays: Arrays, temperature: float) -> Array:
        def distance(some: Outputs, rows: slice, _: int) -> Array:
            own = unit_views(vectors(some, temperature))
            apart = neighbour_distances(own, arrays["reference"][rows], min(5, rows.stop - rows.start))
            return (apart**2).mean(1) / 2

        return within_label(outputs, arrays, distance)

    return Score(formula, compute, learn, uses_softmax=uses_softmax)


def _learn_local_inputs(normal: Outputs, _: float) -> Arrays:
    order, arrays = by_class(normal)
    reference = _some_numbers(normal)[order]
    return {"reference": reference, "scales": local_scales(reference), **arrays}


def _local_input_neighbours(outputs: Outputs, arrays: Arrays, _: float) -> Array:
    """Mean of ‖a − b‖² / s_b over the 5 nearest normal samples b; s_b is the mean distance of b to its own 8 nearest.

    This is a distance, times the same distance in relation to what is usual there. The distance alone says how large
    and how bright an object is, because those are far from everything; the ratio alone (Breunig et al., "LOF:
    identifying density-based local outliers", SIGMOD 2000) exaggerates small differences between samples that are much
    alike. With fewer than 5 normal samples it is the mean over all.
    """

    def distance(some: Outputs, rows: slice, _: int) -> Array:
        reference, scales = arrays["reference"][rows], arrays["scales"][rows]
        return squares_by_scale(_some_numbers(some), reference, scales, min(5, len(reference)))

    return within_label(outputs, arrays, distance)


def _some_numbers(outputs: Outputs) -> Array:
    """Inputs [N, D]; of more than `MAX_COMPARED_NUMBERS` numbers so many, evenly spread."""
    if outputs.inputs is None:
        raise InputError("this score compares inputs: pass outputs with inputs")
    n = outputs.inputs.shape[1]
    if n <= MAX_COMPARED_NUMBERS:
        return outputs.inputs
    return outputs.inputs[:, np.linspace(0, n - 1, MAX_COMPARED_NUMBERS).astype(int)]


def _learn_joint(normal: Outputs, _: float) -> Arrays:
    """Whitening, scales and the placed normal samples.

    Inputs, whitened inputs (unless they are long) and features are each scaled to the same total variance. Only inputs
    are scaled, because features are as many times larger as there are views.
    """
    order, arrays = by_class(normal)
    if normal.inputs is None or normal.targets is None:
        raise InputError("score 'joint-neighbours' compares inputs: pass outputs with inputs")
    if normal.inputs.shape[1] <= MAX_WHITENED_FEATURES:
        index = np.unique(normal.targets[:, 0], return_inverse=True)[1]
        arrays["whitening"] = whitening(normal.inputs, index, shrink=True)
    parts = _joint_inputs(normal.inputs, arrays)
    *scales, scale = (np.sqrt(part.var(0).sum(-1)).mean() or 1.0 for part in (*parts, normal.features))
    arrays["scales"] = np.array([scale / own for own in scales])
    placed = np.concatenate([part * factor for part, factor in zip(parts, arrays["scales"], strict=True)], -1)
    return arrays | {"inputs": placed[order], "features": normal.features[order], "scale": np.array(float(scale))}


def _joint_inputs(inputs: Array, arrays: Arrays) -> list[Array]:
    """Inputs, and whitened inputs if there is a whitening, in single precision."""
    whiten = arrays.get("whitening")
    return [inputs, *([] if whiten is None else [row_products(inputs, whiten).astype(np.float32)])]


def _joint_neighbours(outputs: Outputs, arrays: Arrays, _: float) -> Array:
    """Compare inputs, whitened inputs and features jointly, view by view.

    An anomaly may lie far away; or close, but in a direction in which no normal sample varies; or in a direction that
    the network ignores.
    """
    if outputs.inputs is None:
        raise InputError("score 'joint-neighbours' compares inputs: pass outputs with inputs")
    parts = _joint_inputs(outputs.inputs, arrays)
    placed = np.concatenate([part * own for part, own in zip(parts, arrays["scales"], strict=True)], -1)

    def distance(some: Outputs, rows: slice, _: int) -> Array:
        assert some.inputs is not None  # noqa: S101 - placed below
        return joint_distance(some.inputs, some.features, arrays["inputs"][rows], arrays["features"][rows])

    return within_label(replace(outputs, inputs=placed), arrays, distance) / arrays["scale"]


def _learn_mahalanobis(normal: Outputs, _: float) -> Arrays:
    """Whitening and whitened class means of every view: of all labels, and of each label alone."""
    arrays = by_class(normal)[1]
    assert normal.targets is not None  # noqa: S101 - by_class refuses
    features = np.asarray(normal.features.swapaxes(0, 1), float)  # [V, R, D]
    index = np.searchsorted(arrays["classes"], normal.targets[:, 0])

    def places(rows: Array, of: Array) -> tuple[Array, Array]:
        """Whitening [V, D, D] and whitened means [V, K, D] of some samples, of these classes."""
        whitenings = [whitening(view[rows], of) for view in features]
        means = [class_means(view[rows], of) @ own for view, own in zip(features, whitenings, strict=True)]
        return np.stack(whitenings), np.stack(means)

    labels = [np.flatnonzero(index == number) for number in range(len(arrays["classes"]))]
    alone = [places(rows, np.zeros(len(rows), int)) for rows in labels]
    together, overall = places(np.arange(len(index)), index), places(np.arange(len(index)), np.zeros(len(index), int))
    return arrays | {
        "whitening": together[0],
        "means": together[1],
        "label_whitening": np.stack([one for one, _ in alone]),
        "label_means": np.stack([one for _, one in alone]),
        "overall_whitening": overall[0],
        "overall_means": overall[1],
    }


def _mahalanobis(outputs: Outputs, arrays: Arrays, _: float) -> Array:
    """Squared Mahalanobis distance to the nearest class mean, mean over the views.

    min_c (f − μ_c)ᵀ Σ⁺ (f − μ_c) with one covariance Σ shared by the classes. Lee et al., "A simple unified framework
    for detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018. With known labels the mean and the
    covariance are those of the label.
    """

    def distance(some: Outputs, _: slice, number: int) -> Array:
        if number < 0:
            return _to_means(some.features, arrays["whitening"], arrays["means"])
        return _to_means(some.features, arrays["label_whitening"][number], arrays["label_means"][number])

    return within_label(outputs, arrays, distance)


def _to_means(features: Array, whitenings: Array, means: Array) -> Array:
    """Squared distance of whitened features [N, V, D] to the nearest of the means [V, K, D], mean over views; [N]."""
    views = zip(features.swapaxes(0, 1), whitenings, means, strict=True)
    return mean_of([squared_distances(row_products(view, whiten), own).min(1) for view, whiten, own in views])


def _relative_mahalanobis(outputs: Outputs, arrays: Arrays, temperature: float) -> Array:
    """Squared Mahalanobis distance to the label, minus that to all normal samples of the view taken as one class.

    Distances in directions that do not tell labels apart count less. Ren et al., "A simple fix to Mahalanobis distance
    for improving near-OOD detection", 2021.
    """
    overall = _to_means(outputs.features, arrays["overall_whitening"], arrays["overall_means"])
    return _mahalanobis(outputs, arrays, temperature) - overall


def _joined(outputs: Outputs) -> Array:
    """Inputs beside the mean features over the views, [N, D + E]; of large inputs some numbers."""
    features = np.asarray(outputs.features, float)
    # Added view by view: the order in which NumPy's mean adds depends on the number of samples.
    return np.hstack([_some_numbers(outputs), mean_of([*features.swapaxes(0, 1)])])


def _learn_joint_mahalanobis(normal: Outputs, _: float) -> Arrays:
    """One covariance within the labels, as a packed triangular whitening, and the whitened mean of each label.

    W Wᵀ = Rᵀ R for the triangle R of the QR decomposition of Wᵀ: half of the numbers of W, in single precision.
    """
    classes = by_class(normal)[1]["classes"]
    assert normal.targets is not None  # noqa: S101 - by_class refuses
    index = np.searchsorted(classes, normal.targets[:, 0])
    vectors = _joined(normal)
    triangle = np.asarray(np.linalg.qr(whitening(vectors, index).T, mode="r"))
    packed = triangle[np.triu_indices(len(triangle))].astype(np.float32)
    means = row_products(class_means(vectors, index), _unpacked(packed, vectors.shape[1]).T)
    return {"classes": classes, "triangle": packed, "means": means}


def _unpacked(packed: Array, size: int) -> Array:
    triangle = np.zeros((size, size))
    triangle[np.triu_indices(size)] = packed
    return triangle


def _joint_mahalanobis(outputs: Outputs, arrays: Arrays, _: float) -> Array:
    """Squared Mahalanobis distance of (x, f) to the mean of the label, or to the nearest one if it is not known.

    f is the mean of the features over the views, and the covariance is that within the labels, one for all: a label
    with few samples needs a mean alone (Lee et al., "A simple unified framework for detecting out-of-distribution
    samples and adversarial attacks", NeurIPS 2018). It keeps no sample, so its size does not grow with their number.
    """
    vectors = _joined(outputs)
    whitened = row_products(vectors, _unpacked(arrays["triangle"], vectors.shape[1]).T)
    if outputs.targets is None:
        return squared_distances(whitened, arrays["means"]).min(1)
    own = outputs.targets[:, 0]
    refuse_absent(own, arrays["classes"], outputs.n_views)
    places = np.searchsorted(arrays["classes"], own)
    return np.square(whitened - arrays["means"][places]).sum(1)


def _learn_vim(normal: Outputs, _: float) -> Arrays:
    """Mean, left-over directions and α of every view: of all labels (row 0), and of each label alone."""
    arrays = by_class(normal)[1]
    assert normal.targets is not None  # noqa: S101 - by_class refuses
    index = np.searchsorted(arrays["classes"], normal.targets[:, 0])
    learnt = []
    for rows in (index >= 0, *(index == number for number in range(len(arrays["classes"])))):
        for view in range(normal.n_views):
            features, logits = normal.features[rows, view], normal.logits[rows, view]
            middle, left_over = principal_residual(features)
            usual = np.linalg.norm((features - middle) @ left_over, axis=1).mean()
            learnt.append((middle, left_over, np.max(logits, axis=1).mean() / (usual or 1.0)))
    stacked = (np.stack([np.asarray(one, float) for one in values]) for values in zip(*learnt, strict=True))
    names, shape = ("middle", "left_over", "alpha"), (len(arrays["classes"]) + 1, normal.n_views)
    return arrays | {
        name: values.reshape(*shape, *values.shape[1:]) for name, values in zip(names, stacked, strict=True)
    }


def _vim(outputs: Outputs, arrays: Arrays, _: float) -> Array:
    """Virtual-logit matching, mean over the views.

    α ‖r(f)‖ − log Σ_c exp z_c, where r(f) is what half of the principal directions in which the normal features vary,
    around their mean, leave over of f, and α makes the mean of α ‖r‖ over the normal samples that of their largest
    logit. Wang et al., "ViM: Out-of-distribution with virtual-logit matching", CVPR 2022 (there around −W⁺b of the last
    layer).
    """

    def distance(some: Outputs, _: slice, number: int) -> Array:
        found = []
        for view in range(some.n_views):
            middle, left_over, alpha = (arrays[name][number + 1, view] for name in ("middle", "left_over", "alpha"))
            residual = np.linalg.norm(row_products(some.features[:, view] - middle, left_over), axis=1)
            found.append(alpha * residual - logsumexp(np.asarray(some.logits[:, view], float), axis=1))
        return mean_of(found)

    return within_label(outputs, arrays, distance)


def _learn_likelihood(normal: Outputs, temperature: float) -> Arrays:
    """Usual probabilities of each label, and the mean and standard deviation of its `label_nll`."""
    if normal.targets is None:
        raise InputError("score 'likelihood' compares with normal samples: pass their outputs with targets")
    labels, index = np.unique(normal.targets[:, 0] // normal.n_views, return_inverse=True)
    log_p = log_softmax(np.asarray(normal.logits, float) / temperature)
    usual = np.stack(
        [logsumexp(log_p[own], axis=0) - np.log(own.sum()) for own in (index == n for n in range(len(labels)))]
    )
    nll = label_nll(normal.logits, usual, temperature)
    own = [nll[index == number, number] for number in range(len(labels))]
    return {
        "labels": labels,
        "usual": usual,
        "mean": np.array([values.mean() for values in own]),
        "deviation": np.array([values.std() or 1.0 for values in own]),
    }


def _likelihood(outputs: Outputs, arrays: Arrays, temperature: float) -> Array:
    """`label_nll` of the known label, or the least over the labels, standardised because some labels are harder."""
    nll = label_nll(outputs.logits, arrays["usual"], temperature)
    standard = (nll - arrays["mean"]) / arrays["deviation"]
    if outputs.targets is None:
        return standard.min(1)
    claimed = outputs.targets[:, 0] // outputs.n_views
    refuse_absent(claimed, arrays["labels"], 1)
    return standard[np.arange(len(nll)), np.searchsorted(arrays["labels"], claimed)]


def _target_nll(outputs: Outputs, _: Arrays, temperature: float) -> Array:
    if outputs.targets is not None:
        return target_nll(outputs.logits, outputs.targets, temperature).mean(1)
    if outputs.n_views > 1:  # the label is not known, but the transform is
        logits = _transform_logits(outputs, temperature)
        return target_nll(logits, np.broadcast_to(np.arange(outputs.n_views), logits.shape[:2])).mean(1)
    raise InputError("score 'target-nll' compares with a known label: pass the labels of the samples too")


def _changed_place(outputs: Outputs, *_: object) -> Array:
    """Return the first feature of `oddkind.train.networks.UNet`, mean over the views."""
    return np.asarray(outputs.features[:, :, 0], float).mean(1)


def _transform_logits(outputs: Outputs, temperature: float) -> Array:
    return replace(outputs, logits=outputs.logits / temperature).transform_logits()


SCORES: dict[str, Score | Combination] = {
    "msp": Score(
        "1 − max softmax(z/T)", lambda o, _, t: msp(o.logits, t).mean(1), pool="probability", uses_softmax=True
    ),
    "max-logit": Score("−max z", lambda o, *_: max_logit(o.logits).mean(1), pool="logit", uses_softmax=True),
    "energy": Score("−T log Σ exp(z/T)", lambda o, _, t: energy(o.logits, t).mean(1), pool="logit", uses_softmax=True),
    "unscaled-energy": Score(
        "−log Σ exp z", lambda o, *_: energy(o.logits, 1.0).mean(1), pool="logit", uses_softmax=True
    ),
    "entropy": Score(
        "−Σ p log p, p = softmax(z/T)",
        lambda o, _, t: entropy(o.logits, t).mean(1),
        pool="probability",
        uses_softmax=True,
    ),
    "target-nll": Score(
        "−log softmax(z/T) of the known label or transform",
        _target_nll,
        pool="probability",
        needs_labels=True,
        uses_softmax=True,
    ),
    "rotation-distance": Score(
        "min(|pred − true|, V − |pred − true|)",
        lambda o, _, t: rotation_distance(_transform_logits(o, t)).mean(1),
        pool="probability",
        needs_rotations=True,
        uses_softmax=True,
    ),
    "expected-rotation-distance": Score(
        "Σ p(r) min(|r − true|, V − |r − true|)",
        lambda o, _, t: expected_rotation_distance(_transform_logits(o, t)).mean(1),
        pool="probability",
        needs_rotations=True,
        uses_softmax=True,
    ),
    "likelihood": Score(
        "min_l (nll_l − μ_l) / σ_l, nll_l = mean_v −log Σ p_v · usual p_lv, p = softmax(z/T)",
        _likelihood,
        _learn_likelihood,
        uses_softmax=True,
    ),
    "cosine-neighbours": neighbours(),
    "euclidean-neighbours": neighbours(metric="euclidean"),
    "joint-neighbours": Score(
        "‖a − nearest normal a‖, a = (x, x whitened, f), each with the same variance", _joint_neighbours, _learn_joint
    ),
    "view-neighbours": _view_neighbours("mean of the 5 least mean_v 1 − cos(f_v, normal f_v)", lambda o, _: o.features),
    "hellinger-neighbours": _view_neighbours(
        "mean of the 5 least mean_v 1 − Σ √(p_v · normal p_v), p = softmax(z/T)",
        lambda o, t: np.exp(log_softmax(o.logits / t) / 2),
        uses_softmax=True,
    ),
    "local-input-neighbours": Score(
        "mean of the 5 least ‖x − normal x‖², each by its local distance", _local_input_neighbours, _learn_local_inputs
    ),
    "changed-place": Score("max over places of the logit of 'changed'", _changed_place, network="unet"),
    "mahalanobis": Score("min (f − μ)ᵀ Σ⁺ (f − μ)", _mahalanobis, _learn_mahalanobis),
    "relative-mahalanobis": Score("mahalanobis − (f − μ₀)ᵀ Σ₀⁺ (f − μ₀)", _relative_mahalanobis, _learn_mahalanobis),
    "joint-mahalanobis": Score(
        "min ((x, f) − μ)ᵀ Σ⁺ ((x, f) − μ), f the mean features over the views",
        _joint_mahalanobis,
        _learn_joint_mahalanobis,
    ),
    "vim": Score("α ‖f outside the principal space‖ − log Σ exp z", _vim, _learn_vim),
    "input-distance": distance_score("‖x − nearest normal x‖", "inputs", whiten=False),
    "whitened-distance": distance_score("‖W (x − nearest normal x)‖", "inputs", whiten=True),
    "feature-distance": distance_score("‖W (f − nearest normal f)‖", "features", whiten=True),
    "input-distance-to-all": distance_score("‖x − nearest x of any label‖", "inputs", whiten=False, labelled=False),
    "whitened-distance-to-all": distance_score(
        "‖W₀ (x − nearest x of any label)‖", "inputs", whiten=True, labelled=False
    ),
    "local-input-distance": distance_score(
        "min ‖x − normal x‖ / its local distance", "inputs", whiten=False, local=True
    ),
    "local-whitened-distance": distance_score(
        "min ‖W (x − normal x)‖ / its local distance", "inputs", whiten=True, local=True
    ),
    "local-feature-distance": distance_score(
        "min ‖W (f − normal f)‖ / its local distance", "features", whiten=True, local=True
    ),
    "fused-input-distances": Combination(
        "max z of log distances of x, W x; mean z of local ones if x has many dimensions",
        ("input-distance", "whitened-distance-to-all", "local-input-distance", "local-whitened-distance"),
        FarOrLocal(far=(0, 1), local=(0, 2, 3), instead={0: 4, 1: 1}, spread=1),
    ),
    "fused-distances": Combination(
        "max z of log distances of x, W x, W f; mean z of local ones if x has many dimensions",
        (
            *("input-distance", "whitened-distance", "input-distance-to-all", "whitened-distance-to-all"),
            *("feature-distance", "local-input-distance", "local-whitened-distance", "local-feature-distance"),
        ),
        FarOrLocal(far=(0, 1, 2, 3, 4), local=(0, 5, 6, 7), instead={0: 4, 1: 1, 4: 1}, spread=1),
    ),
    "combined": Combination(
        "−log p of view-neighbours − w log p of hellinger-neighbours and likelihood",
        ("view-neighbours", "hellinger-neighbours", "likelihood"),
        Surprises(("features", "softmax", "softmax")),
    ),
    "combined-with-input": Combination(
        "combined − (1 − w)² / 2 · log p of local-input-neighbours",
        ("view-neighbours", "hellinger-neighbours", "likelihood", "local-input-neighbours"),
        Surprises(("features", "softmax", "softmax", "inputs")),
    ),
    "combined-logs": Combination(
        "Σ z of log view-neighbours and log input-distance + (C − perplexity) / (C − 1) z of unscaled-energy",
        ("view-neighbours", "input-distance", "unscaled-energy"),
        StandardisedLogs(("features", "inputs", "softmax")),
    ),
}

# The score "auto" stands for, by the number of axes of one sample: [D], [C, T], [C, H, W].
_AUTO = {1: "fused-input-distances", 2: "joint-neighbours", 3: "combined-with-input"}
# The same for pictures, by the network.
_OF_NETWORK: dict[str | None, str] = {"spectrogram": "combined-logs", "local": "combined", "unet": "changed-place"}


def resolve_score(
    score: str | Score,
    input_shape: tuple[int, ...],
    *,
    with_labels: bool,
    network: str | None = None,
) -> tuple[str | None, Score | Combination]:
    """Return the name (None for a score of your own) and the score.

    "auto" depends on the shape of a sample, on whether internal labels are learnt, and on the network of a picture:
    some are for spectrograms or for surfaces, where a small mark hardly changes the distance of a whole picture to
    another.

    Raises
    ------
    InputError
        If the score needs another network.
    """
    if not isinstance(score, str):
        return None, score
    name = score
    if score == "auto":
        name = "fused-distances" if len(input_shape) == 1 and with_labels else _AUTO[len(input_shape)]
        if name == "combined-with-input":
            name = _OF_NETWORK.get(network, name)
    for component in components_of(SCORES[name]):
        if component.network not in (None, network):
            raise InputError(
                f"score {name!r} needs the network {component.network!r}; the network is {network or 'your own'!r}"
            )
    return name, SCORES[name]


def reference_rows(rows: Array) -> Array:
    """Rows of the normal samples to compare with: all, or `MAX_REFERENCE_ROWS` of them, evenly spread."""
    if len(rows) <= MAX_REFERENCE_ROWS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MAX_REFERENCE_ROWS).astype(int)]
