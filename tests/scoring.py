"""Outputs of networks to score, and what each score needs."""

import numpy as np
import pytest

from oddkind import SCORES, Outputs

N, LABELS, VIEWS, D = 23, 3, 4, 5
NEEDS_ROTATIONS = {"rotation-distance", "expected-rotation-distance"}
USES_TEMPERATURE = {"msp", "energy", "entropy", "target-nll", "likelihood", "hellinger-neighbours", *NEEDS_ROTATIONS}
LEARNS = {
    "likelihood",
    "cosine-neighbours",
    "euclidean-neighbours",
    "joint-neighbours",
    "view-neighbours",
    "hellinger-neighbours",
    "local-input-neighbours",
    "mahalanobis",
    "relative-mahalanobis",
    "joint-mahalanobis",
    "vim",
    *(
        DISTANCES := {
            name for name in SCORES if name.removesuffix("-to-all").endswith("-distance") and "rot" not in name
        }
    ),
}
JOINS_VIEWS = {
    *("likelihood", "joint-neighbours", "view-neighbours", "hellinger-neighbours", "local-input-neighbours"),
    "joint-mahalanobis",
    *DISTANCES,
}
COMPARES_INPUTS = {"local-input-neighbours", *(name for name in DISTANCES if "feature" not in name)}
TO_ALL = {name for name in DISTANCES if name.endswith("-to-all")}
COMBINED = {"combined", "combined-with-input", "combined-logs", "fused-distances", "fused-input-distances"}
SINGLE = [name for name in SCORES if name not in COMBINED]


def outputs_of(draw, n, *, views=VIEWS, known=True):
    targets = draw.integers(LABELS, size=(n, 1)) * views + np.arange(views)
    logits = draw.normal(size=(n, views, LABELS * views)) * 3
    return Outputs(logits, draw.normal(size=(n, views, D)), targets if known else None, draw.normal(size=(n, D)))


def learnt(score, normal, temperature=1.0):
    """What a score, or the one of that name, learns from normal samples."""
    score = SCORES[score] if isinstance(score, str) else score
    return score.learn(normal, temperature) if score.learn else {}


def scored(score, outputs, normal=None, temperature=1.0):
    """The score, or the one of that name, of samples beside normal ones."""
    score = SCORES[score] if isinstance(score, str) else score
    return score.compute(outputs, learnt(score, normal, temperature), temperature)


def cannot(name, views, known):
    return views == 1 and (name in NEEDS_ROTATIONS or (name == "target-nll" and not known))


CASES = [
    pytest.param(name, views, known, id=f"{name}-{views}-{'known' if known else 'unknown'}")
    for name in SINGLE
    for views in (1, VIEWS)
    for known in (True, False)
    if not cannot(name, views, known)
]
