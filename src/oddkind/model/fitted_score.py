"""A score with all that it learnt from the outputs of normal samples; it learns once, in `fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.language import Message
from oddkind.model.combining import FarOrLocal, Fusion, contrast_of
from oddkind.model.outputs import Outputs, mean_of, pooled
from oddkind.model.score import Arrays, Score
from oddkind.model.scores import SCORES, Combination, components_of, fusion_of
from oddkind.model.task import Task

# Samples are compared with at most this many normal ones: more would take more time and memory than most users have.
MAX_REFERENCE_ROWS = 65_536
# What is usual is told by at most about this many samples, each of which one of so many folds did not learn from.
MAX_CROSS_FITTED, FOLDS = 1000, 5


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
    weights : array [P], or [7 · P] for `oddkind.model.combining.FarOrLocal`
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

        # One with too few others to be compared with is infinitely far, which no file can hold.
        return np.minimum(self._of_each(n, compute), np.finfo(float).max)


def _weights_of_distances(
    components: Sequence[Score],
    fuse: FarOrLocal,
    learnt: Sequence[Sequence[Arrays]],
    normal: Sequence[Outputs],
    perplexity: float,
    n_classes: int,
) -> Array:
    """Weights of distances: which are reliable, and what is usual among normal samples."""
    assert normal[0].inputs is not None and normal[0].targets is not None  # noqa: S101, PT018 - the distances need them
    rows_per_number, groups = len(normal[0]) / normal[0].inputs.shape[1], normal[0].groups
    half_learnt = n_classes - perplexity >= (n_classes - 1) / 2
    n_groups = len(normal[0]) if groups is None else len(np.unique(groups))
    groups_per_label = n_groups / len(np.unique(normal[0].targets[:, 0]))
    usual = [
        mean_of([component.usual(own, outputs) for own, outputs in zip(arrays, normal, strict=True)])
        for component, arrays in zip(components, learnt, strict=True)
        if component.usual is not None
    ]
    apart = [
        float(np.mean([component.apart(own) for own in arrays]))
        for component, arrays in zip(components, learnt, strict=True)
        if component.apart is not None
    ]
    contrast = [contrast_of(*pair) for pair in zip(usual, apart, strict=True)]
    reliable = np.array(
        [
            rows_per_number >= fuse.rows_needed.get(column, 0)
            and groups_per_label >= fuse.groups_needed.get(column, 0)
            and (column not in fuse.contrast_needed or contrast[column] >= fuse.contrast_needed[column] * contrast[0])
            for column in range(len(components))
        ]
    )
    useful = np.array([half_learnt or not component.needs_learnt for component in components])
    if groups is not None and 2 * len(np.unique(groups)) < len(groups):
        # A network knows the groups that it was trained with, so their features do not show how far others are apart.
        reliable[[column for column in fuse.far if components[column].needs_learnt]] = False

    def fresh(column: int) -> Array:
        if "whitening" not in learnt[column][0]:  # nothing else makes the samples alike that it learns from
            return usual[column]
        return mean_of([cross_fitted(components[column], outputs) for outputs in normal])

    return fuse.weights(reliable, useful, usual, contrast, fresh)


def _with_scales_of_new_samples(
    learnt: Sequence[tuple[Arrays, ...]], weights: Array
) -> tuple[list[tuple[Arrays, ...]], Array]:
    """Return what was learnt, with local scales as if the whitening had not learnt from the samples, and the weights.

    Whitening makes the samples alike that it learns from, so their local scales are too small beside those of held-out
    samples, which would then be the nearest to all. The scales grow as cross-fitting changes the local distances.
    """
    weights, found = weights.copy(), [*learnt]
    _, mean, _, middle, _, fresh_middle, _ = weights
    for column in np.flatnonzero(mean).tolist():
        if all({"scales", "whitening"} <= arrays.keys() for arrays in learnt[column]):
            factor = np.exp(fresh_middle[column] - middle[column])
            found[column] = tuple(arrays | {"scales": factor * arrays["scales"]} for arrays in learnt[column])
            fresh_middle[column] = middle[column]
    return found, weights.ravel()


def cross_fitted(score: Score, normal: Outputs) -> Array:
    """Score some of the normal samples, each by what the score learns from the folds without its group; [n].

    Left out are samples of a label that only their own fold has.
    """
    assert score.learn is not None and normal.targets is not None  # noqa: S101, PT018 - distances learn, within labels
    index = np.arange(len(normal)) if normal.groups is None else np.unique(normal.groups, return_inverse=True)[1]
    fold = index % FOLDS
    some = np.arange(len(normal)) % -(-len(normal) // MAX_CROSS_FITTED) == 0
    found = [np.empty(0)]
    for number in range(FOLDS):
        others = fold != number
        own = ~others & some & np.isin(normal.targets[:, 0], normal.targets[others, 0])
        if own.any():
            found.append(score.compute(normal[own], score.learn(normal[others], 1.0), 1.0))
    return np.concatenate(found)


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
    label_perplexity: float = 1.0,
) -> FittedScore:
    """Learn a score from the outputs of each network for normal samples; None is enough for one that learns nothing.

    The perplexities among the classes and among the labels decide how much each component of a combination counts.
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
        weights = _weights_of_distances(components_of(score), fuse, learnt, normal, perplexity, n_classes)
        learnt, weights = _with_scales_of_new_samples(learnt, weights.reshape(fuse.n_numbers, -1))
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


def reference_rows(rows: Array) -> Array:
    """Rows of the normal samples to compare with: all, or `MAX_REFERENCE_ROWS` of them, evenly spread."""
    if len(rows) <= MAX_REFERENCE_ROWS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MAX_REFERENCE_ROWS).astype(int)]
