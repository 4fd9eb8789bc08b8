"""What networks say about samples, and the softmax of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

from oddkind import Outputs
from oddkind.model.outputs import log_softmax, logsumexp, mean_of, pooled, softmax
from oddkind.model.outputs import outputs_of as outputs_of_networks
from oddkind.model.signal_statistics import signal_statistics

N, LABELS, VIEWS, D = 23, 3, 4, 5
some_logits = arrays(float, array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6), elements=st.floats(-500, 500))


def outputs_of(draw, n=N, *, known=True):
    targets = draw.integers(LABELS, size=(n, 1)) * VIEWS + np.arange(VIEWS)
    logits = draw.normal(size=(n, VIEWS, LABELS * VIEWS)) * 3
    return Outputs(logits, draw.normal(size=(n, VIEWS, D)), targets if known else None, draw.normal(size=(n, D)))


@pytest.mark.parametrize("shape", [(6,), (2, 9), (1, 8, 8)], ids=["vectors", "signals", "pictures"])
def test_outputs_hold_what_each_network_said_and_only_those_of_signals_have_statistics(draw, shape):
    inputs = draw.normal(size=(5, *shape)).astype(np.float32)
    targets, groups = np.zeros((5, 1), int), np.arange(5)
    said = [(draw.normal(size=(5, 1, 3)), draw.normal(size=(5, 1, 4))) for _ in range(2)]
    found = outputs_of_networks([lambda x, own=own: own for own in said], inputs, targets, groups)
    for one, (logits, features) in zip(found, said, strict=True):
        assert one.logits is logits
        assert one.features is features
        assert_array_equal(one.inputs, inputs.reshape(5, -1))
        assert_array_equal(one[1:3].groups, groups[1:3])
        if len(shape) == 2:
            assert_array_equal(one[1:3].statistics, signal_statistics(inputs)[1:3])
        else:
            assert one.statistics is None


@given(some_logits, st.floats(0.1, 10))
def test_softmax_and_its_logarithm_are_those_of_scipy(z, temperature):
    assert_allclose(softmax(z, temperature), special.softmax(z / temperature, axis=-1), rtol=1e-9, atol=1e-300)
    assert_allclose(log_softmax(z), special.log_softmax(z, axis=-1), atol=1e-12)


@given(some_logits, st.data())
def test_logsumexp_is_that_of_scipy(z, data):
    axis = data.draw(st.integers(-z.ndim, z.ndim - 1))
    assert_allclose(logsumexp(z, axis), special.logsumexp(z, axis=axis), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("values", [[1e308, 1e308], [-1e5, -1e5, -1e5], [700.0, -700.0], [3.0]])
def test_logsumexp_does_not_overflow(values):
    assert_allclose(logsumexp(np.array(values), 0), special.logsumexp(values), rtol=1e-12)


def test_a_small_sum_beside_a_large_value_is_not_lost():
    assert logsumexp(np.array([0.0, -40.0]), 0) == pytest.approx(np.exp(-40), rel=1e-12)


@pytest.mark.parametrize("known", [True, False])
def test_outputs_select_rows_of_every_field(draw, known):
    outputs = outputs_of(draw, known=known)
    part = outputs[[3, 1]]
    assert (len(outputs), len(part), part.n_views) == (N, 2, VIEWS)
    for field in ("logits", "features", "inputs", *(["targets"] if known else [])):
        assert_array_equal(getattr(part, field), getattr(outputs, field)[[3, 1]])
    assert known or part.targets is None
    assert Outputs(outputs.logits, outputs.features)[:2].inputs is None


def test_logits_of_the_transforms_sum_over_the_labels(draw):
    outputs = outputs_of(draw)
    p = special.softmax(outputs.logits, axis=-1).reshape(N, VIEWS, LABELS, VIEWS).sum(2)
    assert_allclose(special.softmax(outputs.transform_logits(), axis=-1), p)
    assert_allclose(outputs.transform_logits(), special.logsumexp(outputs.logits.reshape(N, VIEWS, LABELS, VIEWS), 2))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("n_members", [1, 3])
def test_several_networks_are_the_mean_of_their_probabilities(draw, temperature, n_members):
    members = [outputs_of(draw) for _ in range(n_members)]
    together = pooled(members, temperature)
    expected = np.mean([special.softmax(member.logits / temperature, axis=-1) for member in members], 0)
    assert_allclose(special.softmax(together.logits, axis=-1), expected)
    assert_array_equal(together.features, np.concatenate([member.features for member in members], -1))
    assert_array_equal(together.targets, members[0].targets)
    assert_array_equal(together.inputs, members[0].inputs)


def test_one_network_stays_as_it_is(draw):
    outputs = outputs_of(draw)
    assert pooled([outputs]) is outputs


def test_the_mean_does_not_depend_on_the_number_of_samples(draw):
    arrays = [draw.normal(size=100) for _ in range(9)]
    assert_allclose(mean_of(arrays), np.mean(arrays, 0))
    assert_array_equal(mean_of([array[:1] for array in arrays]), mean_of(arrays)[:1])
