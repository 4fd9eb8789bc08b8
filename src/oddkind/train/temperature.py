"""How sure the trained networks are: the temperature that fits held-out samples, and the perplexity at it."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.outputs import log_softmax


def fit_temperature(logits: Array, targets: Array, *, bounds: tuple[float, float] = (0.05, 20.0)) -> float:
    """Temperature under which held-out normal samples are most likely: argmin_T −Σ log softmax(z/T)_target.

    logits [N, C], targets [N]. The likelihood is concave in 1/T, so the optimum is unique; a network without mistakes
    on the held-out samples would ask for T → 0 and gets the lower bound. Guo et al., "On calibration of modern neural
    networks", ICML 2017.

    Raises
    ------
    InputError
        If there are no samples.
    """
    if len(logits) == 0:
        raise InputError("fitting the temperature needs held-out samples; there are 0")
    logits = np.asarray(logits, float)
    rows = np.arange(len(logits))

    def mean_nll(log_inverse: float) -> float:
        return float(-log_softmax(logits * np.exp(log_inverse))[rows, targets].mean())

    low, high = (-np.log(bound) for bound in reversed(bounds))
    return float(np.exp(-minimize_scalar(mean_nll, bounds=(low, high), method="bounded").x))


def perplexity(logits: Array, targets: Array, temperature: float) -> float:
    """Number of classes between which the network hesitates on held-out samples, exp(NLL), from 1 (sure, right) to C.

    logits [N, C], targets [N]; the NLL is at most that of guessing. At the temperature of `fit_temperature` it does not
    depend on the scale of the logits. Jelinek et al., "Perplexity – a measure of the difficulty of speech recognition
    tasks", 1977.
    """
    log_p = log_softmax(np.asarray(logits, float) / temperature)
    nll = -log_p[np.arange(len(targets)), targets].mean()
    return float(min(np.exp(nll), log_p.shape[1]))
