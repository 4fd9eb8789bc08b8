"""The temperature is the most likely one; the perplexity is the number of classes between which a network hesitates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from oddkind import InputError, Outputs
from oddkind.train.temperature import fit_temperature, label_perplexity, perplexity


def drawn_from_softmax(draw, n, *, temperature=1.0, classes=4, spread=2.0):
    """Logits whose labels truly follow softmax(z / temperature)."""
    z = draw.normal(size=(n, classes)) * spread
    p = softmax(z / temperature, axis=1)
    return z, (draw.random((n, 1)) > p.cumsum(1)[:, :-1]).sum(1)


def mean_nll(z, targets, temperature):
    return -log_softmax(z / temperature, axis=1)[np.arange(len(z)), targets].mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_fit_temperature_finds_the_one_the_labels_were_drawn_with(draw, temperature):
    z, targets = drawn_from_softmax(draw, 40_000, temperature=temperature, spread=2 * temperature)
    assert_allclose(fit_temperature(z, targets), temperature, rtol=0.03)


@given(st.integers(0, 99), st.floats(0.3, 5))
def test_fit_temperature_minimises_the_nll(seed, temperature):
    z, targets = drawn_from_softmax(np.random.default_rng(seed), 200, temperature=temperature)
    best = mean_nll(z, targets, fit_temperature(z, targets))
    assert best <= min(mean_nll(z, targets, t) for t in np.geomspace(0.05, 20, 200)) + 1e-9


@given(st.integers(0, 99), st.floats(0.3, 3))
def test_scaling_the_logits_scales_the_temperature(seed, factor):
    z, targets = drawn_from_softmax(np.random.default_rng(seed), 500)
    assert_allclose(fit_temperature(factor * z, targets), factor * fit_temperature(z, targets), rtol=1e-3)


def test_a_network_that_is_always_right_gets_the_lower_bound_and_one_that_guesses_the_upper(draw):
    z, _ = drawn_from_softmax(draw, 500)
    assert_allclose(fit_temperature(z, z.argmax(1)), 0.05, rtol=1e-3)
    assert_allclose(fit_temperature(z, z.argmin(1)), 20, rtol=1e-3)
    assert_allclose(fit_temperature(z, z.argmin(1), bounds=(0.5, 4)), 4, rtol=1e-3)


def test_fit_temperature_does_not_overflow_on_large_logits(draw):
    z, targets = drawn_from_softmax(draw, 500)
    assert np.isfinite(fit_temperature(1e4 * z.astype(np.float32), targets))


def test_fit_temperature_refuses_no_samples():
    with pytest.raises(InputError, match="needs held-out samples; there are 0"):
        fit_temperature(np.empty((0, 3)), np.empty(0, int))


# --- perplexity ---


def fitted_perplexity(logits, targets):
    return perplexity(logits, targets, fit_temperature(logits, targets))


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_perplexity_is_that_of_the_true_probabilities_whatever_the_temperature_of_the_logits(draw, scale):
    logits, targets = drawn_from_softmax(draw, 4000, classes=5)
    expected = np.exp(log_loss(targets, softmax(logits, axis=1)))
    assert fitted_perplexity(scale * logits, targets) == pytest.approx(expected, rel=2e-3)


def test_perplexity_of_guessing_and_of_knowing(draw):
    targets = draw.integers(4, size=400)
    assert fitted_perplexity(np.zeros((400, 4)), targets) == pytest.approx(4)
    assert fitted_perplexity(draw.normal(size=(400, 4)) * 5, targets) == pytest.approx(4, abs=0.05)
    assert fitted_perplexity(9 * np.eye(4)[targets], targets) == pytest.approx(1, abs=1e-6)
    assert fitted_perplexity(9 * np.eye(4)[(targets + 1) % 4], targets) == 4


@pytest.mark.parametrize("scored", [1, 3])
def test_the_perplexity_of_labels_is_that_of_each_label_given_its_view(draw, scored):
    labels, views = draw.integers(4, size=50), np.arange(scored)
    targets = labels[:, None] * 3 + views
    logits = draw.normal(size=(50, scored, 12)) + 2 * np.eye(12)[targets]
    of_view = [log_softmax(logits[:, view, view::3] / 2, axis=1)[np.arange(50), labels] for view in views]
    expected = np.exp(-np.mean(of_view))
    assert 1 < expected < 4
    assert label_perplexity(Outputs(logits, logits, targets), 3, 2.0) == pytest.approx(expected)
    alike = np.zeros((50, scored, 12))
    assert label_perplexity(Outputs(alike, logits, targets), 3, 1.0) == pytest.approx(4)


def test_views_that_look_alike_do_not_count_as_labels_that_do(draw):
    labels = draw.integers(2, size=40)
    logits = np.repeat(9.0 * np.eye(2)[labels], 4, 1)[:, None].repeat(4, 1)  # sure of the label, not of the view
    targets = labels[:, None] * 4 + np.arange(4)
    assert perplexity(logits.reshape(-1, 8), targets.ravel(), 1.0) == pytest.approx(4, rel=1e-3)
    assert label_perplexity(Outputs(logits, logits, targets), 4, 1.0) == pytest.approx(1, rel=1e-3)
    assert label_perplexity(Outputs(logits[..., :4], logits, np.tile(np.arange(4), (40, 1))), 4, 1.0) == 1
