"""How sure the trained networks are: the temperature that fits held-out samples, and the perplexity at it."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.outputs import Outputs, log_softmax


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


def label_perplexity(outputs: Outputs, n_views: int, temperature: float) -> float:
    """Number of labels between which the network hesitates on held-out samples whose views are known, from 1 to L.

    exp(NLL) of the label given the view, for outputs of which class l · V + v is label l in view v of V = `n_views`,
    with targets; the NLL is at most that of guessing. Views that look alike, such as those of a zero, do not count
    here, as they do in `perplexity`.
    """
    n, scored, n_classes = outputs.logits.shape
    logits = np.asarray(outputs.logits, float).reshape(n, scored, -1, n_views) / temperature
    views = np.arange(scored)
    log_p = log_softmax(logits[:, views, :, views])  # [views scored, N, L]
    assert outputs.targets is not None  # noqa: S101 - held-out samples have targets
    labels = outputs.targets.T // n_views
    nll = -np.take_along_axis(log_p, labels[..., None], -1).mean()
    return float(min(np.exp(nll), n_classes // n_views))
