"""Outputs of networks, what a score learns from them and makes of them, and the names of scores."""

import numpy as np

from oddkind import SCORES, Outputs
from oddkind.model.scores import components_of

N, LABELS, VIEWS, D, N_STATISTICS = 23, 3, 4, 5, 6
DISTANCES = {name for name in SCORES if name.removesuffix("-to-all").endswith("-distance") and "rot" not in name}
FUSED = {"fused-distances", "fused-input-distances", "fused-signal-distances"}
COMBINED = {"combined", "combined-with-input", "combined-logs", *FUSED}
OF_SIGNALS = {name for name, score in SCORES.items() if any(one.needs_signals for one in components_of(score))}
SINGLE = [name for name in SCORES if name not in COMBINED]


def outputs_of(draw, n, *, views=VIEWS, known=True):
    targets = draw.integers(LABELS, size=(n, 1)) * views + np.arange(views)
    logits = draw.normal(size=(n, views, LABELS * views)) * 3
    features, inputs, statistics = (draw.normal(size=(n, *size)) for size in ((views, D), (D,), (N_STATISTICS, 2)))
    return Outputs(logits, features, targets if known else None, inputs, statistics=np.abs(statistics))


def learnt(score, normal, temperature=1.0):
    """What a score, or the one of that name, learns from normal samples."""
    score = SCORES[score] if isinstance(score, str) else score
    return score.learn(normal, temperature) if score.learn else {}


def scored(score, outputs, normal=None, temperature=1.0):
    """The score, or the one of that name, of samples beside normal ones."""
    score = SCORES[score] if isinstance(score, str) else score
    return score.compute(outputs, learnt(score, normal, temperature), temperature)
