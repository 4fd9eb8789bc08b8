"""Anomaly scores: pure functions of what a network said, higher = more anomalous.

The functions work on plain arrays and can be checked by hand. `SCORES` names them and says how each
reads an `Outputs` record: it is scored view by view, and the views of a sample are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp
from sklearn.covariance import LedoitWolf

from oddkind.errors import InputError
from oddkind.model.distances import joint_distance, mahalanobis, neighbour_distance, view_distance, vim, whitening

Array = npt.NDArray[Any]

# Inputs of more numbers than this are not whitened: their covariance would take longer than the network.
WHITENED = 1024

# Samples are compared with at most so many normal ones: more would cost more time and memory than most have.
MOST_COMPARED = 65_536

# The score "auto" is, by the rank of one sample: [D], [C, T], [C, H, W].
_AUTO = {1: "joint-neighbours", 2: "joint-neighbours", 3: "combined"}


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network said of N samples, each seen in V views (V = 1 without known transforms).

    Class number l·V + v stands for internal label l under known transform v.

    Attributes
    ----------
    logits : array [N, V, C]
        Before the softmax; no temperature applied.
    features : array [N, V, D]
        What the last layer reads.
    targets : int array [N, V] or None
        The class each view truly is, where it is known: always the transform, and the internal label
        if it was given. None when there are internal labels and they were not given.
    inputs : array [N, D'] or None
        What the network was shown, before any transform, as vectors.
    """

    logits: Array
    features: Array
    targets: Array | None = None
    inputs: Array | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: Any) -> Outputs:
        """Return the outputs of the chosen samples."""
        targets, inputs = (None if part is None else part[rows] for part in (self.targets, self.inputs))
        return Outputs(self.logits[rows], self.features[rows], targets, inputs)

    @property
    def n_views(self) -> int:
        """How many views each sample was seen in, V."""
        return int(self.logits.shape[1])

    def transform_logits(self) -> Array:
        """Log-odds of the V transforms alone, [N, V, V]: log Σ_l exp z_{l·V+v}, summed over internal labels."""
        n, v, c = self.logits.shape
        return logsumexp(self.logits.reshape(n, v, c // v, v), axis=2)


ScoreFunction = Callable[[Outputs, Outputs | None, float], Array]


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Probabilities over the last axis, softmax(z / T)."""
    return np.exp(log_softmax(logits / temperature, axis=-1))


def msp(logits: Array, temperature: float = 1.0) -> Array:
    """1 − maximum softmax probability, 1 − max_c softmax(z / T)_c; [..., C] → [...].

    Hendrycks & Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in
    neural networks", ICLR 2017; temperature as in Liang et al. (ODIN), ICLR 2018.

    With two classes it is 1 / (1 + exp(|z_0 − z_1| / T)): one temperature or another, the order of what was seen in one
    view, and so its AUC, is the same. With three or more, a high T counts all classes' logits, a low T the two
    largest alone, and the order changes; so it may with the mean over several views.
    """
    # As a sum of the other classes: 1 − p would round to 0 for every confident sample and tie them.
    probabilities = np.sort(softmax(np.asarray(logits, float), temperature), axis=-1)
    return probabilities[..., :-1].sum(-1)


def max_logit(logits: Array) -> Array:
    """Minus the largest logit, −max_c z_c; [..., C] → [...].

    Hendrycks et al., "Scaling out-of-distribution detection for real-world settings", ICML 2022.
    """
    return -np.max(logits, axis=-1)


def energy(logits: Array, temperature: float = 1.0) -> Array:
    """Free energy, −T log Σ_c exp(z_c / T); [..., C] → [...].

    Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020.
    """
    return -temperature * logsumexp(np.asarray(logits, float) / temperature, axis=-1)


def entropy(logits: Array, temperature: float = 1.0) -> Array:
    """Entropy of the softmax in nats, −Σ_c p_c log p_c with p = softmax(z / T); [..., C] → [...].

    Shannon 1948; as an anomaly score e.g. Macêdo et al., "Entropic out-of-distribution detection", 2021.
    """
    log_p = log_softmax(np.asarray(logits, float) / temperature, axis=-1)
    return -(np.exp(log_p) * log_p).sum(-1)


def target_nll(logits: Array, targets: Array, temperature: float = 1.0) -> Array:
    """Negative log-likelihood of the known class in nats, −log softmax(z / T)_target; [..., C], [...] → [...].

    For a known label (Giri et al., "Self-supervised classification for detecting anomalous sounds",
    DCASE 2020) or a known transform (Golan & El-Yaniv, "Deep anomaly detection using geometric
    transformations", NeurIPS 2018; Bergman & Hoshen, GOAD, ICLR 2020).
    """
    log_p = log_softmax(np.asarray(logits, float) / temperature, axis=-1)
    return -np.take_along_axis(log_p, np.asarray(targets)[..., None], axis=-1)[..., 0]


def label_nll(logits: Array, usual: Array, temperature: float = 1.0) -> Array:
    """Negative log-likelihood of the views under each label, in nats; logits [N, V, C], usual [L, V, C] → [N, L].

    mean_v −log Σ_c q_lvc softmax(z_v / T)_c, where q_lv = exp(usual) are the probabilities that normal samples of label
    l usually get in view v: all views have one label, and classes that normal samples are taken for are as good as the
    true one (a zero may as well stand on its head). Where q is sure of class l·V + v it is that class's likelihood.
    """
    log_p = log_softmax(np.asarray(logits, float) / temperature, axis=-1)
    return np.stack([-logsumexp(log_p + of_label, axis=2).mean(1) for of_label in usual], 1)


def circular_distance(v_views: int) -> Array:
    """How far apart turn i and turn j of V equal turns are, [V, V]: min(|i − j|, V − |i − j|)."""
    apart = np.abs(np.subtract.outer(np.arange(v_views), np.arange(v_views)))
    return np.minimum(apart, v_views - apart)


def rotation_distance(logits: Array) -> Array:
    """Circular distance from the predicted turn to the true one; logits [N, V, V] → [N, V], in turns.

    View v is the sample turned v times: min(|pred − v|, V − |pred − v|), the score of the KAIST lecture's
    RotNet exercise (RotNet: Gidaris et al., "Unsupervised representation learning by predicting image
    rotations", ICLR 2018).
    """
    views = logits.shape[1]
    return circular_distance(views)[logits.argmax(-1), np.arange(views)]


def expected_rotation_distance(logits: Array, temperature: float = 1.0) -> Array:
    """Mean circular distance under the predicted probabilities; logits [N, V, V] → [N, V], in turns.

    Σ_r softmax(z / T)_r · min(|r − v|, V − |r − v|): as `rotation_distance`, but without its ties.
    """
    views = logits.shape[1]
    return (softmax(np.asarray(logits, float), temperature) * circular_distance(views).T).sum(-1)


@dataclass(frozen=True)
class Score:
    """A named score, of one network or of several that saw the same samples.

    Attributes
    ----------
    compute : callable (outputs, reference, temperature) → [N]
        `reference` is the `Outputs` of the normal samples learnt from, or None where `needs_reference` is false.
    formula : str
        One line for tables.
    pool : "probability", "logit" or "score"
        What is averaged over several networks before the rest is computed.
    needs_reference, needs_rotations, needs_labels : bool
        What it cannot do without; labels where samples are seen in one view only.
    softmax : bool
        Made of what the network says, its logits, and not of where its features lie: worthless if it learnt nothing.
    parts : dict name of `SCORES` → power
        The scores it combines, each made comparable on held-out normal samples and weighted by that power of the part
        of the classes that the network rules out; none for a score of its own.
    """

    compute: ScoreFunction
    formula: str
    pool: Literal["probability", "logit", "score"] = "score"
    needs_reference: bool = False
    needs_rotations: bool = False
    needs_labels: bool = False
    softmax: bool = False
    parts: Mapping[str, int] = field(default_factory=dict)

    def knowing(self, n_views: int) -> tuple[bool, ...]:
        """Whether it can score samples whose labels are known (True) and those whose are not (False)."""
        return (True,) if self.needs_labels and n_views == 1 else (True, False)

    def columns(self, members: Sequence[Outputs], references: Sequence[Outputs] | None, temperature: float) -> Array:
        """Each part's score, or the one there is, [N, P]; `oddkind.model.calibration.combined` makes one of them."""
        parts = [SCORES[name] for name in self.parts] or [self]
        return np.stack([part(members, references, temperature) for part in parts], 1)

    def weights(self, perplexity: float, n_classes: int) -> Array:
        """How much each column counts, [P]: what the softmax says tells the more, the more classes it rules out."""
        ruled_out = 1 - perplexity / n_classes
        return np.array([ruled_out**power for power in self.parts.values()] or [1.0])

    def believes(self, perplexity: float, n_classes: int) -> float:
        """How much of it is made of the softmax, from 0 to 1."""
        if not self.parts:
            return float(self.softmax)
        weights = self.weights(perplexity, n_classes)
        return float(weights[[SCORES[name].softmax for name in self.parts]].sum() / weights.sum())

    def __call__(self, members: Sequence[Outputs], references: Sequence[Outputs] | None, temperature: float) -> Array:
        """Anomaly score [N] from the outputs of each network and, where needed, those of its normal samples."""
        if len(members) == 1:
            return self.compute(members[0], None if references is None else references[0], temperature)
        if self.pool == "probability":
            return self.compute(pooled(members, temperature), None, 1.0)
        if self.pool == "logit":
            mean = _mean([member.logits for member in members])
            return self.compute(replace(members[0], logits=mean), None, temperature)
        of = [None] * len(members) if references is None else references
        return _mean([self.compute(member, of[m], temperature) for m, member in enumerate(members)])


def pooled(members: Sequence[Outputs], temperature: float = 1.0) -> Outputs:
    """Several networks as one: logits log mean softmax(z/T), features side by side [N, V, M · D].

    Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep ensembles",
    NeurIPS 2017.
    """
    if len(members) == 1:
        return members[0] if temperature == 1 else replace(members[0], logits=members[0].logits / temperature)
    log_p = [log_softmax(np.asarray(member.logits, float) / temperature, axis=-1) for member in members]
    logits = logsumexp(log_p, axis=0) - np.log(len(members))
    return replace(members[0], logits=logits, features=np.concatenate([member.features for member in members], -1))


def _mean(parts: Sequence[Array]) -> Array:
    """Mean of arrays, added one after another: numpy's over a new axis adds in another order where N = 1."""
    return sum(parts[1:], parts[0]) / len(parts)


def _combination(*_: Any) -> Array:
    raise InputError("a combination has no scores of its own; `columns` gives its parts'")


def _of_target(outputs: Outputs, _: Outputs | None, temperature: float) -> Array:
    if outputs.targets is not None:
        return target_nll(outputs.logits, outputs.targets, temperature).mean(1)
    if outputs.n_views > 1:  # the label is not known, but the transform is
        logits = Outputs(outputs.logits / temperature, outputs.features).transform_logits()
        return target_nll(logits, np.broadcast_to(np.arange(outputs.n_views), logits.shape[:2])).mean(1)
    raise InputError("score 'target-nll' compares with a known label: pass the labels of the samples too")


def _within_label(compute: ScoreFunction) -> ScoreFunction:
    """Compare with the normal samples of the known label, or with all where it is not known."""

    def compare(outputs: Outputs, reference: Outputs | None, temperature: float) -> Array:
        if reference is None or reference.targets is None:
            raise InputError("this score compares with normal samples: pass their Outputs, targets included")
        if outputs.targets is None:
            return compute(outputs, reference, temperature)
        kinds, normal = outputs.targets[:, 0], reference.targets[:, 0]
        result = np.empty(len(outputs))
        for kind in np.unique(kinds):
            if not (normal == kind).any():
                raise InputError(f"there is no normal sample of label {kind // outputs.n_views} to compare with")
            result[kinds == kind] = compute(outputs[kinds == kind], reference[normal == kind], temperature)
        return result

    return compare


def _per_view(distance: Callable[[Array, Array, Array], Array]) -> ScoreFunction:
    """Score every view by its features, those of normal samples in the same view, and their classes there."""

    def compute(outputs: Outputs, reference: Outputs | None, _: float) -> Array:
        assert reference is not None and reference.targets is not None  # noqa: S101, PT018 - refused before
        views = outputs.features.swapaxes(0, 1), reference.features.swapaxes(0, 1), reference.targets.T
        return _mean([distance(*view) for view in zip(*views, strict=True)])

    return _within_label(compute)


def neighbours(k: int = 1, metric: str = "cosine") -> ScoreFunction:
    """Return the score "distance to the k-th nearest neighbour among normal samples", for `Score.compute`."""
    return _per_view(lambda features, normal, _: neighbour_distance(features, normal, k=k, metric=metric))


def _view_neighbours(vectors: Callable[[Outputs, float], Array]) -> ScoreFunction:
    """Score by the nearest normal samples in all views at once, compared by whatever `vectors` reads off them."""

    def compute(outputs: Outputs, reference: Outputs | None, temperature: float) -> Array:
        assert reference is not None  # noqa: S101 - refused before
        return view_distance(vectors(outputs, temperature), vectors(reference, temperature))

    return _within_label(compute)


def _vim(outputs: Outputs, reference: Outputs | None, _: float) -> Array:
    """Score every view beside normal samples in the same view."""
    assert reference is not None  # noqa: S101 - refused before
    parts = (of.swapaxes(0, 1) for of in (outputs.features, outputs.logits, reference.features, reference.logits))
    return _mean([vim(*part) for part in zip(*parts, strict=True)])


def _relative_mahalanobis(outputs: Outputs, reference: Outputs | None, temperature: float) -> Array:
    """Squared Mahalanobis distance to the label, less that to all normal samples of the view as one.

    What lies far out in a direction that tells no labels apart counts less. Ren et al., "A simple fix to
    Mahalanobis distance for improving near-OOD detection", 2021.
    """
    distance = _per_view(mahalanobis)(outputs, reference, temperature)
    assert reference is not None and reference.targets is not None  # noqa: S101, PT018 - refused above
    as_one = replace(reference, targets=np.zeros_like(reference.targets))
    return distance - _per_view(mahalanobis)(replace(outputs, targets=None), as_one, temperature)


def _likelihood(outputs: Outputs, reference: Outputs | None, temperature: float) -> Array:
    """Standardise each label's `label_nll` by that of its normal samples, as some labels are harder than others.

    The known label's, or the least.
    """
    if reference is None or reference.targets is None:
        raise InputError("score 'likelihood' compares with normal samples: pass their Outputs, targets included")
    known = reference.targets[:, 0] // outputs.n_views
    claimed = None if outputs.targets is None else outputs.targets[:, 0] // outputs.n_views
    absent = np.setdiff1d([] if claimed is None else claimed, known)
    if len(absent):
        raise InputError(f"there is no normal sample of label {absent[0]:g} to compare with")
    labels, index = np.unique(known, return_inverse=True)
    log_p = log_softmax(np.asarray(reference.logits, float) / temperature, axis=-1)
    usual = np.stack(
        [logsumexp(log_p[own], axis=0) - np.log(own.sum()) for own in (known == label for label in labels)]
    )
    nll, normal = (label_nll(of.logits, usual, temperature) for of in (outputs, reference))
    own = [normal[index == number, number] for number in range(len(labels))]
    standard = (nll - [of.mean() for of in own]) / [of.std() or 1.0 for of in own]
    return standard.min(1) if claimed is None else standard[np.arange(len(nll)), np.searchsorted(labels, claimed)]


def _joint_neighbours(outputs: Outputs, reference: Outputs | None, _: float) -> Array:
    """Score inputs, whitened inputs and features together, view by view, each scaled to a total variance of 1.

    An anomaly may lie far away, or near but where no normal sample strays, or where the network never looked.
    """
    if reference is None or reference.targets is None or reference.inputs is None or outputs.inputs is None:
        raise InputError(
            "score 'joint-neighbours' compares with normal samples: pass their Outputs, targets included, with inputs"
        )
    if reference not in _JOINT_SPACES:
        _JOINT_SPACES[reference] = _joint_space(reference)
    place, placed, scale = _JOINT_SPACES[reference]
    return _within_label(_joint_distance)(place(outputs), placed, 1.0) / scale


# What it takes to compare with a reference, for as long as that lives: a detector scores many batches beside one.
_JOINT_SPACES: WeakKeyDictionary[Outputs, tuple[Callable[[Outputs], Outputs], Outputs, float]] = WeakKeyDictionary()


def _joint_space(reference: Outputs) -> tuple[Callable[[Outputs], Outputs], Outputs, float]:
    """What scales inputs, beside whitened ones unless they are long, as the features are; the reference; their scale.

    Only inputs are scaled, for features are as many times larger as there are views, and would be held twice.
    """
    assert reference.inputs is not None and reference.targets is not None  # noqa: S101, PT018 - refused before
    whiten = None
    if reference.inputs.shape[1] <= WHITENED:
        whiten = whitening(reference.inputs, reference.targets[:, 0], LedoitWolf(assume_centered=True))

    def parts(of: Outputs) -> list[Array]:
        assert of.inputs is not None  # noqa: S101 - refused before
        # Rounded: a product's last bits depend on how many rows it has, and a score must not.
        return [of.inputs, *([] if whiten is None else [(of.inputs @ whiten).astype(np.float32)]), of.features]

    *scales, scale = (np.sqrt(part.var(0).sum(-1)).mean() or 1.0 for part in parts(reference))

    def place(of: Outputs) -> Outputs:
        scaled = [part * (scale / own) for part, own in zip(parts(of), scales, strict=False)]
        return replace(of, inputs=np.concatenate(scaled, -1))

    return place, place(reference), float(scale)


def _joint_distance(outputs: Outputs, reference: Outputs | None, _: float) -> Array:
    assert outputs.inputs is not None and reference is not None and reference.inputs is not None  # noqa: S101, PT018
    return joint_distance(outputs.inputs, outputs.features, reference.inputs, reference.features)


SCORES: dict[str, Score] = {
    "msp": Score(lambda o, _, t: msp(o.logits, t).mean(1), "1 − max softmax(z/T)", pool="probability", softmax=True),
    "max-logit": Score(lambda o, _, t: max_logit(o.logits).mean(1), "−max z", pool="logit", softmax=True),
    "energy": Score(lambda o, _, t: energy(o.logits, t).mean(1), "−T log Σ exp(z/T)", pool="logit", softmax=True),
    "entropy": Score(
        lambda o, _, t: entropy(o.logits, t).mean(1), "−Σ p log p, p = softmax(z/T)", pool="probability", softmax=True
    ),
    "target-nll": Score(
        _of_target,
        "−log softmax(z/T) of the known label or transform",
        pool="probability",
        needs_labels=True,
        softmax=True,
    ),
    "rotation-distance": Score(
        lambda o, _, t: rotation_distance(Outputs(o.logits / t, o.features).transform_logits()).mean(1),
        "min(|pred − true|, V − |pred − true|)",
        pool="probability",
        needs_rotations=True,
        softmax=True,
    ),
    "expected-rotation-distance": Score(
        lambda o, _, t: expected_rotation_distance(Outputs(o.logits / t, o.features).transform_logits()).mean(1),
        "Σ p(r) min(|r − true|, V − |r − true|)",
        pool="probability",
        needs_rotations=True,
        softmax=True,
    ),
    "likelihood": Score(
        _likelihood,
        "min_l (nll_l − μ_l) / σ_l, nll_l = mean_v −log Σ p_v · usual p_lv, p = softmax(z/T)",
        needs_reference=True,
        softmax=True,
    ),
    "cosine-neighbours": Score(neighbours(), "1 − cos(f, nearest normal f)", needs_reference=True),
    "euclidean-neighbours": Score(neighbours(metric="euclidean"), "‖f − nearest normal f‖", needs_reference=True),
    "joint-neighbours": Score(
        _joint_neighbours, "‖a − nearest normal a‖, a = (x, x whitened, f) scaled alike", needs_reference=True
    ),
    "view-neighbours": Score(
        _view_neighbours(lambda o, _: o.features),
        "mean of the 5 least mean_v 1 − cos(f_v, normal f_v)",
        needs_reference=True,
    ),
    "hellinger-neighbours": Score(
        _view_neighbours(lambda o, t: np.exp(log_softmax(o.logits / t, -1) / 2)),
        "mean of the 5 least mean_v 1 − Σ √(p_v · normal p_v), p = softmax(z/T)",
        needs_reference=True,
        softmax=True,
    ),
    "mahalanobis": Score(_per_view(mahalanobis), "min (f − μ)ᵀ Σ⁺ (f − μ)", needs_reference=True),
    "relative-mahalanobis": Score(_relative_mahalanobis, "mahalanobis − (f − μ₀)ᵀ Σ₀⁺ (f − μ₀)", needs_reference=True),
    "vim": Score(_within_label(_vim), "α ‖f outside the principal space‖ − log Σ exp z", needs_reference=True),
    "combined": Score(
        _combination,
        "−log p of view-neighbours − (1 − perplexity / C)⁴ log p of hellinger-neighbours and likelihood",
        needs_reference=True,
        parts={"view-neighbours": 0, "hellinger-neighbours": 4, "likelihood": 4},
    ),
}


def compared(rows: Array) -> Array:
    """Rows of the normal samples to compare with: all, or `MOST_COMPARED` of them, evenly spread."""
    return rows if len(rows) <= MOST_COMPARED else rows[np.linspace(0, len(rows) - 1, MOST_COMPARED).astype(int)]


def chosen(score: str | ScoreFunction, input_shape: tuple[int, ...]) -> Score:
    """Return the score of that name, "auto" by the shape of a sample; a function is given the reference."""
    if not isinstance(score, str):
        return Score(score, "", needs_reference=True)
    return SCORES[_AUTO[len(input_shape)] if score == "auto" else score]
