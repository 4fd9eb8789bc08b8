"""Anomaly scores of logits as formulae on plain arrays, which can be checked by hand; higher = odder."""

from __future__ import annotations

import numpy as np

from oddkind.arrays import Array
from oddkind.model.outputs import log_softmax, logsumexp, softmax


def msp(logits: Array, temperature: float = 1.0) -> Array:
    """1 − maximum softmax probability, 1 − max_c softmax(z / T)_c; [..., C] → [...].

    Hendrycks & Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in neural networks",
    ICLR 2017; temperature as in Liang et al. (ODIN), ICLR 2018.

    With two classes it is 1 / (1 + exp(|z_0 − z_1| / T)), so the temperature does not change the order of samples seen
    in one view, nor the AUC. With three or more classes, a high T counts all logits and a low T only the two largest,
    and the order changes; it can also change with the mean over several views.
    """
    # As a sum over the other classes: 1 − p would round to 0 for every confident sample, and they would tie.
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
    log_p = log_softmax(np.asarray(logits, float) / temperature)
    return -(np.exp(log_p) * log_p).sum(-1)


def target_nll(logits: Array, targets: Array, temperature: float = 1.0) -> Array:
    """Negative log-likelihood of the known class in nats, −log softmax(z / T)_target; [..., C], [...] → [...].

    For a known label: Giri et al., "Self-supervised classification for detecting anomalous sounds", DCASE 2020. For a
    known transform: Golan & El-Yaniv, "Deep anomaly detection using geometric transformations", NeurIPS 2018; Bergman &
    Hoshen, GOAD, ICLR 2020.
    """
    log_p = log_softmax(np.asarray(logits, float) / temperature)
    return -np.take_along_axis(log_p, np.asarray(targets)[..., None], axis=-1)[..., 0]


def label_nll(logits: Array, usual: Array, temperature: float = 1.0) -> Array:
    """Negative log-likelihood of the views under each label, in nats; logits [N, V, C], usual [L, V, C] → [N, L].

    mean_v −log Σ_c q_lvc softmax(z_v / T)_c, where q_lv = exp(usual) are the probabilities that normal samples of label
    l usually get in view v. All views have the same label, and a class that normal samples are often taken for counts
    as the true one (a zero turned upside down is still a zero). If q is sure of class l·V + v, this is its likelihood.
    """
    log_p = log_softmax(np.asarray(logits, float) / temperature)
    return np.stack([-logsumexp(log_p + of_label, axis=2).mean(1) for of_label in usual], 1)


def circular_distance(v_views: int) -> Array:
    """Distance between turn i and turn j of V equal turns, [V, V]: min(|i − j|, V − |i − j|)."""
    apart = np.abs(np.subtract.outer(np.arange(v_views), np.arange(v_views)))
    return np.minimum(apart, v_views - apart)


def rotation_distance(logits: Array) -> Array:
    """Circular distance from the predicted turn to the true one; logits [N, V, V] → [N, V], in turns.

    View v is the sample turned v times: min(|pred − v|, V − |pred − v|), the score of the KAIST lecture's RotNet
    exercise (RotNet: Gidaris et al., "Unsupervised representation learning by predicting image rotations", ICLR 2018).
    """
    views = logits.shape[1]
    return circular_distance(views)[logits.argmax(-1), np.arange(views)]


def expected_rotation_distance(logits: Array, temperature: float = 1.0) -> Array:
    """Mean circular distance under the predicted probabilities; logits [N, V, V] → [N, V], in turns.

    Σ_r softmax(z / T)_r · min(|r − v|, V − |r − v|): like `rotation_distance`, but without its ties.
    """
    views = logits.shape[1]
    return (softmax(np.asarray(logits, float), temperature) * circular_distance(views).T).sum(-1)
