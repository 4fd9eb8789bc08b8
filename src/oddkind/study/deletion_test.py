"""A test of evidence: replace the points with the most evidence, and compare the drop of the score with chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.ndimage import gaussian_filter

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.metrics import mean_interval
from oddkind.model.explain import occlusion_cases
from oddkind.model.model import Model


@dataclass(frozen=True, eq=False)
class Deletion:
    """The result of a deletion test of N samples.

    Attributes
    ----------
    drops : array [N]
        The drop of the anomaly score when the points with the most evidence are replaced.
    elsewhere : array [N]
        The drop when the same constellation of points, moved at random, is replaced; mean over the moves.
    """

    drops: Array
    elsewhere: Array

    @property
    def gain(self) -> float:
        """Mean of `drops` − `elsewhere`; above 0 if the evidence is better than chance."""
        return float(np.mean(self.drops - self.elsewhere))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Paired 95 % interval of the gain (Student's t); None for one sample."""
        return mean_interval((self.drops - self.elsewhere).tolist())

    @property
    def won(self) -> float:
        """Fraction of the samples whose score dropped more than elsewhere; ties count half."""
        return float((np.sign(self.drops - self.elsewhere).mean() + 1) / 2)

    @property
    def p_value(self) -> float:
        """P-value of Wilcoxon's signed-rank test that evidence is no better than chance, one-sided, asymptotic."""
        difference = self.drops - self.elsewhere
        if not difference.any():
            return 1.0
        return float(stats.wilcoxon(difference, alternative="greater", method="asymptotic").pvalue)


def deletion_test(
    model: Model,
    X: Array,
    evidence: Array,
    y: Array | None = None,
    *,
    fraction: float = 0.1,
    moves: int = 10,
    random_state: int = 0,
) -> Deletion:
    """Replace the points with the most evidence by the nearest normal sample, and compare the drop of the score.

    The control replaces the same constellation of points, moved cyclically, so that a compact map has no advantage. In
    pictures, the replaced region has soft borders. After the deletion metric of Petsiuk et al., "RISE", BMVC 2018.

    Parameters
    ----------
    X, evidence : arrays [N, …] of one shape
        Samples and their evidence. The evidence of pictures is summed over the channels.
    y : array [N] or None
        The internal labels that the samples claim.
    fraction : float in (0, 1)
        The fraction of each sample that is replaced, at least one point.
    moves : int
        The number of random moves of each sample over which the control is averaged.
    random_state : int
        Seed of the random moves.

    Raises
    ------
    InputError
        As in `explain`; also if the evidence is not finite or has another shape, or `fraction` replaces all points.
    """
    cases = occlusion_cases(model, X, y)
    shape = model.inputs.shape
    evidence = np.asarray(evidence, float)
    if evidence.shape != (len(cases), *shape) or not np.isfinite(evidence).all():
        raise InputError(f"evidence must be finite numbers of shape {(len(cases), *shape)}, one map for each sample")
    maps = evidence.sum(1) if len(shape) == 3 else evidence
    points = int(np.prod(maps.shape[1:]))
    count = max(1, round(fraction * points))
    if not 0 < fraction < 1 or count >= points:
        raise InputError(f"fraction={fraction:g} of {points} points; it must lie between 0 and 1 and leave a point")
    drops, elsewhere = [], []
    for number, evidence_map in enumerate(maps):
        draw = np.random.default_rng([random_state, number])
        top = np.zeros(points, bool)
        top[np.argsort(-evidence_map, axis=None, kind="stable")[:count]] = True
        top = top.reshape(evidence_map.shape)
        shifts = 1 + draw.choice(points - 1, moves)  # never to the original place
        moved = [
            np.roll(top, np.unravel_index(shift, evidence_map.shape), range(evidence_map.ndim)) for shift in shifts
        ]
        masks = np.stack([top, *moved]).astype(np.float32)
        if len(shape) == 3:
            blurred = gaussian_filter(masks, min(shape[1:]) / 28, axes=(1, 2))  # a sharp edge would itself be anomalous
            masks = np.repeat(blurred[:, None].clip(0, 1), shape[0], 1)
        scores = cases[number].occluded(masks)
        drops.append(scores[0] - scores[1])
        elsewhere.append(float(np.mean(scores[0] - scores[2:])))
    return Deletion(np.array(drops), np.array(elsewhere))
