"""Anomaly scores by name; higher = odder. Their formulae for logits are in `formulas`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.combining import FarOrLocal, Fusion, StandardisedLogs, Surprises
from oddkind.model.covariance_scores import (
    joint_mahalanobis,
    learn_joint_mahalanobis,
    learn_mahalanobis,
    learn_vim,
    mahalanobis,
    relative_mahalanobis,
    vim,
)
from oddkind.model.distance_scores import distance_score
from oddkind.model.formulas import energy, entropy, expected_rotation_distance, max_logit, msp, rotation_distance
from oddkind.model.neighbour_scores import (
    joint_neighbours,
    learn_joint,
    learn_local_inputs,
    local_input_neighbours,
    neighbours,
    view_neighbours,
)
from oddkind.model.outputs import Outputs, log_softmax
from oddkind.model.score import Score
from oddkind.model.softmax_scores import known_class_nll, learn_likelihood, likelihood, transform_logits


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


def changed_place(outputs: Outputs, *_: object) -> Array:
    """Return the first feature of `oddkind.train.networks.UNet`, mean over the views."""
    return np.asarray(outputs.features[:, :, 0], float).mean(1)


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
        known_class_nll,
        pool="probability",
        needs_labels=True,
        uses_softmax=True,
    ),
    "rotation-distance": Score(
        "min(|pred − true|, V − |pred − true|)",
        lambda o, _, t: rotation_distance(transform_logits(o, t)).mean(1),
        pool="probability",
        needs_rotations=True,
        uses_softmax=True,
    ),
    "expected-rotation-distance": Score(
        "Σ p(r) min(|r − true|, V − |r − true|)",
        lambda o, _, t: expected_rotation_distance(transform_logits(o, t)).mean(1),
        pool="probability",
        needs_rotations=True,
        uses_softmax=True,
    ),
    "likelihood": Score(
        "min_l (nll_l − μ_l) / σ_l, nll_l = mean_v −log Σ p_v · usual p_lv, p = softmax(z/T)",
        likelihood,
        learn_likelihood,
        uses_softmax=True,
    ),
    "cosine-neighbours": neighbours(),
    "euclidean-neighbours": neighbours(metric="euclidean"),
    "joint-neighbours": Score(
        "‖a − nearest normal a‖, a = (x, x whitened, f), each with the same variance", joint_neighbours, learn_joint
    ),
    "view-neighbours": view_neighbours("mean of the 5 least mean_v 1 − cos(f_v, normal f_v)", lambda o, _: o.features),
    "hellinger-neighbours": view_neighbours(
        "mean of the 5 least mean_v 1 − Σ √(p_v · normal p_v), p = softmax(z/T)",
        lambda o, t: np.exp(log_softmax(o.logits / t) / 2),
        uses_softmax=True,
    ),
    "local-input-neighbours": Score(
        "mean of the 5 least ‖x − normal x‖², each by its local distance", local_input_neighbours, learn_local_inputs
    ),
    "changed-place": Score("max over places of the logit of 'changed'", changed_place, network="unet"),
    "mahalanobis": Score("min (f − μ)ᵀ Σ⁺ (f − μ)", mahalanobis, learn_mahalanobis),
    "relative-mahalanobis": Score("mahalanobis − (f − μ₀)ᵀ Σ₀⁺ (f − μ₀)", relative_mahalanobis, learn_mahalanobis),
    "joint-mahalanobis": Score(
        "min ((x, f) − μ)ᵀ Σ⁺ ((x, f) − μ), f the mean features over the views",
        joint_mahalanobis,
        learn_joint_mahalanobis,
    ),
    "vim": Score("α ‖f outside the principal space‖ − log Σ exp z", vim, learn_vim),
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
    "values-distance": distance_score("‖v − nearest normal v‖", "values", whiten=False),
    "local-whitened-values-distance": distance_score(
        "min ‖W (v − normal v)‖ / its local distance", "values", whiten=True, local=True
    ),
    "statistics-distance": distance_score("‖s − nearest normal s‖", "statistics", whiten=False),
    "whitened-statistics-distance": distance_score("‖W (s − nearest normal s)‖", "statistics", whiten=True),
    "local-whitened-statistics-distance": distance_score(
        "min ‖W (s − normal s)‖ / its local distance", "statistics", whiten=True, local=True
    ),
    "fused-input-distances": Combination(
        "max z of log distances of x, W x; mean z of local ones if x has many dimensions",
        ("input-distance", "whitened-distance-to-all", "local-input-distance", "local-whitened-distance"),
        FarOrLocal(
            far=(0, 1),
            local={0: 1, 2: 1, 3: 1},
            instead={0: 4, 1: 1},
            spread=1,
            few=20,
            many=40,
            groups_needed={2: 16, 3: 16},
        ),
    ),
    "fused-distances": Combination(
        "max z of log distances of x, W x, W f; mean z of x, W f and local ones if x has many dimensions",
        (
            *("input-distance", "whitened-distance", "input-distance-to-all", "whitened-distance-to-all"),
            *("feature-distance", "local-input-distance", "local-whitened-distance"),
        ),
        FarOrLocal(
            far=(0, 1, 2, 3, 4),
            local={0: 1, 4: 1, 5: 1, 6: 1},
            instead={0: 4, 4: 1},
            spread=1,
            few=8,
            many=12,
            rows_needed={1: 1.25},
            groups_needed={5: 16, 6: 16},
        ),
    ),
    "fused-signal-distances": Combination(
        "mean z of log distances of statistics s, W s (also local), values v, W v (local, twice) and W f (local)",
        (
            *("statistics-distance", "whitened-statistics-distance", "local-whitened-statistics-distance"),
            *("values-distance", "local-whitened-values-distance", "local-feature-distance"),
        ),
        FarOrLocal(
            far=(),
            local={0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 1},
            instead={0: 1, 1: 1, 2: 1, 5: 1},
            rows_needed={3: 0.2},
            contrast_needed={3: 0.5},
        ),
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
_AUTO = {1: "fused-input-distances", 2: "fused-signal-distances", 3: "combined-with-input"}


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
        If the score needs another network, or signals.
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
    refuse_without_signals(name, input_shape)
    return name, SCORES[name]


def refuse_without_signals(name: str, input_shape: tuple[int, ...]) -> None:
    """Refuse the score of this name for samples of another shape, if it needs signals."""
    if len(input_shape) != 2 and any(component.needs_signals for component in components_of(SCORES[name])):
        raise InputError(f"score {name!r} needs signals [N, C, T]; samples have the shape {input_shape}")


def components_of(score: Score | Combination) -> tuple[Score, ...]:
    """Return the scores that a score is made of: itself, or those that it combines."""
    if isinstance(score, Score):
        return (score,)
    found = [SCORES[name] for name in score.components]
    return tuple(component for component in found if isinstance(component, Score))


def fusion_of(score: Score | Combination) -> Fusion:
    """Return how the components of a score are combined; a single one is what it is."""
    return score.fuse if isinstance(score, Combination) else Surprises()
