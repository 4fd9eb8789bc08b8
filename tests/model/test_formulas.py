"""The formulae of scores against reference implementations, and their laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import softmax as reference_softmax

from oddkind.model import formulas
from oddkind.model.outputs import softmax

temperatures = st.floats(0.1, 10)
some_logits = arrays(float, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6), elements=st.floats(-20, 20))


# --- each formula against a reference ---


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_scores_of_logits_agree_with_their_references(draw, temperature):
    z = draw.normal(size=(23, 4, 7)) * 5
    p = reference_softmax(z / temperature, axis=-1)
    torch_energy = -temperature * torch.logsumexp(torch.from_numpy(z) / temperature, -1)
    assert_allclose(softmax(z, temperature), p)
    assert_allclose(formulas.msp(z, temperature), 1 - p.max(-1), atol=1e-12)
    assert_allclose(formulas.energy(z, temperature), torch_energy)
    assert_allclose(formulas.entropy(z, temperature), stats.entropy(p, axis=-1), atol=1e-12)
    assert_array_equal(formulas.max_logit(z), -z.max(-1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_target_nll_is_torchs_cross_entropy(draw, temperature):
    z, targets = draw.normal(size=(23, 4, 7)) * 5, draw.integers(7, size=(23, 4))
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(z / temperature).flatten(0, 1), torch.from_numpy(targets).flatten(), reduction="none"
    )
    assert_allclose(formulas.target_nll(z, targets, temperature).ravel(), expected)


@pytest.mark.parametrize("gap", [40.0, 300.0])
def test_confident_samples_do_not_tie(gap):
    z = np.array([[gap, 0.0], [gap + 1, 0.0]])
    assert_allclose(formulas.msp(z), np.exp(-z[:, 0]), rtol=1e-12)
    assert_allclose(formulas.target_nll(z, [1, 1]), z[:, 0])


def test_float32_logits_score_as_float64(draw):
    z = draw.normal(size=(23, 7)).astype(np.float32) * 20
    for function in (formulas.msp, formulas.energy, formulas.entropy):
        assert_array_equal(function(z), function(z.astype(float)))


def one_view_predicts(turn, views=4):
    """Logits [1, V, V] by which every view looks turned `turn` times."""
    return 9.0 * np.tile(np.eye(views)[turn], (1, views, 1))


def test_rotation_distance_of_the_lectures_examples():
    predicted_0 = formulas.rotation_distance(one_view_predicts(0))[0]
    assert predicted_0[1] == 1
    assert predicted_0[3] == 1
    assert predicted_0.tolist() == [0, 1, 2, 1]
    assert formulas.rotation_distance(one_view_predicts(3))[0].tolist() == [1, 2, 1, 0]


def test_circular_distance_takes_the_shorter_way():
    assert formulas.circular_distance(4).tolist() == [[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 1], [1, 2, 1, 0]]
    assert formulas.circular_distance(5)[0].tolist() == [0, 1, 2, 2, 1]


def test_expected_rotation_distance_is_the_mean_under_the_probabilities(draw):
    z, temperature = draw.normal(size=(23, 4, 4)) * 2, 2.0
    p = reference_softmax(z / temperature, axis=-1)
    expected = [
        [sum(p[n, v, r] * min(abs(r - v), 4 - abs(r - v)) for r in range(4)) for v in range(4)] for n in range(23)
    ]
    assert_allclose(formulas.expected_rotation_distance(z, temperature), expected)


def test_expected_rotation_distance_of_a_sure_network_is_the_rotation_distance(draw):
    z = draw.normal(size=(23, 4, 4))
    assert_allclose(formulas.expected_rotation_distance(z, 1e-4), formulas.rotation_distance(z), atol=1e-3)


# --- laws ---


@given(some_logits, temperatures)
def test_bounds_of_msp_and_entropy(z, temperature):
    classes = z.shape[1]
    msp, entropy = formulas.msp(z, temperature), formulas.entropy(z, temperature)
    assert (msp >= 0).all()
    assert (msp <= 1 - 1 / classes + 1e-12).all()
    assert (entropy >= -1e-12).all()
    assert (entropy <= math.log(classes) + 1e-12).all()
    assert_allclose(formulas.msp(np.zeros((1, classes)), temperature), 1 - 1 / classes)


@given(some_logits, temperatures, st.floats(-50, 50))
def test_adding_a_constant_to_the_logits_moves_only_max_logit_and_energy(z, temperature, constant):
    targets = np.zeros(len(z), int)
    assert_allclose(formulas.msp(z + constant, temperature), formulas.msp(z, temperature), atol=1e-9)
    assert_allclose(formulas.entropy(z + constant, temperature), formulas.entropy(z, temperature), atol=1e-9)
    assert_allclose(
        formulas.target_nll(z + constant, targets, temperature),
        formulas.target_nll(z, targets, temperature),
        atol=1e-9,
    )
    assert_allclose(formulas.max_logit(z + constant), formulas.max_logit(z) - constant, atol=1e-9)
    assert_allclose(formulas.energy(z + constant, temperature), formulas.energy(z, temperature) - constant, atol=1e-9)


@given(some_logits, temperatures, st.floats(1, 5))
def test_a_higher_temperature_never_lowers_msp_or_entropy(z, temperature, factor):
    for function in (formulas.msp, formulas.entropy):
        assert (function(z, temperature * factor) >= function(z, temperature) - 1e-12).all()


@given(arrays(float, (8, 2), elements=st.floats(-20, 20)), st.floats(0.5, 10))
def test_temperature_cannot_reorder_msp_of_two_classes(z, temperature):
    order = np.argsort(-np.abs(z[:, 0] - z[:, 1]))
    assert (np.diff(formulas.msp(z, temperature)[order]) >= -1e-15).all()


def test_temperature_can_reorder_msp_of_three_classes():
    z = np.array([[3.0, 2.5, -9.0], [3.0, 1.5, 1.5]])
    assert np.argmax(formulas.msp(z, 1.0)) != np.argmax(formulas.msp(z, 20.0))


@given(some_logits, st.floats(1e-3, 10))
def test_energy_tends_to_max_logit_as_temperature_falls(z, temperature):
    gap = formulas.max_logit(z) - formulas.energy(z, temperature)
    assert (gap >= -1e-9).all()
    assert (gap <= temperature * math.log(z.shape[1]) + 1e-9).all()
